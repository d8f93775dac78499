"""Is a dump that the lab made whole? And the memory of which level was, for a kernel and a makedumpfile.

makedumpfile tells user data by the fields of page structs, which move: one older than the kernel takes slab pages for
anonymous memory and drops them, unseen. So each dump is opened, and the frames that no level leaves out are counted.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.lab.capture_options import ALL_LEFT_OUT
from kernlab.lab.steps import LabError

#: What of a dump's `info` counts frames that no level leaves out, and what these are.
_COUNTED = {
    "slab": "slab_frames_absent",
    "large kmalloc": "kmalloc_frames_absent",
    "table": "table_frames_absent",
}


def absent_frames(
    dumps: list[Path], vmlinux: Path | None = None, symbols: Path | None = None
) -> dict[str, dict[str, int | None]]:
    """Absent frames of each dump, by its name (pieces of a split set under the set's): how many of what.

    None where the kernel does not mark its frames of that kind, or does not say. `vmlinux` has the types of a kernel
    that has none in its memory, `symbols` (a System.map) those of one whose own table names functions only.
    """
    from kernlab.dump import open as open_dump

    found: dict[str, dict[str, int | None]] = {}
    for name, pieces in split_sets(dumps).items():
        try:
            given = pieces if len(pieces) > 1 else pieces[0]
            with open_dump(given, vmlinux=vmlinux, symbols=symbols) as dump:
                found[name] = absent_of(dump.info)
        except KernlabError as error:
            raise LabError(f"The capture was saved, but kernlab cannot read {name}: {error}") from error
    return found


def absent_of(info: pd.Series[Any]) -> dict[str, int | None]:
    """Absent frames by what they are, of a dump by its `info`; None as `absent_frames` has it."""
    counts = {what: info[key] for what, key in _COUNTED.items()}
    return {what: None if pd.isna(count) else int(count) for what, count in counts.items()}


def split_sets(dumps: list[Path]) -> dict[str, list[Path]]:
    """Dumps by name; vmcore.split.0, .1, .2 are one dump, vmcore.split."""
    sets: dict[str, list[Path]] = {}
    for path in sorted(dumps):
        sets.setdefault(re.sub(r"\.\d$", "", path.name), []).append(path)
    return sets


class LevelMemory:
    """The level that lost nothing, kept in the cache per kernel package and makedumpfile."""

    def __init__(self, cache: Path, kernel: str, makedumpfile: str):
        self._file = cache / "levels.json"
        self._key = f"{kernel} {makedumpfile}"

    def level(self) -> int:
        """The highest level, unless an earlier capture lost pages with it."""
        return self._known().get(self._key, ALL_LEFT_OUT)

    def remember(self, level: int) -> None:
        """Take this level from now on."""
        known = {**self._known(), self._key: level}
        with contextlib.suppress(OSError):
            partial = self._file.with_suffix(".new")
            partial.write_text(json.dumps(known, indent=1))
            partial.rename(self._file)

    def _known(self) -> dict[str, int]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return (
            {key: level for key, level in known.items() if isinstance(level, int)}
            if isinstance(known, dict)
            else {}
        )
