"""What zram and zswap compress pages with: compressed bytes and an algorithm's name in, a page out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from kernlab.errors import KernlabError
from kernlab.formats.lzo_rle import lzo_rle_decompress
from kernlab.formats.page_codecs import Decompressor, lzo_decompressor, zstd_decompressor
from kernlab.formats.source import Piece


def decompress(algorithm: str, data: bytes, size: int) -> tuple[bytes | None, str]:
    """A page of `size` bytes from `data`, or None and why not."""
    try:
        codec = _codec(algorithm)
    except KernlabError as error:
        return None, str(error)
    if codec is None:
        return None, f"pages compressed with {algorithm or 'an unknown algorithm'} cannot be read"
    try:
        page = bytes(codec.call(data, size))
    except codec.errors as error:
        return None, f"a page compressed with {algorithm} is damaged ({error})"
    if len(page) != size:
        return None, f"a page compressed with {algorithm} is damaged: it has {len(page):,} bytes"
    return page, ""


@cache
def _codec(algorithm: str) -> Decompressor | None:
    makers: dict[str, Callable[[], Decompressor]] = {
        "lzo": lzo_decompressor,
        "lzo-rle": lambda: Decompressor(
            lambda data, size: lzo_rle_decompress(bytes(data), size), (ValueError,)
        ),
        "lz4": _lz4,
        "lz4hc": _lz4,
        "zstd": zstd_decompressor,
    }
    maker = makers.get(algorithm)
    return None if maker is None else maker()


def _lz4() -> Decompressor:
    """LZ4 blocks without a head, through `cramjam`."""
    from cramjam import DecompressionError, lz4

    def call(data: Piece, size: int) -> bytes:
        room = bytearray(size)
        if lz4.decompress_block_into(data, room, size) != size:
            raise ValueError("the page is not of its size")
        return bytes(room)

    return Decompressor(call, (DecompressionError, ValueError, MemoryError))
