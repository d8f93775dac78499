"""A machine of 12 TiB, 64 NUMA nodes, 2,048 CPUs and 8,192 modules: every table is built, or refused with its size.

What it has is what tests/support/large_machine.py put there; what is counted is held against that.
"""

from __future__ import annotations

import pytest
from support.heap import Heap
from support.large_machine import LargeMachine
from support.many_modules import EXPORTS, SYMBOLS, ManyModules
from support.page_tables import PageTables


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
    heap = Heap(below, 64 << 8)
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
