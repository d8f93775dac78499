"""Queues of network devices: which are stopped, what waits in their disciplines, when they sent last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: include/linux/netdevice.h, enum netdev_queue_state_t: stopped by the driver, by the stack's limit, frozen.
_STOPPED = 0b111
#: include/linux/netdevice.h, NAPIF_STATE_SCHED and NAPIF_STATE_NPSVC.
_SCHEDULED, _HELD = 1 << 0, 1 << 3
#: include/net/sch_generic.h, TCQ_F_CPUSTATS: each CPU counts by itself.
_CPU_STATS = 0x20


@dataclass(frozen=True, slots=True)
class Queues:
    """Columns of devices. `stopped` of its transmit queues may not be filled; `packets` and `bytes` wait in their
    disciplines; `started` is when one of them began to send last, in jiffies; `napi` structs poll the device, and
    `scheduled` of them are about to."""

    stopped: Column
    packets: Column
    bytes: Column
    started: Column
    napi: Column
    scheduled: Column


def queues(kernel: Kernel, device: StructArray) -> Queues:
    """The queues of every struct net_device (net/core/dev.c, net/sched/sch_generic.c)."""
    count = len(device)
    owner, queue = _transmit(kernel, device)
    known = device["_tx"].valid
    started = queue["trans_start"]
    latest = np.zeros(count, dtype=np.uint64)
    np.maximum.at(latest, owner, started.filled(0).astype(np.uint64))
    discipline = queue["qdisc"]
    # Disciplines that all queues of a device share count once.
    pair, first = np.unique(
        np.stack([owner.astype(np.uint64), discipline.filled(0).astype(np.uint64)], axis=1),
        axis=0,
        return_index=True,
    )
    first = first[pair[:, 1] != 0]
    packets, size = _waiting(kernel, queue[first].follow("qdisc"))
    heads = device.follow("napi_list").addresses
    polled, napi = list_entries(
        kernel, heads, "struct napi_struct", "dev_list", what="NAPI structs of devices"
    )
    state = napi["state"]
    # Those of a device that is down are held, not scheduled (net/core/dev.c, napi_disable).
    busy = Column.of(state.has(_SCHEDULED).values & ~state.has(_HELD).values, state.valid)
    return Queues(
        stopped=queue["state"].has(_STOPPED).int64.added_by(owner, count).where(known),
        packets=packets.added_by(owner[first], count).where(known),
        bytes=size.added_by(owner[first], count).where(known),
        started=Column.of(latest, known),
        napi=Column.of(np.bincount(polled, minlength=count).astype(np.int64)),
        scheduled=busy.int64.added_by(polled, count),
    )


def _transmit(kernel: Kernel, device: StructArray) -> tuple[I64, StructArray]:
    """All transmit queues: (device int64[m], struct netdev_queue)."""
    start, many = device["_tx"], device["num_tx_queues"].int64
    kind = kernel.find_type("struct netdev_queue")
    claimed = np.where(start.true & many.valid, many.values, 0)
    count = kernel.budget.counts(claimed, kind.size, "transmit queues of devices")
    owner = np.repeat(np.arange(len(device)), count)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    where = start.values[owner].astype(np.uint64) + inside.astype(np.uint64) * np.uint64(kind.size)
    return owner, StructArray(kernel, kind, where)


def _waiting(kernel: Kernel, discipline: StructArray) -> tuple[Column, Column]:
    """Packets and bytes that wait in each struct Qdisc."""
    length, size = discipline["q.qlen"].int64, discipline["qstats.backlog"].int64
    own = discipline["cpu_qstats"]
    rows = np.flatnonzero(discipline["flags"].has(_CPU_STATS).true & own.true)
    numbers = possible_cpus(kernel)
    where = percpu_many(kernel, own.values[rows].astype(np.uint64), numbers).reshape(-1)
    part = StructArray(kernel, "struct gnet_stats_queue", where)
    of = rows[np.repeat(np.arange(len(rows)), len(numbers))]
    # Each CPU's part wraps: one puts in what another takes out.
    more = [
        Column.of(part[name].values.astype(np.uint32).view(np.int32).astype(np.int64), part[name].valid)
        for name in ("qlen", "backlog")
    ]
    return length + more[0].added_by(of, len(discipline)), size + more[1].added_by(of, len(discipline))
