"""kallsyms: the symbol table that a kernel carries in itself, read, its names decoded, or searched for."""
