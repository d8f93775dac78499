"""Files below a root folder: the running machine's `/`, or a recorded tree of another machine's /proc, /sys and /etc.

Only reads. Nothing of a recorded tree leads out of it: links are followed as if its root were `/`. What files cannot
hold (sizes of large files, free room, what programs print) stands in the tree's `recorded.json`.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError

#: /proc and /sys hold pages, not megabytes; a longer file is cut.
_LONGEST = 1 << 20

_MOST_LINKS = 40


class Root:
    """Reads files below `path`. `unread` tells what is there but could not be read: path to reason."""

    def __init__(self, path: str | os.PathLike[str] = "/"):
        self.path = Path(path)
        if not self.path.is_dir():
            raise KernlabError(
                f"{self.path} is not a directory: --root names the folder that holds proc/, sys/ and etc/"
            )
        self.live = self.path.resolve() == Path("/")
        self.unread: dict[str, str] = {}
        self.recorded = {} if self.live else self._recorded()

    def _recorded(self) -> dict[str, Any]:
        raw = self.read("/recorded.json")
        if raw is None:
            return {}
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise KernlabError(f"{self.path / 'recorded.json'} is not JSON: {error}") from error
        return found if isinstance(found, dict) else {}

    def locate(self, path: str) -> Path | None:
        """Where a path of the machine lies, its links followed below the root; None where nothing is."""
        parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here: list[str] = []
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                here = here[:-1]
                continue
            candidate = self.path.joinpath(*here, part)
            try:
                target = os.readlink(candidate)
            except OSError:
                here.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            if target.startswith("/"):
                here = []
            parts += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
        found = self.path.joinpath(*here)
        return found if found.exists() else None

    def exists(self, path: str) -> bool:
        """Whether the machine has something at a path."""
        try:
            return self.locate(path) is not None or path in self._numbers("sizes")
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return False

    def read(self, path: str, limit: int = _LONGEST) -> bytes | None:
        """The first bytes of a regular file; None where there is none, or (see `unread`) it cannot be read."""
        try:
            found = self.locate(path)
            if found is None:
                return None
            # A pipe would wait for ever, a device would act.
            if not stat.S_ISREG(found.stat().st_mode):
                return None
            with found.open("rb") as stream:
                return stream.read(limit)
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return None

    def text(self, path: str) -> str | None:
        """A file as text without the white space around it, or None as from `read`."""
        raw = self.read(path)
        return None if raw is None else raw.decode("utf-8", "backslashreplace").strip()

    def number(self, path: str) -> int | None:
        """A file that holds one number, or None."""
        try:
            return int(self.text(path) or "")
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; [] where there is none."""
        try:
            found = self.locate(path)
            return sorted(os.listdir(found)) if found is not None and found.is_dir() else []
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return []

    def size(self, path: str) -> int | None:
        """Size of a file in bytes."""
        if path in self._numbers("sizes"):
            return self._numbers("sizes")[path]
        try:
            found = self.locate(path)
            return None if found is None else found.stat().st_size
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return None

    def unpacked(self, path: str) -> int | None:
        """Size of what a gzip file holds, by its trailer (RFC 1952, ISIZE); None for anything else."""
        if path in self._numbers("unpacked"):
            return self._numbers("unpacked")[path]
        found = self.locate(path) if self.live else None
        try:
            if found is None or not stat.S_ISREG(found.stat().st_mode):
                return None
            with found.open("rb") as stream:
                if stream.read(3) != b"\x1f\x8b\x08":
                    return None
                stream.seek(-4, os.SEEK_END)
                return int.from_bytes(stream.read(4), "little")
        except OSError:
            return None

    def free(self, path: str) -> int | None:
        """Bytes that root can still write at a path (or where it would be made); None where that is not known."""
        if not self.live:
            return self._numbers("free").get(path)
        place = Path(path)
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            room = os.statvfs(place)
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return None
        return room.f_bfree * room.f_frsize

    def run(self, *command: str, seconds: float = 10) -> str | None:
        """What a program that changes nothing prints; None where it is missing, fails, or takes too long."""
        if not self.live:
            printed = self.recorded.get("programs", {})
            found = printed.get(" ".join(command)) if isinstance(printed, dict) else None
            return found if isinstance(found, str) else None
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout[:_LONGEST].decode("utf-8", "backslashreplace") if done.returncode == 0 else None

    def _numbers(self, name: str) -> dict[str, int]:
        held = self.recorded.get(name, {}) if hasattr(self, "recorded") else {}
        if not isinstance(held, dict):
            return {}
        return {key: value for key, value in held.items() if isinstance(value, int)}
