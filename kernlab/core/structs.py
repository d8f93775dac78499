"""Struct type and addresses in, columns out: `StructArray` (many), `Struct` (one), `Column` (a member of many)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.core import struct_text
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.debuginfo.types import (
    DEEPEST,
    ArrayType,
    EnumType,
    FloatType,
    IntType,
    PointerType,
    StructType,
    Type,
)
from kernlab.errors import FaultError, KernlabError, MemberNotFoundError
from kernlab.memory.address_space import Status, fault
from kernlab.util import text

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: A member array with more elements than this is read by index or by `elements`, not as one column or list.
_WIDEST_ARRAY = 4096

#: `elements` gives no more structs than this at once, whatever a count in the dump says.
_MOST_ELEMENTS = 1 << 26


@dataclass(frozen=True, slots=True)
class Column:
    """One member of many structs.

    `values` is one NumPy value (or row, for arrays) per struct, `valid` says which could be read; a value that could
    not is 0 (or ''), and means nothing. `kind` is "int", "uint", "bool", "float", "enum", "address", "text" or
    "bytes", `type` the member's type.
    """

    values: npt.NDArray[Any]
    valid: Mask
    kind: str
    type: Type | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def names(self) -> list[str | None]:
        """The enumerators' names, one per struct; a value that none has stays a number, what is not valid None."""
        if not isinstance(self.type, EnumType):
            raise KernlabError(
                f"only a column of an enum has names, not one of {self.type and self.type.c_name}"
            )
        name_of: dict[int, str] = {}
        for name, value in self.type.enumerators.items():
            name_of.setdefault(value, name)
        pairs = zip(self.values.tolist(), self.valid.tolist(), strict=True)
        return [name_of.get(value, str(value)) if valid else None for value, valid in pairs]

    def where(self, mask: Mask) -> Column:
        """The same column, not valid where `mask` is False."""
        return Column(self.values, self.valid & mask, self.kind, self.type)

    def __repr__(self) -> str:
        name = self.type.c_name if self.type else self.kind
        lost = len(self) - int(self.valid.sum())
        return f"<Column of {len(self):,} × {name}, {lost:,} missing>"


