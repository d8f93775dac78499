"""C types as debug information describes them: the model that BTF (and later DWARF) readers build."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from kernlab.debuginfo import asking
from kernlab.errors import KernlabError, MemberNotFoundError, TypeNotFoundError

#: Deeper chains (typedef of typedef, array of array, nameless struct in nameless struct) are damage.
DEEPEST = 64
#: What is left out of texts with an ellipsis: parameters of a function, functions in parameters, lines of a struct.
_MOST_PARAMETERS, _DEEPEST_PARAMETER, _MOST_LINES = 16, 2, 10_000


class Type:
    """A C type. `size` is in bytes, `c_name` how C spells it ("struct task_struct *")."""

    name = ""
    size = 0

    def strip(self) -> Type:
        """The type without typedefs, const, volatile, restrict and type tags."""
        return self

    @property
    def c_name(self) -> str:
        """How C spells it."""
        return self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.c_name}, {self.size:,} bytes>"


class VoidType(Type):
    """void, and what is not described."""

    name = "void"


class IntType(Type):
    """An integer, char or bool."""

    def __init__(self, name: str, size: int, signed: bool, is_bool: bool = False, is_char: bool = False):
        self.name, self.size, self.signed, self.is_bool, self.is_char = name, size, signed, is_bool, is_char


class FloatType(Type):
    """A floating-point number."""

    def __init__(self, name: str, size: int):
        self.name, self.size = name, size


class PointerType(Type):
    """A pointer; what it points to is looked up when asked for."""

    size = 8

    def __init__(self, target: Callable[[], Type]):
        self._target = target

    @cached_property
    def target(self) -> Type:
        """What it points to."""
        return self._target()

    @property
    def c_name(self) -> str:
        """`char *`; of a function `int (*)(struct file *)`."""
        return declare(self, "")


class ArrayType(Type):
    """An array; a flexible one has `count` 0."""

    def __init__(self, element: Callable[[], Type], count: int):
        self._element = element
        self.count = count

    @cached_property
    def element(self) -> Type:
        """What it holds."""
        return self._element()

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        """All elements together, in bytes."""
        total, current = self.count, self.element.strip()
        for _ in range(DEEPEST):
            if not isinstance(current, ArrayType):
                return total * current.size
            total, current = total * current.count, current.element.strip()
        raise KernlabError("the type information is damaged: an array that contains itself")

    @property
    def c_name(self) -> str:
        """`char [16]`; of an array of arrays `int [2][3]`."""
        return declare(self, "")


class Member:
    """A struct's member. `bit_offset` counts from the start of the struct; `bit_size` is 0 but for bitfields."""

    __slots__ = ("_type", "bit_offset", "bit_size", "name")

    def __init__(self, name: str, type: Callable[[], Type], bit_offset: int, bit_size: int = 0):  # noqa: A002
        self.name, self._type, self.bit_offset, self.bit_size = name, type, bit_offset, bit_size

    @property
    def type(self) -> Type:
        """Its type."""
        return self._type()

    @property
    def offset(self) -> int:
        """Its offset in whole bytes."""
        return self.bit_offset // 8

    def moved(self, bits: int) -> Member:
        """The same member seen from `bits` further out."""
        return Member(self.name, self._type, self.bit_offset + bits, self.bit_size)


