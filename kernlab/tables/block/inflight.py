"""What disks had still to do: every request and bio that was not completed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.debuginfo.types import EnumType
from kernlab.errors import KernlabError
from kernlab.linux.block.bios import Pieces, bios_of_requests, first_frames, names_of, pieces
from kernlab.linux.block.disks import disks
from kernlab.linux.block.held_bios import held_bios
from kernlab.linux.block.requests import hardware_queue_numbers, requests
from kernlab.linux.block.submitters import waiters
from kernlab.linux.files import mapping_paths
from kernlab.linux.kernfs import kernfs_paths
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.linux.timekeeping import monotonic
from kernlab.linux.whatis.frames import use_of_frames

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: What of the page cache a file has.
_OF_FILES = (Kind.FILE, Kind.SHMEM)
#: include/linux/blk_types.h: REQ_OP_BITS, and of bio_issue the bits that are a time (BIO_ISSUE_TIME_MASK).
_OP_BITS = 8
_ISSUE_TIME = (1 << 51) - 1


@dataclass(frozen=True, slots=True)
class _Rows:
    """N requests, and behind them m bios that are none's: structs, and all bios with whose they are."""

    request: StructArray
    loose: StructArray
    state: npt.NDArray[np.object_]
    task: U64
    first: StructArray
    bio: StructArray
    owner: I64

    def __len__(self) -> int:
        return len(self.request) + len(self.loose)

    def both(self, of_requests: Column, of_bios: Column) -> Column:
        """One column of what is told of requests and of bios."""
        one, other = (
            (of_requests, of_bios) if of_requests.kind == "text" else (of_requests.int64, of_bios.int64)
        )
        return Column.of(
            np.concatenate([one.values, other.values]), np.concatenate([one.valid, other.valid]), one.kind
        )

    def of_first(self, of_bios: Column) -> Column:
        """A column of what is told of bios, of the first of each."""
        place = np.full(len(self), len(self.bio), dtype=np.int64)
        place[self.owner[::-1]] = np.arange(len(self.bio))[::-1]
        nothing = np.zeros(1, dtype=of_bios.values.dtype)
        return Column.of(
            np.append(of_bios.values, nothing)[place], np.append(of_bios.valid, False)[place], of_bios.kind
        )

    def only(self, of_requests: Column) -> Column:
        """A column of what only requests have."""
        kind = "text" if of_requests.kind == "text" else "int"
        return self.both(of_requests, Column.missing(len(self.loose), kind))


@table(rows="struct request")
def inflight(kernel: Kernel) -> pd.DataFrame:
    """One row per request that was not completed, and per bio that was not yet one, by disk and age.

    Columns: disk; partition (or the disk itself, that it is for); state: "driver" (the disk has it), "completed" (done,
    and its end not yet told), "scheduler", "queued" (a CPU's software queue), "dispatch" (the driver was busy),
    "requeued", "plugged" (a thread keeps it back while it submits more), "flush" (waits for the disk's cache),
    "dispatching" (on its way from one of these to another), "allocated" (on no list); of bios "throttled" (a control
    group's limit holds it back), "submitting" (a thread has still to), "suspended" (a volume keeps it), "waiting" (for
    other requests and bios: a volume's). op and flags as the kernel names them (READ; SYNC,META); sector, bytes; tag
    (the driver's, which only what it had has) and scheduler_tag; hw_queue; cpu (that submitted it).

    age: since it was made; driver_age: since the driver got it, where that was noted. pid, comm: who waits for it,
    where that is known. cgroup: whose it is. first_pfn: the page frame that its memory begins in, and page_kind, what
    that is used for; path: the file whose page it is. bios: how many it is made of. bio: the first one. address: the
    struct request; missing for a bio that is none's.

    Mirrors block/blk-mq.c, block/blk-mq-debugfs.c; submitters are threads that sleep until it ends.

    >>> io = kernlab.open(kernlab.sample("io"))
    >>> io.inflight[["disk", "state", "op", "sector", "bytes", "tag", "pid", "comm"]].head(3)
      disk   state     op  sector   bytes  tag  pid         comm
    0  vda  driver  WRITE   79168   32768  341  156    import-w0
    1  vda  driver   READ  248320  131072  342  150    backup-r0
    2  vda  driver  WRITE  138256    8192  343  146  database-w0
    """
    if kernel.find_symbol("block_class") is None:
        kernel.lost("this kernel has no block layer (CONFIG_BLOCK is off)")
        return _none(kernel)
    rows, now = _rows(kernel), _now(kernel)
    request, loose = rows.request, rows.loose
    parts = pieces(rows.bio)
    pfn = rows.of_first(first_frames(kernel, rows.bio, parts))
    task = StructArray(kernel, "struct task_struct", _tasks(kernel, rows, parts))
    kind, path = _pages(kernel, pfn)
    op, flags = _operations(kernel, rows.both(request["cmd_flags"], loose["bi_opf"]))
    disk, partition, place = _disks(kernel, rows)
    made = rows.both(request["start_time_ns"], _issued(loose, now))
    # By disk, the oldest first; what has no time comes last.
    order = np.lexsort((np.where(made.true, made.filled(0), np.iinfo(np.int64).max), place))
    return frame(
        kernel,
        "inflight",
        disk=disk[order],
        partition=partition[order],
        state=Column.of(rows.state[order], kind="text"),
        op=op[order],
        flags=flags[order],
        sector=nullable(rows.both(request["__sector"], loose["bi_iter.bi_sector"])[order]),
        bytes=nullable(rows.both(request["__data_len"], loose["bi_iter.bi_size"])[order]),
        tag=nullable(rows.only(_tag(request["tag"]))[order]),
        scheduler_tag=nullable(rows.only(_tag(request["internal_tag"]))[order]),
        hw_queue=nullable(rows.only(hardware_queue_numbers(kernel, request))[order]),
        cpu=nullable(rows.only(request["mq_ctx->cpu"])[order]),
        age=_age(now, made[order]),
        driver_age=_age(now, rows.only(request["io_start_time_ns"])[order]),
        pid=nullable(task["pid"][order]),
        comm=task["comm"].text[order],
        cgroup=_cgroups(kernel, rows.first)[order],
        first_pfn=nullable(pfn[order]),
        page_kind=kind[order],
        path=path[order],
        bios=np.bincount(rows.owner, minlength=len(rows)).astype(np.int64)[order],
        bio=rows.first[order],
        address=StructArray(
            kernel,
            "struct request",
            np.concatenate([request.addresses, np.zeros(len(loose), dtype=np.uint64)]),
        )[order],
    )


