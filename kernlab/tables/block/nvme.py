"""Controllers of nvme: what they are, their state, and how much they have to do."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.block.disks import disks
from kernlab.linux.block.hardware import controllers, identity, state_words
from kernlab.linux.block.requests import in_driver, in_use
from kernlab.walk.strings import c_strings

_LONGEST_NAME = 128


@table(rows="struct nvme_ctrl")
def nvme(kernel: Kernel) -> pd.DataFrame:
    """One row per nvme controller, in the order in which they were found.

    Columns: name; state ("live", "resetting", "connecting", "deleting", "dead" …); model, serial, firmware; transport
    ("pcie", "tcp", "rdma", "fc", "loop"); device (that it is on: a PCI address); nqn (of its subsystem); queues (that
    of administration is one); queue_depth (commands that one may hold, one less than it has places: sqsize);
    outstanding (requests of its namespaces that the driver has and has not ended); disks (of its namespaces, joined by
    commas); address: the struct nvme_ctrl.

    No rows where there is no nvme. Mirrors drivers/nvme/host/sysfs.c.

    >>> len(dump.nvme)
    0
    """
    if kernel.find_symbol("block_class") is None:
        kernel.lost("this kernel has no block layer (CONFIG_BLOCK is off)")
        return _none(kernel)
    own = controllers(kernel)
    if not len(own):
        return _none(kernel)
    model, serial, firmware = identity(own.follow("subsys"))
    names, outstanding = _namespaces(kernel, own)
    return frame(
        kernel,
        "nvme",
        name=c_strings(kernel, own["ctrl_device.kobj.name"], _LONGEST_NAME),
        state=state_words(kernel, own["state"], "enum nvme_ctrl_state", "NVME_CTRL_"),
        model=model,
        serial=serial,
        firmware=firmware,
        transport=c_strings(kernel, own["ops->name"], _LONGEST_NAME),
        device=c_strings(kernel, own["dev->kobj.name"], _LONGEST_NAME),
        nqn=own["subsys->subnqn"].text,
        queues=nullable(own["queue_count"].int64),
        queue_depth=nullable(own["sqsize"].int64),
        outstanding=nullable(outstanding),
        disks=names,
        address=own,
    )


def _namespaces(kernel: Kernel, own: StructArray) -> tuple[Column, Column]:
    """The disks of each controller, and how many requests of these the driver has: by the tags that they share."""
    every = disks(kernel)
    tags = own["tagset"].filled(0).astype(np.uint64)
    theirs = every.queue["tag_set"].filled(0).astype(np.uint64)
    whole = (every.number == 0).true
    names = every.names().tolist()
    request = in_use(kernel)
    busy = request["q->tag_set"].filled(0)[in_driver(request)]
    told, counts = [], []
    for tag in tags.tolist():
        rows = np.flatnonzero(whole & (theirs == tag) & (tag != 0))
        told.append(",".join(sorted(names[row] or "" for row in rows)) or None)
        counts.append(int((busy == tag).sum()) if tag else 0)
    return Column.texts(told), Column.of(np.array(counts, dtype=np.int64), own["tagset"].valid)


def _none(kernel: Kernel) -> pd.DataFrame:
    return empty(
        kernel,
        "nvme",
        **dict.fromkeys(
            ("name", "state", "model", "serial", "firmware", "transport", "device", "nqn"), "str"
        ),
        **dict.fromkeys(("queues", "queue_depth", "outstanding"), "Int64"),
        disks="str",
        address="struct nvme_ctrl",
    )
