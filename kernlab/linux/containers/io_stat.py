"""Input and output of control groups, device by device, and how much of it each may have (block/blk-cgroup.c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.containers.cgroups import Cgroups
from kernlab.linux.containers.percpu_parts import percpu_added
from kernlab.walk.lists import chain_nodes
from kernlab.walk.percpu_counters import percpu_sums
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What is counted of each device: bytes and requests that read, wrote, discarded (enum blkg_iostat_type).
COUNTS = ("read_bytes", "written_bytes", "discarded_bytes", "reads", "writes", "discards")
_WAYS = 3
#: Where version 1 counts the same (enum blkg_rwstat_type): reads, writes, discards.
_OLD_WAYS = ("BLKG_RWSTAT_READ", "BLKG_RWSTAT_WRITE", "BLKG_RWSTAT_DISCARD")
#: What is limited: bytes and requests per second that read and that write.
LIMITS = ("read_bps", "write_bps", "read_iops", "write_iops")
_SECTOR_SHIFT, _LONGEST_NAME = 9, 64


@dataclass(frozen=True, slots=True)
class IoStat:
    """n pairs of a cgroup and a device: `row` in `find_cgroups`, "major:minor", the disk's name, `COUNTS`, `LIMITS`."""

    group: StructArray
    row: I64
    device: Column
    disk: Column
    counts: dict[str, Column]
    limits: dict[str, Column]


def io_stat(kernel: Kernel, cgroups: Cgroups) -> IoStat:
    """io.stat and io.max of every cgroup, by the cgroup's row and the device; no pairs without CONFIG_BLK_CGROUP.

    Of version 2 with all below the cgroup; what CPUs had not handed up is added. The root's are the disks' own. Of
    version 1 what blkio.throttle.io_service_bytes and io_serviced count, of the cgroup alone.
    """
    blkcg = cgroups.part("io", "struct blkcg")
    firsts = blkcg["blkg_list.first"].filled(0) if blkcg.has("blkg_list") else np.zeros(0, dtype=np.uint64)
    row, nodes = chain_nodes(kernel, firsts, what="devices of cgroups")
    if not len(nodes):
        nothing = Column.missing(0, "int")
        none = StructArray(kernel, blkcg.type, np.zeros(0, dtype=np.uint64))
        return IoStat(
            none,
            row,
            Column.missing(0),
            Column.missing(0),
            dict.fromkeys(COUNTS, nothing),
            dict.fromkeys(LIMITS, nothing),
        )
    group = container(kernel, "struct blkcg_gq", "blkcg_node", nodes)
    queue = group.follow("q")
    # Linux commit edb0872f44ec ("block: move the bdi from the request_queue to the gendisk") (in v5.15).
    info = queue.follow("disk").follow("bdi") if queue.has("disk") else queue.follow("backing_dev_info")
    device = info.follow("owner")
    throttle = _throttled(kernel, group)
    values, known = _unified(kernel, cgroups, group, row)
    root = (cgroups.unified & cgroups.is_root)[row]
    own, read = _disks(kernel, device)
    values[root], known[root] = own[root], read[root]
    old = ~cgroups.unified[row]
    # Linux "blk-throttle: stop using blkg->stat_bytes and ->stat_ios" (in v5.5).
    counting = throttle if throttle.has("stat_bytes") else group
    if old.any() and counting.has("stat_bytes"):
        before, counted = _old(kernel, counting)
        values[old], known[old] = before[old], counted[old]
    return IoStat(
        group,
        row,
        _device_name(kernel, info),
        c_strings(kernel, device["kobj.name"], _LONGEST_NAME),
        {key: Column.of(values[:, index], known) for index, key in enumerate(COUNTS)},
        _limits(kernel, throttle),
    )


def _device_name(kernel: Kernel, info: StructArray) -> Column:
    """How each `struct backing_dev_info` is called, "8:0"; missing where it has no name."""
    # Linux commit 6bd87eec23cb ("bdi: add a ->dev_name field to struct backing_dev_info") (in v5.7).
    if info.has("dev_name"):
        name = info["dev_name"].text
    else:
        name = c_strings(kernel, info.follow("dev", to="struct device")["kobj.name"], _LONGEST_NAME)
    return name.where(name.true)


def _numbers(column: Column) -> tuple[I64, Mask]:
    return column.values.astype(np.int64).reshape(len(column), -1), column.valid


