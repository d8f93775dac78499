"""drgn's side of the maps benchmark: one row per VMA of every process, as /proc/PID/maps prints it.

python benchmarks/drgn_maps.py DUMP VMLINUX [--figures]

drgn 0.3.0 names shared anonymous memory "[tmpfs]", where the kernel prints "/dev/zero (deleted)".
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import for_each_task, for_each_vma, vma_name
from drgn.helpers.linux.device import MAJOR, MINOR
from drgn_program import main
from figures import map_figures

VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 1, 2, 4, 8
COLUMNS = ["pid", "start", "end", "size_bytes", "perms", "offset_bytes", "dev", "inode", "path", "address"]


def maps(prog: drgn.Program) -> pd.DataFrame:
    page_shift = prog["PAGE_SHIFT"].value_()
    rows = []
    for task in for_each_task(prog):
        if task.pid.value_() != task.tgid.value_() or not task.mm:
            continue
        pid = task.tgid.value_()
        for vma in for_each_vma(task.mm):
            # One read of the whole struct instead of one for each member.
            fields = vma[0].read_()
            start, end, flags = fields.vm_start.value_(), fields.vm_end.value_(), fields.vm_flags.value_()
            offset, dev, inode = 0, "00:00", 0
            if fields.vm_file:
                node = fields.vm_file.f_inode
                device = node.i_sb.s_dev
                offset = fields.vm_pgoff.value_() << page_shift
                dev = f"{MAJOR(device):02x}:{MINOR(device):02x}"
                inode = node.i_ino.value_()
            perms = (
                ("r" if flags & VM_READ else "-")
                + ("w" if flags & VM_WRITE else "-")
                + ("x" if flags & VM_EXEC else "-")
                + ("s" if flags & VM_SHARED else "p")
            )
            path = (vma_name(vma) or b"").decode("utf-8", "backslashreplace")
            rows.append((pid, start, end, end - start, perms, offset, dev, inode, path, vma.value_()))
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        {"start": "uint64", "end": "uint64", "address": "uint64"}
    )


if __name__ == "__main__":
    main(maps, map_figures)
