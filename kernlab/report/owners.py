"""An object of the kernel in, the module that owns it out: the one whose data points to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.kernel_modules import module_ranges

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Modules are at most some tens of MiB together; of more nobody waits for the answer.
_MOST_BYTES = 256 << 20


def module_of(dump: Dump, address: int) -> str:
    """The module that has a pointer to `address` in its data; '' where none or several have, or they are too large."""
    try:
        starts, ends, names = module_ranges(dump.kernel)
        if not names or int((ends - starts).sum()) > _MOST_BYTES:
            return ""
        found = set()
        for start, end, name in zip(starts.tolist(), ends.tolist(), names, strict=True):
            values, read = dump.kernel.words(np.arange(start, end - 7, 8, dtype=np.uint64), what="")
            if (read & (values == np.uint64(address))).any():
                found.add(name)
    except KernlabError:
        return ""
    return show_controls(found.pop()) if len(found) == 1 else ""


def cache_owner(dump: Dump, cache: str) -> str:
    """The module that made a slab cache, by the cache's name; '' where that is not known."""
    table = dump.slabs
    rows = table[table["name"] == cache]
    return module_of(dump, int(rows["address"].iloc[0])) if len(rows) == 1 else ""


def setting(dump: Dump, name: str) -> int | None:
    """A setting of the kernel, an int, by its variable; None where it is not known."""
    try:
        return dump.kernel.word(name, 4)
    except KernlabError:
        return None
