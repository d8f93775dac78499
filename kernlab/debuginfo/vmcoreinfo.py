"""VMCOREINFO: the text that a kernel leaves for dump tools (kernel/crash_core.c), as look-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: A note has a few hundred lines; more are damage.
_MOST_LINES = 100_000


class Vmcoreinfo(Mapping[str, str]):
    """The note's lines `KEY=value`; the typed look-ups return None for what is missing or no number."""

    def __init__(self, lines: dict[str, str]):
        self._lines = lines

    @classmethod
    def parse(cls, raw: bytes) -> Vmcoreinfo:
        """The note's text; lines without `=` are passed over, bytes that are not UTF-8 kept as escapes."""
        text = raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        pairs = (line.partition("=") for line in text.split("\n")[:_MOST_LINES])
        return cls({key.strip(): value.strip() for key, equals, value in pairs if equals})

    def __getitem__(self, key: str) -> str:
        return self._lines[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def _integer(self, key: str, base: int) -> int | None:
        value = self._lines.get(key, "")
        if len(value) > 32:
            return None
        try:
            return int(value, base)
        except ValueError:
            return None

    def symbol(self, name: str) -> int | None:
        """Address of a symbol: SYMBOL(name)."""
        address = self._integer(f"SYMBOL({name})", 16)
        return address if address is not None and 0 <= address < 1 << 64 else None

    def number(self, name: str) -> int | None:
        """A constant or the value of a variable: NUMBER(name)."""
        return self._integer(f"NUMBER({name})", 0)

    def offset(self, member: str) -> int | None:
        """Offset of `type.member` in bytes: OFFSET(type.member)."""
        return self._integer(f"OFFSET({member})", 10)

    def size(self, name: str) -> int | None:
        """Size of a type in bytes: SIZE(name)."""
        return self._integer(f"SIZE({name})", 10)

    def length(self, name: str) -> int | None:
        """Number of elements of an array: LENGTH(name)."""
        return self._integer(f"LENGTH({name})", 10)

    @property
    def release(self) -> str | None:
        """The kernel's release, as uname -r has it."""
        return self._lines.get("OSRELEASE")

    @property
    def kerneloffset(self) -> int | None:
        """How far KASLR moved the kernel image, in bytes."""
        return self._integer("KERNELOFFSET", 16)
