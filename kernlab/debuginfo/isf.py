"""Volatility's symbol files (ISF, JSON): a document in, `Types` and symbols out (volatility3, schema-6.2.0.json).

They have no typedefs: what a kernel calls u64 or atomic_t is known here.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from kernlab.debuginfo import c_names
from kernlab.debuginfo.given_symbols import GivenSymbols
from kernlab.debuginfo.types import (
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    ForwardType,
    FunctionType,
    IntType,
    Member,
    PointerType,
    StructType,
    Type,
    Types,
    VoidType,
)
from kernlab.errors import KernlabError

#: What tools call what has no name in C.
_NAMELESS = "unnamed_"
_KINDS = ("struct", "union", "enum", "typedef", "base")
#: include/linux/types.h, include/uapi/asm-generic/int-ll64.h: what other types are named by.
_TYPEDEFS = {
    "u8": "unsigned char",
    "u16": "unsigned short",
    "u32": "unsigned int",
    "u64": "unsigned long long",
    "s8": "signed char",
    "s16": "short",
    "s32": "int",
    "s64": "long long",
    "bool": "_Bool",
    "size_t": "unsigned long",
    "pgoff_t": "unsigned long",
    "loff_t": "long long",
    "pid_t": "int",
    "gfp_t": "unsigned int",
    "dev_t": "unsigned int",
    "umode_t": "unsigned short",
    "Elf64_Sym": "struct elf64_sym",
}
#: typedefs that a variable, or a member, is declared with.
_OF_VARIABLES = {"irq_cpustat_t": "irq_stat"}
_OF_MEMBERS = {"cpumask_var_t": ("struct root_domain", "span")}
#: typedefs of a struct with one member: its type.
_COUNTERS = {"atomic_t": "int", "atomic_long_t": "long", "atomic64_t": "long long"}
_NO_MORE = 1 << 30


class IsfTypes(Types):
    """The types of one document. Raises KernlabError for what is not an ISF."""

    def __init__(self, document: Any, path: str):
        if not isinstance(document, dict) or not isinstance(document.get("user_types"), dict):
            raise KernlabError(f"{path} is no symbol file of Volatility (ISF): it has no “user_types”")
        self._path = path
        self._base, self._structs, self._enums, self._symbols = (
            {key: value for key, value in _dict(document.get(part)).items() if isinstance(value, dict)}
            for part in ("base_types", "user_types", "enums", "symbols")
        )
        self._lock = threading.RLock()
        self._by_name: dict[str, Type | None] = {}
        self._made: dict[tuple[str, str], Type] = {}

    @cached_property
    def banner(self) -> str:
        """What the kernel says of itself (linux_banner), "" where the file does not have it."""
        raw = self._symbols.get("linux_banner", {}).get("constant_data")
        try:
            text = base64.b64decode(raw, validate=True) if isinstance(raw, str) else b""
        except (binascii.Error, ValueError):
            return ""
        return text.partition(b"\0")[0].decode("utf-8", "backslashreplace").strip()

    @cached_property
    def symbols(self) -> GivenSymbols:
        """Its symbols, as the kernel was linked."""
        found = [
            (name, address)
            for name, symbol in self._symbols.items()
            if isinstance(address := symbol.get("address"), int) and 0 < address < 1 << 64
        ]
        addresses = np.array([address for _, address in found], dtype=np.uint64)
        return GivenSymbols(self._path, [name for name, _ in found], addresses, None)

    def get(self, name: str) -> Type | None:
        """See Types.get."""
        with self._lock:
            if name not in self._by_name:
                wanted = c_names.parse(name)
                found = self._plain(wanted) if wanted is not None else None
                self._by_name[name] = c_names.wrapped(wanted, found) if wanted and found else None
            return self._by_name[name]

    def _plain(self, wanted: c_names.TypeName) -> Type | None:
        if not wanted.word and wanted.names == ("void",):
            return VoidType()
        for name in wanted.names:
            for kind in (wanted.word,) if wanted.word else ("struct", "union", "enum", "base"):
                found = self._named(kind, name)
                if found is not None:
                    return found
        return self._typedef(wanted.names[0]) if not wanted.word else None

    def _typedef(self, name: str) -> Type | None:
        if name in _COUNTERS:
            held = self.get(_COUNTERS[name])
            if held is None:
                return None
            counter = [Member("counter", lambda: held, 0)]
            return StructType("", held.size, False, lambda: counter)
        if name in _OF_VARIABLES:
            return self.variable(_OF_VARIABLES[name])
        if name in _OF_MEMBERS:
            owner, member = _OF_MEMBERS[name]
            struct = self.get(owner)
            if isinstance(struct, StructType) and member in struct.member_names():
                return struct.member(member).type
            return None
        target = self.get(_TYPEDEFS[name]) if name in _TYPEDEFS else None
        return AliasType(name, lambda: target) if target is not None else None

    def _named(self, kind: str, name: str) -> Type | None:
        with self._lock:
            known = self._made.get((kind, name))
            if known is None:
                known = self._make(kind, name)
                if known is not None:
                    self._made[kind, name] = known
            return known

    def _make(self, kind: str, name: str) -> Type | None:
        shown = "" if name.startswith(_NAMELESS) else name
        if kind in ("struct", "union", "class"):
            given = self._structs.get(name)
            if given is None or (given.get("kind", "struct") == "union") != (kind == "union"):
                return None
            described = given
            return StructType(
                shown, _number(given, "size"), kind == "union", lambda: self._members(described)
            )
        if kind == "enum":
            given = self._enums.get(name)
            if given is None:
                return None
            values = {key: v for key, v in _dict(given.get("constants")).items() if isinstance(v, int)}
            signed = any(value < 0 for value in values.values())
            return EnumType(shown, _number(given, "size"), signed, lambda: values)
        given = self._base.get(name)
        if given is None or kind != "base":
            return None
        what, size = given.get("kind"), _number(given, "size")
        if what == "void":
            return VoidType()
        if what == "float":
            return FloatType(name, size)
        return IntType(name, size, given.get("signed") is True and what != "bool", is_bool=what == "bool")

    def _members(self, given: dict[str, Any]) -> list[Member]:
        found = []
        for name, field in _dict(given.get("fields")).items():
            if not isinstance(field, dict):
                continue
            kind, bits, size = _dict(field.get("type")), 8 * _number(field, "offset"), 0
            if kind.get("kind") == "bitfield":
                bits, size = bits + _number(kind, "bit_position"), _number(kind, "bit_length")
                kind = _dict(kind.get("type"))
            is_nameless = field.get("anonymous") is True
            found.append(Member("" if is_nameless else str(name), self._later(kind), bits, size))
        # JSON's objects have no order; C's structs have.
        return sorted(found, key=lambda member: member.bit_offset)

    def _later(self, kind: dict[str, Any]) -> Callable[[], Type]:
        return lambda: self._type(kind)

    def _type(self, given: dict[str, Any]) -> Type:
        kind, name = given.get("kind"), str(given.get("name", ""))
        if kind == "pointer":
            return PointerType(self._later(_dict(given.get("subtype"))))
        if kind == "array":
            return self._array(given)
        if kind == "function":
            return FunctionType("", VoidType, list)
        if kind == "bitfield":
            return self._type(_dict(given.get("type")))
        found = self._named(str(kind), name)
        if found is not None:
            return found
        if kind in ("struct", "union", "class"):
            return ForwardType(name, kind == "union")
        return EnumType(name, 4, False, dict) if kind == "enum" else VoidType()

    def _array(self, given: dict[str, Any]) -> Type:
        # As in BTF an array of arrays is one of all their elements.
        count, element = _number(given, "count"), _dict(given.get("subtype"))
        while element.get("kind") == "array":
            count, element = min(count * _number(element, "count"), _NO_MORE), _dict(element.get("subtype"))
        return ArrayType(self._later(element), count)

    def nameless(self, *members: str) -> StructType | None:
        """See Types.nameless."""
        for name, given in self._structs.items():
            fields = _dict(given.get("fields"))
            if name.startswith(_NAMELESS) and fields.keys() == set(members):
                found = self._named("struct", name)
                if isinstance(found, StructType) and [one.name for one in found.members] == list(members):
                    return found
        return None

    def names(self, kind: str) -> list[str]:
        """See Types.names."""
        if kind not in _KINDS:
            raise KernlabError(f"{kind!r} is not a kind of type; the kinds are {', '.join(_KINDS)}")
        if kind == "typedef":
            return [name for name in (*_TYPEDEFS, *_COUNTERS) if self.get(name) is not None]
        held = {"enum": self._enums, "base": self._base}.get(kind, self._structs)
        is_union = kind == "union"
        return [
            name
            for name, given in held.items()
            if not name.startswith(_NAMELESS)
            and (kind not in ("struct", "union") or (given.get("kind") == "union") == is_union)
        ]

    def near(self, name: str) -> list[str]:
        """See Types.near."""
        wanted = c_names.parse(name)
        plain = wanted.names[0] if wanted else name[:100]
        return difflib.get_close_matches(plain, [*self._structs, *self._enums], 3)

    def enumerator_or_none(self, name: str) -> int | None:
        """See Types.enumerator_or_none; of enums that share a name the first one counts."""
        return self._enumerators.get(name)

    @cached_property
    def _enumerators(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for given in self._enums.values():
            for name, value in _dict(given.get("constants")).items():
                if isinstance(value, int):
                    found.setdefault(name, value)
        return found

    def variable(self, name: str) -> Type | None:
        """See Types.variable; of all that the file gives a type."""
        kind = _dict(self._symbols.get(name, {}).get("type"))
        # "void" stands for a symbol whose type nobody knew.
        return self._type(kind) if kind and kind.get("name") != "void" else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(given: dict[str, Any], key: str) -> int:
    """A number that a size or an offset can be, 0 for what is none."""
    value = given.get(key)
    return min(value, _NO_MORE) if type(value) is int and value > 0 else 0
