"""A running kernel's tracefs (or a copy of it) in, its traces out.

Two ways, as of relay files: `trace` is text, and reading it takes nothing from the buffers; trace_pipe_raw gives the
bytes of events, and the kernel forgets what was read. Nothing is consumed unless asked for.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kernlab.errors import DumpFileError
from kernlab.formats.source import Offsets, Piece
from kernlab.formats.source import Source as Bytes
from kernlab.traces.ftrace.dat_layout import Option
from kernlab.traces.ftrace.dat_options import clocks_of, read_options
from kernlab.traces.ftrace.dat_read import Buffer, Stream, TraceDat, commit_bytes
from kernlab.traces.ftrace.format_text import TextFormats
from kernlab.traces.ftrace.formats import choose
from kernlab.traces.ftrace.source import NATIVE, Machine
from kernlab.traces.ftrace.text_view import FtraceText
from kernlab.traces.ftrace.trace_text import parse_lines

_PIECE = 1 << 20

#: More of one file than this is not read: a trace's text has some 100 bytes an event.
_MOST_BYTES = 1 << 31

#: Sub-buffers that are read beyond what a buffer has: a kernel that goes on tracing always has one more.
_MORE_SUBBUFS = 16


def is_tracefs(folder: Path) -> bool:
    """Is this tracefs, an instance in it, or a copy of one?"""
    return (folder / "trace").is_file() and (folder / "per_cpu").is_dir()


def open_live(folder: Path) -> FtraceLive:
    """What its files `trace` say. Raises DumpFileError where they cannot be read."""
    parts = {
        name: parse_lines(_text(where / "trace").split("\n"), name) for name, where in _instances(folder)
    }
    return FtraceLive(folder, parts, {event: system for system, event in _events(folder)})


def consume(folder: Path) -> tuple[Held, TraceDat]:
    """Take what is in the buffers: the sub-buffers' bytes, and what describes them. Raises DumpFileError."""
    header_page = _text(folder / "events" / "header_page", "")
    machine = Machine(commit_bytes(header_page) or NATIVE.word, sys.byteorder == "big")
    size = _subbuf_bytes(header_page)
    of_this_machine = str(folder.resolve()).startswith("/sys/")
    release = os.uname().release if of_this_machine else ""
    dat = TraceDat(
        folder,
        0,
        machine,
        size,
        formats=[(system, _text(path)) for system, path in _format_files(folder)],
        header_page=header_page,
        kallsyms=_bytes(Path("/proc/kallsyms")) if of_this_machine else b"",
        printk=_text(folder / "printk_formats", ""),
        comms=_text(folder / "saved_cmdlines", ""),
        options=[(Option.UNAME, f"Linux {release}".encode())] if release else [],
        clocks=_text(folder / "trace_clock", ""),
    )
    held = Held(folder)
    for name, where in _instances(folder):
        names, used = clocks_of(_text(where / "trace_clock", ""))
        buffer = Buffer(name, names[used] if used is not None else "", size)
        for cpu, files in _cpus(where):
            begin = held.size
            # Two of each: the reader's own, and what is written meanwhile.
            kilobytes = _number(files / "buffer_size_kb")
            for piece in _subbufs(
                files / "trace_pipe_raw", size, 2 * kilobytes * 1024 // size + _MORE_SUBBUFS
            ):
                held.add(piece)
            buffer.streams.append(Stream(cpu, begin, held.size - begin))
            if name:
                dat.options.append((Option.CPUSTAT, f"\nBuffer: {name}\n\n".encode()))
            # What is left is counted after it was read.
            dat.options.append((Option.CPUSTAT, f"CPU: {cpu}\n{_text(files / 'stats', '')}".encode()))
        dat.buffers.append(buffer)
    return held, dat


class Held(Bytes):
    """Bytes in memory, as a file's."""

    def __init__(self, path: Path):
        self.path, self.problems = path, []
        self.size = self.stored = self.file_bytes = 0
        self._parts: list[bytes] = []

    def add(self, piece: bytes) -> None:
        """More bytes behind the others."""
        self._parts.append(piece)
        self.size = self.stored = self.file_bytes = self.size + len(piece)

    def read(self, offset: int, size: int) -> bytes:
        """See Source.read."""
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0][offset : offset + size] if self._parts else b""

    def reach(self, offset: int) -> int:
        """See Source.reach."""
        return max(self.size, offset)

    def pieces(self, offsets: Offsets, sizes: Offsets) -> Iterable[Piece]:
        """See Source.pieces."""
        return [self.read(at, size) for at, size in zip(offsets.tolist(), sizes.tolist(), strict=True)]

    def copy(self, offset: int, target: memoryview) -> bool:
        """See Source.copy."""
        found = self.read(offset, len(target))
        target[: len(found)] = found
        return len(found) == len(target)

    def since_opened(self) -> list[str]:
        """See Source.since_opened."""
        return []

    def close(self) -> None:
        """See Source.close."""


