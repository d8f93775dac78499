"""The network: sockets, devices, neighbours, routes; structs in, columns out."""