def _rows(kernel: Kernel) -> _Rows:
    """All requests, and all bios that are none's."""
    found, held = requests(kernel), held_bios(kernel)
    of, own = bios_of_requests(kernel)
    count = len(found)
    first = np.zeros(count, dtype=np.uint64)
    first[of[::-1]] = own.addresses[::-1]
    return _Rows(
        found.request,
        held.bio,
        np.concatenate([found.state, held.state]),
        np.concatenate([found.task, held.task]),
        StructArray(kernel, "struct bio", np.concatenate([first, held.bio.addresses])),
        StructArray(kernel, "struct bio", np.concatenate([own.addresses, held.bio.addresses])),
        np.concatenate([of, count + np.arange(len(held.bio))]),
    )


def _tasks(kernel: Kernel, rows: _Rows, parts: Pieces) -> U64:
    if not len(rows):
        return rows.task
    names = [
        np.concatenate([rows.request.addresses, np.zeros(len(rows.loose), dtype=np.uint64)]),
        rows.first.addresses,
    ]
    return waiters(kernel, names, rows.bio, parts, rows.owner, rows.task)


def _disks(kernel: Kernel, rows: _Rows) -> tuple[Column, Column, I64]:
    """The names of each row's disk and of what it is for, and the disk's place among all."""
    every = disks(kernel)
    names, device = every.names().tolist(), every.part.addresses.tolist()
    queue, whole = every.queue.addresses.tolist(), np.flatnonzero((every.number == 0).true).tolist()
    by_queue, by_part = {queue[row]: row for row in whole}, dict(zip(device, range(len(every)), strict=True))
    by_name = {name: row for row, name in enumerate(names)}
    place = [by_queue.get(address, -1) for address in rows.request["q"].filled(0).tolist()]
    part = [by_part.get(address, -1) for address in rows.request["part"].filled(0).tolist()]
    part = [own if own >= 0 else disk for own, disk in zip(part, place, strict=True)]
    told = [by_name.get(name or "", -1) for name in names_of(kernel, rows.loose)]
    above = every.whole.tolist()
    place += [above[row] if row >= 0 else -1 for row in told]
    part += told
    return (
        Column.texts([names[row] if row >= 0 else None for row in place]),
        Column.texts([names[row] if row >= 0 else None for row in part]),
        np.array(place, dtype=np.int64),
    )


