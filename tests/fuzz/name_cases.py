"""Hostile names: a string that a step reads is overwritten, or what points to it points to another.

names:6.12:slabs:kmem_cache.name@0x1e41aa40+16:markup
names:6.12:slabs:kmem_cache.name@0x1e41aa40>long
names:6.12:vmstat:vm_counters@0x1e41aa40>0xffffffff82001000
"""

from __future__ import annotations

import random

import numpy as np
from support.hostile import IMG, LONG
from support.overlay import PAGE, Overlay

from fuzz.cases import ROWS, Damaged, Kind, site_step, within
from fuzz.recording import Site
from fuzz.subjects import Subject

SECONDS = 0.3

TEXTS = {
    "empty": b"",
    "free": b"free",
    "problems": b"problems",
    "name": b"name",
    "address": b"address",
    "self": b"self",
    "kernel": b"kernel",
    "table": b"table",
    "columns": b"columns",
    "mask": b"mask",
    "markup": IMG,
    "short-markup": b"<b>&amp;",
    "long": LONG,
    "escape": b"\x1b]0;owned\x07\x1b[31m",
    "format": b"%s%n{0.__class__}{}$x^2$",
    "pattern": b"(.*+?[\\",
    "surrogate": b"\xed\xa0\x80\xf0\x28\x8c\xff",
    "direction": "\u202e\u2066txt.exe".encode(),
    "controls": b"a\r\n\tb\x00c\x7f",
    "path": b"../../../../tmp/x",
    "slashes": b"////",
    "number": b"00001",
    "comma": b"\",;='`",
    "zero-width": "\u200b\ufeff".encode(),
}


def _pointers(subject: Subject, step: str) -> dict[int, int]:
    """Where a step reads pointers: what they point to, and the physical address of one that does."""
    found: dict[int, int] = {}
    for site in subject.reads[step].sites:
        if site.size % 8:
            continue
        at = np.array([one for one in site.addresses if one % 8 == 0], dtype=np.uint64)
        if not len(at):
            continue
        rows, status = subject.dump.kernel.memory.gather(at, site.size, physical=True)
        words = rows[status == 0].view("<u8")
        places = at[status == 0][:, None] + np.arange(words.shape[1], dtype=np.uint64) * np.uint64(8)
        kept = words >= np.uint64(1 << 63)
        found.update(zip(words[kept].tolist(), places[kept].tolist(), strict=True))
    return found


def _virtual(subject: Subject, physical: int) -> tuple[int, int]:
    layout = subject.dump.kernel.layout
    return layout.direct_start + physical, (physical - layout.image_offset) % (1 << 64)


_known: dict[tuple[str, str], dict[int, int]] = {}


def draw(subject: Subject, chance: random.Random) -> str | None:
    step = site_step(subject, chance)
    sites = [site for site in subject.reads[step].sites if site.text]
    if not sites:
        return None
    site: Site = chance.choice(sites)
    at = chance.choice(site.addresses)
    text = chance.choice(sorted(TEXTS))
    if (subject.name, step) not in _known:
        _known[subject.name, step] = _pointers(subject, step)
    pointers = _known[subject.name, step]
    place = next((pointers[one] for one in _virtual(subject, at) if one in pointers), None)
    start = f"names:{subject.name}:{step}:{site.label}"
    if place is None or chance.random() < 0.3:
        return f"{start}@{at:#x}+{site.size}:{text}"
    if chance.random() < 0.4:
        others = [one for other in site.addresses for one in _virtual(subject, other) if one in pointers]
        return f"{start}@{place:#x}>{chance.choice(others):#x}"
    return f"{start}@{place:#x}>{text}"


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    step, *said = rest
    place = ":".join(said).rpartition("@")[2]
    overlay = Overlay(subject.dump)
    if ">" in place:
        physical, _, target = place.partition(">")
        at, size = int(physical, 16), 8
        if target in TEXTS:
            data = TEXTS[target] + b"\0"
            pages = -(-len(data) // PAGE)
            data = data.ljust(pages * PAGE, b"\0")
            new = overlay.make(pages, lambda number: data[number * PAGE : (number + 1) * PAGE])
        else:
            new = int(target, 16)
        overlay.word(at, new, physical=True)
    else:
        where, _, text = place.partition(":")
        physical, _, width = where.partition("+")
        at = int(physical, 16)
        size = min(int(width), PAGE - at % PAGE, len(TEXTS[text]) + 1)
        overlay.write(at, (TEXTS[text] + b"\0")[:size], physical=True)
    steps = within(subject, subject.that_read(at, size), step, ":".join(rest), SECONDS)
    return Damaged(overlay.dump, steps, ROWS)


KIND = Kind("names", 12, draw, apply)
