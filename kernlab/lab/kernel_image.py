"""What packages hold packed: the vmlinux in a bzImage, the Image of an arm64 kernel, its types, and modules.

A file in, an ELF file's bytes (of an Image: its own) out.
"""

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
_ARM64_MAGIC = slice(56, 60)  # of an Image's header (Documentation/arch/arm64/booting.rst)
#: Where a BTF blob begins: magic, version 1, no flags (include/uapi/linux/btf.h, struct btf_header).
_BTF_HEAD = struct.pack("<HBB", 0xEB9F, 1, 0)
#: The types of a whole kernel; those of a module or of a test are smaller.
_LEAST_BTF_BYTES = 1 << 20


def unpacked_image(vmlinuz: Path) -> bytes:
    """The vmlinux (ELF) that a bzImage unpacks at boot: xz, zstd, gzip or lz4, as its build was configured.

    Of an arm64 kernel: its Image, which is no ELF file, also out of a gzipped one and of an EFI zboot image.
    """
    image = vmlinuz.read_bytes()
    if _is_image(image):
        return image
    for magic, unpack in _PACKED.items():
        at = image.find(magic)
        while at >= 0:
            try:
                content = unpack(image[at:])
            except _NOT_THERE:
                content = b""
            if content.startswith(b"\x7fELF") or _is_image(content):
                return content
            at = image.find(magic, at + 1)
    raise LabError(f"{vmlinuz.name} holds no image that the lab can unpack (xz, zstd, gzip, lz4).")


def _is_image(content: bytes) -> bool:
    return content[_ARM64_MAGIC] == b"ARM\x64"


def types_in(image: bytes) -> bytes:
    """The BTF blob of a kernel in an image that is no ELF file. LabError: it has none."""
    at = image.find(_BTF_HEAD)
    while at >= 0 and at + 24 <= len(image):
        length, type_at, type_size, name_at, name_size = struct.unpack_from("<5I", image, at + 4)
        size = length + max(type_at + type_size, name_at + name_size)
        if 24 <= length < 256 and _LEAST_BTF_BYTES < size <= len(image) - at:
            return image[at : at + size]
        at = image.find(_BTF_HEAD, at + 1)
    raise LabError("The kernel's image holds no types (BTF).")


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
