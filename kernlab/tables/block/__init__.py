"""Tables of disks and what was on its way to them."""
