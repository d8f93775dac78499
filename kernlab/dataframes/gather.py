"""A member of structs, or a formula of members, in; a column of a DataFrame out. One answer, whoever asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.dataframes import expressions
from kernlab.dataframes.builder import build, nullable
from kernlab.debuginfo.types import PointerType
from kernlab.walk.percpu_paths import member
from kernlab.walk.strings import c_strings


def gathered(token: str, structs: Any, path: str) -> Any:
    """A member, or a formula of members, of a StructArray as an array for pandas; `token` is the dump's.

    A pointer to char is the text that it points to. Raises MemberNotFoundError, KernlabError.
    """
    if not expressions.is_formula(path):
        return build(token, path, nullable(spelt_out(structs, member(structs, path))))
    found = expressions.compute(structs, path)
    if found.values.dtype == object:
        return pd.array(np.where(found.valid, found.values, np.nan), dtype="str")
    if found.values.dtype.kind == "f":
        return np.where(found.valid, found.values, np.nan)
    return build(token, path, nullable(found.values, found.valid))


def spelt_out(structs: Any, column: Any, *, any_byte: bool = False) -> Any:
    """A column of these structs; pointers to char as the texts there (to their NUL, at most 4 KiB).

    With `any_byte` pointers to bytes of any name are text, too: what is called u8 or __u8 is data elsewhere.
    """
    if not isinstance(column, Column) or column.kind != "address" or column.type is None:
        return column
    pointer = column.type.strip()
    if not isinstance(pointer, PointerType):
        return column
    target = pointer.target
    if target.c_name not in ("char", "unsigned char") and not (any_byte and target.strip().size == 1):
        return column
    return c_strings(structs.kernel, column)
