"""The kernel of a dump, and its structs in columns."""
