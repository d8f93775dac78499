"""Tables of the network."""
