"""BPF programs, as `bpftool prog` lists them."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.bpf import (
    attachments,
    has_bpf,
    held_by,
    holders,
    jited_bytes,
    joined,
    names_of,
    programs,
    statistics,
    type_names,
    used_maps,
)
from kernlab.linux.scheduling.optional import optional

#: sizeof(struct bpf_insn).
_INSTRUCTION = 8


@table(rows="struct bpf_prog")
def bpf_programs(kernel: Kernel) -> pd.DataFrame:
    """One row per BPF program, by its number.

    Columns: id, name ('' for none), type ("cgroup_skb", "tracing"; the kernel's word), tag (of its instructions, in
    hex), uid (of who loaded it), loaded_at (timedelta since boot), xlated_bytes (its instructions, as the verifier left
    them), jited_bytes (its machine code; 0 for one that is interpreted), memory_bytes (of its pages), run_count,
    run_time (timedelta; both 0 while the sysctl kernel.bpf_stats_enabled is), maps (the ids of those it uses, with
    commas between), attached (where, with "; " between: "function eventfd_read", "cgroup /shop inet_ingress", "xdp
    eth0", "link perf_event"; '' where nothing of that kind has it: filters of sockets are not looked for), pids
    (processes that have a descriptor of it or of a link to it, with commas between), btf_id, address (of the
    bpf_prog). Mirrors kernel/bpf/syscall.c (bpf_prog_get_info_by_fd).

    >>> len(dump.bpf_programs)  # nobody loaded one
    0
    """
    if not has_bpf(kernel):
        kernel.lost("BPF programs are off in this kernel (CONFIG_BPF_SYSCALL)")
        return empty(
            kernel,
            "bpf_programs",
            id="Int64",
            **dict.fromkeys(("name", "type", "tag"), "str"),
            uid="Int64",
            loaded_at="timedelta64[ns]",
            **dict.fromkeys(("xlated_bytes", "jited_bytes", "memory_bytes", "run_count"), "Int64"),
            run_time="timedelta64[ns]",
            **dict.fromkeys(("maps", "attached", "pids"), "str"),
            btf_id="Int64",
            address="struct bpf_prog",
        )
    program = programs(kernel)
    count = len(program)
    ran, took = statistics(program)
    tag = program["tag"]
    return frame(
        kernel,
        "bpf_programs",
        id=nullable(program["aux->id"].int64),
        name=names_of(program, "aux->name"),
        type=type_names(program, "type", "BPF_PROG_TYPE_"),
        tag=Column.of([bytes(row).hex() for row in tag.values.astype("u1")], tag.valid, "text"),
        uid=nullable(program["aux->user->uid.val"].int64),
        loaded_at=program["aux->load_time"].timedelta,
        xlated_bytes=nullable(program["len"] * _INSTRUCTION),
        jited_bytes=nullable(jited_bytes(program)),
        memory_bytes=nullable(program["pages"] * kernel.page_size),
        run_count=nullable(ran),
        run_time=took.timedelta,
        maps=Column.of(joined(*used_maps(program), count), kind="text"),
        attached=Column.of(["; ".join(words) for words in attachments(kernel)], kind="text"),
        pids=Column.of(held_by(program, holders(kernel)), kind="text"),
        # Linux commit 838e96904ff3 ("bpf: Introduce bpf_func_info") (in v5.0).
        btf_id=nullable(optional(program, "aux->btf->id")),
        address=program,
    )
