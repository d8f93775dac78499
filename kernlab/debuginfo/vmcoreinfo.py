"""VMCOREINFO: the text that a kernel leaves for dump tools (kernel/vmcore_info.c), parsed once into checked numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kernlab.debuginfo.vmcoreinfo_ranges import USED, Range, range_of
from kernlab.escape import show_controls

#: The note is one page, in a few hundred lines; more is damage. In bytes, lines, and characters of a number.
LARGEST = 1 << 20
_MOST_LINES = 10_000
_LONGEST_NUMBER = 32
_NUMBERS = {10: re.compile(r"-?[0-9]+"), 16: re.compile(r"-?(0[xX])?[0-9a-fA-F]+")}
#: The line that kernlab adds to the note of a redacted dump: "share kernlab 0.1.0".
REDACTED = "KERNLAB_REDACTED"
_HEXADECIMAL = re.compile(r"-?0[xX][0-9a-fA-F]+")


class Vmcoreinfo(Mapping[str, str]):
    """The note's lines `KEY=value`, and the numbers among them that can be true (vmcoreinfo_ranges.py).

    The look-ups return None for what is missing, not a number, or outside of its range; `problems` has a sentence for
    each value that kernlab would use and does not believe.
    """

    def __init__(self, lines: dict[str, str]):
        self._lines = lines
        self._numbers: dict[str, int] = {}
        self.problems: list[str] = []
        for key, text in lines.items():
            possible = range_of(key)
            if possible is None:
                continue
            value = _number(text, possible.base)
            if value is not None and possible.holds(value):
                self._numbers[key] = value
            elif key in USED:
                self.problems.append(not_believed(key, text, possible))

    @classmethod
    def parse(cls, raw: bytes) -> Vmcoreinfo:
        """The note's text; lines without `=` are passed over, bytes that are not UTF-8 kept as escapes."""
        text = raw[:LARGEST].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        pairs = (line.partition("=") for line in text.split("\n", _MOST_LINES)[:_MOST_LINES])
        return cls({key.strip(): value.strip() for key, equals, value in pairs if equals})

    def __getitem__(self, key: str) -> str:
        return self._lines[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def symbol(self, name: str) -> int | None:
        """Address of a symbol: SYMBOL(name)."""
        return self._numbers.get(f"SYMBOL({name})")

    def number(self, name: str) -> int | None:
        """A constant or the value of a variable: NUMBER(name)."""
        return self._numbers.get(f"NUMBER({name})")

    def offset(self, member: str) -> int | None:
        """Offset of `type.member` in bytes: OFFSET(type.member)."""
        return self._numbers.get(f"OFFSET({member})")

    def size(self, name: str) -> int | None:
        """Size of a type in bytes: SIZE(name)."""
        return self._numbers.get(f"SIZE({name})")

    def length(self, name: str) -> int | None:
        """Number of elements of an array: LENGTH(name)."""
        return self._numbers.get(f"LENGTH({name})")

    @property
    def page_size(self) -> int | None:
        """Bytes of a page: PAGESIZE."""
        return self._numbers.get("PAGESIZE")

    @property
    def release(self) -> str | None:
        """The kernel's release, as uname -r has it."""
        return self._lines.get("OSRELEASE")

    @property
    def redacted(self) -> str | None:
        """The level at which the dump was redacted when it was written (`kernlab redact`)."""
        level = self._lines.get(REDACTED, "").partition(" ")[0]
        return level if level.isalpha() else None

    @property
    def kerneloffset(self) -> int | None:
        """How far KASLR moved the kernel image, in bytes."""
        return self._numbers.get("KERNELOFFSET")


def not_believed(key: str, text: str, possible: Range | str) -> str:
    """The sentence for a value that cannot be, and what it can."""
    short = text if len(text) <= _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}…"
    return f"VMCOREINFO says {key}={show_controls(short)}, which cannot be ({possible}): it was not believed"


def _number(text: str, base: int) -> int | None:
    """A number as C prints it; Python's int takes more than that for one."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if base == 0:
        base = 16 if _HEXADECIMAL.fullmatch(text) else 10
    return int(text, base) if _NUMBERS[base].fullmatch(text) else None
