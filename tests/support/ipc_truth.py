"""System V IPC as a guest told it: /proc/sysvipc/* in, rows in the words of `dump.ipcs` out; shares no code with it."""

from __future__ import annotations

import pandas as pd
from support.truth import Truth

#: The columns of each file that say the same in `ipcs`.
NAMES = {
    "sem": {"semid": "id", "nsems": "nsems", "otime": "atime", "ctime": "ctime"},
    "msg": {
        "msqid": "id", "cbytes": "size_bytes", "qnum": "messages", "lspid": "lpid", "lrpid": "lrpid",
        "stime": "atime", "rtime": "dtime", "ctime": "ctime",
    },
    "shm": {
        "shmid": "id", "size": "size_bytes", "cpid": "cpid", "lpid": "lpid", "nattch": "attached",
        "atime": "atime", "dtime": "dtime", "ctime": "ctime",
    },
}  # fmt: skip
COMMON = ("key", "uid", "gid", "cuid", "cgid")


def ipcs(truth: Truth) -> pd.DataFrame:
    """One row per object, by type and id: integers, times in seconds since 1970 (0 for never), perms as octal text."""
    rows = []
    for kind, names in NAMES.items():
        words = truth.lines(f"sysvipc_{kind}")
        head = words[0].split()
        for line in words[1:]:
            fields = dict(zip(head, line.split(), strict=True))
            row: dict[str, object] = {"type": kind, "perms": f"{int(fields['perms'], 8) & 0o777:03o}"}
            row |= {name: int(fields[name]) for name in COMMON}
            # A key is printed as a signed number.
            row |= {ours: int(fields[theirs]) for theirs, ours in names.items()}
            rows.append(row)
    return pd.DataFrame(rows)
