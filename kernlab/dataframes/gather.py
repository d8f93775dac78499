"""A member of structs, or a formula of members, in; a column of a DataFrame out. One answer, whoever asks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.dataframes.builder import build, nullable
from kernlab.debuginfo.types import PointerType
from kernlab.errors import KernlabError, MemberNotFoundError
from kernlab.util import formula, integers
from kernlab.walk.percpu_paths import member
from kernlab.walk.strings import c_strings


def gathered(token: str, structs: Any, path: str) -> Any:
    """A member, or a formula of members, of a StructArray as an array for pandas; `token` is the dump's.

    A pointer to char is the text that it points to. Raises MemberNotFoundError, KernlabError.
    """
    if not formula.is_formula(path):
        return build(token, path, nullable(spelt_out(structs, member(structs, path))))
    found = compute(structs, path)
    if found.values.dtype == object:
        return pd.array(np.where(found.valid, found.values, np.nan), dtype="str")
    if found.values.dtype.kind == "f":
        return np.where(found.valid, found.values, np.nan)
    return build(token, path, nullable(found.values, found.valid))


def compute(structs: Any, text: str) -> formula.Values:
    """The value of a formula of members for each struct of a StructArray (`kernlab.util.formula` has its rules).

    Raises KernlabError for what is not a formula (saying where), MemberNotFoundError naming the nearest member.
    """
    return formula.compute(text, len(structs), partial(operand, structs))


def operand(structs: Any, path: str) -> formula.Values:
    """What a member path, or an enumerator's name, stands for in a formula."""
    try:
        column = member(structs, path)
    except MemberNotFoundError:
        # A name alone may be an enumerator's: SCHED_… and such are not, but `== TASK_COMM_LEN` is.
        number = structs.kernel.types.enumerator_or_none(path) if path.isidentifier() else None
        if number is None:
            raise
        return formula.constant(np.int64(number), len(structs))
    if not isinstance(column, Column):
        return formula.Values(column.addresses, column.valid)
    if column.values.ndim != 1:
        raise KernlabError(
            f"{path!r} holds {column.values.shape[1]:,} elements a row; name one of them: {path}[0]"
        )
    if column.kind in ("int", "uint", "enum", "address"):
        return formula.Values(integers.widened(column.values), column.valid)
    if column.kind in ("bool", "float", "text"):
        return formula.Values(column.values, column.valid)
    raise KernlabError(f"{path!r} holds bytes, which formulas do not support")


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