def _unified(kernel: Kernel, cgroups: Cgroups, group: StructArray, row: I64) -> tuple[I64, Mask]:
    """What version 2 counts: int64[n, counts], and bool[n] (blkcg_rstat_flush, blkcg_iostat_update)."""
    parts, known = np.zeros((len(group), 2 * _WAYS), dtype=np.int64), np.ones(len(group), dtype=bool)
    handed = parts.copy()
    # Linux commit f73316482977 ("blk-cgroup: reimplement basic IO stats using cgroup rstat") (in v5.5): before, each
    # pair counted itself, and what those below it had counted that are gone (blkg_rwstat_recursive_sum).
    if not group.has("iostat_cpu"):
        parts, known = _old(kernel, group, gone=True)
    for first, member in ((0, "bytes"), (_WAYS, "ios")) if group.has("iostat_cpu") else ():
        pending, whole = percpu_added(
            kernel,
            group["iostat_cpu"],
            "struct blkg_iostat_set",
            lambda cpu, member=member: (cpu[f"cur.{member}"], cpu[f"last.{member}"]),  # type: ignore[misc]
            _WAYS,
        )
        (here, read), (given, also) = (_numbers(group[f"iostat.{name}.{member}"]) for name in ("cur", "last"))
        parts[:, first : first + _WAYS] = pending + here[:, :_WAYS] - given[:, :_WAYS]
        handed[:, first : first + _WAYS] = given[:, :_WAYS]
        known &= whole & read & also
    order = np.argsort(group.addresses)
    above = group["parent"].filled(0)
    at = order[np.searchsorted(group.addresses[order], above).clip(max=len(order) - 1)]
    parent = np.where(group.addresses[at] == above, at, -1)
    level = cgroups.level[row]
    for depth in range(int(level.max(initial=0)), 0, -1):
        rows = np.flatnonzero((level == depth) & (parent >= 0))
        np.add.at(parts, parent[rows], parts[rows])
        known[parent[rows[~known[rows]]]] = False
    return parts + handed, known


def _disks(kernel: Kernel, device: StructArray) -> tuple[I64, Mask]:
    """What whole disks count of themselves, by their devices (blkcg_fill_root_iostats)."""
    # Linux commit 15e3d2c5cd53 ("block: switch disk_part_iter_* to iterate using an xarray") (in v5.11) and its kin
    # made a partition's own struct, hd_struct, one with its block device.
    if kernel.types.get("struct disk_stats") is None:
        return np.zeros((len(device), 2 * _WAYS), dtype=np.int64), np.zeros(len(device), dtype=bool)
    if kernel.types.has_member("struct block_device", "bd_stats"):
        stats = device.container("struct block_device", "bd_device")["bd_stats"]
    else:
        stats = device.container("struct hd_struct", "__dev")["dkstats"]
    sectors, known = percpu_added(kernel, stats, "struct disk_stats", lambda cpu: (cpu["sectors"],), _WAYS)
    requests, also = percpu_added(kernel, stats, "struct disk_stats", lambda cpu: (cpu["ios"],), _WAYS)
    return np.concatenate([sectors << _SECTOR_SHIFT, requests], axis=1), known & also & stats.true


def _throttled(kernel: Kernel, group: StructArray) -> StructArray:
    """The part of each pair that limits and counts for version 1; one without members where nothing can be limited."""
    policy = kernel.find_symbol("blkcg_policy_throtl")
    if policy is None or kernel.types.get("struct throtl_grp") is None:
        return StructArray(kernel, "struct list_head", np.zeros(len(group), dtype=np.uint64))
    number = StructArray(kernel, "struct blkcg_policy", [policy])["plid"][0]
    if number is None or not group.has(f"pd[{number}]"):
        return StructArray(kernel, "struct throtl_grp", np.zeros(len(group), dtype=np.uint64))
    return group.follow(f"pd[{number}]").container("struct throtl_grp", "pd")


def _old(kernel: Kernel, counting: StructArray, *, gone: bool = False) -> tuple[I64, Mask]:
    """What version 1 counts of each pair: struct blkg_rwstat, per-CPU counters by way; `gone`: with what was counted
    below it by those that are no more."""
    values, known = np.zeros((len(counting), 2 * _WAYS), dtype=np.int64), counting.valid.copy()
    for first, member in ((0, "stat_bytes"), (_WAYS, "stat_ios")):
        for index, name in enumerate(_OLD_WAYS):
            number = kernel.types.enumerator_or_none(name)
            if number is not None:
                total = percpu_sums(kernel, counting.follow(f"{member}.cpu_cnt[{number}]"))
                if gone:
                    total += counting[f"{member}.aux_cnt[{number}].counter"].int64
                values[:, first + index] = total.values
                known &= total.valid
    return values, known


def _limits(kernel: Kernel, throttle: StructArray) -> dict[str, Column]:
    """Bytes and requests per second, missing where there is no limit (tg_prfill_limit)."""
    found: dict[str, Column] = {}
    for first, member, size in ((0, "bps", 8), (2, "iops", 4)):
        # Before Linux commit bf20ab538c81 ("blk-throttle: remove CONFIG_BLK_DEV_THROTTLING_LOW") (in v6.10) there were
        # two kinds of limits, of which the second is the one that holds.
        path, each = member, 1 if kernel.types.enumerator_or_none("LIMIT_MAX") is None else 2
        for index in range(2):
            name = LIMITS[first + index]
            if not throttle.has(path):
                found[name] = Column.missing(len(throttle), "int")
                continue
            where = throttle.addresses + np.uint64(resolve(throttle.type, path).hops[-1])
            at = where + np.uint64(size * (index * each + each - 1))
            number, read = kernel.words(np.where(throttle.valid, at, np.uint64(0)), size, "limits of cgroups")
            valid = read & throttle.valid & (number != np.uint64((1 << 8 * size) - 1))
            found[name] = Column.of(number, valid).int64
    return found
