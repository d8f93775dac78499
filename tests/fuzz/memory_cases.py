"""One word of memory overwritten, at a place that a step reads.

memory:6.12:tasks:task_struct.mm@0x1e41aa40+8:wild=0xdead000000000100
"""

from __future__ import annotations

import random

from support.overlay import Overlay

from fuzz.cases import NONE, WILD, Damaged, Kind, site_step, within
from fuzz.subjects import OPEN, Subject

TOP = 1 << 64
#: Seconds of CPU that the other steps of one case may take.
SECONDS = 0.25

VALUES = (
    "wild",
    "wild",
    "wild",
    "null",
    "self",
    "ones",
    "2^52",
    "2^40",
    "2^31",
    "negative",
    "bit",
    "bit",
    "sibling",
    "sibling",
    "unaligned",
    "image",
    "count",
    "scribble",
)
#: Bytes that a stray write overwrites.
SCRIBBLE = 64


def _wild(subject: Subject, chance: random.Random, old: int) -> int:
    layout = subject.dump.kernel.layout
    base = chance.choice(
        (
            0xDEAD000000000100,
            chance.getrandbits(63) | 1 << 62,
            chance.randrange(1 << 12, 1 << 47),
            layout.direct_end + chance.randrange(1 << 40),
            0xFFFFFE8000000000 + chance.randrange(1 << 30),
            layout.image_end + chance.randrange(1 << 20) * 4096,
        )
    )
    # Low bits of pointers are flags to many of their readers.
    return base & ~7 | old & 7


def value(
    subject: Subject, chance: random.Random, kind: str, at: int, size: int, others: list[int]
) -> int | None:
    """A number of this kind for a place; None where there is none."""
    old = subject.word(at, size)
    if old is None:
        return None
    layout = subject.dump.kernel.layout
    if kind == "wild":
        return _wild(subject, chance, old)
    if kind == "self":
        return layout.direct_start + at
    if kind == "scribble":
        filled = (bytes(size), b"\xff" * size, b"k" * size, chance.randbytes(size))
        return int.from_bytes(chance.choice(filled), "little")
    if kind == "negative":
        return TOP - chance.choice((1, 2, 12, 22, 4095))
    if kind == "bit":
        return old ^ 1 << chance.randrange(8 * size)
    if kind in ("sibling", "unaligned"):
        other = subject.word(chance.choice(others), size)
        return None if other is None else other + (chance.randrange(1, 8) if kind == "unaligned" else 0)
    if kind == "image":
        return layout.image_start + chance.randrange(max(layout.image_end - layout.image_start, 1)) & ~7
    if kind == "count":
        return chance.randrange(1 << chance.randrange(1, 24))
    return {"null": 0, "ones": TOP - 1, "2^52": 1 << 52, "2^40": 1 << 40, "2^31": 1 << 31}[kind]


def draw(subject: Subject, chance: random.Random) -> str | None:
    """A place of a step, each kind of place as likely as any other, and a value."""
    step = site_step(subject, chance)
    sites = subject.reads[step].sites
    if not sites:
        return None
    site = chance.choice(sites)
    at = chance.choice(site.addresses)
    size = site.size
    if size > 8:
        at += chance.randrange((size + 7) // 8) * 8
        size = 8
    if size not in (1, 2, 4, 8) or at % 4096 + size > 4096:
        size = 1
    kind = chance.choice(VALUES)
    if kind == "scribble":
        at -= at % SCRIBBLE
        size = SCRIBBLE
    number = value(subject, chance, kind, at, size, site.addresses)
    if number is None:
        return None
    return f"memory:{subject.name}:{step}:{site.label}@{at:#x}+{size}:{kind}={number % (1 << 8 * size):#x}"


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    """`step`, `place@physical+size`, `kind=value`."""
    step, place, said = rest
    physical, _, width = place.rpartition("@")[2].partition("+")
    kind, _, number = said.partition("=")
    at, size, new = int(physical, 16), int(width), int(number, 16)
    old = subject.word(at, size) or 0
    readers = subject.that_read(at, size) or [step]
    overlay = Overlay(subject.dump).word(at, new, size, physical=True)
    steps = within(subject, readers, step, ":".join(rest), SECONDS)
    if step == OPEN:
        steps = within(subject, sorted(subject.answers), step, ":".join(rest), 4 * SECONDS)
    is_pointer = size == 8 and not at % 8 and old >> 47 == (1 << 17) - 1 and subject.readable(old)
    leads_nowhere = new < TOP - 4095 and not subject.readable(new)
    rule = WILD if kind == "wild" and is_pointer and leads_nowhere and step != OPEN else NONE
    return Damaged(lambda: overlay.dump(fresh=step == OPEN), steps, rule, frozenset({new}))


KIND = Kind("memory", 45, draw, apply)
