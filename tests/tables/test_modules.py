"""`modules` and `symbols` with modules, against /proc/modules and /proc/kallsyms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.heap import Heap

from kernlab.errors import TypeNotFoundError


@pytest.mark.parametrize("fact", ["base", "size_bytes", "refcount", "state", "used_by", "taint"])
def test_as_proc_modules_prints_them(whole_dump, dump, fact):
    truth = whole_dump.truth.modules()
    ours = dump.modules
    assert list(truth["name"]) == list(ours["name"])
    theirs, mine = truth[fact].tolist(), ours[fact].tolist()
    if fact == "used_by":
        theirs, mine = ([set(users.split(",")) for users in column] for column in (theirs, mine))
    assert theirs == mine


def rows_of(symbols) -> set[tuple[int, str, str, str]]:
    return set(
        zip(map(int, symbols["address"]), symbols["name"], symbols["type"], symbols["module"], strict=True)
    )


def test_symbols_are_kallsyms(whole_dump, dump):
    """The modules' too, and what the kernel made at run time: each with its letter, capital where it is exported."""
    mine = rows_of(dump.symbols)
    assert mine == rows_of(whole_dump.truth.kallsyms())
    assert len([symbol for symbol in mine if symbol[3]]) > 500


def test_symbols_of_a_server_are_kallsyms(server_files, server):
    """With BPF programs, and functions of modules that were freed after ftrace had met them."""
    truth, mine = server_files.truth.kallsyms(), server.symbols
    theirs = rows_of(truth)
    # ss loaded these after the guest had printed its symbols.
    late = mine["module"].str.endswith("_diag")
    more = rows_of(mine[~late]) - theirs
    assert theirs <= rows_of(mine)
    # The kernel's own loop over the freed functions prints the first of a module twice, and the last never.
    assert len(more) < 10
    assert {letter for _, _, letter, _ in more} == {"T"}
    bpf = truth[truth["module"] == "bpf"]
    assert len(bpf) == 12
    assert mine[mine["module"] == "bpf"]["name"].tolist() == bpf["name"].tolist()


def test_bpf_programs_are_named_from_their_first_byte_to_their_last(server):
    bpf = server.symbols[server.symbols["module"] == "bpf"]
    found = server.owner(bpf["address"])
    assert (found["kind"] == "symbol").all()
    assert (found["name"].to_numpy() == bpf["name"].to_numpy() + " [bpf]").all()
    starts, sizes = found["start"].to_numpy(dtype=np.uint64), found["size_bytes"].to_numpy(dtype=np.uint64)
    # The program's own words: bpf_prog.jited_len is how much of its image is code.
    for start, size, name in zip(starts.tolist(), sizes.tolist(), bpf["name"], strict=True):
        assert server.symbolize(start + size - 1) == f"{name}+{size - 1:#x}/{size:#x} [bpf]"
        assert "[bpf]" not in server.symbolize(start + size) or "+0x0/" in server.symbolize(start + size)


def test_what_ftrace_and_kprobes_made_is_listed(opened):
    """No dump has any: a trampoline and a page of displaced instructions are put on the kernel's lists."""
    heap = Heap(opened("debian-6.1"))
    kernel = heap.overlay.kernel
    where = opened("debian-6.1").symbol
    ops, page = heap.alloc(512), heap.alloc(256)
    trampoline, slots = 0xFFFFFFFFC9000000, 0xFFFFFFFFC9001000
    heap.member("struct ftrace_ops", ops, "trampoline", trampoline)
    heap.member("struct ftrace_ops", ops, "trampoline_size", 0xB6)
    heap.member("struct kprobe_insn_page", page, "insns", slots)

    def only_entry(head: int, node: int) -> None:
        heap.overlay.word(head, node).word(head + 8, node)
        heap.word(node, head)
        heap.word(node + 8, head)

    def at(type_name: str, address: int, path: str) -> int:
        return heap.overlay.where(type_name, address, path)[0]

    only_entry(where("ftrace_ops_trampoline_list"), at("struct ftrace_ops", ops, "list.next"))
    head = at("struct kprobe_insn_cache", kernel.symbol("kprobe_insn_slots"), "pages.next")
    only_entry(head, at("struct kprobe_insn_page", page, "list.next"))
    dump = heap.dump()
    assert dump.symbols.tail(2)[["name", "module", "type"]].values.tolist() == [
        ["ftrace_trampoline", "__builtin__ftrace", "t"],
        ["kprobe_insn_page", "__builtin__kprobes", "t"],
    ]
    assert dump.symbolize([trampoline + 0xB5, trampoline + 0xB6, slots + 4095, slots + 4096]) == [
        "ftrace_trampoline+0xb5/0xb6 [__builtin__ftrace]",
        f"{trampoline + 0xB6:#018x}",
        "kprobe_insn_page+0xfff/0x1000 [__builtin__kprobes]",
        f"{slots + 4096:#018x}",
    ]


def test_symbolize_names_module_functions_with_their_module(whole_dump, dump):
    truth = whole_dump.truth.kallsyms()
    inside = truth[(truth["module"] == "null_blk") & truth["type"].isin(["t", "T"])]
    if inside.empty:
        inside = truth[(truth["module"] != "") & truth["type"].isin(["t", "T"])]
    row = inside.iloc[0]
    named = dump.symbolize(int(row["address"]) + 1)
    assert named.startswith(f"{row['name']}+0x1/0x") or "+0x1/0x" in named
    assert named.endswith(f"[{row['module']}]")


def test_symbolize_keeps_shape_and_names_the_unknown_in_hexadecimal(dump):
    start = dump.symbol("schedule")
    assert dump.symbolize(start).startswith("schedule+0x0/0x")
    both = dump.symbolize(np.array([start + 4, 0x1000], dtype=np.uint64))
    assert both[0].startswith("schedule+0x4/0x")
    assert both[1] == "0x0000000000001000"
    assert dump.symbolize(pd.Series([start]))[0].startswith("schedule+0x0")


def test_types_of_modules_join_the_kernels(whole_dump, dump):
    """A struct that only a module has (null_blk's) is known once modules are asked for."""
    kernel = dump.kernel
    if "btf_modules" not in kernel.symbols:
        dump.symbols  # noqa: B018
        # What this kernel never had is no loss of the dump, but who asks is told.
        assert not any("type information" in problem for problem in dump.problems)
        with pytest.raises(TypeNotFoundError, match="keeps no type information of its modules"):
            kernel.find_type("struct nullb_device")
        return
    kind = kernel.find_type("struct nullb_device")
    assert kind.size > 100
    assert "size" in kind.member_names()


def test_damaged_dump_gives_modules_too(damaged_dump, opened):
    ours = opened(damaged_dump.name).modules
    truth = damaged_dump.truth.modules()
    assert set(ours["name"].dropna()) <= set(truth["name"])
    both = truth.merge(ours, on="name", suffixes=("_t", ""))
    assert len(both) >= 0.9 * len(truth)
    assert (both["base_t"].astype(object) == both["base"].to_numpy(dtype=object)).all()
