"""Where pandas asks no dtype, and addresses would come out wrong in silence: merge().

merge() of an address column with other integers compares objects, and an address never equals the negative number that
C prints for it, nor a float that lost its low bits: here they are read by the rule of kernlab/util/addresses.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernlab.dataframes.address import AddressArray, AddressDtype


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


def install() -> None:
    """Put it into pandas, where this pandas has the step."""
    from pandas.core.reshape import merge

    owner: Any = getattr(merge, "_MergeOperation", None)
    step: Any = getattr(owner, "_maybe_coerce_merge_keys", None)
    if step is not None:
        owner._maybe_coerce_merge_keys = _with_addresses(step)


install()