def _operations(kernel: Kernel, flags: Column) -> tuple[Column, Column]:
    """The operation, and the names of its flags, of some cmd_flags or bi_opf."""
    # Linux commit ff07a02e9e8e ("treewide: Rename enum req_opf into enum req_op") (in v6.0).
    kinds = _names(kernel, ("enum req_op", "enum req_opf"), "REQ_OP_")
    bits = _names(kernel, ("enum req_flag_bits",), "__REQ_")
    values = flags.tolist()
    op = [None if value is None else value & ((1 << _OP_BITS) - 1) for value in values]
    named = [
        None
        if value is None
        else ",".join(bits.get(bit, f"bit {bit}") for bit in range(_OP_BITS, 32) if value >> bit & 1)
        for value in values
    ]
    return Column.texts([None if one is None else kinds.get(one, str(one)) for one in op]), Column.texts(
        named
    )


def _names(kernel: Kernel, enums: tuple[str, ...], prefix: str) -> dict[int, str]:
    """The enumerators of the first enum that this kernel has, by number, without their prefix; the first of several."""
    for name in enums:
        kind = kernel.types.get(name)
        if isinstance(kind, EnumType):
            found: dict[int, str] = {}
            for word, number in kind.enumerators.items():
                found.setdefault(number, word.removeprefix(prefix))
            return found
    return {}


def _tag(column: Column) -> Column:
    """A tag; BLK_MQ_NO_TAG, which is -1, is missing."""
    number = column.int64
    return number.where((number >= 0).true)


def _issued(bio: StructArray, now: int | None) -> Column:
    """When each bio was issued to its disk, in ns of CLOCK_MONOTONIC; 0 where nobody noted it."""
    # In 7.x the time stands alone, without the size that struct bio_issue had beside it.
    if bio.has("issue_time_ns"):
        return bio["issue_time_ns"].int64
    if bio.has("bi_issue.value"):
        low = (bio["bi_issue.value"] & _ISSUE_TIME).int64
        if now is None:
            return low
        # Its upper bits are cut off, so that it begins anew every 26 days: of all such times the nearest.
        whole = low + ((now + (_ISSUE_TIME + 1) // 2 - low) & ~_ISSUE_TIME)
        return Column.of(np.where(low.true, whole.values, 0), low.valid)
    return Column.missing(len(bio), "int")


def _now(kernel: Kernel) -> int | None:
    try:
        return monotonic(kernel)
    except KernlabError as error:
        kernel.lost(f"how old requests are is not known: {error}")
        return None


def _age(now: int | None, since: Column) -> npt.NDArray[np.timedelta64]:
    """How long ago something was, missing where it was not noted; the clock is that of the last tick."""
    if now is None:
        return Column.missing(len(since), "int").timedelta
    return (now - since).clip(0).where(since.true).timedelta


def _cgroups(kernel: Kernel, bio: StructArray) -> Column:
    """The path of the control group that each bio is charged to."""
    if not bio.has("bi_blkg"):
        return Column.missing(len(bio))
    group = bio.follow("bi_blkg")
    if not group.has("blkcg"):
        return Column.missing(len(bio))
    return kernfs_paths(kernel, group["blkcg->css.cgroup->kn"])


def _pages(kernel: Kernel, pfn: Column) -> tuple[Column, Column]:
    """What the first page of each is used for, and the file whose page it is."""
    kind = np.full(len(pfn), "", dtype=object)
    rows = np.flatnonzero(pfn.valid)
    if not len(rows):
        return Column.missing(len(pfn)), Column.missing(len(pfn))
    use = use_of_frames(kernel, pfn.values[rows], quick=True)
    kind[rows] = [KIND_NAMES[number] for number in use.kind.tolist()]
    known = use.kind != Kind.EXCLUDED
    cached = np.isin(use.kind, _OF_FILES) & (use.mapping != 0)
    path, valid = np.full(len(pfn), "", dtype=object), np.zeros(len(pfn), dtype=bool)
    told = mapping_paths(kernel, use.mapping[cached])
    path[rows[cached]], valid[rows[cached]] = told.values, told.valid
    shown = pfn.valid.copy()
    shown[rows] = known
    return Column.of(kind, shown, "text"), Column.of(path, valid, "text")


def _none(kernel: Kernel) -> pd.DataFrame:
    texts = dict.fromkeys(("disk", "partition", "state", "op", "flags"), "str")
    numbers = dict.fromkeys(("sector", "bytes", "tag", "scheduler_tag", "hw_queue", "cpu"), "Int64")
    times = dict.fromkeys(("age", "driver_age"), "timedelta64[ns]")
    return empty(
        kernel,
        "inflight",
        **texts,
        **numbers,
        **times,
        pid="Int64",
        comm="str",
        cgroup="str",
        first_pfn="Int64",
        page_kind="str",
        path="str",
        bios="int64",
        bio="struct bio",
        address="struct request",
    )
