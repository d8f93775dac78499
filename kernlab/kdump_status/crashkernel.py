"""What `crashkernel=` on a kernel's command line asks for: the command line in, bytes out.

Mirrors kernel/crash_reserve.c (parse_crashkernel): `size[@offset]`, ranges `start-[end]:size,…[@offset]`, and
`size,high`, `size,low`, `size,cma`. What the kernel then reserved is another matter: /sys tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUFFIXES = (",high", ",low", ",cma")

#: lib/cmdline.c, memparse: a number as C writes it, and one letter.
_MEMORY = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([KMGTPEkmgtpe]?)")

_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}

#: Since Linux 6.6 or so the kernel rounds up before it looks into the ranges: firmware keeps some memory for itself.
_ROUND_TO = 128 << 20


@dataclass(frozen=True)
class Crashkernel:
    """What is asked for: the parameter's own words, the bytes that hold on this machine, and what is wrong with it.

    `size` is None where it cannot be told (wrong syntax, or ranges and unknown memory) and 0 where no range holds.
    """

    words: tuple[str, ...]
    size: int | None = None
    low: int | None = None
    offset: int | None = None
    ranges: bool = False
    fault: str | None = None

    @property
    def text(self) -> str:
        """The parameters as they stand on the command line, '' without any."""
        return " ".join(f"crashkernel={word}" for word in self.words)


def parse(cmdline: str, memory: int | None = None) -> Crashkernel:
    """What the last `crashkernel=` of a command line asks for, on a machine with `memory` bytes (None: unknown)."""
    words = tuple(
        word.removeprefix("crashkernel=") for word in cmdline.split() if word.startswith("crashkernel=")
    )
    plain = [word for word in words if not word.endswith(_SUFFIXES)]
    if not words:
        return Crashkernel(())
    if plain:
        if ":" in plain[-1]:
            return _ranges(words, plain[-1], memory)
        return _simple(words, plain[-1])
    high = [word for word in words if word.endswith(",high")]
    if not high:
        return Crashkernel(
            words, fault=f"{words[-1]} reserves nothing without a plain size or one with ,high"
        )
    size, rest = memparse(high[-1])
    if size is None or rest != ",high":
        return Crashkernel(words, fault=f"{high[-1]}: a size is expected before ,high")
    low = [word for word in words if word.endswith(",low")]
    below = memparse(low[-1])[0] if low else None
    return Crashkernel(words, size=size, low=below)


def memparse(text: str) -> tuple[int | None, str]:
    """A size such as `64M` or `0x1000`, and the text behind it; None where no number stands."""
    match = _MEMORY.match(text)
    if match is None:
        return None, text
    digits = match[1]
    # A leading 0 means octal to the kernel, as in C.
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    try:
        return int(digits, base) << _SHIFT[match[2].upper()], text[match.end() :]
    except ValueError:
        return None, text


def _simple(words: tuple[str, ...], word: str) -> Crashkernel:
    size, rest = memparse(word)
    if word == "auto":
        return Crashkernel(
            words, fault="auto is known to kernels of RHEL 8 and older only; others reserve nothing"
        )
    if size is None:
        return Crashkernel(words, fault=f"{word}: a size is expected")
    if rest and not rest.startswith("@"):
        return Crashkernel(words, fault=f"{rest} is not understood")
    if not rest:
        return Crashkernel(words, size=size)
    return Crashkernel(words, size=size, offset=memparse(rest[1:])[0])


def _ranges(words: tuple[str, ...], word: str, memory: int | None) -> Crashkernel:
    listed, _, offset = word.partition("@")
    found: int | None = 0
    settled = False
    for entry in listed.split(","):
        start, rest = memparse(entry)
        if start is None or not rest.startswith("-"):
            return Crashkernel(words, ranges=True, fault=f"{entry}: start-[end]:size is expected")
        end: int | None = None
        if not rest.startswith("-:"):
            end, rest = memparse(rest[1:])
            if end is None or end <= start:
                return Crashkernel(words, ranges=True, fault=f"{entry}: the range ends before it starts")
        else:
            rest = rest[1:]
        size, behind = memparse(rest[1:])
        if not rest.startswith(":") or size is None or behind:
            return Crashkernel(words, ranges=True, fault=f"{entry}: a size is expected after ':'")
        if memory is None:
            found = None
        elif not settled and start <= -(-memory // _ROUND_TO) * _ROUND_TO and _below(memory, end):
            found, settled = size, True
    return Crashkernel(words, size=found, offset=memparse(offset)[0] if offset else None, ranges=True)


def _below(memory: int, end: int | None) -> bool:
    return end is None or -(-memory // _ROUND_TO) * _ROUND_TO < end
