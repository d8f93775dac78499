"""tracefs' own texts in: formats of events, strings of trace_printk, symbols, names of tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np

from kernlab.debuginfo.symbols import SymbolTable
from kernlab.traces.ftrace.formats import Field, Format, Formats
from kernlab.traces.ftrace.source import Machine
from kernlab.traces.ftrace.tokens import unquote
from kernlab.util.text import few

_FIELD = re.compile(r"^\s*field:(.+?);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:(\d+);)?", re.MULTILINE)
_NAME = re.compile(r"^name: *(\S+)", re.MULTILINE)
_ID = re.compile(r"^ID: *(\d+)", re.MULTILINE)

#: Larger offsets and sizes than these no record has.
_LARGEST = 1 << 16


def parse_format(text: str, system: str, machine: Machine) -> tuple[Format, tuple[Field, ...]] | None:
    """An event's format, and the fields that begin every record; None where the text is not one."""
    name, number = _NAME.search(text), _ID.search(text)
    if name is None or number is None or len(number[1]) > 9:
        return None
    declared, _, written = text.partition("\nprint fmt: ")
    common: list[Field] = []
    own: list[Field] = []
    for match in _FIELD.finditer(declared):
        field = _field(match, machine)
        if field is not None:
            (common if field.name.startswith("common_") else own).append(field)
    form = Format(int(number[1]), name[1], system, written.strip("\n"), tuple(own))
    return form, tuple(common)


def _field(match: re.Match[str], machine: Machine) -> Field | None:
    """`char prev_comm[16]` is the type `char[16]`, and a name."""
    if len(match[2]) > 6 or len(match[3]) > 6:
        return None
    offset, size = int(match[2]), int(match[3])
    if offset >= _LARGEST or size >= _LARGEST:
        return None
    declaration = match[1].strip()
    bracket, length = "", -1
    if declaration.endswith("]"):
        declaration, _, inside = declaration[:-1].rpartition("[")
        bracket = f"[{inside}]"
        length = int(inside) if inside.isdecimal() and len(inside) < 7 else -1 if inside else 0
    kind, _, name = declaration.rstrip().rpartition(" ")
    if not kind:
        return None
    return Field(name, kind.rstrip() + bracket, offset, size, match[4] not in (None, "0"), length, machine)


class TextFormats(Formats):
    """Formats of a file, by their texts; each is (system, text). A text's fields are read when they are asked for."""

    def __init__(self, texts: Iterable[tuple[str, str]], machine: Machine, lost: Callable[[str], None]):
        self._machine = machine
        self._texts: dict[int, tuple[str, str]] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._known: dict[int, Format] = {}
        wrong, twice = 0, []
        for system, text in texts:
            name, number = _NAME.search(text), _ID.search(text)
            if name is None or number is None or len(number[1]) > 9:
                wrong += 1
                continue
            key = int(number[1])
            if key in self._texts:
                twice.append(key)
                continue
            self._texts[key], self._names[key] = (system, text), (name[1], system)
        if wrong:
            lost(f"{wrong:,} formats of events are not understood: they name no event")
        if twice:
            numbers = few([str(number) for number in sorted(set(twice))])
            lost(f"{len(twice):,} formats have the number of another one ({numbers}): the first is used")

    @property
    def names(self) -> dict[int, tuple[str, str]]:
        """See Formats.names."""
        return self._names

    @cached_property
    def common(self) -> tuple[Field, ...]:
        """See Formats.common."""
        for system, text in self._texts.values():
            parsed = parse_format(text, system, self._machine)
            if parsed is not None and parsed[1]:
                return parsed[1]
        return ()

    def get(self, numbers: Iterable[int]) -> dict[int, Format]:
        """See Formats.get."""
        found = {}
        for number in dict.fromkeys(numbers):
            if number not in self._texts:
                continue
            if number not in self._known:
                system, text = self._texts[number]
                parsed = parse_format(text, system, self._machine)
                if parsed is None:
                    continue
                self._known[number] = parsed[0]
            found[number] = self._known[number]
        return found


_STRING = re.compile(r'^\s*(?:0x)?([0-9a-fA-F]{1,16})\s*: ("(?:[^"\\\n]|\\.)*")', re.MULTILINE)


def parse_strings(text: str) -> dict[int, str]:
    """Strings by their addresses: lines `0xffffffff81234567 : "text"` of tracefs' printk_formats."""
    return {int(match[1], 16): unquote(match[2]) for match in _STRING.finditer(text)}


def parse_comms(text: str) -> dict[int, str]:
    """Names of tasks by pid: lines `1234 name` of tracefs' saved_cmdlines."""
    found = {}
    for line in text.splitlines():
        pid, _, name = line.strip().partition(" ")
        if pid.isdecimal() and len(pid) < 11:
            found[int(pid)] = name
    return found


_SYMBOL = re.compile(rb"^([0-9a-fA-F]{1,16}) (\S) ([^\s]+)(?:[ \t]+\[([^\]\n]+)\])?[ \t\r]*$", re.MULTILINE)


def parse_symbols(text: bytes) -> SymbolTable:
    """Lines `ffffffff81000000 T name	[module]` of /proc/kallsyms, in the order of their addresses."""
    found = _SYMBOL.findall(text)
    addresses = np.array([int(row[0], 16) for row in found], dtype=np.uint64)
    # SymbolTable takes the kernel's symbols first, then each module's.
    names: dict[bytes, int] = {b"": 0}
    module = np.array([names.setdefault(row[3], len(names)) for row in found], dtype=np.int32)
    order = np.lexsort((addresses, module))
    blob = b"\0" + b"\0".join(found[row][2] for row in order.tolist()) + b"\0"
    lengths = np.array([len(found[row][2]) + 1 for row in order.tolist()], dtype=np.int64)
    starts = np.concatenate([[1], 1 + np.cumsum(lengths)[:-1]]) if len(found) else np.zeros(0, dtype=np.int64)
    letters = np.frombuffer(b"".join(found[row][1] for row in order.tolist()), dtype=np.uint8)
    high = addresses[addresses >= np.uint64(1 << 63)]
    start = int(high.min()) if len(high) else int(addresses[addresses > 0].min(initial=1 << 63))
    return SymbolTable(
        blob,
        starts.astype(np.int64),
        addresses[order],
        letters,
        start,
        module[order],
        tuple(name.decode("utf-8", "backslashreplace") for name in names),
    )
