"""What packages hold packed: the vmlinux in a bzImage, and modules. A file in, an ELF file's bytes out."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from kernlab.lab.steps import LabError

_LZ4_BLOCK = 8 << 20  # of the legacy format that the kernel's build writes
_NOT_THERE = (lzma.LZMAError, zlib.error, ValueError, struct.error)


def unpacked_image(vmlinuz: Path) -> bytes:
    """The vmlinux (ELF) that a bzImage unpacks at boot: xz, zstd, gzip or lz4, as its build was configured."""
    image = vmlinuz.read_bytes()
    for magic, unpack in _PACKED.items():
        at = image.find(magic)
        while at >= 0:
            try:
                content = unpack(image[at:])
            except _NOT_THERE:
                content = b""
            if content.startswith(b"\x7fELF"):
                return content
            at = image.find(magic, at + 1)
    raise LabError(f"{vmlinuz.name} holds no image that the lab can unpack (xz, zstd, gzip, lz4).")


def unpacked_module(path: Path) -> bytes:
    """A kernel module's own bytes (.ko, .ko.xz, .ko.gz, .ko.zst)."""
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        return _zstd(content)
    return content


def _zstd(data: bytes) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _lz4(data: bytes) -> bytes:
    """lz4's legacy frames: blocks behind their lengths, each of 8 MiB but the last."""
    import cramjam

    parts, at = [], 4
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, at)
        if not 0 < size <= _LZ4_BLOCK * 2 or at + 4 + size > len(data):
            break  # what follows the last block is not a length
        try:
            block = cramjam.lz4.decompress_block(data[at + 4 : at + 4 + size], output_len=_LZ4_BLOCK)
        except cramjam.DecompressionError as error:
            raise ValueError(str(error)) from error
        parts.append(bytes(block))
        at += 4 + size
        if len(parts[-1]) < _LZ4_BLOCK:
            break
    return b"".join(parts)


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x1f\x8b\x08": lambda data: zlib.decompressobj(31).decompress(data),
    b"\x02\x21\x4c\x18": _lz4,
}
