"""Symbols and types: bytes of the kernel image in, `SymbolTable` and `Types` out."""
