"""What a user names (a file, a pattern, a folder, a list) in, a channel's per-CPU files and its name out."""

from __future__ import annotations

import itertools
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
#: More than this is not a description that `record` wrote.
_LARGEST_METADATA = 1 << 20

#: More files than CPUs a kernel can have.
_MOST_FILES = 8192
_NUMBER = re.compile(r"(\d+)$")
#: What a file's name has at its end when it was packed; block traces' names, on debugfs and as blktrace saves them.
_PACKED = re.compile(r"\.(gz|xz|zst|bz2)$")
_LIVE = re.compile(r"trace\d+")
_BLKTRACE = re.compile(r"\.blktrace\.\d+(\.(gz|xz|zst|bz2))?$")


def find_files(path: PathLike | Iterable[PathLike]) -> dict[int, Path]:
    """The files that `open` means, by CPU. Raises KernlabError where there are none, or two of one CPU."""
    alone = isinstance(path, str | os.PathLike)
    found = _named(os.fspath(path)) if alone else list(map(os.fspath, path))  # type: ignore[arg-type]
    if not found or len(found) > _MOST_FILES:
        raise KernlabError(f"{len(found):,} files are too many for a relay channel, which has one per CPU")
    paths: dict[int, Path] = {}
    for name in found:
        cpu = _cpu_of(Path(name))
        if cpu in paths:
            raise KernlabError(
                f"{paths[cpu]} and {name} are both of CPU {cpu}: name the files of one channel"
            )
        paths[cpu] = Path(name)
    return dict(sorted(paths.items()))


def _named(given: str) -> list[str]:
    where = Path(given)
    if where.is_dir():
        return [str(file) for file in _of_folder(where)]
    # A name may itself look like a pattern.
    if where.exists():
        return [given]
    if has_magic(given):
        found = glob(given)
        if not found:
            raise KernlabError(f"no file is named like {given}")
        return found
    # As blkparse -i takes it: sda is sda.blktrace.0, sda.blktrace.1 …
    whole = [file for file in _entries(where.parent) if _BLKTRACE.sub("", file.name) == where.name]
    return [str(file) for file in whole if file.name != where.name] or [given]


def _of_folder(folder: Path) -> list[Path]:
    """The files of a folder: those that `record` wrote, blktrace's of one device, or a device's on debugfs."""
    if (folder / METADATA).exists():
        return _recorded(folder)
    files = _entries(folder)
    traces = [file for file in files if _BLKTRACE.search(file.name)]
    bases = sorted({_BLKTRACE.sub("", file.name) for file in traces})
    if len(bases) == 1:
        return traces
    if bases:
        raise KernlabError(
            f"{folder} holds the block traces of {', '.join(bases[:20])}: name one, as {folder / bases[0]}"
        )
    live = [file for file in files if _LIVE.fullmatch(file.name)]
    if live:
        return live
    raise KernlabError(
        f"{folder} is a folder without a {METADATA} and without block traces; name its files: {folder}/trace*"
    )


def _entries(folder: Path) -> list[Path]:
    try:
        found = list(itertools.islice(folder.iterdir(), 1 << 20))
    except OSError:
        return []
    return sorted(found, key=lambda file: (_cpu_of(file), file.name))


def more_files(path: Path) -> str:
    """A sentence where a file that was named alone is one of several CPUs' of its trace, '' where it is not."""
    plain = _PACKED.sub("", path.name)
    if not (_BLKTRACE.search(path.name) or _LIVE.fullmatch(plain)):
        return ""
    stem = _NUMBER.sub("", plain)
    alike = [file for file in _entries(path.parent) if _NUMBER.sub("", _PACKED.sub("", file.name)) == stem]
    alike = [file for file in alike if has_number(file)]
    if len(alike) < 2:
        return ""
    whole = (
        path.with_name(stem.removesuffix(".blktrace."))
        if stem.endswith(".blktrace.")
        else f"{path.parent}/{stem}*"
    )
    return (
        f"{path} is one of {len(alike):,} files of this trace, one per CPU, and was opened alone: open {str(whole)!r} "
        "for all"
    )


def has_number(path: Path) -> bool:
    """Does a file's name end in the number of a CPU?"""
    number = _NUMBER.search(_PACKED.sub("", path.name))
    return number is not None and int(number[1]) < _MOST_FILES


def is_block_trace(path: Path) -> bool:
    """Is a file a block trace by its name, or by where it lies?"""
    where = path.resolve()
    return bool(_BLKTRACE.search(path.name)) or (
        bool(_LIVE.fullmatch(where.name)) and where.parent.parent.name == "block"
    )


def _cpu_of(path: Path) -> int:
    number = _NUMBER.search(_PACKED.sub("", path.name))
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
        try:
            return json.loads(stream.read(_LARGEST_METADATA))
        except RecursionError as error:
            raise ValueError("its lists are nested too deeply") from error


def recorded_dropped(path: Path) -> tuple[int | None, str]:
    """(events that the kernel dropped while a file was recorded, what tells it), None where nothing does."""
    try:
        described = _description(path.parent)
        dropped = described["dropped"]
        # A description comes with the files: a count is believed that a kernel's counter could be.
        counts = type(dropped) is int and 0 <= dropped < 1 << 63
        if counts and path.name in [entry["file"] for entry in described["files"]]:
            return dropped, f"the kernel's own count ({METADATA})"
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
    plain = _PACKED.sub("", path.name)
    base = _NUMBER.sub("", plain).rstrip(".") or plain
    if base.endswith(".blktrace"):
        return f"{base.removesuffix('.blktrace')}/trace"
    folder = path.resolve().parent
    on_debugfs = "debug" in folder.parts[:4] and folder.parts[:2] == ("/", "sys")
    return f"{folder.name}/{base}" if on_debugfs else base
