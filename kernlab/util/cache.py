"""The disk cache: what is costly to make again lies under XDG_CACHE_HOME; bounded, and never in anybody's way.

A folder that cannot be written, another process that makes the same entry, a damaged entry, a full disk: each is
met here, so that callers see an open file or a CacheFullError.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kernlab.errors import CacheFullError

#: What all entries may take unless KERNLAB_CACHE_BYTES says otherwise.
DEFAULT_BOUND = 64 << 30

#: The disk is never filled to its end: this much, or a 20th of a small disk, stays free.
_RESERVE = 1 << 30
_CHECK_EVERY = 32 << 20, 1 << 16
_LARGEST_NOTE = 1 << 16
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_POLL = 0.1


class Writer(Protocol):
    """Takes the bytes of a new entry."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises CacheFullError where no room can be made."""


#: Writes an entry, and returns what is to be known of it later (plain JSON values).
Fill = Callable[[Writer], dict[str, Any]]


def folder() -> Path:
    """Where the cache lies: $XDG_CACHE_HOME/kernlab, or ~/.cache/kernlab."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"
    return base / "kernlab"


def bound() -> int:
    """How many bytes all entries may take together."""
    given = os.environ.get("KERNLAB_CACHE_BYTES", "")
    return int(given) if re.fullmatch(r"[0-9]{1,18}", given) else DEFAULT_BOUND


def cached(key: str, fill: Fill) -> tuple[BinaryIO, dict[str, Any]]:
    """The entry `key` as an open file, and what is known of it; `fill` writes it where there is none.

    Where the cache cannot be written, the entry is a temporary file that goes when it is closed. Raises
    CacheFullError where no room can be made, and what `fill` raises; neither leaves anything behind.
    """
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:40]
    place = _usable_folder()
    if place is None:
        return _temporary(fill)
    with _lock(place / f"{name}.lock"):
        found = _valid(place, name)
        return found if found is not None else _make(place, name, fill)


def _usable_folder() -> Path | None:
    place = folder()
    if not place.is_absolute():  # a user without a home
        return None
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = place.stat()
    except (OSError, RuntimeError):
        return None
    # What others may write they may exchange, too.
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    try:
        with tempfile.TemporaryFile(dir=place):
            return place
    except OSError:
        return None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process or thread makes an entry, the others wait for it. Some file systems have no locks: then none waits.

    A lock's file may be removed by whoever clears up: two may then make the same entry, and the last one's counts.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as problem:
                if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    break
                time.sleep(_POLL)
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _valid(place: Path, name: str) -> tuple[BinaryIO, dict[str, Any]] | None:
    """An entry that is as it was when it was made, or None; a damaged one is removed."""
    file: BinaryIO | None = None
    try:
        with open(place / f"{name}.json", "rb") as stream:
            told = json.loads(stream.read(_LARGEST_NOTE))
        descriptor = os.open(place / f"{name}.data", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        file = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        if (
            isinstance(told, dict)
            and isinstance(told.get("facts"), dict)
            and (told.get("bytes"), told.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
            and told.get("sample") == _sample(file, status.st_size)
        ):
            # When it was last used: the oldest goes first.
            with suppress(OSError):
                os.utime(place / f"{name}.json")
            return file, told["facts"]
    except (OSError, ValueError, RecursionError):
        pass
    if file is not None:
        file.close()
    _remove(place, name)
    return None


def _make(place: Path, name: str, fill: Fill) -> tuple[BinaryIO, dict[str, Any]]:
    descriptor, part = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=place)
    file = os.fdopen(descriptor, "w+b")
    try:
        writer = _BoundedWriter(file, place)
        facts = fill(writer)
        writer.finish()
        status = os.fstat(descriptor)
        told = {
            "bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sample": _sample(file, status.st_size),
            "facts": facts,
        }
        try:
            os.rename(part, place / f"{name}.data")
            _write_note(place, name, told)
        except OSError:
            # Whatever is wrong with the folder now, this file is good.
            _remove(place, name)
        file.seek(0)
        return file, facts
    except BaseException:
        file.close()
        raise
    finally:
        with suppress(OSError):
            os.unlink(part)


def _write_note(place: Path, name: str, told: dict[str, Any]) -> None:
    descriptor, part = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=place)
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(told, stream)
        os.rename(part, place / f"{name}.json")
    finally:
        with suppress(OSError):
            os.unlink(part)


def _temporary(fill: Fill) -> tuple[BinaryIO, dict[str, Any]]:
    """An entry that nobody else sees, for whoever has no cache."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    except OSError as problem:
        raise CacheFullError(
            f"neither {folder()} nor {tempfile.gettempdir()} can be written ({problem.strerror}); name a folder that "
            "can: XDG_CACHE_HOME=FOLDER, or TMPDIR=FOLDER"
        ) from problem
    try:
        writer = _BoundedWriter(file, None)
        facts = fill(writer)
        writer.finish()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, facts


