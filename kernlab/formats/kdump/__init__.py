"""kdump's own format (makedumpfile's): headers, bitmaps, compressed pages."""
