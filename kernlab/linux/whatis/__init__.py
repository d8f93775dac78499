"""What lies at an address, and whose it is: the one engine behind `owner`, `.kern.owner`, the browser and `search`."""
