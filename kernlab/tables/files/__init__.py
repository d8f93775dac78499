"""Tables of files and file systems."""
