"""Damaged dumps by the thousand: `make fuzz`, or `python -m fuzz` with tests/ on the path. README.md has the rules."""
