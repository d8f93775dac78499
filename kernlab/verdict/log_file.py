"""A file in, the text of the kernel log in it out: plain or compressed, recognised by content, never by name."""

from __future__ import annotations

import codecs
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from kernlab.formats.packed_file import unpacking
from kernlab.formats.source import kind_of
from kernlab.util import losses
from kernlab.verdict.log_json import lines_of_json

#: What is kept of a log, in bytes: its end, where the machine died. No ring buffer of printk is larger (LOG_BUF_SHIFT).
_MOST = 64 << 20
#: How many of the first bytes tell whether a file is text.
_START = 1 << 16
_CHUNK = 1 << 20
#: How UTF-16 begins, as PowerShell writes what a command says.
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: Bytes that no text has many of: controls but tab, line feed, carriage return, escape.
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\r\x1b"})
#: Of the bytes: controls, and what is no UTF-8.
_MOST_CONTROLS, _MOST_STRANGE = 0.02, 0.05


def log_text(path: str | os.PathLike[str]) -> str | None:
    """The text of a log, unpacked where it is compressed (gzip, xz, zstd, bzip2); None where the file is no text.

    Of more than 64 MiB the last ones. What is cut short gives what comes before the cut, and tells it as lost. Raises
    MissingDependencyError where zstandard is not installed.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        file = Path(path).open("rb")  # noqa: SIM115 - closed by `with` below
    except (OSError, ValueError):
        # Who opens it as a dump says why it cannot be.
        return None
    with file:
        kind = kind_of(file.read(_START))
        if kind is None:
            file.seek(0)
            return text_of(_pieces(file))
        damage, pieces = unpacking(Path(path), kind, file)
        return text_of(_until(damage, pieces, str(path)))


def text_of(pieces: Iterable[bytes]) -> str | None:
    """The text that some bytes are, of which as many as tell are looked at first; None where they are none."""
    start, kept, size, above = b"", deque[bytes](), 0, 0
    told = False
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if not told:
            start += piece
            if told := len(start) >= _START:
                if not is_text(start[:_START]):
                    return None
                start = b""
        while size - len(kept[0]) >= _MOST:
            size -= len(kept[0])
            above += kept.popleft().count(b"\n")
    if not told and not is_text(start):
        return None
    whole = b"".join(kept)
    if len(whole) > _MOST:
        cut = whole.find(b"\n", len(whole) - _MOST) + 1
        above += whole.count(b"\n", 0, cut)
        losses.lost(
            f"the log is longer than {_MOST >> 20} MiB: its first {above:,} lines were not read, and lines are counted "
            "from there on"
        )
        whole = whole[cut:]
    text = _decoded(whole)
    return lines_of_json(text) or text


def why_no_text(start: bytes) -> str:
    """Why some bytes are no log, by the first of them, and what to do about it."""
    if not start:
        return "there is nothing in it"
    packed = kind_of(start)
    if packed is not None:
        return f"it is compressed ({packed}); name it as a file, or unpack it first"
    return "it has no text of a kernel log; name a dump by its file"


def _decoded(whole: bytes) -> str:
    if whole.startswith(_WIDE):
        return whole.decode("utf-16", errors="backslashreplace").replace("\r\n", "\n")
    return whole.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="backslashreplace")


def is_text(start: bytes) -> bool:
    """Whether bytes are text: few of them act instead of showing, and nearly all are UTF-8. No bytes are no text."""
    if not start:
        return False
    if start.startswith(_WIDE):
        start = start[: len(start) // 2 * 2].decode("utf-16", errors="replace").encode()
    controls = len(start) - len(start.translate(None, _CONTROLS))
    strange = start.decode("utf-8", errors="replace").count("\ufffd")
    return controls <= _MOST_CONTROLS * len(start) and strange <= _MOST_STRANGE * len(start)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _until(damage: tuple[type[Exception], ...], pieces: Iterator[bytes], path: Any) -> Iterator[bytes]:
    """The pieces before the damage, which is told."""
    try:
        yield from pieces
    except damage as problem:
        losses.lost(
            f"{path} is cut short or damaged ({' '.join(str(problem).split()) or type(problem).__name__})"
        )
