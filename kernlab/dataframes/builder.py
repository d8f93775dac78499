"""Columns in, a DataFrame by the rules of the public contract out.

| a column of | becomes |
|---|---|
| `Column` "int", "uint", "bool" | int64, uint64 (int64 below 8 bytes), bool |
| the same, `nullable` or with missing values | Int64, UInt64, boolean |
| `Column` "address", `StructArray` | address, with the dump's token and the type it points to |
| `Column` "text", list of str | str, NaN where missing |
| `Column` "enum" | categorical of the enumerators' names |
| `Column` "float", "bytes" | float64; objects (`bytes`, None) |
| NumPy array, pandas array | itself; times are timedelta64[ns] |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
import pandas as pd

# They register .kern, and what pandas does with addresses and text of a dump.
from kernlab.dataframes import accessor, inert, merging, spreadsheets  # noqa: F401
from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.dataframes.deferred import tell_later
from kernlab.dataframes.elements import ElementAddresses
from kernlab.debuginfo.types import EnumType, PointerType, StructType, Type
from kernlab.errors import KernlabError
from kernlab.util import integers, losses
from kernlab.util.integers import TOO_LARGE
from kernlab.util.names import distinct
from kernlab.util.problems import beside, in_one_line

Mask = npt.NDArray[np.bool_]

#: attrs are copied with every operation of pandas, so they hold no more problems than a person reads.
MOST_PROBLEMS = 100


class Origin(Protocol):
    """What a frame says of where it comes from; a `Kernel` is one."""

    token: str
    source: str

    @property
    def problems(self) -> list[str]:
        """What the dump lacks and why."""
        ...


class ColumnLike(Protocol):
    """One value per row and which of them could be read; `structs.Column` is one."""

    values: npt.NDArray[Any]
    valid: Mask
    kind: str
    type: Type | None


class StructsLike(Protocol):
    """One struct per row; `structs.StructArray` is one."""

    addresses: npt.NDArray[np.uint64]
    valid: Mask
    type: Type


@dataclasses.dataclass(frozen=True, slots=True)
class Nullable:
    """A column whose dtype can say "missing" whether or not something is."""

    values: Any
    valid: Mask | None


def nullable(column: Any, valid: Mask | None = None) -> Nullable:
    """Mark a column as one that may lack values: Int64, UInt64 or boolean even where this dump lacks none.

    `valid` is bool[n] of what is there, for plain arrays; a `Column` brings its own.
    """
    return Nullable(column, valid)


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Columns in the place of one, whose names are the dump's."""

    columns: list[tuple[Hashable, Any]]


def spread(columns: Iterable[tuple[Hashable, Any]]) -> Spread:
    """Columns (name, values) whose names are the dump's, in the place of one of `frame`'s; its keyword is not shown.

    A name that another of them has, or a column of ours, gets a number ("free (2)"): none takes another's place.
    """
    return Spread(list(columns))