class _BoundedWriter:
    """Writes while there is room, and makes room by removing the entries that were not used for longest."""

    def __init__(self, file: Any, place: Path | None):
        self._file, self._place = file, place
        self._written = self._checked = 0
        most, least = _CHECK_EVERY
        self._step = max(min(most, bound() // 64), least)

    def write(self, data: bytes | memoryview) -> None:
        if self._written + len(data) > self._checked:
            self._make_room(len(data))
            self._checked = self._written + len(data) + self._step
        try:
            self._file.write(data)
        except OSError as problem:
            raise self._full(problem.strerror or str(problem)) from problem
        self._written += len(data)

    def finish(self) -> None:
        try:
            self._file.flush()
        except OSError as problem:
            raise self._full(problem.strerror or str(problem)) from problem

    def _make_room(self, more: int) -> None:
        entries = _entries(self._place) if self._place is not None else []
        used, most = sum(size for _, size, _ in entries), bound()
        while True:
            free, reserve = _free(self._file.fileno())
            if free - more - self._step < reserve:
                why = f"its disk has {free:,} bytes left, of which {reserve:,} stay free"
            elif self._place is not None and used + self._written + more + self._step > most:
                why = f"it is limited to {most:,} bytes"
            else:
                return
            if not entries or self._place is None:
                raise self._full(why)
            _, size, name = entries.pop(0)
            used -= size
            _remove(self._place, name)

    def _full(self, why: str) -> CacheFullError:
        where = (
            f"the cache {self._place}" if self._place is not None else f"the folder {tempfile.gettempdir()}"
        )
        return CacheFullError(
            f"{where} has no room for more than {self._written:,} bytes of this: {why}. Make room there, name another "
            "folder (XDG_CACHE_HOME=FOLDER), or raise its bound (KERNLAB_CACHE_BYTES=NUMBER)"
        )


def _free(descriptor: int) -> tuple[int, int]:
    """Bytes that are free on a file's disk, and how many of them stay so."""
    status = os.fstatvfs(descriptor)
    return status.f_bavail * status.f_frsize, min(_RESERVE, status.f_blocks * status.f_frsize // 20)


def _entries(place: Path) -> list[tuple[float, int, str]]:
    """(last use, bytes, name) of each entry, oldest first; what a process left that was killed is removed."""
    found: dict[str, tuple[float, int, str]] = {}
    with suppress(OSError), os.scandir(place) as listing:
        for entry in listing:
            name, _, kind = entry.name.partition(".")
            with suppress(OSError):
                left_over = kind.endswith(".part") or (
                    kind == "lock" and not (place / f"{name}.data").exists()
                )
                if left_over and _abandoned(place / f"{name}.lock"):
                    os.unlink(entry.path)
                elif kind == "data":
                    size = entry.stat(follow_symlinks=False).st_size
                    used = 0.0
                    with suppress(OSError):
                        used = os.stat(place / f"{name}.json").st_mtime
                    found[name] = used, size, name
    return sorted(found.values())


def _abandoned(lock: Path) -> bool:
    """Is nobody making the entry of this lock?"""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _remove(place: Path, name: str) -> None:
    """Remove an entry; who has its file open keeps it."""
    for kind in ("json", "data"):
        path = place / f"{name}.{kind}"
        try:
            os.unlink(path)
        except IsADirectoryError:
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def _sample(file: BinaryIO, size: int) -> str:
    """A digest of blocks spread over the file and of its two ends: cheap, and no half-written file has it."""
    digest = hashlib.sha256(str(size).encode())
    step = max(size // _SAMPLES, 1)
    for start in [*range(0, size, max(step, _SAMPLE_BYTES)), max(size - _SAMPLE_BYTES, 0)]:
        digest.update(os.pread(file.fileno(), _SAMPLE_BYTES, start))
    return digest.hexdigest()
