"""Members of many structs in memory: where each lies, its bytes, and the `Column` that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import Access
from kernlab.debuginfo.types import ArrayType, EnumType, FloatType, IntType, PointerType, StructType, Type
from kernlab.util import text

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
#: Reads `size` bytes at each address that is valid: (uint8[n, size], bool[n] of what could be read).
Read = Callable[[U64, Mask, int], tuple[npt.NDArray[np.uint8], Mask]]

#: A member array with more elements than this is read by index or by `elements`, not as one column or list.
WIDEST_ARRAY = 4096


def read_bytes(kernel: Kernel, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
    """`size` bytes at addresses uint64[n] where `valid`: (uint8[n, size], bool[n] of what could be read).

    Who asks knows what it is, and tells what could not be read.
    """
    if valid.all():
        rows, status = kernel.gather(addresses, size, "")
        return rows, status == 0
    rows = np.zeros((len(addresses), size), dtype=np.uint8)
    read = valid.copy()
    wanted = np.flatnonzero(valid)
    if len(wanted):
        rows[wanted], status = kernel.gather(addresses[wanted], size, "")
        read[wanted] = status == 0
    return rows, read


def locate(read: Read, addresses: U64, valid: Mask, access: Access) -> tuple[U64, Mask]:
    """Where a member of structs lies: (address uint64[n], bool[n]), following the path's pointers."""
    base = addresses
    for hop in access.hops[:-1]:
        rows, there = read(base + np.uint64(hop), valid, 8)
        base = rows.view("<u8")[:, 0]
        valid = there & (base != 0)
    return base + np.uint64(access.hops[-1]), valid


def column(read: Read, base: U64, valid: Mask, access: Access) -> Column:
    """The values of a member that is not a struct and lies at `base`, where `valid`."""
    final = access.type
    if access.bit_size:
        return _bitfield(read, access, base, valid)
    if isinstance(final, ArrayType):
        return _array(read, final, base, valid)
    kind, dtype = scalar_kind(final)
    rows, there = read(base, valid, final.size)
    if kind == "bytes":
        return Column(rows, there, kind, final)
    values = rows.view(dtype)[:, 0]
    return Column(values != 0 if kind == "bool" else values, there, kind, final)


def _array(read: Read, array: ArrayType, base: U64, valid: Mask) -> Column:
    element = array.element.strip()
    count = array.count or 0
    if not count or count > WIDEST_ARRAY or isinstance(element, StructType | ArrayType):
        # No length, or one that is not a column: the column says where the array begins.
        return Column(base, valid, "address", array)
    rows, there = read(base, valid, count * element.size)
    if is_char(element):
        return Column(text.decode_rows(rows), there, "text", array)
    kind, dtype = scalar_kind(element)
    if kind == "bytes":
        return Column(rows, there, kind, array)
    values = rows.view(dtype)
    return Column(values != 0 if kind == "bool" else values, there, kind, array)


def _bitfield(read: Read, access: Access, base: U64, valid: Mask) -> Column:
    size = (access.bit_offset + access.bit_size + 7) // 8
    rows, there = read(base, valid, size)
    padded = np.zeros((len(rows), 16), dtype=np.uint8)
    padded[:, :size] = rows
    low, high = padded.view("<u8").T
    shift = np.uint64(access.bit_offset)
    value = low >> shift
    if access.bit_offset:
        value = value | (high << (np.uint64(64) - shift))
    unused = np.uint64(64 - access.bit_size)
    kind, _ = scalar_kind(access.type)
    value = value << unused
    signed = isinstance(access.type, IntType | EnumType) and access.type.signed
    result: npt.NDArray[Any] = value.view(np.int64) >> unused.view(np.int64) if signed else value >> unused
    return Column(result != 0 if kind == "bool" else result, there, kind, access.type)


def is_char(type: Type) -> bool:  # noqa: A002
    """Is this C's plain char (whose arrays are text), not a byte-sized number?"""
    return isinstance(type, IntType) and type.name == "char"


def scalar_kind(type: Type) -> tuple[str, str]:  # noqa: A002
    """How a scalar becomes a column: (kind, NumPy dtype); types without a NumPy counterpart are "bytes"."""
    size = type.size
    if isinstance(type, PointerType):
        return "address", "<u8"
    if size in (1, 2, 4, 8):
        if isinstance(type, EnumType):
            return "enum", f"<{'i' if type.signed else 'u'}{size}"
        if isinstance(type, IntType):
            if type.is_bool:
                return "bool", f"<u{size}"
            return ("int", f"<i{size}") if type.signed else ("uint", f"<u{size}")
        if isinstance(type, FloatType) and size in (4, 8):
            return "float", f"<f{size}"
    return "bytes", "u1"