class StructArray:
    """N structs of one type, by their addresses.

    `array["mm->total_vm"]` reads one member of all of them in one pass and gives a `Column`; a path that ends in a
    struct gives the `StructArray` of what is embedded. Structs whose own address is not `valid` (or NULL) give values
    that are not valid.
    """

    def __init__(self, kernel: Kernel, type: Type, addresses: npt.ArrayLike, valid: Mask | None = None):  # noqa: A002
        self.kernel = kernel
        self.type = type.strip()
        self.addresses: U64 = np.ascontiguousarray(addresses, dtype=np.uint64)
        self.valid: Mask = self.addresses != 0 if valid is None else valid & (self.addresses != 0)

    def __len__(self) -> int:
        return len(self.addresses)

    def __iter__(self) -> Iterator[Struct]:
        for address in self.addresses.tolist():
            yield Struct(self.kernel, self.type, address)

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Struct: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[Any]) -> StructArray: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._read(resolve(self.type, key))
        if isinstance(key, int | np.integer):
            return Struct(self.kernel, self.type, int(self.addresses[key]))
        return StructArray(self.kernel, self.type, self.addresses[key], self.valid[key])

    def has(self, path: str) -> bool:
        """Does this kernel's type have the member?"""
        try:
            resolve(self.type, path)
        except MemberNotFoundError:
            return False
        return True

    def first(self, *paths: str) -> Column:
        """The column of the first path that this kernel's type has: newest layout first.

        Raises MemberNotFoundError when it has none of them.
        """
        for path in paths[:-1]:
            if self.has(path):
                return self[path]
        return self[paths[-1]]

    def follow(self, path: str, to: str | None = None) -> StructArray:
        """The structs that a pointer member points to, or that are embedded at `path`; `to` names another type."""
        access = resolve(self.type, path)
        column = self._read(access)
        if isinstance(column, StructArray):
            return column if to is None else column.cast(to)
        if not isinstance(access.type, PointerType):
            raise MemberNotFoundError(
                f"{path!r} of {self.type.c_name} is {access.type.c_name}, which points nowhere"
            )
        target = self.kernel.find_type(to) if to else access.type.target
        return StructArray(self.kernel, target, column.values, column.valid)

    def cast(self, to: str) -> StructArray:
        """The same addresses as another type."""
        return StructArray(self.kernel, self.kernel.find_type(to), self.addresses, self.valid)

    def container(self, type_name: str, member: str) -> StructArray:
        """The structs that these are the member `member` of (include/linux/container_of.h)."""
        return container(self.kernel, type_name, member, self.addresses, self.valid)

    def elements(self, path: str, count: int | None = None) -> tuple[npt.NDArray[np.int64], StructArray]:
        """All elements of an array member: (owner int64[m], StructArray of m); `count` overrides its length.

        Raises MemberNotFoundError for what is no array, KernlabError for more than 64 Mi elements in all.
        """
        access = resolve(self.type, path)
        if not isinstance(access.type, ArrayType):
            raise MemberNotFoundError(f"{path!r} of {self.type.c_name} is {access.type.c_name}, no array")
        wanted = int((access.type.count if count is None else count) or 0)
        if wanted < 0 or wanted * len(self) > _MOST_ELEMENTS:
            raise KernlabError(
                f"{wanted:,} elements of {path!r} in each of {len(self):,} {self.type.c_name} are refused: at most "
                f"{_MOST_ELEMENTS:,} at once"
            )
        base, valid = self._locate(access)
        step = np.arange(wanted, dtype=np.uint64) * np.uint64(access.type.element.size)
        owner = np.repeat(np.arange(len(self)), wanted)
        addresses = (base[:, None] + step).reshape(-1)
        return owner, StructArray(self.kernel, access.type.element, addresses, np.repeat(valid, wanted))

    def frame(self, columns: dict[str, str] | list[str]) -> Any:
        """A DataFrame of members: `{"comm": "comm", "pages": "mm->total_vm"}` or a list of paths."""
        if self.kernel.host is None:
            raise KernlabError("these structs belong to no open dump, so nothing builds frames for them")
        paths = columns if isinstance(columns, dict) else {path: path for path in columns}
        return self.kernel.host.frame(self, {name: self[path] for name, path in paths.items()})

    def explore(self, **options: Any) -> Any:
        """The struct browser on these structs; `options` are those of `dump.explore`."""
        return _explore(self.kernel, self, options)

    def _locate(self, access: Access) -> tuple[U64, Mask]:
        """Where the member lies: (address uint64[n], bool[n]), following the path's pointers."""
        base, valid = self.addresses, self.valid
        for hop in access.hops[:-1]:
            pointers, read = self._words(base + np.uint64(hop), valid)
            base, valid = pointers, read & (pointers != 0)
        return base + np.uint64(access.hops[-1]), valid

    def _words(self, addresses: U64, valid: Mask) -> tuple[U64, Mask]:
        rows, read = self._bytes(addresses, valid, 8)
        return rows.view("<u8")[:, 0], read

    def _bytes(self, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        if valid.all():
            rows, status = self.kernel.gather(addresses, size)
            return rows, status == 0
        rows = np.zeros((len(addresses), size), dtype=np.uint8)
        read = valid.copy()
        wanted = np.flatnonzero(valid)
        if len(wanted):
            rows[wanted], status = self.kernel.gather(addresses[wanted], size)
            read[wanted] = status == 0
        return rows, read

    def _read(self, access: Access) -> Any:
        base, valid = self._locate(access)
        final = access.type
        if isinstance(final, StructType):
            return StructArray(self.kernel, final, base, valid)
        if access.bit_size:
            return self._bitfield(access, base, valid)
        if isinstance(final, ArrayType):
            return self._array(final, base, valid)
        kind, dtype = scalar_kind(final)
        rows, read = self._bytes(base, valid, final.size)
        if kind == "bytes":
            return Column(rows, read, kind, final)
        values = rows.view(dtype)[:, 0]
        return Column(values != 0 if kind == "bool" else values, read, kind, final)

    def _array(self, array: ArrayType, base: U64, valid: Mask) -> Column:
        element = array.element.strip()
        count = array.count or 0
        if not count or count > _WIDEST_ARRAY or isinstance(element, StructType | ArrayType):
            # No length, or one that is no column: the column says where the array begins.
            return Column(base, valid, "address", array)
        rows, read = self._bytes(base, valid, count * element.size)
        if is_char(element):
            return Column(text.decode_rows(rows), read, "text", array)
        kind, dtype = scalar_kind(element)
        if kind == "bytes":
            return Column(rows, read, kind, array)
        values = rows.view(dtype)
        return Column(values != 0 if kind == "bool" else values, read, kind, array)

    def _bitfield(self, access: Access, base: U64, valid: Mask) -> Column:
        size = (access.bit_offset + access.bit_size + 7) // 8
        rows, read = self._bytes(base, valid, size)
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
        result: npt.NDArray[Any] = (
            value.view(np.int64) >> unused.view(np.int64) if signed else value >> unused
        )
        return Column(result != 0 if kind == "bool" else result, read, kind, access.type)

    def __repr__(self) -> str:
        shown = ", ".join(f"{address:#018x}" for address in self.addresses[:3].tolist())
        return (
            f"<StructArray of {len(self):,} × {self.type.c_name}: [{shown}{', …' if len(self) > 3 else ''}]>"
        )


class Struct:
    """One struct: members as attributes (`task.mm.total_vm`), or by path (`task["se.sum_exec_runtime"]`).

    Integers, bools and floats become Python's own, char arrays str, enums ints that know their name, pointers to
    structs `Struct` (None for NULL), embedded structs `Struct`, arrays lists. What cannot be read raises FaultError or
    PageExcluded. `address_` and `type_` are its own; `members_()` reads everything that can be read.
    """

    __slots__ = ("_kernel", "address_", "type_")

    def __init__(self, kernel: Kernel, type: Type, address: int):  # noqa: A002
        self._kernel = kernel
        self.type_ = type.strip()
        # A negative number is an address whose top bits are set, as C reads it.
        self.address_ = address % (1 << 64)

    def __getattr__(self, name: str) -> Any:
        # task_struct has a member __state; only what ends in underscores, too, is Python's.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, path: str) -> Any:
        array = StructArray(self._kernel, self.type_, [self.address_])
        access = resolve(self.type_, path)
        base, valid = array._locate(access)
        if not valid[0]:
            raise self._why(access, path)
        return value_at(self._kernel, access.type, int(base[0]), access.bit_offset, access.bit_size)

    def _why(self, access: Access, path: str) -> KernlabError:
        """What broke the chain of pointers on the way to `path`."""
        base = self.address_
        for hop in access.hops[:-1]:
            if not base:
                break
            word, status = self._kernel.gather([base + hop], 8)
            if status[0]:
                return fault(int(status[0]), base + hop)
            base = int(word.view("<u8")[0, 0])
        return FaultError(
            f"{path!r} of {self.type_.c_name} at {self.address_:#018x} leads through a NULL pointer", 0
        )

    def members_(self) -> list[struct_text.Member]:
        """Every member, those of nameless structs among them: name, type, offset and value (or why there is none)."""
        members = []
        if isinstance(self.type_, StructType):
            for name in self.type_.member_names():
                member = self.type_.member(name)
                try:
                    value = self[name]
                except KernlabError as error:
                    value = error
                members.append(
                    struct_text.Member(name, member.type, member.bit_offset, member.bit_size, value)
                )
        return members

    def explore(self, **options: Any) -> Any:
        """The struct browser on this struct; `options` are those of `dump.explore`."""
        return _explore(self._kernel, self, options)

    def __dir__(self) -> list[str]:
        names = self.type_.member_names() if isinstance(self.type_, StructType) else []
        return ["address_", "type_", "members_", "explore", *names]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.type_.member_names()) if isinstance(self.type_, StructType) else []

    def __int__(self) -> int:
        return self.address_

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Struct):
            return self.address_ == other.address_ and self.type_.c_name == other.type_.c_name
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.address_, self.type_.c_name))

    def __repr__(self) -> str:
        return struct_text.as_text(self.type_, self.address_, self.members_())

    def _repr_html_(self) -> str:
        return struct_text.as_html(self.type_, self.address_, self.members_())


