"""A copy of a tracefs instance (service.copy_trace) in, a trace.dat out. Layout as trace-cmd.dat.v6(5) has it."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import BinaryIO

from kernlab.errors import KernlabError
from kernlab.util.files import whole_file

_MAGIC = b"\x17\x08\x44tracing6\0"
_TRACECLOCK, _DONE = 4, 0
_ALIGN = 4096


def write_dat(folder: Path, output: Path) -> int:
    """Write what was copied to `folder`; gives the bytes of sub-buffers. KernlabError where it is not such a copy."""
    pages = {int(path.parent.name[3:]): path for path in folder.glob("per_cpu/cpu*/trace_pipe_raw")}
    header = _read(folder / "events/header_page")
    if not pages or not header:
        raise KernlabError(
            f"{folder} is not a copy of a tracefs instance: it has no buffers, or no header_page."
        )
    size = _subbuf_size(header)
    with whole_file(output) as temporary, temporary.open("wb") as file:
        big = sys.byteorder == "big"
        file.write(_MAGIC + bytes([big, 8]) + struct.pack("=I", size))
        file.write(b"header_page\0" + _sized("=Q", header))
        file.write(b"header_event\0" + _sized("=Q", _read(folder / "events/header_event")))
        _write_formats(file, folder / "events")
        file.write(
            _sized("=I", b"") + _sized("=I", b"") + _sized("=Q", b"")
        )  # symbols, printk's formats, names
        file.write(struct.pack("=I", max(pages) + 1))
        clock = _read(folder / "trace_clock")
        file.write(
            b"options  \0" + struct.pack("=HI", _TRACECLOCK, len(clock)) + clock + struct.pack("=H", _DONE)
        )
        return _write_buffers(file, pages, size)


def _write_buffers(file: BinaryIO, pages: dict[int, Path], size: int) -> int:
    file.write(b"flyrecord\0")
    cpus = max(pages) + 1
    at = -(-(file.tell() + 16 * cpus) // _ALIGN) * _ALIGN
    # A copy that was cut ends within a sub-buffer: what is not whole stays out.
    sizes = [pages[cpu].stat().st_size // size * size if cpu in pages else 0 for cpu in range(cpus)]
    for cpu in range(cpus):
        file.write(struct.pack("=QQ", at + sum(sizes[:cpu]), sizes[cpu]))
    file.seek(at)
    for cpu in range(cpus):
        if cpu in pages:
            with pages[cpu].open("rb") as source:
                left = sizes[cpu]
                while piece := source.read(min(left, 1 << 20)):
                    file.write(piece)
                    left -= len(piece)
    return sum(sizes)


def _write_formats(file: BinaryIO, events: Path) -> None:
    """Formats of ftrace's own events, then of the others by their systems."""
    systems = sorted({path.parent.parent.name for path in events.glob("*/*/format")})
    for name in ("ftrace", *(system for system in systems if system != "ftrace")):
        formats = [_read(path) for path in sorted((events / name).glob("*/format"))]
        if name != "ftrace":
            file.write(name.encode() + b"\0")
        file.write(struct.pack("=I", len(formats)))
        file.write(b"".join(_sized("=Q", text) for text in formats))
        if name == "ftrace":
            file.write(struct.pack("=I", len([system for system in systems if system != "ftrace"])))


def _subbuf_size(header: bytes) -> int:
    """A sub-buffer's bytes, head and data: header_page tells the data's offset and size."""
    for line in header.splitlines():
        words = line.replace(b":", b" ").replace(b";", b" ").split()
        if b"data" in words and b"offset" in words and b"size" in words:
            return int(words[words.index(b"offset") + 1]) + int(words[words.index(b"size") + 1])
    raise KernlabError("header_page does not say where a sub-buffer's data lies.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _sized(kind: str, content: bytes) -> bytes:
    return struct.pack(kind, len(content)) + content
