"""Propagation of mounts: peer groups and masters, as the optional fields of /proc/PID/mountinfo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

I64 = npt.NDArray[np.int64]

#: Masters have masters; each step is a group further up, and no chain is longer.
_MOST_STEPS = 1 << 10


def propagation(kernel: Kernel, space: I64, mount: StructArray) -> Column:
    """Of each mount, with the row of its namespace int64[n]: "shared:N", "master:N", "propagate_from:N", "unbindable".

    propagate_from is the nearest group above the master's that the namespace has a mount of. '' for private ones.
    Mirrors fs/proc_namespace.c (show_mountinfo) and fs/pnode.c (get_dominating_id).
    """
    shared, unbindable = _marks(mount)
    group, master = mount["mnt_group_id"], mount["mnt_master"]
    above = mount.follow("mnt_master")["mnt_group_id"]
    here = set(zip(space.tolist(), group.filled(0).tolist(), strict=True))
    texts: list[str | None] = []
    chains = _Masters(kernel, np.unique(master.values[master.true]))
    rows = zip(space.tolist(), group, shared.tolist(), unbindable.tolist(), master, above, strict=True)
    for where, number, is_shared, is_unbindable, pointer, its in rows:
        if number is None or pointer is None or (pointer and its is None):
            texts.append(None)
            continue
        parts = [f"shared:{number}"] if is_shared else []
        if pointer:
            parts.append(f"master:{its}")
            nearest = next((one for one in chains.groups(pointer) if (where, one) in here), None)
            if nearest not in (None, its):
                parts.append(f"propagate_from:{nearest}")
        if is_unbindable:
            parts.append("unbindable")
        texts.append(" ".join(parts))
    known = group.valid & master.valid
    return Column.texts([text if good else None for text, good in zip(texts, known.tolist(), strict=True)])


def _marks(mount: StructArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which are shared, and which unbindable."""
    # Linux commit 725ab435ff09 ("mount: separate the flags accessed only under namespace_sem") (in v6.17).
    if mount.has("mnt_t_flags"):
        flags = mount["mnt_t_flags"]
        return flags.has(1).true, flags.has(2).true
    flags = mount["mnt.mnt_flags"]
    return flags.has(0x1000).true, flags.has(0x2000).true


class _Masters:
    """The masters of some mounts, and theirs, up to the top: read a level a round."""

    def __init__(self, kernel: Kernel, fresh: npt.NDArray[np.uint64]):
        self._above: dict[int, tuple[int, int]] = {}
        for _ in range(_MOST_STEPS):
            if not len(fresh):
                break
            mount = StructArray(kernel, "struct mount", fresh)
            group, master = mount["mnt_group_id"], mount["mnt_master"]
            rows = zip(fresh.tolist(), group.filled(0).tolist(), master.filled(0).tolist(), strict=True)
            self._above |= {address: (number, up) for address, number, up in rows}
            fresh = np.array(
                sorted(set(master.values[master.true].tolist()) - self._above.keys()), dtype=np.uint64
            )

    def groups(self, master: int) -> list[int]:
        """The groups from a master on upwards."""
        found: list[int] = []
        seen: set[int] = set()
        while master in self._above and master not in seen:
            seen.add(master)
            number, master = self._above[master]
            found.append(number)
        return found
