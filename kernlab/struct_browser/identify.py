"""What lies at an address: the symbol that covers it, or the slab object that it is part of, and of what type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from kernlab import dataframes
from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo import global_variables
from kernlab.debuginfo.types import StructType, Type
from kernlab.errors import KernlabError
from kernlab.linux.page.vmemmap import PageChunk, compound_heads, page_type_is
from kernlab.linux.slub import slab_type
from kernlab.walk.strings import c_strings

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame

#: Slab caches whose objects' type has another name than the cache, as the kernel creates them.
_TYPE_OF_CACHE = {
    "bdev_cache": "struct bdev_inode",
    "blkdev_ioc": "struct io_context",
    "cred_jar": "struct cred",
    "files_cache": "struct files_struct",
    "filp": "struct file",
    "fs_cache": "struct fs_struct",
    "jbd2_journal_head": "struct journal_head",
    "mnt_cache": "struct mount",
    "net_namespace": "struct net",
    "pid_2": "struct pid",
    "radix_tree_node": "struct xa_node",
    "request_queue": "struct request_queue",
    "sighand_cache": "struct sighand_struct",
    "signal_cache": "struct signal_struct",
    "sigqueue": "struct sigqueue",
    "skbuff_head_cache": "struct sk_buff",
    "sock_inode_cache": "struct socket_alloc",
    "task_delay_info": "struct task_delay_info",
    "UNIX": "struct unix_sock",
    "UNIX-STREAM": "struct unix_sock",
    "TCP": "struct tcp_sock",
    "TCPv6": "struct tcp6_sock",
    "UDP": "struct udp_sock",
    "UDPv6": "struct udp6_sock",
    "RAW": "struct raw_sock",
    "PACKET": "struct packet_sock",
}
#: Types that the kernel allocates shorter than they are declared: the last array is cut to what the machine has.
_CUT_SHORT = ("struct task_struct", "struct kmem_cache")
#: Slab objects lie in frames of the direct map; nothing else of a cache is larger than this.
_LARGEST_OBJECT = 1 << 22


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at an address: `start` and `size` in bytes are the symbol's or the slab object's.

    `kind` is "symbol" or "slab", `label` says it in words; `type` is the object's type where its cache tells it,
    or the global's where kernlab knows it.
    """

    kind: str
    start: int
    size: int
    label: str
    type: Type | None = None


def identify(kernel: Kernel, addresses: Sequence[int] | npt.NDArray[np.uint64]) -> list[Found | None]:
    """What lies at each address: symbols first, then slab objects; None where neither is known."""
    wanted = kernel.addresses(addresses).values
    found: list[Found | None] = [None] * len(wanted)
    kernel.with_modules()
    rows, offsets, sizes = kernel.symbols.lookup(wanted)
    names = kernel.symbols.symbolize(wanted)
    for i in np.flatnonzero(rows >= 0).tolist():
        start = int(wanted[i]) - int(offsets[i])
        known = global_variables.TYPES.get(str(names[i]).partition("+")[0])
        found[i] = Found(
            "symbol", start, int(sizes[i]), str(names[i]), kernel.type_or_none(known) if known else None
        )
    rest = np.flatnonzero(rows < 0)
    try:
        for i, slab in zip(rest.tolist(), slab_objects(kernel, wanted[rest]), strict=True):
            found[i] = slab
    except KernlabError:
        # A kernel without SLUB's types still has symbols.
        return found
    return found


