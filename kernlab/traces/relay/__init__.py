"""relay channels: in dumps, in files, and live; records out."""
