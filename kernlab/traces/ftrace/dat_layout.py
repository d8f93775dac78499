"""What trace.dat files of version 6 and 7 are made of (trace-cmd.dat.v6(5), trace-cmd.dat.v7(5)): numbers and packing.

Version 6 is one part after the other; version 7 has sections that options point to, each packed or not.
"""

from __future__ import annotations

import zlib
from enum import IntEnum

from kernlab.errors import DumpFormatError

MAGIC = b"\x17\x08\x44tracing"

#: Of a section: what it holds is packed.
PACKED = 1

#: struct of a section's header in version 7: its number, flags, the name's place among the strings, bytes that follow.
SECTION = "HHIQ"


class Option(IntEnum):
    """Options, by trace-cmd's own names; of version 7 also the sections' numbers."""

    DONE = 0
    DATE = 1
    CPUSTAT = 2
    BUFFER = 3
    TRACECLOCK = 4
    UNAME = 5
    HOOK = 6
    OFFSET = 7
    CPUCOUNT = 8
    VERSION = 9
    PROCMAPS = 10
    TRACEID = 11
    TIME_SHIFT = 12
    GUEST = 13
    TSC2NSEC = 14
    STRINGS = 15
    HEADER_INFO = 16
    FTRACE_EVENTS = 17
    EVENT_FORMATS = 18
    KALLSYMS = 19
    PRINTK = 20
    CMDLINES = 21
    BUFFER_TEXT = 22
    BTF_FILE = 23
    LAST_BOOT_INFO = 24
    MODULES_FILE = 25


#: How the parts of version 7 may be packed, and the version that stands beside the name.
PACKINGS = {"none": "", "zlib": zlib.ZLIB_VERSION, "zstd": "1.5"}


def pack(data: bytes, packing: str) -> bytes:
    """Bytes packed; `packing` is one of PACKINGS."""
    if packing == "zlib":
        return zlib.compress(data)
    if packing == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data


def unpack(data: bytes, size: int, packing: str) -> bytes:
    """The `size` bytes that were packed, or as many as can be had. Raises DumpFormatError for what is damaged."""
    if packing == "zlib":
        try:
            return zlib.decompressobj().decompress(data, size)
        except zlib.error as error:
            raise DumpFormatError(f"what zlib packed is damaged: {error}") from error
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
            return reader.read(size)
    except zstandard.ZstdError as error:
        raise DumpFormatError(f"what zstd packed is damaged: {error}") from error
