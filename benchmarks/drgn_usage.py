"""drgn's side of the page tables benchmark: the resident pages of every mapping, by walking each process' tables.

python benchmarks/drgn_usage.py DUMP VMLINUX [--figures]

drgn's follow_phys walks the tables for one address at a time.
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import follow_phys, for_each_task, for_each_vma
from drgn_program import main
from figures import usage_figures


def usage(prog: drgn.Program) -> pd.DataFrame:
    page_size = prog["PAGE_SIZE"].value_()
    rows = []
    for task in for_each_task(prog):
        if task.pid.value_() != task.tgid.value_() or not task.mm:
            continue
        mm = task.mm.read_()
        for vma in for_each_vma(mm):
            start, end = vma.vm_start.value_(), vma.vm_end.value_()
            resident = 0
            for address in range(start, end, page_size):
                try:
                    follow_phys(mm, address)
                except drgn.FaultError:
                    continue
                resident += page_size
            rows.append((task.pid.value_(), start, resident))
    return pd.DataFrame(rows, columns=["pid", "start", "rss_bytes"])


if __name__ == "__main__":
    main(usage, usage_figures)