class StructType(Type):
    """A struct or union; its members are read when first asked for."""

    def __init__(self, name: str, size: int, is_union: bool, members: Callable[[], Sequence[Member]]):
        self.name, self.size, self.is_union = name, size, is_union
        self._members = members

    @cached_property
    def members(self) -> list[Member]:
        """Its members as they are declared, nameless ones among them."""
        return list(self._members())

    @cached_property
    def _reachable(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        self._reach(0, found, {self}, 0)
        return found

    def _reach(self, bits: int, found: dict[str, Member], seen: set[StructType], depth: int) -> None:
        for member in self.members:
            if member.name:
                found.setdefault(member.name, member.moved(bits) if bits else member)
                continue
            # Tagged or not: 7.2 has nameless members of named structs (-fms-extensions).
            inner = member.type.strip()
            # A struct met again has no new names to give; in damaged types it may hold itself, and many times.
            if isinstance(inner, StructType) and inner not in seen and depth < DEEPEST:
                seen.add(inner)
                inner._reach(bits + member.bit_offset, found, seen, depth + 1)

    def member(self, name: str) -> Member:
        """A member by name, those of nameless members too. Raises MemberNotFoundError naming the nearest."""
        found = self._reachable.get(name)
        if asking.notes is not None:
            asking.note("member", f"{self.c_name}.{name}", found is not None)
        if found is None:
            near = difflib.get_close_matches(name, self._reachable, 3)
            hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
            raise MemberNotFoundError(f"{self.c_name} of this kernel has no member {name!r}{hint}")
        return found

    def member_names(self) -> list[str]:
        """The names that `member` finds, in the order in which they are declared."""
        return list(self._reachable)

    @property
    def c_name(self) -> str:
        """`struct task_struct`; `struct {…}` without a name."""
        return f"{'union' if self.is_union else 'struct'} {self.name or '{…}'}"

    def declaration(self) -> str:
        """The struct as C declares it, nameless members spelt out, with offsets and sizes in bytes as pahole shows."""
        lines = [f"{self.c_name.removesuffix(' {…}')} {{"]
        self._declare(lines, 0, 1)
        return "\n".join([*lines, f"}}; /* {self.size:,} bytes */"])

    def _declare(self, lines: list[str], bits: int, depth: int) -> None:
        indent = "    " * depth
        for member in self.members:
            if len(lines) > _MOST_LINES:
                lines.append(f"{indent}…")
                return
            inner = member.type
            # pahole counts a bitfield's bits from the start of the unit that it is declared with.
            unit = max(inner.size, 1) if member.bit_size else 1
            place, bit = divmod(bits + member.bit_offset, 8 * unit)
            if isinstance(inner, StructType) and not inner.name and depth < DEEPEST:
                lines.append(f"{indent}{inner.c_name.removesuffix(' {…}')} {{")
                inner._declare(lines, bits + member.bit_offset, depth + 1)
                text = f"{indent}}} {member.name}".rstrip() + ";"
            else:
                field = f" : {member.bit_size}" if member.bit_size else ""
                text = f"{indent}{declare(inner, member.name)}{field};"
            start = f"{place * unit:5}:{bit:2}" if member.bit_size else f"{place:5}   "
            lines.append(f"{text:<60} /* {start} {inner.size:5} */")


class EnumType(Type):
    """An enum; `enumerators` maps names to values."""

    def __init__(self, name: str, size: int, signed: bool, enumerators: Callable[[], dict[str, int]]):
        self.name, self.size, self.signed = name, size, signed
        self._enumerators = enumerators

    @cached_property
    def enumerators(self) -> dict[str, int]:
        """Names to values, in the order in which they are declared."""
        return self._enumerators()

    @property
    def c_name(self) -> str:
        """`enum pid_type`."""
        return f"enum {self.name or '{…}'}"


class FunctionType(Type):
    """A function, or a function's prototype; `parameters` are (name, type), the type None for `...`."""

    def __init__(self, name: str, result: Callable[[], Type], parameters: Callable[[], Parameters]):
        self.name = name
        self._result, self._parameters = result, parameters

    @cached_property
    def result(self) -> Type:
        """What it returns."""
        return self._result()

    @cached_property
    def parameters(self) -> Parameters:
        """What it takes."""
        return self._parameters()

    @property
    def c_name(self) -> str:
        """`int vfs_fsync(struct file *, int)`; a prototype without the name."""
        return declare(self, self.name)


class ForwardType(Type):
    """A struct or union that is only named, never described."""

    def __init__(self, name: str, is_union: bool):
        self.name, self.is_union = name, is_union

    @property
    def c_name(self) -> str:
        """`struct name`."""
        return f"{'union' if self.is_union else 'struct'} {self.name}"


class AliasType(Type):
    """Another name for a type (typedef), or the type qualified (const, volatile, …): then without a name."""

    def __init__(self, name: str, target: Callable[[], Type]):
        self.name = name
        self._target = target

    @cached_property
    def target(self) -> Type:
        """The type it stands for."""
        return self._target()

    def strip(self) -> Type:
        """See Type.strip. Raises KernlabError for a chain that does not end."""
        current: Type = self
        for _ in range(DEEPEST):
            if not isinstance(current, AliasType):
                return current
            current = current.target
        raise KernlabError(
            f"the type information is damaged: {self.name or 'a qualified type'} stands for itself"
        )

    @property
    def size(self) -> int:  # type: ignore[override]
        """Size of the type it stands for."""
        return self.strip().size

    @property
    def c_name(self) -> str:
        """A typedef's own name; qualifiers are not spelt."""
        return self.name or self.strip().c_name


Parameters: TypeAlias = list[tuple[str, Type | None]]


def declare(type: Type, name: str, depth: int = 0) -> str:  # noqa: A002
    """A declaration of `name` (which may be '') with a type, as C spells it: `char comm[16]`, `int (*show)(void)`.

    Raises KernlabError for a type that does not end.
    """
    text, pointed, current = name, False, type
    for _ in range(DEEPEST):
        if isinstance(current, PointerType):
            text, pointed, current = f"*{text}", True, current.target
        elif isinstance(current, ArrayType | FunctionType):
            text, pointed = f"({text})" if pointed else text, False
            if isinstance(current, ArrayType):
                text, current = f"{text}[{current.count or ''}]", current.element
            else:
                text, current = f"{text}({_parameter_list(current, depth)})", current.result
        elif isinstance(current, AliasType) and not current.name:
            current = current.target
        else:
            return f"{current.c_name} {text}".rstrip()
    raise KernlabError("the type information is damaged: a type that does not end")


def _parameter_list(function: FunctionType, depth: int) -> str:
    if depth >= _DEEPEST_PARAMETER:
        return "…"
    shown = function.parameters[:_MOST_PARAMETERS]
    texts = [declare(kind, "", depth + 1) if kind else "..." for _, kind in shown]
    return ", ".join(texts + ["…"] * (len(function.parameters) > len(shown))) or "void"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file has a variable, and its `_text`: addresses as the kernel was linked."""

    address: int
    text: int


class Types(ABC):
    """All types of a kernel, by their C names."""

    @abstractmethod
    def get(self, name: str) -> Type | None:
        """A type by its C name (`struct page`, `page`, `u64`, `char *`, `int [4]`), None where there is none."""

    @abstractmethod
    def nameless(self, *members: str) -> StructType | None:
        """The struct without a name whose members are these, in order: what a single variable is declared with."""

    @abstractmethod
    def names(self, kind: str) -> list[str]:
        """Names of all types of a kind: "struct", "union", "enum", "typedef" or "base", in order, each once."""

    @abstractmethod
    def near(self, name: str) -> list[str]:
        """Names spelt like `name`."""

    @abstractmethod
    def enumerator_or_none(self, name: str) -> int | None:
        """The value of an enumerator of any enum."""

    @abstractmethod
    def variable(self, name: str) -> Type | None:
        """The type of a variable, where it is told (BTF: of per-CPU ones, of all since pahole 1.30)."""

    def place(self, name: str) -> Place | None:
        """Where the variable lies that `variable` describes, where the type information tells it (BTF does not)."""
        return None

    def find(self, name: str) -> Type:
        """`get`, but raises TypeNotFoundError naming types spelt alike."""
        if asking.notes is not None:
            asking.insist("type", name)
        found = self.get(name)
        if found is None:
            near = self.near(name)
            hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
            raise TypeNotFoundError(f"this kernel has no type {name!r}{hint}")
        return found

    def describing(self, name: str, member: str) -> StructType | None:
        """The struct of a C name that has a member, where a kernel has several of that name; None where none has it."""
        found = self.get(name)
        struct = found.strip() if found is not None else None
        return struct if isinstance(struct, StructType) and member in struct.member_names() else None

    def has_member(self, type_name: str, member: str) -> bool:
        """Does the type exist, and have the member?"""
        found = self.get(type_name)
        struct = found.strip() if found is not None else None
        has = isinstance(struct, StructType) and member in struct.member_names()
        if asking.notes is not None:
            asking.note("member", f"{type_name}.{member}", has, soft=True)
        return has

    def enumerator(self, name: str) -> int:
        """The value of an enumerator of any enum. Raises TypeNotFoundError."""
        if asking.notes is not None:
            asking.insist("enumerator", name)
        value = self.enumerator_or_none(name)
        if value is None:
            raise TypeNotFoundError(f"no enum of this kernel has {name}")
        return value
