"""The configuration that a kernel was built with, where it carries it (CONFIG_IKCONFIG): memory in, options out."""

from __future__ import annotations

import re
import zlib

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

#: What stands before and behind it (kernel/configs.c).
_START, _END = b"IKCFG_ST", b"IKCFG_ED"
#: gzip's first bytes.
_GZIP = b"\x1f\x8b\x08"

#: The largest that is read (distributions' take 70 KiB) and that it may unpack to (300 KiB).
_MOST_PACKED, _MOST = 4 << 20, 32 << 20
_PIECE = 4096

_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")


@fact
def configuration(kernel: Kernel) -> dict[str, str] | None:
    """Every option and its value: "y", "m", "n" for one that is not set, a number, or a text without its quotes.

    None where the kernel does not carry its configuration, also when it is a module (configs.ko) that is not loaded.
    Raises KernlabError, where it should be there and is damaged or was left out.
    """
    address = kernel.find_symbol("kernel_config_data")
    if address is None:
        kernel.with_modules()
        address = kernel.symbols.get("kernel_config_data")
    if address is None:
        return None
    return parsed(_unpacked(_packed(kernel, address)))


def parsed(text: str) -> dict[str, str]:
    """The options of a .config file, in its order."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line):
            value = match[2]
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found[match[1]] = value
        elif match := _UNSET.fullmatch(line):
            found[match[1]] = "n"
    return found


def _packed(kernel: Kernel, address: int) -> bytes:
    """The gzip file, by the symbol behind it, or else up to the mark."""
    # Linux commit 13610aa908dc ("kernel/configs: use .incbin directive to embed config_data.gz") (in v5.1); before, the
    # symbol's array has the mark as its first bytes.
    if kernel.read(address, len(_START)) == _START:
        address += len(_START)
    end = kernel.find_symbol("kernel_config_data_end")
    if end is not None and 0 < end - address <= _MOST_PACKED:
        return kernel.read(address, end - address)
    data = b""
    while _END not in data:
        if len(data) > _MOST_PACKED:
            raise KernlabError(f"the kernel's configuration at {address:#018x} has no end")
        piece = _PIECE - (address + len(data)) % _PIECE
        data += kernel.read(address + len(data), piece)
    return data[: data.index(_END)]


def _unpacked(data: bytes) -> str:
    if not data.startswith(_GZIP):
        raise KernlabError("the kernel's configuration is damaged: it does not begin as gzip does")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, _MOST)
    except zlib.error as error:
        raise KernlabError(f"the kernel's configuration is damaged: {error}") from error
    if not unpacker.eof:
        raise KernlabError("the kernel's configuration is damaged: it does not end, or is too large")
    return text.decode("utf-8", "backslashreplace")
