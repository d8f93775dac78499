"""`dump.process` and `dump.file`: what one process and one file held, and what a notebook shows of them."""
