"""Decompressors for page data, chosen by measurement; each import stands here once, and says how to install it."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from kernlab.errors import MissingDependencyError

Decompress = Callable[[bytes, int], bytes]


class BadPageError(Exception):
    """The compressed bytes of a page are damaged."""


def zlib_decompressor() -> Decompress:
    """zlib pages: libdeflate through `deflate` (half the time of zlib), or else the standard library."""
    try:
        import deflate
    except ImportError:
        return _standard_zlib
    decompress, error = deflate.zlib_decompress, deflate.DeflateError

    def with_libdeflate(data: bytes, size: int) -> bytes:
        try:
            page: bytes = decompress(data, size)
        except (error, ValueError, MemoryError) as problem:
            raise BadPageError(str(problem)) from problem
        return page

    return with_libdeflate


def _standard_zlib(data: bytes, size: int) -> bytes:
    machine = zlib.decompressobj()
    try:
        page = machine.decompress(data, size + 1)
    except zlib.error as problem:
        raise BadPageError(str(problem)) from problem
    if not machine.eof:
        raise BadPageError("it does not end where a page does")
    return page


def lzo_decompressor() -> Decompress:
    """LZO1X pages, through `lzallright`."""
    try:
        from lzallright import InputNotConsumed, LZOCompressor, LZOError
    except ImportError as problem:
        raise MissingDependencyError(
            "this dump's pages are compressed with LZO: pip install lzallright reads them"
        ) from problem
    decompress = LZOCompressor.decompress

    def with_lzallright(data: bytes, size: int) -> bytes:
        try:
            page: bytes = decompress(data, size)
        except (LZOError, InputNotConsumed, ValueError, MemoryError) as problem:
            raise BadPageError(str(problem)) from problem
        return page

    return with_lzallright
