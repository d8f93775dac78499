"""Block devices: disks, requests, bios; structs in, columns out."""
