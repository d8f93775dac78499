"""Tables of where memory went, and of what lies at an address."""
