"""SymbolTable: look-ups both ways, on tables whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.debuginfo.symbols import MoreSymbols, SymbolTable
from kernlab.errors import SymbolNotFoundError
from kernlab.memory.arch.x86_64 import X86_64

BASE = 0xFFFFFFFF81000000


def table(*symbols):
    """From (address, letter, name)."""
    blob, starts = b"\0", []
    for _, _, name in symbols:
        starts.append(len(blob))
        blob += name.encode() + b"\0"
    addresses = np.array([address for address, _, _ in symbols], dtype=np.uint64)
    letters = np.array([ord(letter) for _, letter, _ in symbols], dtype=np.uint8)
    return SymbolTable(blob, np.array(starts, dtype=np.int64), addresses, letters, X86_64().kernel_start)


def kernel():
    return table(
        (0, "A", "__per_cpu_start"),
        (0x1000, "A", "irq_stack"),
        (BASE, "T", "_stext"),
        (BASE, "T", "_text"),
        (BASE + 0x40, "t", "cleanup"),
        (BASE + 0x80, "T", "schedule"),
        (BASE + 0x100, "t", "cleanup"),
        (BASE + 0x200, "B", "_end"),
        (BASE + 0x300, "B", "__init_scratch_begin"),
    )


def test_names_to_addresses():
    symbols = kernel()
    assert symbols.address("schedule") == BASE + 0x80
    assert symbols.get("schedule") == BASE + 0x80
    assert symbols.address("cleanup") == BASE + 0x40
    assert symbols.all("cleanup") == [BASE + 0x40, BASE + 0x100]
    assert symbols.all("nothing") == []
    assert symbols.get("nothing") is None
    assert symbols.get("nothing", 5) == 5
    assert "schedule" in symbols
    assert symbols.get("__per_cpu_start", 5) == 0
    assert symbols.prefix("_") == ["__per_cpu_start", "_stext", "_text", "_end", "__init_scratch_begin"]
    assert len(symbols) == len(symbols.names()) == 9


@pytest.mark.parametrize("name", ["", "sched", "chedule", "schedul", "_stext\0_text", "\0", "schedule\0"])
def test_only_whole_names_are_found(name):
    assert name not in kernel()
    assert kernel().all(name) == []


@given(st.lists(st.text("ab_é", min_size=1, max_size=4), max_size=60), st.text("ab_é", max_size=4))
def test_among_many_names_of_one_length_the_whole_one_is_found(names, wanted):
    symbols = table(*((BASE + 8 * row, "T", name) for row, name in enumerate(names)))
    for name in (wanted, *names):
        places = [BASE + 8 * row for row, other in enumerate(names) if other == name]
        assert symbols.all(name) == places
        assert symbols.get(name) == (places[0] if places else None)


def test_the_room_of_a_symbol_is_what_a_look_up_says():
    module = MoreSymbols(
        "virtio_blk", ["first", "last"], np.array([BASE + 0x400, BASE + 0x410], dtype=np.uint64),
        np.frombuffer(b"td", dtype=np.uint8), np.array([8, 0], dtype=np.uint64),
    )  # fmt: skip
    symbols = kernel().extended([module])
    for name in ("_stext", "cleanup", "schedule", "first", "last"):
        address = symbols.address(name)
        _, _, (size,) = symbols.lookup(np.array([address], dtype=np.uint64))
        assert symbols.room(address) == size > 0


def test_what_is_not_there_names_what_is_near():
    with pytest.raises(SymbolNotFoundError, match=r"no symbol 'shedule'; did you mean schedule"):
        kernel().address("shedule")


def test_addresses_to_names():
    wanted = {
        BASE: "_stext+0x0/0x40",  # of aliases the first, as kallsyms_lookup
        BASE + 0x3F: "_stext+0x3f/0x40",
        BASE + 0x80: "schedule+0x0/0x80",
        BASE + 0xFF: "schedule+0x7f/0x80",
        BASE + 0x1FF: "cleanup+0xff/0x100",
        BASE + 0x200: None,  # _end and what follows
        BASE + 0x300: None,
        BASE + 0x1000: None,
        BASE - 1: None,
        0: None,  # absolute symbols and offsets of per-CPU variables
        0x1004: None,
        (1 << 64) - 1: None,
    }
    assert kernel().symbolize(list(wanted)) == list(wanted.values())


def test_rows_offsets_and_sizes():
    rows, offsets, sizes = kernel().lookup(np.array([BASE + 0x85, BASE + 0x500], dtype=np.uint64))
    assert rows.tolist() == [5, -1]
    assert offsets.tolist() == [5, 0]
    assert sizes.tolist() == [0x80, 0]
    assert (rows.dtype, offsets.dtype, sizes.dtype) == (np.int64, np.uint64, np.uint64)
    assert [part.tolist() for part in kernel().lookup([])] == [[], [], []]


def test_modules_join_without_changing_the_kernels_table():
    symbols = kernel()
    module = 0xFFFFFFFFC0000000
    extended = symbols.extended(
        [
            MoreSymbols(
                "virtio_blk",
                ["init_module", "schedule", "last"],
                np.array([module, module + 0x10, module + 0x40], dtype=np.uint64),
                np.frombuffer(b"ttd", dtype=np.uint8),
            )
        ]
    )
    assert len(symbols) == 9
    assert "init_module" not in symbols
    assert extended.address("init_module") == module
    assert extended.address("schedule") == BASE + 0x80
    assert extended.all("schedule") == [BASE + 0x80, module + 0x10]
    assert extended.modules() == [""] * 9 + ["virtio_blk"] * 3
    assert extended.symbolize([module + 4, BASE + 0x84, module + 0x41, BASE + 0x400, module + (1 << 29)]) == [
        "init_module+0x4/0x10 [virtio_blk]",
        "schedule+0x4/0x80",
        "last+0x1/0x100000 [virtio_blk]",
        None,
        None,
    ]


def test_a_gap_between_modules_belongs_to_none():
    first, second = 0xFFFFFFFFC0000000, 0xFFFFFFFFC8000000
    letters = np.frombuffer(b"t", dtype=np.uint8)
    symbols = kernel().extended(
        [
            MoreSymbols("one", ["a"], np.array([first], dtype=np.uint64), letters),
            MoreSymbols("two", ["b"], np.array([second], dtype=np.uint64), letters),
        ]
    )
    assert symbols.symbolize([first + 1, second - 1, second]) == [
        "a+0x1/0x100000 [one]",
        None,
        "b+0x0/0x100000 [two]",
    ]


def test_what_the_kernel_keeps_the_size_of_ends_there():
    start = 0xFFFFFFFFC0000000
    at = np.array([start, start + 0x100], dtype=np.uint64)
    sizes = np.array([0x18, 0x20], dtype=np.uint64)
    symbols = kernel().extended(
        [MoreSymbols("bpf", ["one", "two"], at, np.frombuffer(b"tt", dtype=np.uint8), sizes)]
    )
    assert symbols.symbolize([start + 0x17, start + 0x18, start + 0x100, start + 0x120]) == [
        "one+0x17/0x18 [bpf]",
        None,
        "two+0x0/0x20 [bpf]",
        None,
    ]


def test_freed_code_is_named_where_nothing_else_lies_by_now():
    letters = np.frombuffer(b"tt", dtype=np.uint8)
    module, other = 0xFFFFFFFFC0000000, 0xFFFFFFFFC0100000
    freed = np.array([module + 0x10, other - 0x100], dtype=np.uint64)
    sizes = np.array([0x20, 0x20], dtype=np.uint64)
    symbols = kernel().extended(
        [
            MoreSymbols("one", ["a", "b"], np.array([module, module + 0x40], dtype=np.uint64), letters),
            MoreSymbols("two", ["c", "d"], np.array([other, other + 0x40], dtype=np.uint64), letters),
            MoreSymbols("old", ["reused", "still"], freed, letters, sizes, gone=True),
        ]
    )
    assert symbols.symbolize([module + 0x11, other - 0x100, other - 0xE0, other]) == [
        "a+0x11/0x40 [one]",
        "still+0x0/0x20 [old]",
        None,
        "c+0x0/0x40 [two]",
    ]
    assert symbols.names()[-2:] == ["reused", "still"]


def test_a_table_of_absolute_symbols_covers_nothing():
    assert table((16, "A", "fixed_percpu_data")).symbolize([16, BASE]) == [None, None]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=60).map(sorted),
    st.lists(st.integers(-100, 6000), max_size=40),
)
def test_lookup_is_the_nearest_at_or_below(offsets, asked):
    symbols = table(
        *((BASE + offset, "t", f"f{row}") for row, offset in enumerate(offsets)), (BASE + 5500, "B", "_end")
    )
    rows, into, sizes = symbols.lookup(np.array([BASE + offset for offset in asked], dtype=np.uint64))
    for offset, row, within, size in zip(asked, rows.tolist(), into.tolist(), sizes.tolist(), strict=True):
        below = [at for at in offsets if at <= offset]
        if not below or offset >= 5500:
            assert row == -1
            continue
        assert row == offsets.index(below[-1])
        assert within == offset - below[-1]
        assert size == min([at for at in offsets if at > below[-1]] or [5500]) - below[-1]
