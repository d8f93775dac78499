"""Tables of control groups, pressure and namespaces."""
