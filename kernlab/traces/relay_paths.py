"""What a user names (a file, a pattern, a folder, a list) in, a channel's per-CPU files and its name out."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError

PathLike = str | os.PathLike[str]

#: What `record` leaves beside the files it writes.
METADATA = "relay.json"
#: More than this is no description that `record` wrote.
_LARGEST_METADATA = 1 << 20

#: More files than CPUs a kernel can have.
_MOST_FILES = 8192
_NUMBER = re.compile(r"(\d+)$")


def find_files(path: PathLike | Iterable[PathLike]) -> dict[int, Path]:
    """The files that `open` means, by CPU. Raises KernlabError where there are none, or two of one CPU."""
    if isinstance(path, str | os.PathLike):
        given = os.fspath(path)
        if Path(given).is_dir():
            found = [str(where) for where in _recorded(Path(given))]
        else:
            # A name may itself look like a pattern.
            found = glob(given) if has_magic(given) and not Path(given).exists() else [given]
        if not found:
            raise KernlabError(f"no file is named like {given}")
    else:
        found = [os.fspath(each) for each in path]
    if not found or len(found) > _MOST_FILES:
        raise KernlabError(f"{len(found):,} files are no relay channel, which has one per CPU")
    paths: dict[int, Path] = {}
    for name in found:
        cpu = _cpu_of(Path(name))
        if cpu in paths:
            raise KernlabError(
                f"{paths[cpu]} and {name} are both of CPU {cpu}: name the files of one channel"
            )
        paths[cpu] = Path(name)
    return dict(sorted(paths.items()))


def has_number(path: Path) -> bool:
    """Does a file's name end in the number of a CPU?"""
    number = _NUMBER.search(path.name)
    return number is not None and int(number[1]) < _MOST_FILES


def _cpu_of(path: Path) -> int:
    number = _NUMBER.search(path.name)
    return int(number[1]) if number and has_number(path) else 0


def _recorded(folder: Path) -> list[Path]:
    """The files of a folder that `record` wrote. Raises KernlabError for other folders."""
    try:
        names = [str(entry["file"]) for entry in _description(folder)["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KernlabError(
            f"{folder} is a folder without a {METADATA} that can be read ({error}); name its files: {folder}/trace*"
        ) from error
    if any(Path(name).name != name for name in names):
        raise KernlabError(f"{folder / METADATA} names files outside of its folder")
    return [folder / name for name in names]


def _description(folder: Path) -> Any:
    with (folder / METADATA).open("rb") as stream:
        return json.loads(stream.read(_LARGEST_METADATA))


def recorded_dropped(path: Path) -> tuple[int | None, str]:
    """(events that the kernel dropped while a file was recorded, what tells it), None where nothing does."""
    try:
        described = _description(path.parent)
        if path.name in [entry["file"] for entry in described["files"]]:
            return int(described["dropped"]), f"the kernel's own count ({METADATA})"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None, ""


def read_dropped(path: Path) -> int | None:
    """What blktrace's own file beside the traces of a running kernel counts as dropped, None where there is none."""
    try:
        return int((path.parent / "dropped").read_text())
    except (OSError, ValueError):
        return None


def channel_name(path: Path) -> str:
    """ "vda/trace" of /sys/kernel/debug/block/vda/trace0; what a saved file is of, of other places."""
    base = _NUMBER.sub("", path.name).rstrip(".") or path.name
    if base.endswith(".blktrace"):
        return f"{base.removesuffix('.blktrace')}/trace"
    folder = path.resolve().parent
    on_debugfs = "debug" in folder.parts[:4] and folder.parts[:2] == ("/", "sys")
    return f"{folder.name}/{base}" if on_debugfs else base
