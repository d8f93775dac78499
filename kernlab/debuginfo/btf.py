"""BTF, the type information that a kernel carries in itself: a blob in, `Types` out (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import difflib
import struct
import threading
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo import asking, c_names
from kernlab.debuginfo.types import (
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    ForwardType,
    FunctionType,
    IntType,
    Member,
    Parameters,
    PointerType,
    StructType,
    Type,
    Types,
    VoidType,
)
from kernlab.errors import KernlabError

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")

# include/uapi/linux/btf.h
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)
_NEWEST_KIND = ENUM64
_COMMON_WORDS = 3

# How many words follow a type's three: a fixed number, and a number for each of its `vlen` parts.
_FIXED = np.zeros(32, dtype=np.int32)
_FIXED[[INT, VAR, DECL_TAG]] = 1
_FIXED[ARRAY] = 3
_EACH = np.zeros(32, dtype=np.int32)
_EACH[[STRUCT, UNION, DATASEC, ENUM64]] = 3
_EACH[[ENUM, FUNC_PROTO]] = 2

_WANTED = {
    "struct": (STRUCT, FWD),
    "union": (UNION, FWD),
    "enum": (ENUM, ENUM64),
    "": (STRUCT, UNION, TYPEDEF, ENUM, ENUM64, INT, FLOAT),
}
_KINDS_OF = {
    "struct": (STRUCT,),
    "union": (UNION,),
    "enum": (ENUM, ENUM64),
    "typedef": (TYPEDEF,),
    "base": (INT, FLOAT),
}
#: In BTF that does not say which enums are signed, a value from here on is a small negative number.
_SMALL_NEGATIVE = 0xFFFF0000


class Btf(Types):
    """The types of one BTF blob; with `base`, a module's, whose ids and strings continue those of the kernel.

    Raises KernlabError (naming offset and what was found) for what is not BTF or is damaged.
    """

    def __init__(self, blob: bytes, base: Btf | None = None):
        self._base = base
        types_at, types_size, strings_at, strings_size = _sections(blob)
        self._words = np.frombuffer(blob, dtype="<u4", count=types_size // 4, offset=types_at)
        self._strings = blob[strings_at : strings_at + strings_size - 1] + b"\0"
        self._first_id: int = base._end_id if base is not None else 1
        self._first_string: int = base._end_string if base is not None else 0
        self._end_string: int = self._first_string + len(self._strings)
        self._starts = self._find_records()
        self._end_id: int = self._first_id + len(self._starts)
        self._names = self._words[self._starts]
        info = self._words[self._starts + 1]
        self._kinds = (info >> np.uint32(24)) & np.uint32(31)
        # Linux commit 6089fb325cf7 ("bpf: Add btf enum64 support") (in v6.0) uses kind_flag for "signed".
        signed = (self._kinds == ENUM64) | ((self._kinds == ENUM) & (info >> np.uint32(31) != 0))
        self._knows_signs: bool = bool(signed.any()) or (base is not None and base._knows_signs)
        self._known: dict[int, Type] = {}
        self._by_name: dict[str, Type | None] = {}
        self._offsets: dict[str, int | None] = {}
        self._enumerator_values: dict[str, int | None] = {}
        self._lock = threading.RLock()

    def _find_records(self) -> npt.NDArray[np.int64]:
        """The word at which each type begins: its length is computed for every word, then hopped along."""
        words = self._words
        count = len(words)
        if not count:
            return np.zeros(0, dtype=np.int64)
        info = words[1:]
        kinds = (info >> np.uint32(24)) & np.uint32(31)
        length = (info & np.uint32(0xFFFF)).astype(np.int32) * _EACH[kinds]
        length += _FIXED[kinds] + np.int32(_COMMON_WORDS)
        following = memoryview(np.arange(len(info), dtype=np.int32) + length)
        starts, position, end = [], 0, count - _COMMON_WORDS
        while position <= end:
            starts.append(position)
            position = following[position]
        found = np.array(starts, dtype=np.int64)
        bad = np.flatnonzero((kinds[found] == 0) | (kinds[found] > _NEWEST_KIND))
        if len(bad):
            first = int(bad[0])
            raise KernlabError(
                f"type {self._first_id + first:,} at byte {starts[first] * 4:,} of the type information (BTF) is of "
                f"kind {int(kinds[found[first]])}, which kernlab does not know (it knows 1 to {_NEWEST_KIND})"
            )
        if position != count:
            raise KernlabError(
                f"the type information (BTF) is damaged: its types end at byte {position * 4:,}, their section at "
                f"{count * 4:,}; the last is type {self._first_id + len(starts) - 1:,}"
            )
        return found

    @property
    def end_id(self) -> int:
        """The number that a module's first type has, behind the last of these."""
        return self._end_id

    def __len__(self) -> int:
        return len(self._starts)

    def _string(self, offset: int) -> str:
        if offset < self._first_string and self._base is not None:
            return self._base._string(offset)
        start = offset - self._first_string
        end = self._strings.find(b"\0", start)
        if not 0 <= start <= end:
            raise KernlabError(
                f"the type information (BTF) is damaged: a name at {offset:,}, beyond its strings"
            )
        return self._strings[start:end].decode("utf-8", "backslashreplace")

    def _offset_of(self, name: str) -> int | None:
        """Where a name stands among this blob's own strings; each stands there once."""
        # All modules ask the kernel's own blob, which is large.
        if name not in self._offsets:
            self._offsets[name] = self._find_offset(name)
        return self._offsets[name]

    def _find_offset(self, name: str) -> int | None:
        raw = name.encode("utf-8", "replace")
        if not raw or b"\0" in raw:
            return None
        at = self._strings.find(b"\0" + raw + b"\0")
        if at >= 0:
            return self._first_string + at + 1
        # A module's strings need not begin with an empty one.
        return self._first_string if self._strings.startswith(raw + b"\0") else None

    def by_id(self, number: int) -> Type:
        """The type with a number, 0 being void. Raises KernlabError for a number beyond the last."""
        if number < self._first_id:
            return self._base.by_id(number) if self._base is not None and number else VoidType()
        if number >= self._end_id:
            raise KernlabError(
                f"the type information (BTF) is damaged: it names type {number:,} of {self._end_id - 1:,}"
            )
        with self._lock:
            known = self._known.get(number)
            if known is None:
                known = self._known[number] = self._build(number - self._first_id)
        return known

    def _build(self, index: int) -> Type:
        at = int(self._starts[index])
        name_at, info, third = (int(word) for word in self._words[at : at + 3])
        kind, count, flag = info >> 24 & 31, info & 0xFFFF, bool(info >> 31)
        name = self._string(name_at) if name_at else ""
        parts = at + _COMMON_WORDS
        if kind == INT:
            encoding = int(self._words[parts]) >> 24 & 15
            return IntType(name, third, bool(encoding & 1), bool(encoding & 4), bool(encoding & 2))
        if kind == PTR:
            return PointerType(lambda: self.by_id(third))
        if kind == ARRAY:
            element, _, elements = (int(word) for word in self._words[parts : parts + 3])
            return ArrayType(lambda: self.by_id(element), elements)
        if kind in (STRUCT, UNION):
            return StructType(name, third, kind == UNION, lambda: self._members(parts, count, flag))
        if kind in (ENUM, ENUM64):
            signed = flag or (kind == ENUM and third <= 4 and self._looks_signed(parts, count))
            return EnumType(
                name, third, signed, lambda: self._enumerators(parts, count, kind == ENUM64, signed)
            )
        if kind == FWD:
            return ForwardType(name, flag)
        if kind == FUNC:
            return FunctionType(
                name, lambda: self._prototype(third).result, lambda: self._prototype(third).parameters
            )
        if kind == FUNC_PROTO:
            return FunctionType("", lambda: self.by_id(third), lambda: self._parameters(parts, count))
        if kind == FLOAT:
            return FloatType(name, third)
        if kind in (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG, VAR, DECL_TAG):
            # A type tag's name is the tag's, not the type's.
            return AliasType(name if kind == TYPEDEF else "", lambda: self.by_id(third))
        return VoidType()

    def _prototype(self, number: int) -> FunctionType:
        prototype = self.by_id(number)
        if not isinstance(prototype, FunctionType) or prototype.name:
            raise KernlabError(
                f"the type information (BTF) is damaged: type {number:,} is not a prototype of a function"
            )
        return prototype

    def _parameters(self, at: int, count: int) -> Parameters:
        rows = self._words[at : at + 2 * count].reshape(count, 2).tolist()
        # Type 0 in the last place stands for `...`.
        return [
            (self._string(name) if name else "", self.by_id(kind) if kind else None) for name, kind in rows
        ]

    def _members(self, at: int, count: int, bitfields: bool) -> list[Member]:
        members = []
        for name, number, offset in self._words[at : at + 3 * count].reshape(count, 3).tolist():
            size = offset >> 24 if bitfields else 0
            bits = offset & 0xFFFFFF if bitfields else offset
            members.append(Member(self._string(name) if name else "", _Later(self, number), bits, size))
        return members

    def _looks_signed(self, at: int, count: int) -> bool:
        """5.10's BTF does not tell signed enums: a small negative value does (right for 39 of the 44 in doubt)."""
        if self._knows_signs:
            return False
        return bool(
            (self._words[at : at + 2 * count].reshape(count, 2)[:, 1] >= np.uint32(_SMALL_NEGATIVE)).any()
        )

    def _enumerators(self, at: int, count: int, wide: bool, signed: bool) -> dict[str, int]:
        each = 3 if wide else 2
        found = {}
        for row in self._words[at : at + each * count].reshape(count, each).tolist():
            value, bits = (row[1] | row[2] << 32, 64) if wide else (row[1], 32)
            found[self._string(row[0])] = value - (1 << bits) if signed and value >> bits - 1 else value
        return found

    def get(self, name: str) -> Type | None:
        """See Types.get. `struct`, `union`, `enum` choose; without, a struct goes before a typedef of its name."""
        with self._lock:
            if name not in self._by_name:
                self._by_name[name] = self._look_up(name)
            found = self._by_name[name]
        if asking.notes is not None:
            asking.note("type", name, found is not None, soft=True)
        return found

    def _look_up(self, name: str) -> Type | None:
        wanted = c_names.parse(name)
        if wanted is None:
            return None
        found = self._plain(wanted)
        return c_names.wrapped(wanted, found) if found is not None else None

    def _plain(self, wanted: c_names.TypeName) -> Type | None:
        """The type without pointers and arrays."""
        if not wanted.word and wanted.names == ("void",):
            return VoidType()
        for name in wanted.names:
            found = self._named(name, _WANTED[wanted.word])
            if found is not None:
                return found
        return self._base._plain(wanted) if self._base is not None else None

    def _named(self, name: str, kinds: tuple[int, ...]) -> Type | None:
        offset = self._offset_of(name)
        if offset is None and self._base is not None:
            offset = self._base._offset_of(name)
        if offset is None:
            return None
        rows = np.flatnonzero(self._names == offset)
        for kind in kinds:
            same = rows[self._kinds[rows] == kind]
            if len(same):
                return self.by_id(self._first_id + int(same[0]))
        return None

    def describing(self, name: str, member: str) -> StructType | None:
        """See Types.describing."""
        wanted = c_names.parse(name)
        offset = self._offset_of(wanted.names[0]) if wanted is not None else None
        if offset is not None:
            for row in np.flatnonzero((self._names == offset) & (self._kinds == STRUCT)).tolist():
                found = self.by_id(self._first_id + row)
                if isinstance(found, StructType) and member in found.member_names():
                    return found
        return self._base.describing(name, member) if self._base is not None else None

    def nameless(self, *members: str) -> StructType | None:
        """See Types.nameless; of the kernel itself, as a module's BTF only adds to it."""
        if self._base is not None:
            return self._base.nameless(*members)
        names = [self._offset_of(name) for name in members]
        if None in names:
            return None
        rows = np.flatnonzero((self._names == 0) & (self._kinds == STRUCT))
        at = self._starts[rows]
        like = (self._words[at + 1] & np.uint32(0xFFFF)) == len(members)
        rows, at = rows[like], at[like] + _COMMON_WORDS
        for number, name in enumerate(names):
            like = self._words[at + 3 * number] == name
            rows, at = rows[like], at[like]
        found = self.by_id(self._first_id + int(rows[0])) if len(rows) else None
        return found if isinstance(found, StructType) else None

    def names(self, kind: str) -> list[str]:
        """See Types.names. A module's own types only."""
        if kind not in _KINDS_OF:
            raise KernlabError(f"{kind!r} is not a kind of type; the kinds are {', '.join(_KINDS_OF)}")
        return self._names_of(_KINDS_OF[kind])

    def _names_of(self, kinds: tuple[int, ...]) -> list[str]:
        offsets = self._names[np.isin(self._kinds, kinds)].tolist()
        # A name beyond the strings (damage) costs itself only.
        return [self._string(offset) for offset in dict.fromkeys(offsets) if 0 < offset < self._end_string]

    def near(self, name: str) -> list[str]:
        """See Types.near."""
        wanted = c_names.parse(name)
        plain = wanted.names[0] if wanted else name[:100]
        return difflib.get_close_matches(plain, self._names_of((STRUCT, UNION, TYPEDEF, ENUM, ENUM64)), 3)

    @cached_property
    def _all_enumerators(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of every enumerator: the offset of its name, and the id of its enum."""
        offsets, owners = [], []
        for kind, each in ((ENUM, 2), (ENUM64, 3)):
            rows = np.flatnonzero(self._kinds == kind)
            counts = (self._words[self._starts[rows] + 1] & np.uint32(0xFFFF)).astype(np.int64)
            owner = np.repeat(rows, counts)
            place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            at = self._starts[owner] + _COMMON_WORDS + each * place
            offsets.append(self._words[at].astype(np.int64))
            owners.append(owner + self._first_id)
        return np.concatenate(offsets), np.concatenate(owners)

    def enumerator_or_none(self, name: str) -> int | None:
        """See Types.enumerator_or_none; of enums that share a name the first one counts."""
        if name not in self._enumerator_values:
            self._enumerator_values[name] = self._find_enumerator(name)
        value = self._enumerator_values[name]
        if asking.notes is not None:
            asking.note("enumerator", name, value is not None, soft=True)
        return value

    def _find_enumerator(self, name: str) -> int | None:
        offset = self._offset_of(name)
        if offset is None and self._base is not None:
            offset = self._base._offset_of(name)
        if offset is not None:
            offsets, owners = self._all_enumerators
            rows = np.flatnonzero(offsets == offset)
            if len(rows):
                enum = self.by_id(int(owners[rows].min()))
                assert isinstance(enum, EnumType)
                return enum.enumerators.get(name)
        return self._base.enumerator_or_none(name) if self._base is not None else None

    def variable(self, name: str) -> Type | None:
        """See Types.variable: BTF has the per-CPU variables (5.10's none at all)."""
        found = self._named(name, (VAR,))
        if isinstance(found, AliasType):
            return found.target
        return self._base.variable(name) if self._base is not None else None


class _Later:
    """A type that is looked up when it is called for; lighter than a closure for each of 100,000 members."""

    __slots__ = ("_btf", "_number")

    def __init__(self, btf: Btf, number: int):
        self._btf, self._number = btf, number

    def __call__(self) -> Type:
        return self._btf.by_id(self._number)


def _sections(blob: bytes) -> tuple[int, int, int, int]:
    """Offset and size of types and of strings, checked against the blob's length."""
    if len(blob) < _HEADER.size:
        raise KernlabError(f"the type information (BTF) has {len(blob)} bytes, less than its header")
    magic, version, _, length, types_at, types_size, strings_at, strings_size = _HEADER.unpack_from(blob)
    if magic == 0x9FEB:
        raise KernlabError(
            "the type information (BTF) is of a big-endian machine, which kernlab does not read"
        )
    if magic != _MAGIC or version != 1:
        raise KernlabError(
            f"what lies where the type information (BTF) should begins with {blob[:4].hex(' ')} instead of 9f eb 01"
        )
    start = length + types_at
    end = length + strings_at + strings_size
    if types_size % 4 or start + types_size > len(blob) or end > len(blob) or start % 4 or not strings_size:
        raise KernlabError(
            f"the type information (BTF) is damaged: its header claims {types_size:,} bytes of types at {start:,} and "
            f"strings up to {end:,}, but it has {len(blob):,} bytes"
        )
    return start, types_size, length + strings_at, strings_size