def _explore(kernel: Kernel, what: Struct | StructArray, options: dict[str, Any]) -> Any:
    if kernel.host is None:
        raise KernlabError("these structs belong to no open dump, so nothing shows them")
    return kernel.host.explore(what, **options)


def array(kernel: Kernel, type: str | Type, addresses: npt.ArrayLike) -> StructArray:  # noqa: A002
    """Structs of a type (a C name, or a Type) at addresses uint64[n]. Raises TypeNotFoundError."""
    return StructArray(kernel, kernel.find_type(type) if isinstance(type, str) else type, addresses)


def whole(array: StructArray) -> StructArray | Column:
    """The array itself where its type is a struct, else the column of the scalars (or arrays) at its addresses."""
    if isinstance(array.type, StructType):
        return array
    column: Column = array._read(Access((0,), array.type))
    return column


def value_at(kernel: Kernel, type: Type, address: int, bit_offset: int = 0, bit_size: int = 0) -> Any:  # noqa: A002
    """One value of a type as a Python object, as `Struct` gives it. Raises FaultError, PageExcluded."""
    final = type.strip()
    if isinstance(final, StructType):
        return Struct(kernel, final, address)
    if isinstance(final, ArrayType) and isinstance(final.element.strip(), StructType | ArrayType):
        element = final.element.strip()
        if _count_all(final) > _WIDEST_ARRAY:
            raise KernlabError(
                f"{final.c_name} at {address:#018x} has too many elements for a list; read them by index, or with "
                "dump.structs(…).elements(…)"
            )
        return [value_at(kernel, element, address + i * element.size) for i in range(final.count or 0)]
    column = StructArray(kernel, final, [address])._read(Access((0,), final, bit_offset, bit_size))
    if not column.valid[0]:
        _, status = kernel.gather([address], max(final.size, 1))
        raise fault(int(status[0]) or Status.UNMAPPED, address)
    value = column.values[0]
    if isinstance(final, PointerType):
        target = final.target.strip()
        if isinstance(target, StructType) and target.size:
            return Struct(kernel, target, int(value)) if value else None
        return text.Address(int(value))
    if isinstance(final, EnumType):
        return struct_text.EnumValue(int(value), final)
    if column.kind == "address":
        return [text.Address(v) for v in value.tolist()] if np.ndim(value) else text.Address(int(value))
    if isinstance(final, ArrayType) and isinstance(element := final.element.strip(), EnumType):
        return [struct_text.EnumValue(v, element) for v in value.tolist()]
    if column.kind == "bytes":
        return value.tobytes()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _count_all(array: ArrayType) -> int:
    """Elements of an array of arrays, all dimensions together."""
    total, current = 1, array.strip()
    for _ in range(DEEPEST):
        if not isinstance(current, ArrayType):
            return total
        total, current = total * (current.count or 0), current.element.strip()
    raise KernlabError(f"the type information is damaged: {array!r} holds itself")


def container(
    kernel: Kernel, type_name: str, member: str, addresses: npt.ArrayLike, valid: Mask | None = None
) -> StructArray:
    """The structs of which `addresses` are the member `member`: container_of for many; a NULL stays NULL."""
    outer = kernel.find_type(type_name)
    access = resolve(outer, member)
    if len(access.hops) > 1 or access.bit_size:
        raise KernlabError(f"{member!r} does not lie inside {outer.c_name}, so it has no container")
    inner = np.ascontiguousarray(addresses, dtype=np.uint64)
    found = inner != 0 if valid is None else valid & (inner != 0)
    return StructArray(kernel, outer, np.where(found, inner - np.uint64(access.hops[0]), np.uint64(0)), found)


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
