"""Control groups, pressure, namespaces; structs in, columns out."""
