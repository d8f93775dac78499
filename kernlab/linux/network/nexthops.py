"""Next hops of routes: in the route itself, in a nexthop object, or in a group of those; struct fib_nh_common out.

Older kernels have a struct of each version's own, fib_nh and fib6_nh, with the same members by other names
(`hop_member`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.network.endpoints import bytes_at, ipv4, ipv6
from kernlab.linux.network.names import INET, INET6

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NextHops:
    """All next hops of some routes, of equal lengths n, by route: its index, the number among its hops, struct
    fib_nh_common (or an older one: `hop_member`), its weight, and the id of the nexthop object that it comes from, 0
    for none."""

    route: I64
    number: I64
    common: StructArray
    weight: Column
    object_id: Column


def next_hops(kernel: Kernel, info: StructArray, own: str, count: Column) -> NextHops:
    """Of every struct fib_info or fib6_info: `own` is its array of hops, `count` how many it has (net/ipv4/nexthop.c).

    A route without any hop has one of address 0.
    """
    n = len(info)
    # Linux commit 4c7e8084fd46 ("ipv4: Plumb support for nexthop object in a fib_info") (in v5.3).
    pointer = info["nh"].filled(0).astype(np.uint64) if info.has("nh") else np.zeros(n, dtype=np.uint64)
    access = resolve(info.type, own)
    kind = kernel.find_type("struct fib_nh" if own == "fib_nh" else "struct fib6_nh")
    plain = np.flatnonzero(pointer == 0)
    many = kernel.budget.counts(
        np.clip(count.int64.filled(0), 0, 1 << 16)[plain], kind.size, "next hops of routes"
    )
    route = np.repeat(plain, many)
    number = np.arange(len(route)) - np.repeat(np.cumsum(many) - many, many)
    where = (
        info.addresses[route] + np.uint64(access.hops[-1]) + number.astype(np.uint64) * np.uint64(kind.size)
    )
    # Linux commit f1741730dd18 ("net: Add fib_nh_common and update fib_nh and fib6_nh") (in v5.2).
    shared = kernel.types.has_member(kind.c_name, "nh_common")
    common = kernel.find_type("struct fib_nh_common") if shared else kind
    inside = resolve(kind, "nh_common").hops[-1] if shared else 0
    routes, commons = [route], [where + np.uint64(inside)]
    weights: list[Column] = [_weights(StructArray(kernel, common, commons[0]))]
    ids: list[Column] = [Column.of(np.zeros(len(route), dtype=np.int64))]
    linked = np.flatnonzero(pointer)
    if len(linked):
        hop = StructArray(kernel, "struct nexthop", pointer[linked])
        group = hop["is_group"].true
        single = np.flatnonzero(~group)
        routes.append(linked[single])
        commons.append(_of_objects(kernel, hop[single]))
        weights.append(Column.of(np.ones(len(single), dtype=np.int64)))
        ids.append(hop["id"].int64[single])
        owner, entry = _members(kernel, hop[np.flatnonzero(group)])
        routes.append(linked[np.flatnonzero(group)][owner])
        commons.append(_of_objects(kernel, entry.follow("nh")))
        weights.append(entry["weight"].int64)
        ids.append(hop["id"].int64[np.flatnonzero(group)][owner])
    without = np.setdiff1d(np.arange(n), np.concatenate(routes))
    routes.append(without)
    commons.append(np.zeros(len(without), dtype=np.uint64))
    weights.append(Column.missing(len(without), "int"))
    ids.append(Column.of(np.zeros(len(without), dtype=np.int64)))
    every = np.concatenate(routes)
    order = np.argsort(every, kind="stable")
    every = every[order]
    _, begin, of = np.unique(every, return_index=True, return_inverse=True)
    return NextHops(
        every,
        np.arange(len(every)) - begin[of.reshape(-1)],
        StructArray(kernel, common, np.concatenate(commons)[order]),
        _concatenated(weights)[order],
        _concatenated(ids)[order],
    )


def hop_member(common: StructArray, member: str) -> Column:
    """A member of next hops by its name without its prefix: `dev`, `flags`, `weight`."""
    return common.first(f"nhc_{member}", f"nh_{member}")


def _weights(common: StructArray) -> Column:
    """Of kernels without CONFIG_IP_ROUTE_MULTIPATH 1 each: they take one hop of each route."""
    if common.has("nhc_weight") or common.has("nh_weight"):
        return hop_member(common, "weight").int64
    return Column.of(np.ones(len(common), dtype=np.int64))


def _concatenated(columns: list[Column]) -> Column:
    return Column.of(
        np.concatenate([column.int64.values for column in columns]),
        np.concatenate([column.valid for column in columns]),
    )


def _of_objects(kernel: Kernel, hop: StructArray) -> U64:
    info = hop.follow("nh_info")
    at = np.uint64(resolve(info.type, "fib_nhc").hops[-1])
    return np.where(info.valid, info.addresses + at, np.uint64(0))


def _members(kernel: Kernel, group: StructArray) -> tuple[I64, StructArray]:
    """(group, struct nh_grp_entry) of all members of nexthop groups."""
    inside = group.follow("nh_grp")
    kind = kernel.find_type("struct nh_grp_entry")
    count = kernel.budget.counts(inside["num_nh"].int64.filled(0), kind.size, "members of nexthop groups")
    owner = np.repeat(np.arange(len(group)), count)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    at = np.uint64(resolve(inside.type, "nh_entries").hops[-1])
    where = inside.addresses[owner] + at + step.astype(np.uint64) * np.uint64(kind.size)
    return owner, StructArray(kernel, kind, where)


def gateways(common: StructArray) -> Column:
    """The address of each gateway as text, '' where a route leads to its device's own network."""
    if not common.has("nhc_gw_family"):
        return _old_gateways(common)
    family = common["nhc_gw_family"]
    words = np.full(len(common), "", dtype=object)
    valid = family.valid | (common.addresses == 0)
    for number, size in ((INET, 4), (INET6, 16)):
        rows = np.flatnonzero((family == number).true)
        raw, good = bytes_at(common[rows], "nhc_gw", size)
        words[rows] = ipv4(raw.reshape(-1).view("<u4")) if size == 4 else ipv6(raw)
        valid[rows] &= good
    return Column.of(words, valid)


def _old_gateways(common: StructArray) -> Column:
    """The same of struct fib_nh and fib6_nh, in which no gateway is one of zeros."""
    size = 4 if common.type.c_name == "struct fib_nh" else 16
    raw, good = bytes_at(common, "nh_gw", size)
    words = ipv4(raw.reshape(-1).view("<u4")) if size == 4 else ipv6(raw)
    return Column.of(np.where(raw.any(axis=1), words, ""), good | (common.addresses == 0))
