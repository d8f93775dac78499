"""Is a dump that the lab made whole? And the memory of which level was, for a kernel and a makedumpfile.

makedumpfile tells user data by the fields of page structs, which move: one older than the kernel takes slab pages for
anonymous memory and drops them, unseen. So each dump is opened, and its slab and page-table frames are counted.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from kernlab.capture.capture_options import ALL_LEFT_OUT
from kernlab.capture.steps import LabError
from kernlab.errors import KernlabError


def absent_frames(dumps: list[Path]) -> dict[str, tuple[int, int]]:
    """Absent slab and page-table frames of each dump, by its name (pieces of a split set under the set's)."""
    from kernlab.dump import open as open_dump

    found = {}
    for name, pieces in split_sets(dumps).items():
        try:
            with open_dump(pieces if len(pieces) > 1 else pieces[0]) as dump:
                info = dump.info
                found[name] = (int(info["slab_frames_absent"]), int(info["table_frames_absent"]))
        except KernlabError as error:
            raise LabError(f"The capture was saved, but kernlab cannot read {name}: {error}") from error
    return found


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
