"""One rule for what an address may be given as, and the one parser of it: whatever a person or a program has at hand.

| given | is |
|---|---|
| an integer of Python or NumPy, a `Struct` | itself; a negative one as C prints it: 64 bits with a sign |
| text | `0x` and hexadecimal digits, 16 of them without `0x` (as a log prints addresses), or decimal digits |
| other text, where there is a kernel to ask | the symbol of that name |
| None, NA, NaN among several | missing |
| anything else: floats, truth values, what needs more than 64 bits | an AddressError |

Nothing here passes through a float: above 2**53 a float drops the low bits of an address.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from kernlab.errors import AddressError

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: What finds a symbol's address by its name, raising a KernlabError.
Names = Callable[[str], int]

_ALL_ONES = (1 << 64) - 1
_LOWEST = -(1 << 63)
_DIGITS = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|([0-9]+))")
#: As the kernel's %px and %016lx print one; no symbol and no decimal number looks so.
_BARE = re.compile(r"[fF]{2}[0-9a-fA-F]{14}")
_NAME = re.compile(r"[A-Za-z_][\w.$]*")


class Given(NamedTuple):
    """Addresses that somebody gave: `values` uint64[n], `missing` bool[n] (there the value is 0), `single`: it was one
    address, not a sequence."""

    values: U64
    missing: Mask
    single: bool


def in_text(text: str) -> int | None:
    """The address that a text is, None where it is not a number at all. Raises AddressError beyond 64 bits."""
    word = text.strip()
    if _BARE.fullmatch(word):
        return int(word, 16)
    digits = _DIGITS.fullmatch(word)
    if digits is None:
        return None
    sign, hexadecimal, decimal = digits.groups()
    if len(hexadecimal or decimal) > 4096:
        raise AddressError(f"{len(word):,} digits are not an address: it has 64 bits")
    return checked(int(sign + (hexadecimal or decimal), 16 if hexadecimal else 10))


def checked(value: int) -> int:
    """An integer as an address: a negative one is 64 bits with a sign. Raises AddressError beyond 64 bits."""
    if not _LOWEST <= value <= _ALL_ONES:
        raise AddressError(f"{value:#x} is not an address: it does not fit into 64 bits")
    return value & _ALL_ONES


def wrapped(value: int) -> np.uint64:
    """What an integer is in 64 bits, as a pointer of C counts: for places computed from numbers that a dump claims."""
    return np.uint64(value & _ALL_ONES)


def number(given: Any, names: Names | None = None) -> int:
    """One address, from 0 to 2**64 - 1; `names` finds symbols. Raises AddressError, and what `names` raises."""
    if isinstance(given, str):
        found = in_text(given)
        if found is not None:
            return found
        word = given.strip()
        if names is None or _NAME.fullmatch(word) is None:
            _refuse(given, names)
        return names(word)
    if isinstance(given, bool | np.bool_) or not hasattr(type(given), "__index__"):
        _refuse(given, names)
    return checked(operator.index(given))


def several(given: Any, names: Names | None = None) -> Given:
    """One address or many: a list, an array, a column, a StructArray, a table (by the structs behind its rows).

    May share memory with what was given. Raises AddressError, and what `names` raises.
    """
    given = getattr(given, "kern", given) if hasattr(given, "columns") else given
    # A StructArray, and the `.kern` of a table.
    given = getattr(given, "addresses", given) if not isinstance(given, np.ndarray) else given
    if _is_one(given):
        return Given(np.array([number(given, names)], dtype=np.uint64), np.zeros(1, dtype=bool), True)
    if hasattr(given, "columns"):
        raise AddressError("this DataFrame has no column of addresses; give one of its columns")
    return Given(*values_of(given, names), False)


def values_of(source: Any, names: Names | None = None) -> tuple[U64, Mask]:
    """A sequence of addresses as (uint64[n], bool[n], True where missing); may share memory with `source`.

    Raises AddressError, and what `names` raises.
    """
    source = getattr(source, "array", source) if not isinstance(source, np.ndarray) else source
    # An address column shows its numbers as a column of integers that can be missing.
    source = getattr(source, "numbers", source)
    kind = getattr(getattr(source, "dtype", None), "kind", "")
    if kind in ("i", "u") and hasattr(source, "isna"):
        mask = np.asarray(source.isna(), dtype=bool)
        return unsigned(source.to_numpy(dtype=f"{kind}8", na_value=0)), mask
    if not isinstance(source, np.ndarray):
        if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | memoryview):
            _refuse(source, names)
        source = _objects(source)
    if source.ndim != 1:
        raise AddressError(f"addresses come in one dimension, not {source.ndim}")
    if source.dtype.kind in "iu":
        return unsigned(source), np.zeros(len(source), dtype=bool)
    if source.dtype.kind == "f" and np.isnan(source).all():
        return np.zeros(len(source), dtype=np.uint64), np.ones(len(source), dtype=bool)
    if source.dtype.kind not in "OUT":
        raise AddressError(
            f"{source.dtype} holds no addresses"
            + (": it drops their low bits. Keep them as uint64 or UInt64" if source.dtype.kind == "f" else "")
        )
    mask = np.fromiter((is_missing(value) for value in source), dtype=bool, count=len(source))
    numbers = (0 if missing else number(value, names) for value, missing in zip(source, mask, strict=True))
    return np.fromiter(numbers, dtype=np.uint64, count=len(source)), mask


def unsigned(values: npt.NDArray[Any]) -> U64:
    """Integers of any sign and width as addresses."""
    return values.astype(np.uint64, copy=False)


def is_missing(value: Any) -> bool:
    """Is this scalar one of the ways to say that nothing is there: None, NA, NaN, NaT?"""
    # By name: this room knows nothing of pandas.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _is_one(given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return not given.ndim
    # Not by what an instance has: a Struct answers for each of its members.
    return isinstance(given, str | float) or hasattr(type(given), "__index__") or is_missing(given)


def _objects(source: Iterable[Any]) -> npt.NDArray[Any]:
    items = list(source)
    values = np.empty(len(items), dtype=object)
    values[:] = items
    return values


def _refuse(given: Any, names: Names | None) -> NoReturn:
    if isinstance(given, float | np.floating):
        raise AddressError(
            f"{given!r} is not an address: a float drops the low bits of one. Keep addresses as integers (UInt64 where "
            "some are missing)"
        )
    shown = repr(given) if isinstance(given, str | int | None) else f"a {type(given).__name__}"
    symbol = ", or the name of a symbol" if names is not None else ""
    raise AddressError(
        f"{shown if len(shown) < 200 else f'{shown[:200]}…'} is not an address: give an integer, a struct, or text "
        f"such as '0xffff888000000000'{symbol}"
    )
