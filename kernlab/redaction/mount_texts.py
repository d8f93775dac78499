"""What was given to mount: sources, and the folders that overlays lie upon. Servers' names are hidden at each level,
those of folders at the strict one."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.super_blocks import mounts_of_each, super_blocks
from kernlab.redaction.dentries import FILE, TOP
from kernlab.redaction.found import Found
from kernlab.redaction.machine import host_name
from kernlab.redaction.reading import complete_type, text_at

U64 = npt.NDArray[np.uint64]

#: Sources that stand for no place.
_NOTHING = frozenset(b"none rootfs udev dev sys tmpfs proc sysfs overlay nullfs".split())
#: A folder's name between the marks of paths, of lists of paths and of escapes.
_PART = re.compile(rb"[^/:\\]+")
_LONGEST = 4096
#: A server before what it gives out: `server:/export` (nfs, ceph), `//server/share` (cifs). Addresses are swept for.
_SERVER = re.compile(rb"(?P<before>//(?=[^/]+/)|(?=[^/:]+:/))(?P<name>(?![\d.]+[:/])[\w.-]+)")


def mount_texts(found: Found) -> None:
    """Rename the servers in the sources of mounts; what these and the layers of overlays name, as files are renamed."""
    kernel = found.kernel
    block = super_blocks(kernel)
    owner, mount = mounts_of_each(kernel, block)
    kinds = text_at(kernel, block.follow("s_type")["name"].filled(0).astype(np.uint64), 64)
    given = mount["mnt_devname"].filled(0).astype(np.uint64)
    pointers, first = np.unique(given, return_index=True)
    for address, row, text in zip(
        pointers.tolist(), owner[first].tolist(), text_at(kernel, pointers, _LONGEST), strict=True
    ):
        if text and text not in _NOTHING and text != kinds[row] and not text.startswith(b"/dev/"):
            becomes = _source(found, text)
            if becomes != text:
                found.edits.write(address, becomes, FILE)
    if not found.strict:
        return
    overlays = block[np.array([kind == b"overlay" for kind in kinds], dtype=bool)]
    for address, text in _layers(kernel, overlays):
        found.edits.write(address, _renamed(found, text), FILE)


def _source(found: Found, text: bytes) -> bytes:
    """What a mount was made of, without the name of the server that it is on; strictly, without those of folders."""
    server = _SERVER.match(text)
    if server is None:
        return _renamed(found, text) if found.strict else text
    rest = text[server.end() :]
    return (
        server["before"]
        + host_name(found, server["name"])
        + (_renamed(found, rest) if found.strict else rest)
    )


def _renamed(found: Found, text: bytes) -> bytes:
    """The same text, with the names that its files get; those that all machines have at their root stay."""

    def other(part: re.Match[bytes]) -> bytes:
        name, before = part[0], text[: part.start()]
        if name in TOP and before.endswith(b"/") and before[:-1][-1:] in (b"", b":"):
            return name
        return found.map.names.of(name, extension=True)

    return _PART.sub(other, text)


def _layers(kernel: Kernel, block: StructArray) -> list[tuple[int, bytes]]:
    """The texts of paths that overlays keep, and where each lies."""
    if not len(block):
        return []
    if complete_type(kernel, "struct ovl_fs", "ovl_show_options") is None:
        raise KernlabError("this kernel's types do not tell what overlays lie upon")
    info = block.follow("s_fs_info", to="struct ovl_fs")
    config = info.follow("config")
    pointers = [config[name].filled(0) for name in ("upperdir", "workdir", "lowerdir") if config.has(name)]
    if config.has("lowerdirs"):
        # The first is what was given, the others its parts, and NULL follows the last that there is room for.
        count = kernel.budget.counts(info["numlayer"].int64.filled(0), 8, "layers of overlays")
        place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        base = np.repeat(config["lowerdirs"].filled(0), count)
        words, read = kernel.words((base + place.astype(np.uint64) * np.uint64(8))[base != 0])
        pointers.append(words[read])
    where: U64 = np.unique(np.concatenate(pointers).astype(np.uint64))
    where = where[where != 0]
    return [
        (address, text)
        for address, text in zip(where.tolist(), text_at(kernel, where, 1 << 16), strict=True)
        if text
    ]
