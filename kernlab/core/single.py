"""One struct's member as a plain value: for what there is only one of, where missing is an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError


def value_of(structs: StructArray, path: str) -> Any:
    """The member of the first of some structs. Raises KernlabError where the dump does not have it."""
    column = structs[path]
    if not column.valid[0]:
        raise KernlabError(
            f"{path} of {structs.type.c_name} at {int(structs.addresses[0]):#x} is not in the dump"
        )
    return column.values[0]


def number_of(structs: StructArray, path: str) -> int:
    """… as a number. Raises KernlabError where it is not one, too."""
    value = value_of(structs, path)
    if not isinstance(value, np.integer):
        raise KernlabError(f"{path} of {structs.type.c_name} is not a number by this kernel's types")
    return int(value)