def frame(kernel: Origin | None, table: str, /, **columns: Any) -> pd.DataFrame:
    """A DataFrame of `columns` in their order, with a RangeIndex and the attrs of `describe`.

    The column `address` is the one that the rows stand for: `.kern` takes it, whatever becomes of its name. Arrays
    are not copied. What the dump names itself comes as a `spread`. Raises KernlabError where columns differ in length
    or hold what no column can.
    """
    token = kernel.token if kernel else ""
    built = {name: build(token, str(name), values) for name, values in _named(columns)}
    lengths = {name: len(values) for name, values in built.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        raise KernlabError(f"the columns of {table} differ in length: {found}")
    own = built.get("address")
    if own is not None and isinstance(own.dtype, AddressDtype):
        built["address"] = own.with_dtype(own.dtype.standing_for_rows())
    result = pd.DataFrame(built, copy=False)
    result.attrs.update(describe(kernel, table))
    for column in built.values():
        tell_later(column, result.attrs["problems"])
    return result


def _named(columns: Mapping[str, Any]) -> Iterator[tuple[Hashable, Any]]:
    """All columns with their names, those of spreads at their places."""
    spreads = [values for values in columns.values() if isinstance(values, Spread)]
    ours = (name for name, values in columns.items() if not isinstance(values, Spread))
    names = iter(distinct((name for one in spreads for name, _ in one.columns), ours))
    for name, values in columns.items():
        if isinstance(values, Spread):
            yield from ((next(names), own) for _, own in values.columns)
        else:
            yield name, values


def series(kernel: Origin | None, table: str, rows: Iterable[tuple[str, int | None]]) -> pd.Series[Any]:
    """A Series (Int64) of numbers by name, with the attrs of `describe`: None is missing, as is what does not fit.

    A name that came before gets a number, as of `spread`: every row is its own.
    """
    pairs = list(rows)
    names = [str(name) for name in distinct(name for name, _ in pairs)]
    low, high = integers.I64_RANGE
    large = [value is not None and not low <= value <= high for _, value in pairs]
    losses.lost(*(f"{table}: {name} {TOO_LARGE}" for name, wide in zip(names, large, strict=True) if wide))
    values = [pd.NA if wide else value for (_, value), wide in zip(pairs, large, strict=True)]
    found = pd.Series(pd.array(values, dtype="Int64"), index=pd.Index(names, dtype="str"), name=table)
    found.attrs.update(describe(kernel, table))
    return found


def widen(kernel: Origin | None, table: str, base: pd.DataFrame, /, **columns: Any) -> pd.DataFrame:
    """A table of `base`'s rows and columns and more of them, made as `frame` makes them; its attrs are its own.

    Neither is copied until one of them is written to.
    """
    more = frame(kernel, table, **columns)
    result = pd.concat([base, more], axis=1)
    result.attrs = more.attrs
    return result


def empty(kernel: Origin | None, table: str, /, **dtypes: str) -> pd.DataFrame:
    """A table of no rows, for a kernel that has none of what it lists: its columns by their dtypes.

    `dtypes` are pandas' names ("str", "Int64", "boolean" …), or a struct's ("struct module") for its addresses.
    """
    token = kernel.token if kernel else ""
    columns: dict[str, Any] = {
        name: _addresses(token, [], None, dtype.removeprefix("address").strip())
        if dtype.startswith(("struct ", "address"))
        else pd.array([], dtype=dtype)  # type: ignore[call-overload]
        for name, dtype in dtypes.items()
    }
    return frame(kernel, table, **columns)


def describe(kernel: Origin | None, table: str) -> dict[str, Any]:
    """The attrs of a table, plain JSON: kernlab (their version), table, source, problems.

    These are what the scope that is open has lost, after one line at most of what the dump itself lacks.
    """
    dumps = kernel.problems if kernel else []
    here = losses.current()
    known = [*in_one_line(dumps), *beside(here.losses if here else (), dumps)]
    if len(known) > MOST_PROBLEMS:
        more = len(known) - MOST_PROBLEMS + 1
        known = [*known[: MOST_PROBLEMS - 1], f"and {more:,} more problems of this kind"]
    told = {"kernlab": 1, "table": table, "source": kernel.source if kernel else "", "problems": known}
    if getattr(kernel, "changes", False):
        told["window"] = kernel.window  # type: ignore[union-attr]
    return told


def addresses(
    kernel: Origin | None, values: npt.ArrayLike, valid: Mask | None = None, target: str = ""
) -> AddressArray:
    """uint64[n] as an address column of this dump: missing where not `valid`, of structs of type `target`."""
    return _addresses(kernel.token if kernel else "", values, valid, target)


def element_addresses(kernel: Origin, base: int, index: npt.NDArray[np.int64], size: int, target: str) -> Any:
    """The addresses of elements of an array at `base`, each `size` bytes, by their `index`: made when looked at."""
    return ElementAddresses.of(base, index, size, AddressDtype(kernel.token, target))


def lookup(codes: npt.NDArray[np.integer[Any]], strings: Sequence[str]) -> Any:
    """`strings[code]` per row as a str column, missing where the code is -1: for text that rows share."""
    known = pd.array(np.array(strings, dtype=object), dtype="str")
    return known.take(np.asarray(codes, dtype=np.intp), allow_fill=True)


def _addresses(token: str, values: npt.ArrayLike, valid: Mask | None, target: str) -> AddressArray:
    data = np.ascontiguousarray(values, dtype=np.uint64)
    mask = None if valid is None else ~valid
    return AddressArray(data, mask, AddressDtype(token, target))


def build(token: str, name: str, values: Any) -> Any:
    """One column as a NumPy or pandas array; `token` is the dump's.

    Raises KernlabError for what no column can hold.
    """
    # Before anything is asked of it: a Series of times has `values` that pandas will do away with.
    if isinstance(values, pd.Series | pd.Index):
        values = values.array
    always = isinstance(values, Nullable)
    valid = values.valid if isinstance(values, Nullable) else None
    column = values.values if isinstance(values, Nullable) else values
    if _is_column(column):
        return _from_column(token, name, column, always)
    if _is_structs(column):
        return _addresses(token, column.addresses, column.valid, _struct_name(column.type))
    if isinstance(column, pd.Series | pd.Index):
        column = column.array
    if isinstance(column, list | tuple):
        if any(isinstance(item, str) for item in column) or not column:
            return pd.array(np.array(column, dtype=object), dtype="str")
        column = np.asarray(column)
    if isinstance(column, np.ndarray):
        if column.ndim != 1:
            raise KernlabError(f"column {name!r} has {column.ndim} dimensions; a DataFrame's column has one")
        if always or valid is not None:
            return _numbers(column, np.ones(len(column), dtype=bool) if valid is None else valid, True)
        if column.dtype.kind in "US":
            return pd.array(column.astype(object), dtype="str")
    elif not isinstance(column, pd.api.extensions.ExtensionArray):
        raise KernlabError(f"column {name!r} is a {type(column).__name__}, which holds no value per row")
    return column


# isinstance() of a protocol that is checked at run time costs Python 3.11 more than the rest of a small column.
def _is_column(values: Any) -> TypeGuard[ColumnLike]:
    return all(hasattr(values, name) for name in ("values", "valid", "kind", "type"))


def _is_structs(values: Any) -> TypeGuard[StructsLike]:
    return all(hasattr(values, name) for name in ("addresses", "valid", "type"))


def _from_column(token: str, name: str, column: ColumnLike, always: bool) -> Any:
    values, valid = column.values, column.valid
    if column.kind == "bytes":
        return _bytes(values, valid)
    if values.ndim != 1:
        raise KernlabError(
            f"column {name!r} holds {values.shape[1]:,} elements per row; name one of them, as in 'member[0]'"
        )
    if column.kind == "address":
        return _addresses(token, values, valid, _pointed_at(column.type))
    if column.kind == "text":
        return _text(values, valid)
    if column.kind == "enum":
        kind = column.type.strip() if column.type is not None else None
        if isinstance(kind, EnumType):
            return _names(values, valid, kind.enumerators)
    if column.kind == "float":
        return np.where(valid, values.astype(np.float64), np.nan)
    return _numbers(values, valid, always)


def _pointed_at(pointer: Type | None) -> str:
    kind = pointer.strip() if pointer is not None else None
    return _struct_name(kind.target) if isinstance(kind, PointerType) else ""


def _struct_name(kind: Type) -> str:
    """The struct's C name (its typedef's where it has none), '' for what has no members: void, functions."""
    struct = kind.strip()
    if not isinstance(struct, StructType):
        return ""
    return struct.c_name if struct.name else kind.name


def _numbers(values: npt.NDArray[Any], valid: Mask, always: bool) -> Any:
    """Integers, bools or times: 64 bits wide, so that no product of two columns overflows in 32."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "mM":
        times = values.copy()
        times[~valid] = np.array("NaT", dtype=values.dtype)
        return times
    if kind not in "iub":
        raise KernlabError(f"a column of {values.dtype} cannot be nullable; give text or floats as they are")
    if kind != "b":
        # unsigned and signed 64-bit columns meet in float64; so whatever fits is signed.
        values = values.astype(np.uint64 if kind == "u" and size == 8 else np.int64, copy=False)
    if not always and valid.all():
        return values
    if kind == "b":
        return pd.arrays.BooleanArray(values, ~valid)
    return pd.arrays.IntegerArray(values, ~valid)


def _text(values: npt.NDArray[Any], valid: Mask) -> Any:
    if not valid.all():
        values = values.astype(object)
        values[~valid] = np.nan
    return pd.array(values.astype(object, copy=False), dtype="str")


def objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """A column of lists, dicts or other things that are not taken apart, one a row."""
    made = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        made[row] = value
    return made


def _bytes(rows: npt.NDArray[Any], valid: Mask) -> npt.NDArray[np.object_]:
    result = np.empty(len(rows), dtype=object)
    result[:] = [row.tobytes() if good else None for row, good in zip(rows, valid, strict=True)]
    return result


def _names(values: npt.NDArray[Any], valid: Mask, enumerators: dict[str, int]) -> Any:
    """An enum by its names: all of them are categories, and each number that has none, so nothing is lost."""
    name_of: dict[int, str] = {}
    for name, number in enumerators.items():
        name_of.setdefault(number, name)
    found, codes = np.unique(np.where(valid, values, values.dtype.type(0)), return_inverse=True)
    for number in found.tolist():
        name_of.setdefault(number, str(number))
    position = {number: index for index, number in enumerate(name_of)}
    order = np.array([position[number] for number in found.tolist()], dtype=np.int32)
    categories: Any = distinct(name_of.values())
    return pd.Categorical.from_codes(np.where(valid, order[codes], -1), categories=categories)
