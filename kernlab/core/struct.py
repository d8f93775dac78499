"""One struct: its members as Python's own values."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kernlab.core import members, struct_text
from kernlab.core.kernel import Kernel
from kernlab.core.operators import NotANumber
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.debuginfo.types import DEEPEST, ArrayType, EnumType, PointerType, StructType, Type
from kernlab.errors import FaultError, KernlabError
from kernlab.memory.address_space import Status, fault
from kernlab.util import text


class Struct(NotANumber):
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
        access = resolve(self.type_, path)
        read = partial(members.read_bytes, self._kernel)
        address = np.array([self.address_], dtype=np.uint64)
        base, valid = members.locate(read, address, address != 0, access)
        if not valid[0]:
            raise self._why(access, path)
        return value_at(self._kernel, access.type, int(base[0]), access.bit_offset, access.bit_size)

    def _called(self) -> str:
        return self.type_.c_name

    def _why(self, access: Access, path: str) -> KernlabError:
        """What broke the chain of pointers on the way to `path`."""
        base = self.address_
        for hop in access.hops[:-1]:
            if not base:
                break
            word, status = self._kernel.gather([base + hop], 8, "")
            if status[0]:
                return fault(int(status[0]), base + hop)
            base = int(word.view("<u8")[0, 0])
        return FaultError(
            f"{path!r} of {self.type_.c_name} at {self.address_:#018x} leads through a NULL pointer", 0
        )

    def members_(self) -> list[struct_text.Member]:
        """Every member, those of nameless structs among them: name, type, offset and value (or why there is none)."""
        found = []
        if isinstance(self.type_, StructType):
            for name in self.type_.member_names():
                member = self.type_.member(name)
                try:
                    value = self[name]
                except KernlabError as error:
                    value = error
                found.append(struct_text.Member(name, member.type, member.bit_offset, member.bit_size, value))
        return found

    def explore(self, **options: Any) -> Any:
        """The struct browser on this struct; `options` are those of `dump.explore`."""
        return explore(self._kernel, self, options)

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


def explore(kernel: Kernel, what: Any, options: dict[str, Any]) -> Any:
    """The struct browser on a Struct or StructArray. Raises KernlabError for one of no open dump."""
    if kernel.host is None:
        raise KernlabError("these structs belong to no open dump, so nothing shows them")
    return kernel.host.explore(what, **options)


def value_at(kernel: Kernel, type: Type, address: int, bit_offset: int = 0, bit_size: int = 0) -> Any:  # noqa: A002
    """One value of a type as a Python object, as `Struct` gives it. Raises FaultError, PageExcluded."""
    final = type.strip()
    if isinstance(final, StructType):
        return Struct(kernel, final, address)
    if isinstance(final, ArrayType) and isinstance(final.element.strip(), StructType | ArrayType):
        element = final.element.strip()
        if _count_all(final) > members.WIDEST_ARRAY:
            raise KernlabError(
                f"{final.c_name} at {address:#018x} has too many elements for a list; read them by index, or with "
                "dump.structs(…).elements(…)"
            )
        return [value_at(kernel, element, address + i * element.size) for i in range(final.count or 0)]
    where = np.array([address % (1 << 64)], dtype=np.uint64)
    read = partial(members.read_bytes, kernel)
    access = Access((0,), final, bit_offset, bit_size)
    if kernel.answer is not None:
        column = kernel.answer(access, where != 0)
    else:
        column = members.column(read, where, where != 0, access)
    if not column.valid[0]:
        _, status = kernel.gather([address], max(final.size, 1), "")
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
