"""Structs in memory that does not say what it holds, but lists lead there: file systems, nodes, journals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.super_blocks import super_blocks
from kernlab.linux.whatis.areas import Ranges
from kernlab.linux.zones import nodes
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]


@fact
def known_structs(kernel: Kernel) -> Ranges:
    """All of them by address; `kind` is the C type of each."""
    start: list[U64] = []
    end: list[U64] = []
    kinds: list[str] = []
    for find in (_super_blocks, _journals, _nodes):
        try:
            found = find(kernel)
        except KernlabError as error:
            kernel.lost(f"{(find.__doc__ or find.__name__).rstrip('.')} are not known: {error}")
            continue
        keep = found.valid & (found.addresses != 0)
        start.append(found.addresses[keep])
        end.append(found.addresses[keep] + np.uint64(found.type.size))
        kinds += [found.type.c_name] * int(keep.sum())
    first = np.concatenate([np.zeros(0, dtype=np.uint64), *start])
    order = np.argsort(first, kind="stable")
    last = np.concatenate([np.zeros(0, dtype=np.uint64), *end])[order]
    name = np.array(kinds, dtype=object)[order]
    return Ranges(first[order], last, name, name)


def _super_blocks(kernel: Kernel) -> StructArray:
    """File systems."""
    return super_blocks(kernel)


def _journals(kernel: Kernel) -> StructArray:
    """Journals of ext4."""
    block = _super_blocks(kernel)
    nothing = StructArray(kernel, "struct super_block", np.zeros(0, dtype=np.uint64))
    names = c_strings(kernel, block.follow("s_type")["name"], 64)
    ext4 = np.array([name == "ext4" for name in names], dtype=bool)
    if not ext4.any():
        return nothing
    info = block[ext4].follow("s_fs_info", "struct ext4_sb_info")
    return info.follow("s_journal", "struct journal_s")


def _nodes(kernel: Kernel) -> StructArray:
    """NUMA nodes."""
    return nodes(kernel)