def slab_objects(kernel: Kernel, addresses: npt.NDArray[np.uint64]) -> list[Found | None]:
    """The slab object around each address uint64[n], allocated or not; None where there is no slab."""
    found: list[Found | None] = [None] * len(addresses)
    frames = kernel.layout.direct_frames(addresses)
    rows = np.flatnonzero(frames >= 0)
    if not len(rows):
        return found
    pfns = frames[rows].astype(np.uint64)
    pages = _pages(kernel, pfns)
    heads = _head_pfns(kernel, pages, pfns)
    slabs = _pages(kernel, heads)
    kept = page_type_is(slabs, "slab")
    if not kept.any():
        return found
    rows, heads = rows[kept], heads[kept]
    caches = slabs.field("slab_cache", slab_type(kernel))[kept]
    distinct, which = np.unique(caches, return_inverse=True)
    cache = StructArray(kernel, "struct kmem_cache", distinct)
    stride, object_size = cache["size"], cache["object_size"]
    names = c_strings(kernel, cache["name"].values, 128)
    pad = (
        cache["red_left_pad"].values.astype(np.int64)
        if cache.has("red_left_pad")
        else np.zeros(len(distinct))
    )
    types = [
        _type_of_cache(kernel, str(n), int(s)) for n, s in zip(names.values, object_size.values, strict=True)
    ]
    for row, head, k in zip(rows.tolist(), heads.tolist(), which.tolist(), strict=True):
        step = int(stride.values[k])
        if not (stride.valid[k] and names.valid[k]) or not 0 < step <= _LARGEST_OBJECT:
            continue
        base = kernel.layout.direct_start + head * kernel.page_size
        start = base + (int(addresses[row]) - base) // step * step + int(pad[k])
        inside = int(addresses[row]) - start
        label = f"{names.values[k]}{f'+{inside:#x}' if inside else ''} (slab object)"
        found[row] = Found("slab", start, int(object_size.values[k]), label, types[k])
    return found


def _pages(kernel: Kernel, pfns: npt.NDArray[np.uint64]) -> PageChunk:
    """The page structs of any frames: a chunk whose rows do not lie side by side."""
    size = kernel.find_type("struct page").size
    data, status = kernel.gather(np.uint64(kernel.vmemmap) + pfns * np.uint64(size), size)
    return PageChunk.of_rows(kernel, 0, data, status == 0)


def _head_pfns(kernel: Kernel, pages: PageChunk, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The frame of each page's compound head: its own for pages that are no tail (see PageChunk.heads)."""
    size, base = np.uint64(pages.struct_size), np.uint64(kernel.vmemmap)
    head = compound_heads(kernel, base + pfns * size, pages.links())
    return np.where(pages.valid & (head >= base), (head - base) // size, pfns)


def _type_of_cache(kernel: Kernel, name: str, object_size: int) -> Type | None:
    """The type of a cache's objects by the cache's name, where the kernel has one that fits into an object."""
    stem = name.removesuffix("_cache")
    guesses = [_TYPE_OF_CACHE.get(name, ""), f"struct {name}"]
    if name.endswith("_inode_cache"):
        guesses += [f"struct {stem}_info", f"struct {stem}"]
    elif name == "inode_cache":
        guesses = ["struct inode"]
    elif name.endswith("_cache"):
        guesses += [f"struct {stem}", f"struct {stem}_struct"]
    for guess in guesses:
        known = kernel.types.get(guess) if guess else None
        kind = known.strip() if known is not None else None
        if isinstance(kind, StructType) and (0 < kind.size <= object_size or guess in _CUT_SHORT):
            return kind
    return None


class Identify:
    """`dump.identify(addresses)`: what lies at addresses, as a DataFrame."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, addresses: Any) -> Frame:
        """The symbol or slab object that covers each address: address, kind, label, start, size_bytes, type.

        `addresses` is one or many (integers, symbols' names, a list, an array, a column). Where nothing is known, the
        columns are missing.

        >>> dump.identify("init_task")[["kind", "type"]]
             kind                type
        0  symbol  struct task_struct
        """
        kernel = self._dump.kernel
        array, missing, _ = kernel.addresses(addresses)
        found = identify(kernel, array)
        known = np.array([one is not None for one in found], dtype=bool)
        starts = np.array([one.start if one else 0 for one in found], dtype=np.uint64)
        sizes = np.array([one.size if one else 0 for one in found], dtype=np.uint64)
        names = [one.type.c_name if one and one.type else None for one in found]
        made = dataframes.frame(
            kernel,
            "identify",
            address=dataframes.addresses(kernel, array, ~missing),
            kind=_texts([one.kind if one else None for one in found]),
            label=_texts([one.label if one else None for one in found]),
            start=dataframes.addresses(kernel, starts, known),
            size_bytes=dataframes.nullable(sizes.astype(np.int64), known),
            type=_texts(names),
        )
        return cast("Frame", made)


def _texts(items: list[str | None]) -> Column:
    valid = np.array([item is not None for item in items], dtype=bool)
    return Column(np.array([item or "" for item in items], dtype=object), valid, "text")
