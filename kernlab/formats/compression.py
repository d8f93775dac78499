"""Decompressors for page data, chosen by measurement; each import stands here once, and says how to install it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

from kernlab.errors import MissingDependencyError


class Decompressor(NamedTuple):
    """`call(data, size)` gives the bytes of one page, at most `size` of them or one of `errors`."""

    call: Callable[[memoryview, int], bytes | bytearray]
    errors: tuple[type[Exception], ...]


def zlib_decompressor() -> Decompressor:
    """zlib pages: libdeflate through `deflate` (half the time of zlib), or else the standard library."""
    try:
        import deflate
    except ImportError:
        return Decompressor(_standard_zlib, (zlib.error, ValueError, MemoryError))
    return Decompressor(deflate.zlib_decompress, (deflate.DeflateError, ValueError, MemoryError))


def _standard_zlib(data: memoryview, size: int) -> bytes:
    machine = zlib.decompressobj()
    # One byte more than a page may have: a longer one is damaged, and is not unpacked to its end.
    page = machine.decompress(data, size + 1)
    if not machine.eof:
        raise ValueError("the page does not end where its data does")
    return page


def lzo_decompressor() -> Decompressor:
    """LZO1X pages, through `lzallright`, whose output is at most 255 times the data's length."""
    try:
        from lzallright import LZOCompressor, LZOError
    except ImportError as problem:
        raise MissingDependencyError(
            "this dump's pages are compressed with LZO: pip install lzallright reads them"
        ) from problem
    return Decompressor(LZOCompressor.decompress, (LZOError, ValueError, MemoryError))
