"""BPF maps, as `bpftool map` lists them."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.bpf import (
    has_bpf,
    held_by,
    holders,
    maps,
    names_of,
    programs,
    type_names,
    used_maps,
)
from kernlab.linux.bpf_memory import map_bytes
from kernlab.linux.scheduling.optional import optional


@table(rows="struct bpf_map")
def bpf_maps(kernel: Kernel) -> pd.DataFrame:
    """One row per BPF map, by its number.

    Columns: id, name ('' for none), type ("hash", "lpm_trie"; the kernel's word), key_bytes, value_bytes, max_entries,
    memory_bytes (as the kernel tells it in fdinfo: between 5.11 and 6.3 an estimate, later missing for what is neither
    an array nor a hash), flags (as a number), frozen (programs in user space may not write to it any more), programs
    (the ids of those that use it, with commas between), pids (processes that have a descriptor of it), btf_id, address
    (of the bpf_map). Mirrors kernel/bpf/syscall.c (bpf_map_get_info_by_fd).

    >>> len(dump.bpf_maps)  # nobody made one
    0
    """
    if not has_bpf(kernel):
        kernel.lost("BPF maps are off in this kernel (CONFIG_BPF_SYSCALL)")
        return empty(
            kernel,
            "bpf_maps",
            id="Int64",
            **dict.fromkeys(("name", "type"), "str"),
            **dict.fromkeys(("key_bytes", "value_bytes", "max_entries", "memory_bytes", "flags"), "Int64"),
            frozen="boolean",
            **dict.fromkeys(("programs", "pids"), "str"),
            btf_id="Int64",
            address="struct bpf_map",
        )
    every = maps(kernel)
    number = every["id"].int64
    return frame(
        kernel,
        "bpf_maps",
        id=nullable(number),
        name=names_of(every, "name"),
        type=type_names(every, "map_type", "BPF_MAP_TYPE_"),
        key_bytes=nullable(every["key_size"].int64),
        value_bytes=nullable(every["value_size"].int64),
        max_entries=nullable(every["max_entries"].int64),
        memory_bytes=nullable(map_bytes(every)),
        flags=nullable(every["map_flags"].int64),
        # Linux commit 87df15de441b ("bpf: add syscall side map freeze support") (in v5.2).
        frozen=nullable(optional(every, "frozen", kind="bool") != 0),
        programs=Column.of(_users(kernel, number), kind="text"),
        pids=Column.of(held_by(every, holders(kernel)), kind="text"),
        btf_id=nullable(optional(every, "btf->id")),
        address=every,
    )


def _users(kernel: Kernel, number: Column) -> list[str]:
    """The ids of the programs that use each map."""
    program = programs(kernel)
    owner, used = used_maps(program)
    ids = program["aux->id"].tolist()
    by_map: dict[int, list[str]] = {}
    for row, one in zip(owner.tolist(), used.tolist(), strict=True):
        if one is not None and ids[row] is not None:
            by_map.setdefault(one, []).append(str(ids[row]))
    return [",".join(by_map.get(one, [])) if one is not None else "" for one in number.tolist()]