class FtraceLive(FtraceText):
    """tracefs of a running kernel, or a copy: its text as tables, and what its other files say. Nothing is consumed."""

    _spoken = "a live trace"

    @cached_property
    def _formats(self) -> TextFormats:
        texts = [(system, _text(path)) for system, path in _format_files(self.path)]
        return TextFormats(texts, NATIVE, self.problems.append)

    def format(self, name: str) -> str:
        """An event's format, the file `events/SYSTEM/NAME/format`. Raises KernlabError for an event that is not."""
        event, system = self._formats.names[choose(self._formats, name, ())[0]]
        return _text(self.path / "events" / system / event / "format")

    @property
    def lost(self) -> pd.DataFrame:
        """One row per instance and CPU, of per_cpu/cpuN/stats: instance, cpu, entries (written in all), overrun (of
        these overwritten), read (of these taken by readers), decoded (in the text), missing (entries - overrun - read -
        decoded; what was written since the text was read is among it), commit_overrun, dropped_events."""
        rows = self._rows
        decoded: dict[tuple[str, int], int] = {}
        for key in zip(rows["instance"], rows["cpu"], strict=True):
            decoded[key] = decoded.get(key, 0) + 1
        found: dict[str, list[Any]] = {}
        for name, where in _instances(self.path):
            for cpu, files in _cpus(where):
                stats = f"CPU: {cpu}\n{_text(files / 'stats', '')}".encode()
                known = read_options([(Option.CPUSTAT, stats)], NATIVE).counters.get(("", cpu), {})
                left, overrun, read = (known.get(one) for one in ("left", "overrun", "read"))
                here = decoded.get((name, cpu), 0)
                row = {
                    "instance": name,
                    "cpu": cpu,
                    "entries": None
                    if None in (left, overrun, read)
                    else (left or 0) + (overrun or 0) + (read or 0),
                    "overrun": overrun,
                    "read": read,
                    "decoded": here,
                    "missing": None if left is None else left - here,
                    "commit_overrun": known.get("commit_overrun"),
                    "dropped_events": known.get("dropped_events"),
                }
                for column, value in row.items():
                    found.setdefault(column, []).append(value)
        return self._frame(
            "ftrace lost events",
            **{
                column: pd.Series(values, dtype="str" if column == "instance" else "Int64").array
                for column, values in found.items()
            },
        )

    @property
    def instances(self) -> pd.DataFrame:
        """One row per instance: name, tracer, clock, recording (tracing_on), overwrite, subbuf_bytes."""
        where = _instances(self.path)
        size = _subbuf_bytes(_text(self.path / "events" / "header_page", ""))
        clocks = [clocks_of(_text(folder / "trace_clock", "")) for _, folder in where]

        def said(name: str) -> list[str]:
            return [_text(folder / name, "").strip() for _, folder in where]

        return self._frame(
            "ftrace instances",
            name=pd.array([name for name, _ in where], dtype="str"),
            tracer=pd.array([text or None for text in said("current_tracer")], dtype="str"),
            clock=pd.array([None if used is None else names[used] for names, used in clocks], dtype="str"),
            recording=pd.array([_flag(text) for text in said("tracing_on")], dtype="boolean"),
            overwrite=pd.array([_flag(text) for text in said("options/overwrite")], dtype="boolean"),
            subbuf_bytes=np.full(len(where), size, dtype=np.int64),
        )


def _flag(text: str) -> bool | None:
    return {"0": False, "1": True}.get(text)


def _subbuf_bytes(header_page: str) -> int:
    """Bytes of a sub-buffer, of the last line of events/header_page."""
    match = re.search(r"field: char data;\s*offset:(\d{1,6});\s*size:(\d{1,9});", header_page)
    return int(match[1]) + int(match[2]) if match else os.sysconf("SC_PAGE_SIZE")


def _instances(folder: Path) -> list[tuple[str, Path]]:
    """The folder itself, and the instances in it; an instance's own folder has none."""
    inside = folder / "instances"
    names = sorted(one for one in inside.iterdir() if is_tracefs(one)) if inside.is_dir() else []
    return [("", folder), *((one.name, one) for one in names)]


def _cpus(folder: Path) -> list[tuple[int, Path]]:
    found = [
        (int(one.name[3:]), one)
        for one in (folder / "per_cpu").iterdir()
        if one.name.startswith("cpu") and one.name[3:].isdecimal() and len(one.name) < 9
    ]
    return sorted(found)


def _events(folder: Path) -> Iterator[tuple[str, str]]:
    for system, path in _format_files(folder):
        yield system, path.parent.name


def _format_files(folder: Path) -> list[tuple[str, Path]]:
    """(system, file) of every event's format; an instance lists those of the whole kernel."""
    root = folder / "events"
    return (
        sorted((path.parent.parent.name, path) for path in root.glob("*/*/format")) if root.is_dir() else []
    )


def _number(path: Path) -> int:
    text = _text(path, "0").split()
    return int(text[0]) if text and text[0].isdecimal() and len(text[0]) < 10 else 0


def _bytes(path: Path) -> bytes:
    """A file whose size nobody tells. Raises DumpFileError."""
    try:
        with path.open("rb", buffering=0) as file:
            parts, size = [], 0
            while size < _MOST_BYTES and (piece := file.read(_PIECE)):
                parts.append(piece)
                size += len(piece)
    except OSError as error:
        hint = "; only root may read tracefs" if isinstance(error, PermissionError) else ""
        raise DumpFileError(
            error.errno, f"cannot read the trace: {error.strerror}{hint}", str(path)
        ) from error
    return b"".join(parts)


def _text(path: Path, default: str | None = None) -> str:
    """A file's text; `default` where there is no such file. Raises DumpFileError."""
    if default is not None and not path.exists():
        return default
    return _bytes(path).decode("utf-8", "backslashreplace")


def _subbufs(path: Path, size: int, most: int) -> Iterator[bytes]:
    """Whole sub-buffers of a trace_pipe_raw until it is empty, at most so many."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DumpFileError(error.errno, f"cannot read the trace: {error.strerror}", str(path)) from error
    try:
        for _ in range(most):
            try:
                piece = os.read(file, size)
            except BlockingIOError:
                return
            if not piece:
                return
            yield piece.ljust(size, b"\0")
    except OSError as error:
        raise DumpFileError(error.errno, f"cannot read the trace: {error.strerror}", str(path)) from error
    finally:
        os.close(file)
