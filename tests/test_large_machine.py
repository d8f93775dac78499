"""A machine of 12 TiB, 64 NUMA nodes, 2,048 CPUs and 8,192 modules: every table is built, or refused with its size.

What it has is what tests/support/large_machine.py put there; what is counted is held against that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SAMPLES
from support.heap import Heap
from support.large_machine import (
    AFTER_HOLE,
    COUNTED,
    DESCRIBED,
    HEAP_OFFSET,
    NODE_FRAMES,
    ORDER,
    LargeMachine,
)
from support.many_modules import EXPORTS, SYMBOLS, ManyModules
from support.overlay import PAGE
from support.page_tables import PageTables

from kernlab.core.struct_array import StructArray
from kernlab.dump import TABLES
from kernlab.errors import BudgetError
from kernlab.linux.page.classifier import KIND_NAMES, Kind
from kernlab.plots import page_counts
from kernlab.walk.percpu_counters import percpu_sums

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def machine(opened):
    return LargeMachine(opened("debian-6.1"))


@pytest.fixture(scope="module")
def large(machine):
    with machine.dump() as dump:
        yield dump


def test_every_module_is_a_row_with_its_name_its_memory_and_its_users(machine, large):
    many, table = machine.modules, large.modules
    new, own = table.iloc[: many.count], table.iloc[many.count :]
    assert new["name"].tolist() == many.names
    assert new["base"].astype("uint64").tolist() == many.starts.tolist()
    users = dict(zip(new["name"], new["used_by"], strict=True))
    assert {name: used for name, used in users.items() if used} == many.used_by
    assert own["name"].tolist() == machine.heap.overlay.below.modules["name"].tolist()
    assert table.attrs["problems"] == []


def test_every_modules_symbols_are_there_and_what_it_exports_has_a_capital_letter(machine, large):
    many = machine.modules
    symbols = large.symbols[large.symbols["module"].str.startswith("synthetic_")]
    assert len(symbols) == many.count * SYMBOLS
    assert symbols["module"].tolist() == [name for name in many.names for _ in range(SYMBOLS)]
    numbers = list(range(SYMBOLS)) * many.count
    assert symbols["name"].tolist() == [
        f"{name}_fn{number:02d}" for name, number in zip(symbols["module"], numbers, strict=True)
    ]
    assert symbols["type"].tolist() == ["T" if number < EXPORTS else "t" for number in numbers]
    start = dict(zip(many.names, many.starts.tolist(), strict=True))
    assert symbols["address"].astype("uint64").tolist() == [
        start[name] + 256 * number for name, number in zip(symbols["module"], numbers, strict=True)
    ]
    assert large.symbols.attrs["problems"] == []
    assert (
        large.symbolize(int(many.starts[-1]) + 0x105) == f"{many.names[-1]}_fn01+0x5/0x100 [{many.names[-1]}]"
    )


def test_copies_of_one_module_are_rows_and_its_symbols_stand_once(opened):
    """What damage makes of a list: each entry another struct, and all of them name the same symbols."""
    below = opened("debian-6.1")
    heap = Heap(below, 64 << 8, HEAP_OFFSET)
    tables = PageTables(heap)
    many = ManyModules(heap, tables, 8000, copied=True)
    tables.write()
    with heap.dump() as dump:
        assert dump.modules["name"].tolist() == many.names + below.modules["name"].tolist()
        (name,) = set(many.names)
        mine = dump.symbols[dump.symbols["module"] == name]
        assert mine["name"].tolist() == [f"{name}_fn{number:02d}" for number in range(SYMBOLS)]
        assert len(dump.symbols) == len(below.symbols) + SYMBOLS
        (told,) = dump.problems
        assert told == (
            f"the symbols of module '{name}' and 7,998 more modules: a symbol table is another module's, with which it "
            "stands"
        )


#: Tables that are not built of such a machine, and how much the refusal says they would take.
REFUSED = {"pages": r"pages would take \d+\.\d GiB \(3,220,340,600 × \d+ bytes\)"}


#: What is told of the CPUs that were made up, which have no notes.
_NO_NOTES = re.compile(
    r"the registers of CPU |.*whose registers are not known|and [\d,]+ more problems of this kind"
)


#: What the kernel was built without.
_OFF = re.compile(
    r"is off in this kernel \(CONFIG_\w+\)$|^the kernel does not carry its configuration \(CONFIG_IKCONFIG "
)


#: The CPUs and threads that were made up are copies: their lists lead to those that they were copied from, or nowhere.
#: Each table, and which has as many rows.
COPIES = {
    "delays": "tasks",
    "disks": "disks",
    "inflight": "inflight",
    "queued": "runqueues",
    "queued_signals": "signals",
    "runqueues": "cpus",
    "signals": "tasks",
}


@pytest.mark.parametrize("name", sorted(name for name, entry in TABLES.items() if not entry.is_method))
def test_every_table_is_built_or_says_how_much_it_would_take(large, name):
    if name in COPIES:
        # Built all the same, and what is told of the copies is theirs.
        assert len(getattr(large, name)) == len(getattr(large, COPIES[name])) or name.startswith("queued")
        return
    if name in REFUSED:
        with pytest.raises(BudgetError, match=REFUSED[name]):
            getattr(large, name)
        return
    told = getattr(large, name).attrs["problems"]
    told = [problem for problem in told if not _OFF.search(problem)]
    # The file lacks most page structs, as of such a machine it would; nothing else of it is missing.
    told = [problem for problem in told if not problem.startswith("the page structs of ")]
    assert [problem for problem in told if not _NO_NOTES.match(problem)] == []


def test_all_of_memory_is_told_by_node_and_kind(machine, large, opened):
    table = large.memory
    assert table["bytes"].sum() == machine.frames * PAGE
    of_nodes = table.dropna(subset="node").set_index(["node", "kind"])["bytes"].astype("Int64")
    frames = of_nodes.unstack() // PAGE  # noqa: PD010
    assert frames.index.tolist() == list(range(64))
    small = opened("debian-6.1").memory.set_index("kind")["bytes"].astype("Int64") // PAGE
    for kind in KIND_NAMES:
        new = machine.kinds.get(kind, 0)
        assert set(frames.loc[1:, kind].dropna()) <= {new}
        assert frames.loc[0, kind] is pd.NA or frames.loc[0, kind] == small[kind] + new
    (unknown,) = table[table["node"].isna() & (table["bytes"] > 0)].itertuples()
    assert unknown.kind == "excluded"
    assert unknown.bytes // PAGE == machine.frames - small.sum() - 64 * DESCRIBED


def test_plots_show_all_of_memory_where_it_lies(machine, large):
    """What the file has no page structs of is unknown, and still there, but for the hole below 4 GiB."""
    frames = page_counts.count(large.kernel)
    assert frames.kinds.sum() == frames.zones.sum() == frames.cells.sum() == machine.frames
    first = AFTER_HOLE // frames.per_cell
    assert set(frames.cells.sum(axis=1)[first:].tolist()) == {frames.per_cell}
    unknown = frames.cells[:, [name for name, _, _ in page_counts.GROUPS].index("unknown")]
    assert unknown.sum() == frames.kinds[-1, Kind.EXCLUDED]
    assert unknown.sum() == large.memory.query("kind == 'excluded'")["bytes"].sum() // PAGE


def test_memory_is_given_in_bounded_memory():
    """Of 12 TiB, whose page structs alone are 192 GiB, in a process of its own, this test's machine included."""
    script = (
        "import resource, kernlab\n"
        "from support.large_machine import LargeMachine\n"
        f"dump = LargeMachine(kernlab.open({str(SAMPLES / 'debian-6.1' / 'vmcore')!r})).dump()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(dump.memory['bytes'].sum(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        check=True,
    )
    bytes_, kib = map(int, ran.stdout.split())
    assert bytes_ > 11 << 40
    assert kib < 1 << 20


