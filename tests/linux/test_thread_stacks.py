"""The size of kernel stacks: as the kernel maps them, and with KASAN, of which no dump here is."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.linux.thread_stacks import thread_size

END = ("__end_init_stack", "__end_init_task")


def another(dump: kernlab.Dump, **moved: int | None) -> kernlab.Dump:
    """The dump with some symbols moved by bytes, or (None) gone."""
    result = Overlay(dump).dump()
    table = result.kernel.symbols
    blob, addresses = table._blob, table.addresses.copy()
    for name, by in moved.items():
        row = table.index(name)
        if row is None:
            continue
        if by is None:
            blob = blob.replace(f"\0{name}\0".encode(), f"\0{'x' * len(name)}\0".encode())
        else:
            addresses[row] += np.uint64(by)
    result.kernel.symbols = SymbolTable(blob, table._starts, addresses, table.types, table.kernel_start)
    return result


def test_it_is_what_the_kernel_mapped_for_each_thread(dump):
    mapped = dump.structs("task_struct", dump.tasks["address"]).follow("stack_vm_area")["nr_pages"]
    pages = set(mapped.values[mapped.valid].tolist()) - {0}
    assert {thread_size(dump.kernel)} == {count * 4096 for count in pages}


def test_types_tell_where_data_symbols_are_absent(dump):
    """CONFIG_KALLSYMS_ALL=n."""
    assert thread_size(another(dump, init_stack=None).kernel) == 16384


def test_stacks_of_unknown_size_cost_no_table(opened, monkeypatch):
    dump = another(opened("debian-6.1"), init_stack=None)
    types = dump.kernel.types
    get = types.get
    monkeypatch.setattr(types, "get", lambda name: None if name == "struct irq_stack" else get(name))
    stacks = dump.structs("task_struct", dump.tasks["address"])["stack"].values
    stack = int(stacks[dump.tasks["pid"] > 0].max())
    found = dump.owner([stack + 100])
    assert found["kind"].tolist() == ["kernel stack"]
    assert any("the size of kernel stacks" in problem for problem in found.attrs["problems"])
    assert dump.memory["bytes"].sum() == opened("debian-6.1").memory["bytes"].sum()
    assert any("the size of kernel stacks" in problem for problem in dump.memory.attrs["problems"])


@pytest.fixture(scope="module")
def kasan(opened):
    """debian-6.1 as if it was built with CONFIG_KASAN: KASAN_STACK_ORDER is 1."""
    return another(opened("debian-6.1"), **dict.fromkeys(END, 16384))


def test_larger_stacks_are_their_threads_to_the_end(opened, kasan):
    assert thread_size(kasan.kernel) == 32768
    stacks = opened("debian-6.1").structs("task_struct", kasan.tasks["address"])["stack"].values
    stack = int(stacks[kasan.tasks["pid"] > 0].max())
    found = kasan.owner(stack + 30_000)
    assert (found["kind"], int(found["start"]), found["size_bytes"]) == ("kernel stack", stack, 32768)
    assert opened("debian-6.1").owner(stack + 30_000)["kind"] != "kernel stack"
