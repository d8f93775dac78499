"""What guests said of their mounts: /proc/PID/mountinfo and /proc/mounts, in their own words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from support.truth import Truth

#: id, parent_id, dev, root, target, mount_options, propagation, fstype, source, super_options
Mount = tuple[int, int, str, str, str, str, str, str, str, str]


def unescaped(text: str) -> str:
    r"""\040 and its like as what they stand for (seq_file's mangle)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mountinfo(truth: Truth, pid: int) -> Iterator[Mount]:
    """The mounts that a process sees, in their order; options stay escaped."""
    for line in truth.text(f"p/{pid}/mountinfo").split("\n")[:-1]:
        first, _, last = line.partition(" - ")
        number, parent, dev, root, target, options, *propagation = first.split(" ")
        fstype, source, own = last.split(" ")
        yield (
            int(number), int(parent), dev, unescaped(root), unescaped(target), options, " ".join(propagation),
            fstype, unescaped(source), own,
        )  # fmt: skip


def mounts(truth: Truth) -> list[tuple[str, str, str, str]]:
    """/proc/mounts as pid 1 sees it: source, target, fstype, options."""
    rows = [line.split(" ") for line in truth.lines("mounts")]
    return [(unescaped(row[0]), unescaped(row[1]), row[2], row[3]) for row in rows]
