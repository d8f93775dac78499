"""The numbers of include/uapi/linux/blktrace_api.h by name: actions, categories, notes; devices and rwbs letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

# enum blktrace_act: the low 16 bits of `action`, by blkparse's letters.
ACTIONS = {
    1: "Q",
    2: "M",
    3: "F",
    4: "G",
    5: "S",
    6: "R",
    7: "D",
    8: "C",
    9: "P",
    10: "U",
    11: "UT",
    12: "I",
    13: "X",
    14: "B",
    15: "A",
    16: "abort",
    17: "drv_data",
    18: "zone_plug",
    19: "zone_unplug",
}
REMAP, SPLIT, UNPLUGS = 15, 13, (10, 11)

#: __BLK_TA_CGROUP: the first 8 bytes after the header are the cgroup's id.
CGROUP = 0x100

# enum blktrace_cat, bits from 16 on.
WRITE, FLUSH, SYNC, PC, NOTIFY = 1 << 1, 1 << 2, 1 << 3, 1 << 9, 1 << 10
AHEAD, META, DISCARD, FUA = 1 << 11, 1 << 12, 1 << 13, 1 << 15
# Of version 8 only. Zone commands are writes as well, by their direction.
ZONE_APPEND, ZONE_RESET, ZONE_RESET_ALL, ZONE_FINISH, ZONE_OPEN, ZONE_CLOSE = (
    1 << bit for bit in range(16, 22)
)
WRITE_ZEROES = 1 << 22

#: What else a request does than read and write, by blkparse's letters (write-zeroes by the kernel's own).
_OTHER_KINDS = {
    DISCARD: "D",
    WRITE_ZEROES: "WZ",
    ZONE_APPEND: "ZA",
    ZONE_RESET: "ZR",
    ZONE_RESET_ALL: "ZRA",
    ZONE_FINISH: "ZF",
    ZONE_OPEN: "ZO",
    ZONE_CLOSE: "ZC",
}

# enum blktrace_notify, of records with the category NOTIFY.
NOTE_PROCESS, NOTE_TIMESTAMP, NOTE_MESSAGE = 0, 1, 2

MINOR_BITS = 20


def rwbs(category: int, has_bytes: bool) -> str:
    """The letters of kernel/trace/blktrace.c's fill_rwbs, as blkparse prints them."""
    plain = "W" if category & WRITE else "R" if has_bytes else "N"
    kind = next((letters for bit, letters in _OTHER_KINDS.items() if category & bit), plain)
    tail = ((FUA, "F"), (AHEAD, "A"), (SYNC, "S"), (META, "M"))
    return ("F" if category & FLUSH else "") + kind + "".join(sign for bit, sign in tail if category & bit)


def device_name(device: int) -> str:
    """ "254:0" of a kernel's dev_t (include/linux/kdev_t.h)."""
    return f"{device >> MINOR_BITS}:{device & ((1 << MINOR_BITS) - 1)}"


def categories(values: npt.NDArray[Any], name: Callable[[int], str]) -> pd.Categorical:
    """Few distinct numbers as a categorical of their names (several numbers may share one)."""
    codes, distinct = pd.factorize(values)
    names = [name(int(value)) for value in distinct]
    unique = list(dict.fromkeys(names))
    place = {label: index for index, label in enumerate(unique)}
    if len(unique) != len(names):
        codes = np.array([place[label] for label in names])[codes]
    return pd.Categorical.from_codes(codes, categories=pd.Index(unique, dtype="str"))
