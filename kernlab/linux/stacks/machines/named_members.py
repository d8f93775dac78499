"""Members of one struct by their names, as far as they can be read."""

from __future__ import annotations

from collections.abc import Iterable

from kernlab.core.struct_array import StructArray


def members_of(struct: StructArray, names: Iterable[str]) -> dict[str, int]:
    """The values of integers in a struct (the first of the array) by name, without those that it lacks."""
    found = {}
    with struct.kernel.quiet():
        for name in names:
            if struct.has(name):
                column = struct[name]
                if column.valid[0]:
                    found[name] = int(column.values[0])
    return found
