"""A whole Debian 13 server, caught while it swapped: tables against its own /proc and /sys/fs/cgroup.

The truth was taken some seconds before the crash: what nothing moved is compared exactly.
"""

from __future__ import annotations

import pandas as pd


def seconds(times: pd.Series) -> list[int]:
    """As /proc prints times: since the epoch, 0 for never."""
    return [0 if pd.isna(time) else int(time.timestamp()) for time in times]


def test_shared_memory_segments_are_those_of_proc(server, server_files):
    """/proc/sysvipc/shm lists those of its reader's namespace; the mode as ipcs shows it, without SHM_DEST."""
    lines = [line.split() for line in server_files.truth.lines("sysvipc_shm")]
    theirs = pd.DataFrame(lines[1:], columns=lines[0])
    ours = server.shm
    ours = ours[ours["namespace"] == ours["namespace"].iloc[0]]
    assert ours["perms"].tolist() == [perms[-3:] for perms in theirs["perms"]]
    assert ours["destroyed"].tolist() == [len(perms) > 3 for perms in theirs["perms"]]
    same = ["key", "shmid", "cpid", "lpid", "uid", "gid", "cuid", "cgid"]
    assert ours[same].to_numpy(dtype=int).tolist() == theirs[same].to_numpy(dtype=int).tolist()
    assert ours["attached"].tolist() == theirs["nattch"].astype(int).tolist()
    assert ours["size_bytes"].tolist() == theirs["size"].astype(int).tolist()
    assert ours["swap_bytes"].tolist() == theirs["swap"].astype(int).tolist()
    known = ours["rss_bytes"].notna().to_numpy()
    assert known.sum() == 7
    assert ours["rss_bytes"][known].tolist() == theirs["rss"][known].astype(int).tolist()
    for time in ("atime", "dtime", "ctime"):
        assert seconds(ours[time]) == theirs[time].astype(int).tolist()
