"""Decompressors for page data, chosen by measurement; each import stands here once, and says how to install it."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from kernlab.errors import MissingDependencyError
from kernlab.formats.source import Piece

#: What a decompressed page comes in: whatever a memoryview can be filled from.
Page = Any


#: libdeflate's levels are 1 to 12: 1 takes 37 µs a page, 4 44 µs and 4 % less room, 6 62 µs and 6 %.
_LEVEL = 4


class Decompressor(NamedTuple):
    """`call(data, size)` gives the bytes of one page, at most `size` of them or one of `errors`."""

    call: Callable[[Piece, int], Page]
    errors: tuple[type[Exception], ...]


def zlib_decompressor() -> Decompressor:
    """zlib pages: libdeflate through `deflate` (half the time of zlib), or else the standard library."""
    try:
        import deflate
    except ImportError:
        return Decompressor(_standard_zlib, (zlib.error, ValueError, MemoryError))
    return Decompressor(deflate.zlib_decompress, (deflate.DeflateError, ValueError, MemoryError))


def _standard_zlib(data: Piece, size: int) -> bytes:
    machine = zlib.decompressobj()
    # One byte more than a page may have: a longer one is damaged, and is not unpacked to its end.
    page = machine.decompress(data, size + 1)
    if not machine.eof:
        raise ValueError("the page does not end where its data does")
    return page


def zlib_compressor() -> Callable[[bytes], bytes]:
    """What packs a page as zlib: libdeflate where it is installed (2.5 % smaller than zlib's fastest, as quick)."""
    try:
        import deflate
    except ImportError:
        return lambda page: zlib.compress(page, 1)

    def call(page: bytes) -> bytes:
        return bytes(deflate.zlib_compress(page, _LEVEL))

    return call


def lzo_decompressor() -> Decompressor:
    """LZO1X pages, through `lzallright`, whose output is at most 255 times the data's length."""
    try:
        from lzallright import LZOCompressor, LZOError
    except ImportError as problem:
        raise MissingDependencyError(
            "this dump's pages are compressed with LZO: pip install lzallright reads them"
        ) from problem
    return Decompressor(LZOCompressor.decompress, (LZOError, ValueError, MemoryError))


def snappy_decompressor() -> Decompressor:
    """Snappy pages (the raw format, without frames), through `cramjam`."""
    try:
        from cramjam import DecompressionError, snappy
    except ImportError as problem:
        raise MissingDependencyError(
            "this dump's pages are compressed with Snappy: pip install cramjam reads them"
        ) from problem

    def call(data: Piece, size: int) -> Page:
        # The data says how long the page is, and that much is allocated.
        if snappy.decompress_raw_len(data) != size:
            raise ValueError("the page is not of its size")
        return snappy.decompress_raw(data)

    return Decompressor(call, (DecompressionError, ValueError, MemoryError))


def snappy_stream_decompressor() -> Decompressor:
    """Streams in Snappy's framing format, whose check sums are verified, through `cramjam`."""
    try:
        from cramjam import DecompressionError, snappy
    except ImportError as problem:
        raise MissingDependencyError(
            "this image is compressed with Snappy: pip install cramjam reads it"
        ) from problem

    def call(data: Piece, size: int) -> Page:
        # The room for it bounds what it unpacks to.
        room = bytearray(size)
        if snappy.decompress_into(data, room) != size:
            raise ValueError("the stream is not of its size")
        return room

    return Decompressor(call, (DecompressionError, ValueError, MemoryError))


def zstd_decompressor() -> Decompressor:
    """Zstandard pages, through `zstandard` (a quarter of the time of cramjam and backports.zstd)."""
    try:
        import zstandard
    except ImportError as problem:
        raise MissingDependencyError(
            "this dump's pages are compressed with Zstandard: pip install zstandard reads them"
        ) from problem
    # One such machine serves one thread at a time.
    local = threading.local()

    def call(data: Piece, size: int) -> Page:
        # The data may say how long the page is, and then that much is allocated, whatever the bound.
        if zstandard.frame_content_size(data) > size:
            raise ValueError("the page is not of its size")
        machine = getattr(local, "machine", None)
        if machine is None:
            machine = local.machine = zstandard.ZstdDecompressor()
        page: bytes = machine.decompress(data, max_output_size=size)
        return page

    return Decompressor(call, (zstandard.ZstdError, ValueError, MemoryError))
