"""Damaged twins of a dump: what a sick disk, a kernel that wrote where it should not, or an hour too late leaves of it.

    hurt(opened, "noise in what is read", Random(7))      # a dump of its own

Everything that is done to one follows from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from support.overlay import PAGE, Overlay

from kernlab.dump import Dump

Frames = list[int]


def frames_read(below: Dump, look: Callable[[Dump], object]) -> Frames:
    """The frames that somebody looks at who has not seen the dump before, of those that it has."""
    dump = Overlay(below).dump()
    find = dump.kernel.file.find
    seen: set[int] = set()

    def recording(pfns: np.ndarray) -> Any:
        found = find(pfns)
        seen.update(np.unique(pfns[found >= 0]).tolist())
        return found

    dump.kernel.file.find = recording  # type: ignore[method-assign]
    look(dump)
    return sorted(seen)


def _lost(share: float) -> Callable[[Overlay, Frames, Random], None]:
    def hurt(overlay: Overlay, frames: Frames, random: Random) -> None:
        for frame in random.sample(frames, max(round(len(frames) * share), 1)):
            overlay.lose(frame * PAGE, physical=True)

    return hurt


def _left_out(overlay: Overlay, frames: Frames, random: Random) -> None:
    for frame in random.sample(frames, len(frames) // 20):
        overlay.exclude(frame * PAGE, physical=True)


def _cut(overlay: Overlay, frames: Frames, random: Random) -> None:
    """The file ends early: what lies above some frame is gone."""
    first = frames[random.randrange(len(frames) // 2, len(frames))]
    for frame in frames[frames.index(first) :]:
        overlay.lose(frame * PAGE, physical=True)


def _noise(words: int) -> Callable[[Overlay, Frames, Random], None]:
    def hurt(overlay: Overlay, frames: Frames, random: Random) -> None:
        for _ in range(words):
            at = random.choice(frames) * PAGE + 8 * random.randrange(PAGE // 8)
            overlay.word(at, random.getrandbits(64), physical=True)

    return hurt


def _flipped(overlay: Overlay, frames: Frames, random: Random) -> None:
    """Bits of memory that is failing."""
    for _ in range(500):
        at = random.choice(frames) * PAGE + random.randrange(PAGE)
        byte = overlay.below.read(at, 1, physical=True)[0]
        overlay.write(at, bytes([byte ^ 1 << random.randrange(8)]), physical=True)


def _zeroed(overlay: Overlay, frames: Frames, random: Random) -> None:
    for frame in random.sample(frames, max(len(frames) // 50, 3)):
        overlay.write(frame * PAGE, bytes(PAGE), physical=True)


def _exchanged(overlay: Overlay, frames: Frames, random: Random) -> None:
    """Pages that lie where others belong."""
    for _ in range(5):
        one, other = random.sample(frames, 2)
        overlay.write(one * PAGE, overlay.below.read(other * PAGE, PAGE, physical=True), physical=True)


def _tasks(overlay: Overlay, frames: Frames, random: Random) -> None:
    """Threads of which something ran over a part."""
    tasks = overlay.below.tasks["address"].tolist()
    size = overlay.kernel.find_type("struct task_struct").size
    for address in random.sample(tasks, min(len(tasks), 6)):
        start = random.randrange(0, size - 64, 8)
        overlay.write(address + start, random.randbytes(random.choice((8, 64))))


def _log(overlay: Overlay, path: str) -> int:
    """A number of the log's ring buffer (kernel/printk/printk_ringbuffer.h)."""
    where, size = overlay.where("struct printk_ringbuffer", overlay.kernel.word("prb"), path)
    return int.from_bytes(overlay.below.read(where, size), "little")


def _text(overlay: Overlay) -> tuple[int, int]:
    """Where the log's text lies, and how much of it was ever written."""
    size = 1 << _log(overlay, "text_data_ring.size_bits")
    return _log(overlay, "text_data_ring.data"), min(
        size, _log(overlay, "text_data_ring.head_lpos.counter") % size
    )


def _torn(overlay: Overlay, frames: Frames, random: Random) -> None:
    """Some of the log's text is something else."""
    start, size = _text(overlay)
    for _ in range(6):
        overlay.write(start + random.randrange(size - 600), random.randbytes(random.randrange(20, 600)))


def _short(overlay: Overlay, frames: Frames, random: Random) -> None:
    """The log's last lines were not saved."""
    start, size = _text(overlay)
    cut = random.randrange(size * 3 // 4, size)
    overlay.write(start + cut, bytes(size - cut))


def _log_pages(overlay: Overlay, frames: Frames, random: Random) -> None:
    start, size = _text(overlay)
    pages = range(start & -PAGE, start + size, PAGE)
    overlay.lose(*random.sample(pages, max(len(pages) // 6, 1)))


def _descriptors(overlay: Overlay, frames: Frames, random: Random) -> None:
    """What says where the log's records lie is something else for some."""
    start, count = _log(overlay, "desc_ring.descs"), 1 << _log(overlay, "desc_ring.count_bits")
    size = overlay.kernel.find_type("struct prb_desc").size
    for _ in range(40):
        overlay.word(
            start + random.randrange(count) * size + 8 * random.randrange(size // 8), random.getrandbits(32)
        )


HURTS: dict[str, Callable[[Overlay, Frames, Random], None]] = {
    "some pages lost": _lost(0.02),
    "a third of the pages lost": _lost(0.3),
    "most pages lost": _lost(0.8),
    "pages left out": _left_out,
    "the file cut short": _cut,
    "some words overwritten": _noise(300),
    "many words overwritten": _noise(5000),
    "bits flipped": _flipped,
    "pages zeroed": _zeroed,
    "pages exchanged": _exchanged,
    "threads overwritten": _tasks,
    "the log torn": _torn,
    "the log's end lost": _short,
    "pages of the log lost": _log_pages,
    "the log's records overwritten": _descriptors,
}


def hurt(below: Dump, how: str, frames: Frames, random: Random) -> Dump:
    """A twin of a dump, hurt in one of the ways of HURTS. `frames` are those that whoever looks at it reads."""
    overlay = Overlay(below)
    HURTS[how](overlay, frames, random)
    return overlay.dump()
