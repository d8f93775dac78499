"""Two places where pandas asks no dtype, and addresses would come out wrong in silence: merge() and to_excel().

merge() of an address column with other integers compares objects, and an address never equals the negative number that
C prints for it, nor a float that lost its low bits: here they are read by the rule of kernlab/util/addresses.py.
A cell's number in Excel is a float, so an address is written as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.util.text import Address


def _with_addresses(coerce: Callable[[Any], None]) -> Callable[[Any], None]:
    """pandas' own step that makes two key columns alike, after other integers were read as addresses."""

    def coerce_keys(merge: Any) -> None:
        for at, name in enumerate(merge.join_names):
            left, right = merge.left_join_keys[at], merge.right_join_keys[at]
            if isinstance(left.dtype, AddressDtype) == isinstance(right.dtype, AddressDtype):
                continue
            keys, side = (
                (merge.right_join_keys, "right")
                if isinstance(left.dtype, AddressDtype)
                else (merge.left_join_keys, "left")
            )
            keys[at] = AddressArray._from_sequence(keys[at])
            if name in merge.left.columns and name in merge.right.columns:
                # One column of the result, made of both.
                frame = getattr(merge, side).copy(deep=False)
                frame[name] = keys[at]
                setattr(merge, side, frame)
        coerce(merge)

    return coerce_keys


def _with_text(convert: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """pandas' own step that makes a value one of Excel's, after addresses became text."""

    def value_with_format(writer: Any, value: Any) -> Any:
        return convert(writer, str(value) if isinstance(value, Address) else value)

    return value_with_format


def install() -> None:
    """Put it into pandas, where this pandas has these steps."""
    from pandas.core.reshape import merge

    for owner, name, around in (
        (getattr(merge, "_MergeOperation", None), "_maybe_coerce_merge_keys", _with_addresses),
        (pd.ExcelWriter, "_value_with_fmt", _with_text),
    ):
        step: Any = getattr(owner, name, None)
        if step is not None:
            setattr(owner, name, around(step))


install()
