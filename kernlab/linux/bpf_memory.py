"""How much memory BPF maps take, as the kernel tells it in fdinfo (memlock): maps in, bytes out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.struct_array import StructArray
from kernlab.linux.bpf import short_names
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.percpu_counters import percpu_sums

Mask = npt.NDArray[np.bool_]

# include/uapi/linux/bpf.h.
_NO_PREALLOC, _MMAPABLE = 1, 1 << 10

#: Maps whose values are numbers of files (IS_FD_MAP).
_OF_FILES = ("prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "hash_of_maps")

#: kernel/bpf/hashtab.c: HASHTAB_MAP_LOCK_COUNT counters of each CPU, of 4 bytes.
_LOCKS = 8 * 4

_POINTER = 8


def map_bytes(map_: StructArray) -> Column:
    """Bytes of each map; of kernels since 6.4 those of arrays and hashes, what others take is missing."""
    page = map_.kernel.page_size
    # Linux commit 80ee81e0403c ("bpf: Eliminate rlimit-based memory accounting infra for bpf maps") (in v5.11).
    if map_.has("memory.pages"):
        return map_["memory.pages"] * page
    # Linux commit 3539b96e041c ("bpf: group memory related fields in struct bpf_map_memory") (in v5.3).
    if map_.has("pages"):
        return map_["pages"] * page
    # Linux commit 90a5527d7686 ("bpf: add new map ops ->map_mem_usage") (in v6.4); before, an estimate.
    if not map_.has("ops->map_mem_usage"):
        return _estimate(map_)
    return _array_bytes(map_).otherwise(_hash_bytes(map_))


def _kinds(map_: StructArray) -> list[str]:
    return [name or "" for name in short_names(map_["map_type"], "BPF_MAP_TYPE_").tolist()]


def _whose(map_: StructArray, function: str) -> Mask:
    """Which maps' memory a function of the kernel computes."""
    return (map_["ops->map_mem_usage"] == (map_.kernel.find_symbol(function) or 1)).true


def _rounded(number: Column, to: int) -> Column:
    return (number + (to - 1)) // to * to


def _either(mask: Mask, one: Column, other: Column) -> Column:
    return Column.of(np.where(mask, one.values, other.values), np.where(mask, one.valid, other.valid))


def _estimate(map_: StructArray) -> Column:
    """bpf_map_memory_footprint: entries times what one takes."""
    kinds, page = _kinds(map_), map_.kernel.page_size
    value = map_["value_size"].int64
    percpu = np.array(["percpu" in kind for kind in kinds], dtype=bool)
    value = _either(percpu, _rounded(value, 8) * len(possible_cpus(map_.kernel)), value)
    of_files = np.array([kind in _OF_FILES for kind in kinds], dtype=bool)
    value = _either(of_files, Column.of(np.full(len(map_), 4)), value)
    return _rounded(map_["max_entries"].int64 * _rounded(map_["key_size"].int64 + value, 8), page)


def _array_bytes(map_: StructArray) -> Column:
    """array_map_mem_usage."""
    kernel, page = map_.kernel, map_.kernel.page_size
    array = StructArray(kernel, "struct bpf_array", map_.addresses, _whose(map_, "array_map_mem_usage"))
    percpu = np.array([kind == "percpu_array" for kind in _kinds(map_)], dtype=bool)
    size, entries = array.type.size, map_["max_entries"].int64
    data = entries * array["elem_size"].int64
    mapped = _rounded(data, page) + -(-size // page) * page
    plain = _either(map_["map_flags"].has(_MMAPABLE).true, mapped, data + size)
    return _either(percpu, data * len(possible_cpus(kernel)) + entries * _POINTER + size, plain)


def _hash_bytes(map_: StructArray) -> Column:
    """htab_map_mem_usage."""
    kernel, kinds = map_.kernel, _kinds(map_)
    mine = _whose(map_, "htab_map_mem_usage")
    if not mine.any():
        return Column.missing(len(map_), "int")
    table = StructArray(kernel, "struct bpf_htab", map_.addresses, mine)
    cpus = len(possible_cpus(kernel))
    percpu = np.array(["percpu" in kind for kind in kinds], dtype=bool)
    lru = np.array([kind.startswith("lru_") for kind in kinds], dtype=bool)
    fixed = table.type.size + table["n_buckets"].int64 * kernel.find_type("struct bucket").size
    # Linux commit 4fa8d68aa53e ("bpf: Convert hashtab.c to rqspinlock") (in v6.15) took the counters away.
    fixed = fixed + (_LOCKS * cpus if table.has("map_locked") else 0)
    element, entries = table["elem_size"].int64, map_["max_entries"].int64
    value = _rounded(map_["value_size"].int64, 8) * cpus
    more = Column.of(np.where(percpu | lru, 0, cpus).astype(np.int64)) + entries
    whole = element * more + _either(
        percpu, value * more, Column.of(np.where(lru, 0, _POINTER * cpus).astype(np.int64))
    )
    # An element that is allocated when it is put in has a link of a list before it, and so has each CPU's value.
    used = _either(
        table["use_percpu_counter"].true,
        percpu_sums(kernel, table.follow("pcount")),
        table["count.counter"].int64,
    )
    grown = (element + _POINTER) * used + _either(
        percpu, (value + 2 * _POINTER) * used, Column.of(np.zeros(len(map_), dtype=np.int64))
    )
    return fixed + _either(map_["map_flags"].has(_NO_PREALLOC).true, grown, whole)
