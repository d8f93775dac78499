"""What guests said of open files: /proc/PID/fd and fdinfo, in their own words."""

from __future__ import annotations

import re

from support.truth import Truth

_LINK = re.compile(r"l([r-])([w-])\S* .* (\d+) -> (.*)", re.DOTALL)


def open_files(truth: Truth) -> dict[tuple[int, int], tuple[str, str]]:
    """(process, descriptor): how it was opened ("r", "w", "rw" or '') and what readlink printed."""
    found = {}
    for pid in truth.pids:
        # A path may hold a newline: each link's line begins with its mode.
        for line in re.split(r"\n(?=l[r-][w-][x-]---)", truth.text(f"p/{pid}/fd")):
            if match := _LINK.fullmatch(line.removesuffix("\n")):
                mode = (match[1] + match[2]).replace("-", "")
                found[pid, int(match[3])] = (mode, match[4])
    return found


def descriptor_infos(truth: Truth) -> dict[tuple[int, int], dict[str, list[str]]]:
    """(process, descriptor): what its fdinfo says, by key; a key that has several lines has a value for each."""
    found: dict[tuple[int, int], dict[str, list[str]]] = {}
    for pid in truth.pids:
        if f"p/{pid}/fdinfo" not in truth.files:
            continue
        for part in truth.text(f"p/{pid}/fdinfo").split("== ")[1:]:
            number, _, body = part.partition("\n")
            said = found.setdefault((pid, int(number)), {})
            for line in body.splitlines():
                key, _, value = line.partition(":")
                said.setdefault(key if key.strip() else "", []).append(value.strip())
    return found