def test_nodes_and_zones_are_those_of_the_machine(machine, large):
    nodes = large.nodes
    assert nodes["node"].tolist() == list(range(64))
    assert nodes["present"].sum() == machine.frames
    assert nodes["spanned"].tolist() == [NODE_FRAMES] * 64
    assert nodes["start_pfn"].tolist()[1:] == [number * NODE_FRAMES for number in range(1, 64)]
    normal = large.zones.query("zone == 'Normal'")
    assert normal["node"].tolist() == list(range(64))
    assert normal["free"].tolist() == [machine.kinds["free"]] * 64
    assert large.zones["present"].sum() == machine.frames
    assert large.zones["managed"].sum() == machine.managed
    blocks = large.buddyinfo.query("zone == 'Normal'")
    assert blocks[ORDER].tolist() == [machine.kinds["free"] >> ORDER] * 64


def test_what_each_cpu_keeps_is_added(machine, large, opened):
    small = opened("debian-6.1")
    assert large.vmstat["pgfault"] == small.vmstat["pgfault"] + machine.pgfault
    free = 64 * machine.kinds["free"] * PAGE
    assert large.meminfo["MemFree"] == small.meminfo["MemFree"] + free
    assert large.meminfo["MemTotal"] == machine.managed * PAGE
    assert large.info["cpus"] == 2048
    # What 2,048 CPUs have of each slab cache is nothing new, and is read.
    columns = ["name", "slabs", "objects", "active"]
    assert large.slabs[columns].equals(small.slabs[columns])


def test_every_cpu_has_its_idle_task(large, opened):
    idle = large.tasks.query("pid == 0").sort_values("cpu")
    assert idle["cpu"].tolist() == list(range(2048))
    assert idle["comm"].tolist() == [f"swapper/{cpu}" for cpu in range(2048)]
    assert len(large.tasks) == len(opened("debian-6.1").tasks) + 2046


def test_counters_of_every_process_are_added_in_bounded_memory(machine, large):
    """8,192 of them have a part on each of 2,048 CPUs: 16 Mi parts, which with their addresses are 192 MiB."""
    kernel = large.kernel
    counters = StructArray(kernel, "struct percpu_counter", np.full(8192, machine.counter))
    tracemalloc.start()
    try:
        sums = percpu_sums(kernel, counters)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sums.tolist() == [COUNTED + 2046] * 8192
    assert peak < 64 << 20
