"""DWARF, as far as addresses need it: units, line tables, functions and what was inlined into them.

Bytes of a debug file's sections come in, arrays of addresses and rows go out. pyelftools knows the numbers; the loops
are written for a few functions among ten million entries.
"""
