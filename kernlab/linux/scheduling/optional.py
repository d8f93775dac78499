"""Members that not every kernel has: structs and paths in, a column out that is missing where there is none."""

from __future__ import annotations

from kernlab.core.column import Column
from kernlab.core.struct_array import StructArray


def optional(structs: StructArray, *paths: str, kind: str = "int") -> Column:
    """The first of these members that this kernel has, newest layout first, in int64; missing where it has none.

    `kind` is that of a column of nothing; what is not "int" stays as it is.
    """
    for path in paths:
        if structs.has(path):
            found = structs[path]
            return found.int64 if kind == "int" else found
    return Column.missing(len(structs), kind)
