"""Compressed dumps and traces (.xz, .gz, .zst, .bz2), as support sends them: unpacked into the disk cache, once."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kernlab.errors import CacheFullError, DumpFormatError, MissingDependencyError
from kernlab.formats.base import warn_lost
from kernlab.formats.source import PlainFile
from kernlab.util.cache import Writer, cached
from kernlab.util.progress import progress

#: Unpacked bytes at a time: what a bomb can take of memory.
_CHUNK = 1 << 20
#: How many of the first bytes `check` is shown.
_START = 8192
#: What xz and zstd may take for their windows (xz -9 takes 65 MiB, zstd --ultra --long=27 128 MiB).
_MOST_MEMORY = 1 << 30

#: Packed bytes at a time, where the library bounds no output: 4 of them may unpack to 128 KiB.
_ZSTD_INPUT = 1 << 12

#: What the standard library and zstandard raise for damaged and for cut data.
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def unpacked(path: Path, descriptor: int, kind: str, check: Callable[[bytes], None]) -> PlainFile:
    """The file that is packed in `descriptor`'s, from the cache or newly unpacked into it; takes the descriptor.

    `check` sees its first bytes and raises for what is none, before the rest is unpacked. A file that is cut short
    gives what comes before the cut, and a warning. Raises DumpFormatError, CacheFullError, MissingDependencyError.
    """
    packed_bytes = os.fstat(descriptor).st_size
    file, lost = unpacked_file(path, descriptor, kind, check)
    with file:
        source = PlainFile(path, os.dup(file.fileno()), os.fstat(file.fileno()).st_size)
    source.wrapping, source.file_bytes = kind, packed_bytes
    if lost:
        what = f"{path}: {lost}. Reading on with the first {source.size:,} bytes of the dump in it"
        warn_lost(source.problems, what, "Copy the file again")
    return source


def unpacked_file(
    path: Path, descriptor: int, kind: str, check: Callable[[bytes], None]
) -> tuple[BinaryIO, str]:
    """As `unpacked`, but the file itself in the cache, opened, and what could not be unpacked ('' where all could)."""
    with os.fdopen(descriptor, "rb") as packed:
        key = _key(path, packed)

        def fill(writer: Writer) -> dict[str, Any]:
            return _unpack(path, packed, kind, check, writer)

        try:
            file, facts = cached(key, fill)
        except CacheFullError as problem:
            raise CacheFullError(
                f"{path} is compressed with {kind} and must be unpacked: {problem}"
            ) from problem
    return file, str(facts.get("problem") or "")


def _key(path: Path, packed: BinaryIO) -> str:
    """Names the file as it is now: where it lies, when it was written, how it begins and ends."""
    status = os.fstat(packed.fileno())
    digest = hashlib.sha256(os.pread(packed.fileno(), 1 << 16, 0))
    digest.update(os.pread(packed.fileno(), 1 << 16, max(status.st_size - (1 << 16), 0)))
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, digest.hexdigest())
    return f"unpacked 1 {os.path.realpath(path)} {parts}"


def _unpack(
    path: Path, packed: BinaryIO, kind: str, check: Callable[[bytes], None], writer: Writer
) -> dict[str, Any]:
    """Write all that can be unpacked; what prevents the rest is reported, not raised."""
    size = os.fstat(packed.fileno()).st_size
    damage, chunks = unpacking(path, kind, packed)
    chunks = _begun(chunks, damage)
    written = done = 0
    with progress(f"Unpacking {path.name}", size, "B") as bar:
        while True:
            try:
                chunk = next(chunks, b"")
            except damage as problem:
                if not written:
                    raise DumpFormatError(
                        f"{path} is compressed with {kind}, but nothing can be unpacked from it: {_words(problem)}. "
                        "Copy the file again"
                    ) from problem
                return {
                    "problem": f"this file, compressed with {kind}, is cut short or damaged ({_words(problem)})"
                }
            if not chunk:
                break
            if not written:
                check(chunk)
            writer.write(chunk)
            written += len(chunk)
            position = min(packed.tell(), size)
            bar.advance(position - done)
            done = position
    if not written:
        raise DumpFormatError(f"{path} is an empty file, compressed with {kind}: there is nothing in it")
    return {}


def _begun(chunks: Iterator[bytes], damage: tuple[type[Exception], ...]) -> Iterator[bytes]:
    """The same bytes, the first of them together, as many as tell what they belong to."""
    start = b""
    try:
        for chunk in chunks:
            start += chunk
            if len(start) >= _START:
                break
    except damage:
        if start:
            yield start
        raise
    if start:
        yield start
    yield from chunks


def _words(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def unpacking(path: Path, kind: str, packed: BinaryIO) -> tuple[tuple[type[Exception], ...], Iterator[bytes]]:
    """What damage raises, and the unpacked bytes, bit by bit."""
    packed.seek(0)
    if kind == "xz":
        return _DAMAGE, _xz(packed)
    if kind == "gzip":
        return _DAMAGE, _read(gzip.GzipFile(fileobj=packed))
    if kind == "bzip2":
        return _DAMAGE, _read(bz2.BZ2File(packed))
    try:
        import zstandard
    except ImportError as problem:
        raise MissingDependencyError(
            f"{path} is compressed with zstd: pip install zstandard reads it, or unpack it: zstd -d {path}"
        ) from problem
    machine = zstandard.ZstdDecompressor(max_window_size=_MOST_MEMORY)
    return (*_DAMAGE, zstandard.ZstdError), _zstd(machine, packed)


def _read(stream: io.BufferedIOBase) -> Iterator[bytes]:
    while True:
        # read1 gives what there is before the damage, where read would give nothing.
        chunk = stream.read1(_CHUNK)
        if not chunk:
            return
        yield chunk


def _zstd(machine: Any, packed: BinaryIO) -> Iterator[bytes]:
    """Frame by frame; the library's own reader does not tell a file that is cut short."""
    left = b""
    while left := left or packed.read(_ZSTD_INPUT):
        frame = machine.decompressobj()
        while not frame.eof:
            left = left or packed.read(_ZSTD_INPUT)
            if not left:
                raise EOFError("the file ends before its last frame does")
            chunk = frame.decompress(left)
            left = b""
            if chunk:
                yield chunk
        left = frame.unused_data


def _xz(packed: BinaryIO) -> Iterator[bytes]:
    """Stream by stream, each with bounded memory; LZMAFile has no such bound."""
    left = b""
    while True:
        machine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
        while not machine.eof:
            if machine.needs_input:
                left = left or packed.read(1 << 16)
                if not left:
                    raise EOFError("the file ends before its stream does")
            chunk = machine.decompress(left, _CHUNK)
            left = b""
            if chunk:
                yield chunk
        # Zeros, a multiple of 4 bytes, may lie between streams (xz's file format, 2.2).
        left = machine.unused_data.lstrip(b"\0")
        while not left:
            more = packed.read(1 << 16)
            if not more:
                return
            left = more.lstrip(b"\0")
