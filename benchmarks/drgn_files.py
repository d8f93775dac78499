"""drgn's side of the files benchmark: one row per descriptor of every process, with what /proc/PID/fd and fdinfo show.

python benchmarks/drgn_files.py DUMP VMLINUX [--figures]

drgn 0.3.0 names what has no path (pipes, sockets, event counters) by its dentry's name only.
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn.helpers.linux import d_path, for_each_file, for_each_task
from drgn.helpers.linux.device import MAJOR, MINOR
from drgn_program import main
from figures import file_figures

COLUMNS = ["pid", "fd", "mode", "flags", "position_bytes", "path", "dev", "inode", "address"]
MODES = ("", "r", "w", "rw")


def files(prog: drgn.Program) -> pd.DataFrame:
    rows = []
    for task in for_each_task(prog):
        if task.pid.value_() != task.tgid.value_() or not task.files:
            continue
        pid = task.tgid.value_()
        for fd, file in for_each_file(task):
            # One read of the whole struct instead of one for each member.
            fields = file[0].read_()
            node = fields.f_inode
            device = node.i_sb.s_dev
            rows.append(
                (
                    pid,
                    fd,
                    MODES[fields.f_mode.value_() & 3],
                    fields.f_flags.value_(),
                    fields.f_pos.value_(),
                    d_path(file.f_path.address_of_()).decode("utf-8", "backslashreplace"),
                    f"{MAJOR(device)}:{MINOR(device)}",
                    node.i_ino.value_(),
                    file.value_(),
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"address": "uint64"})


if __name__ == "__main__":
    main(files, file_figures)
