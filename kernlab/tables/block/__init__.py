"""Tables of block devices and what they still had to do."""
