"""What `dump.explorer()` shows: every table of a dump in a grid, the leads, plots, and their export."""
