"""List heads, trees, freelists and per-CPU pointers in, the structs on them out: many at once, bounded."""
