"""Types out of DWARF, by drgn: each is looked up by name when it is asked for, and turned into kernlab's own.

What BTF leaves out is left out here, too, so that a table is the same by either: qualifiers are not kept, and an array
of arrays is one array of all its elements (Documentation/bpf/btf.rst, BTF_KIND_ARRAY).
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kernlab.debuginfo import c_names
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError
from kernlab.debuginfo.types import (
    DEEPEST,
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    ForwardType,
    FunctionType,
    IntType,
    Member,
    Place,
    PointerType,
    StructType,
    Type,
    Types,
    VoidType,
)
from kernlab.errors import KernlabError, MissingDependencyError

if TYPE_CHECKING:
    import drgn

#: drgn's name of each machine.
_MACHINES = {"x86_64": "X86_64", "arm64": "AARCH64"}
#: What BTF calls integers, as GCC does; drgn calls them as Clang does.
_GCC_NAMES = {
    "short": "short int",
    "unsigned short": "short unsigned int",
    "long": "long int",
    "unsigned long": "long unsigned int",
    "long long": "long long int",
    "unsigned long long": "long long unsigned int",
}
#: Without a word before it a name may be any of these, the first of them first.
_TRIED = {
    "": ("struct ", "union ", "", "enum "),
    "struct": ("struct ",),
    "union": ("union ",),
    "enum": ("enum ",),
}
_BASES = ("char", "unsigned char", "_Bool", "int", "unsigned int", *_GCC_NAMES.values())
_KINDS = ("struct", "union", "enum", "typedef", "base")
#: Where the one is declared that is asked for, of structs that share a name: drgn gives any, or that of a file. perf
#: has a struct ring_buffer, too, until v5.6 (13292494379f, "tracing: Make struct ring_buffer less ambiguous").
_DECLARED_IN = {"struct ring_buffer": "kernel/trace/ring_buffer.c"}
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
#: No kernel has more names in its DWARF (some 160,000), nor bytes of them.
_MOST_NAMES, _LARGEST_STRINGS = 1 << 21, 1 << 27


class DrgnTypes(Types):
    """The types of one debug file's DWARF.

    Raises MissingDependencyError without drgn, DebugInfoError for a file whose DWARF drgn does not take.
    """

    def __init__(self, file: DebugFile):
        try:
            import drgn
        except ImportError as error:
            raise MissingDependencyError(
                f"types are read from the DWARF of {file.path} with drgn: pip install 'kernlab[dwarf]'"
            ) from error
        self._file, self._drgn = file, drgn
        # drgn's programs are not made for several threads.
        self._lock = threading.RLock()
        self._by_name: dict[str, Type | None] = {}
        self._made: dict[int, tuple[Any, Type]] = {}
        self._all: dict[str, list[str]] | None = None
        with self._reading():
            architecture = getattr(drgn.Architecture, _MACHINES[file.machine])
            self._program = drgn.Program(drgn.Platform(architecture))
            module = self._program.extra_module(str(file.path), create=True)
            # The file was chosen by its build id; drgn is to look for no other, here or on a network.
            module.try_file(str(file.path), force=True)
            status = module.debug_file_status
        if status is not drgn.ModuleFileStatus.HAVE:
            raise DebugInfoError(
                f"{file.path}: drgn finds no DWARF in it that it can use ({status.name}); a file made with dwz needs "
                "the one that it refers to beside it"
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Alone with drgn, whose errors of damaged DWARF come out as ours."""
        with self._lock:
            try:
                yield
            except KernlabError:
                raise
            except Exception as error:  # drgn raises what libdw says as plain exceptions
                raise DebugInfoError(f"{self._file.path}: its DWARF cannot be read: {error}") from error

    def get(self, name: str) -> Type | None:
        """See Types.get; a struct goes before a typedef of its name, as with BTF."""
        with self._reading():
            if name not in self._by_name:
                wanted = c_names.parse(name)
                found = self._plain(wanted) if wanted is not None else None
                self._by_name[name] = c_names.wrapped(wanted, found) if wanted and found else None
            return self._by_name[name]

    def _plain(self, wanted: c_names.TypeName) -> Type | None:
        if not wanted.word and wanted.names == ("void",):
            return VoidType()
        for name in wanted.names:
            for word in _TRIED[wanted.word]:
                found = self._look_up(word + name)
                if found is not None:
                    return self._type(found)
        return None

    def _look_up(self, name: str) -> drgn.Type | None:
        try:
            found = self._program.type(name)
        except (LookupError, SyntaxError):
            return None
        # "int" and its like drgn knows of every machine; "size_t" of none.
        return found

    def describing(self, name: str, member: str) -> StructType | None:
        """See Types.describing; of the files that have a struct of the name, by those of `_DECLARED_IN`."""
        found = super().describing(name, member)
        if found is None and name in _DECLARED_IN:
            with self._reading(), suppress(LookupError):
                other = self._type(self._program.type(name, _DECLARED_IN[name]))
                if isinstance(other, StructType) and member in other.member_names():
                    return other
        return found

    def nameless(self, *members: str) -> StructType | None:
        """See Types.nameless. A variable's type tells what it is declared with, so nothing is looked for."""
        return None

    def names(self, kind: str) -> list[str]:
        """See Types.names; drgn lists none, so each name in the DWARF's strings is tried (a few are missed)."""
        if kind not in _KINDS:
            raise KernlabError(f"{kind!r} is not a kind of type; the kinds are {', '.join(_KINDS)}")
        with self._reading():
            if self._all is None:
                self._all = self._every_name()
            return self._all[kind]

    def _every_name(self) -> dict[str, list[str]]:
        strings = self._file.section(".debug_str")
        tried: dict[str, None] = {}
        for raw in bytes(strings[:_LARGEST_STRINGS]).split(b"\0"):
            if _NAME.fullmatch(raw) and len(tried) < _MOST_NAMES:
                tried.update(dict.fromkeys(_ends(raw.decode("ascii"))))
        found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for name in tried:
            for kind in ("struct", "union", "enum"):
                if (one := self._look_up(f"{kind} {name}")) is not None and one.is_complete():
                    found[kind].append(name)
            if (one := self._look_up(name)) is not None and one.kind == self._drgn.TypeKind.TYPEDEF:
                found["typedef"].append(name)
        found["base"] = [name for name in _BASES if self.get(name) is not None]
        return found

    def near(self, name: str) -> list[str]:
        """See Types.near."""
        wanted = c_names.parse(name)
        plain = wanted.names[0] if wanted else name[:100]
        listed = [one for kind in ("struct", "union", "typedef", "enum") for one in self.names(kind)]
        return difflib.get_close_matches(plain, listed, 3)

    def enumerator_or_none(self, name: str) -> int | None:
        """See Types.enumerator_or_none."""
        with self._reading():
            try:
                return int(self._program.constant(name).value_())
            except LookupError:
                return None

    def variable(self, name: str) -> Type | None:
        """See Types.variable; of every variable that has a place in memory."""
        with self._reading():
            found = self._variable(name)
            return self._type(found.type_) if found is not None else None

    def place(self, name: str) -> Place | None:
        """See Types.place."""
        with self._reading():
            found, text = self._variable(name), self._text
            return Place(found.address_, text) if found is not None and text is not None else None

    def _variable(self, name: str) -> drgn.Object | None:
        try:
            found = self._program.variable(name)
        except LookupError:
            return None
        return found if found.address_ is not None else None

    @cached_property
    def _text(self) -> int | None:
        try:
            found = self._file.symbols(frozenset({"_text"}))
        except KernlabError:
            return None
        return int(found.addresses[0]) if len(found.addresses) else None

    def _type(self, given: drgn.Type) -> Type:
        """drgn's type as one of kernlab's; the same one again for the same."""
        with self._reading():
            known = self._made.get(given._ptr)
            if known is None:
                # drgn's is kept, too, as another could lie where it lay.
                known = self._made[given._ptr] = given, self._convert(given)
            return known[1]

    def _later(self, given: drgn.Type) -> Callable[[], Type]:
        return lambda: self._type(given)

    def _convert(self, given: drgn.Type) -> Type:
        kinds, kind = self._drgn.TypeKind, given.kind
        if kind == kinds.INT:
            name = given.name
            return IntType(_GCC_NAMES.get(name, name), given.size, given.is_signed)
        if kind == kinds.BOOL:
            return IntType(given.name, given.size, False, is_bool=True)
        if kind == kinds.FLOAT:
            return FloatType(given.name, given.size)
        if kind == kinds.POINTER:
            return PointerType(self._later(given.type))
        if kind == kinds.TYPEDEF:
            return AliasType(given.name, self._later(given.type))
        if kind == kinds.ARRAY:
            return self._array(given)
        if kind in (kinds.STRUCT, kinds.UNION, kinds.CLASS):
            is_union = kind == kinds.UNION
            if not given.is_complete():
                return ForwardType(given.tag or "", is_union)
            return StructType(given.tag or "", given.size, is_union, lambda: self._members(given))
        if kind == kinds.ENUM:
            if not given.is_complete():
                return EnumType(given.tag or "", 4, False, dict)
            listed = {one.name: one.value for one in given.enumerators}
            # As BTF has it, where DWARF's base type says unsigned, though a value is negative.
            signed = any(value < 0 for value in listed.values())
            return EnumType(given.tag or "", self._drgn.sizeof(given), signed, lambda: listed)
        if kind == kinds.FUNCTION:
            return FunctionType("", self._later(given.type), lambda: self._parameters(given))
        return VoidType()

    def _array(self, given: drgn.Type) -> Type:
        count, element = given.length or 0, given.type
        for _ in range(DEEPEST):
            if element.kind != self._drgn.TypeKind.ARRAY:
                break
            count, element = count * (element.length or 0), element.type
        return ArrayType(self._later(element), count)

    def _members(self, given: drgn.Type) -> list[Member]:
        with self._reading():
            return [
                Member(one.name or "", self._later(one.type), one.bit_offset, one.bit_field_size or 0)
                for one in given.members
            ]

    def _parameters(self, given: drgn.Type) -> list[tuple[str, Type | None]]:
        with self._reading():
            listed: list[tuple[str, Type | None]] = [
                (one.name or "", self._type(one.type)) for one in given.parameters
            ]
            return [*listed, ("", None)] if given.is_variadic else listed


def _ends(name: str) -> list[str]:
    """A name, and what of it stands behind an underscore: linkers keep a string that ends another only as its end."""
    words = name.split("_")
    return ["_".join(words[at:]) for at in range(len(words)) if words[at]] + [name]
