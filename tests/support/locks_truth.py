"""What guests said of locks on files: /proc/locks."""

from __future__ import annotations

import re

from support.truth import Truth

_LINE = re.compile(
    r"(\d+): (?:( *)-> )?(\S+) +(\S+) +(\S+) (-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)"
)

#: number, level, kind, state, type, pid, dev, inode, start, end
Lock = tuple[int, int, str, str, str, int, str, int, int, int | None]


def file_locks(truth: Truth) -> list[Lock]:
    """Its lines in their order; a guest that locks nothing has no such file."""
    found: list[Lock] = []
    for line in truth.lines("locks") if "locks" in truth.files else []:
        match = _LINE.fullmatch(line.rstrip())
        assert match, line
        level = 0 if match[2] is None else len(match[2]) + 1
        dev = f"{int(match[7], 16)}:{int(match[8], 16)}"
        end = None if match[11] == "EOF" else int(match[11])
        found.append(
            (
                int(match[1]),
                level,
                *match.group(3, 4, 5),
                int(match[6]),
                dev,
                int(match[9]),
                int(match[10]),
                end,
            )
        )
    return found
