"""The kernel's type information by its shape: where no symbol says where it lies, it is found in the kernel image."""

from __future__ import annotations

import struct

from kernlab.debuginfo.kallsyms.names import Image
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo

#: struct btf_header (include/uapi/linux/btf.h) of version 1, little-endian, without flags; then five numbers.
_MARK = b"\x9f\xeb\x01\x00"
_HEADER = struct.Struct("<4sIIIII")
_LONGEST_HEADER = 256
#: A kernel's own has some 100,000 types; that of a module, or an example in somebody's code, has fewer.
_FEWEST_BYTES, _MOST_BYTES = 1 << 16, 256 << 20
#: A type that every kernel has.
_WITNESS = b"\0task_struct\0"

_CHUNK = 8 << 20


def find_btf(image: Image, info: Vmcoreinfo) -> bytes | None:
    """The BTF blob in the image from _stext on; None where nothing looks like one, or the dump lacks its pages."""
    start = info.symbol("_stext")
    if start is None:
        return None
    start, most = start & ~(image.arch.page_size - 1), image.arch.image_bytes
    limit = start + min(info.number("KERNEL_IMAGE_SIZE") or most, most)
    for at in range(start, limit, _CHUNK):
        data, there = image.read_partial(at, min(_CHUNK + _HEADER.size, limit - at))
        if not there.any():
            continue
        raw = data.tobytes()
        found = raw.find(_MARK)
        while 0 <= found <= len(raw) - _HEADER.size:
            blob = _blob_at(image, at + found, raw[found : found + _HEADER.size], limit)
            if blob is not None:
                return blob
            found = raw.find(_MARK, found + 1)
    return None


def _blob_at(image: Image, address: int, head: bytes, limit: int) -> bytes | None:
    _, length, types_at, types_size, strings_at, strings_size = _HEADER.unpack(head)
    size = length + strings_at + strings_size
    sound = (
        _HEADER.size <= length <= _LONGEST_HEADER
        and types_at + types_size <= strings_at
        and not (length | types_at | types_size) % 4
        and _FEWEST_BYTES <= size <= min(_MOST_BYTES, limit - address)
    )
    if not sound:
        return None
    data, there = image.read_partial(address, size)
    strings = data[size - strings_size :].tobytes()
    whole = (
        bool(there.all()) and strings.startswith(b"\0") and strings.endswith(b"\0") and _WITNESS in strings
    )
    return data.tobytes() if whole else None
