"""Architectures: what of memory management differs from one to the next."""
