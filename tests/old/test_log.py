"""`dump.log` of kernels before Linux 5.10, whose log is a buffer of `struct printk_log`: against the writer's model."""

from __future__ import annotations

import pandas as pd
import pytest
from debuginfo.make_btf import CHAR, Blob
from hypothesis import given
from hypothesis import strategies as st
from support.machine import Machine
from support.old_log import OldLog, Record
from support.old_types import NAMES, types
from support.overlay import PAGE

from kernlab.debuginfo.btf import Btf
from kernlab.errors import KernlabError
from kernlab.formats.base import FrameStatus

SIZE = 1 << 12


def made_types(caller: bool = False, align: int = 4) -> Btf:
    """BTF with nothing but the record: as gcc lays it out, with CONFIG_PRINTK_CALLER or without."""
    blob = Blob()
    u64, u16, u8 = (blob.int(f"u{8 * size}", size) for size in (8, 2, 1))
    u32 = blob.int("u32", 4)
    blob.int("char", 1, CHAR)
    members = [
        ("ts_nsec", u64, 0),
        ("len", u16, 64),
        ("text_len", u16, 80),
        ("dict_len", u16, 96),
        ("facility", u8, 112),
        ("flags", u8, 120, 5),
        ("level", u8, 125, 3),
    ]
    blob.struct("printk_log", header(caller, align), members + [("caller_id", u32, 128)] * caller)
    return Btf(blob.bytes())


def header(caller: bool, align: int = 4) -> int:
    return -(-(20 if caller else 16) // align) * align


def machine_of(log: OldLog, kinds: Btf) -> tuple[Machine, int]:
    """A machine with that log, and where its buffer lies."""
    machine = Machine(kinds, pages=128)
    buffer = machine.alloc(log.size, PAGE)
    machine.put(buffer, bytes(log.data))
    machine.variable("log_buf", value=buffer)
    for name, size, value in (
        ("log_buf_len", 4, log.size),
        ("log_first_idx", 4, log.first),
        ("log_next_idx", 4, log.following),
        ("log_first_seq", 8, log.first_number),
        ("log_next_seq", 8, log.next_number),
    ):
        machine.variable(name, size, value)
    return machine, buffer


def wanted(records: list[Record]) -> list[tuple[object, ...]]:
    return [(r.number, r.ns, r.level, r.facility, said(r.caller), r.text.decode()) for r in records]


def said(caller: int) -> str:
    return "" if not caller else f"C{caller & 0x7FFFFFFF}" if caller >> 31 else f"T{caller}"


def found(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    stamps = frame["timestamp"].astype("int64")
    rows = zip(
        frame["seq"], stamps, frame["level"], frame["facility"], frame["caller"], frame["text"], strict=True
    )
    return [tuple(row) for row in rows]


def kept(log: OldLog) -> list[Record]:
    return [record for record, _ in log.kept]


def filled(count: int = 200, size: int = SIZE, caller: bool = False, align: int = 4) -> OldLog:
    """A log with lines of many lengths; so many that it wraps more than once, unless `count` is small."""
    log = OldLog(size, header(caller, align), align)
    for number in range(count):
        text = f"line {number} " + "x" * (number * 7 % 60)
        more = b"SUBSYSTEM=pci\0DEVICE=+pci:0" if number % 5 == 0 else b""
        who = (0x80000000 | number % 4 if number % 3 == 0 else number + 1) if caller else 0
        assert log.print(text.encode(), 1000 + number, number % 8, number % 3, more, who)
    return log


@pytest.mark.parametrize(("caller", "align"), [(False, 4), (False, 8), (True, 4), (True, 8)])
@pytest.mark.parametrize("count", [0, 1, 20, 200])
def test_every_record_that_is_still_there(count, caller, align):
    log = filled(count, caller=caller, align=align)
    machine, _ = machine_of(log, made_types(caller, align))
    table = machine.dump().log
    assert found(table) == wanted(kept(log))
    assert table.attrs["problems"] == []
    assert (log.first > log.following) == (count == 200)


@pytest.mark.parametrize("name", NAMES)
def test_records_as_distributions_lay_them_out(name):
    log = filled()
    table = machine_of(log, types(name))[0].dump().log
    assert found(table) == wanted(kept(log))


LINES = st.lists(
    st.tuples(st.binary(max_size=120).filter(lambda raw: b"\0" not in raw), st.integers(0, 40)), max_size=120
)


@given(LINES, st.sampled_from([512, 1024, 4096]))
def test_any_lines_in_any_buffer(lines, size):
    log = OldLog(size)
    for ns, (text, more) in enumerate(lines):
        log.print(text, ns + 1, dictionary=b"D" * more)
    table = machine_of(log, KINDS)[0].dump().log
    assert list(table["seq"]) == [record.number for record in kept(log)]
    assert list(table["text"]) == [record.text.decode("utf-8", "backslashreplace") for record in kept(log)]
    assert table.attrs["problems"] == []


KINDS = made_types()


def test_the_types_may_be_vmcoreinfos_own():
    """Where BTF lacks the record, VMCOREINFO has it (kernel/printk/printk.c, log_buf_vmcoreinfo_setup)."""
    log = filled(caller=True)
    blob = Blob()
    blob.int("char", 1, CHAR)
    machine, _ = machine_of(log, Btf(blob.bytes()))
    offsets = {"ts_nsec": 0, "len": 8, "text_len": 10, "dict_len": 12, "caller_id": 16}
    note = {f"OFFSET(printk_log.{name})": str(at) for name, at in offsets.items()}
    table = machine.dump(**note, **{"SIZE(printk_log)": "20"}).log
    assert found(table) == wanted(kept(log))
    del note["OFFSET(printk_log.dict_len)"]
    with pytest.raises(KernlabError, match="no type 'struct printk_log'"):
        machine.dump(**note, **{"SIZE(printk_log)": "20"}).log  # noqa: B018


@pytest.mark.parametrize("page", [0, 1, 3])
def test_a_page_that_is_missing_costs_what_lies_on_it(page):
    """The records behind it are found, with their numbers."""
    log = filled(400, size=4 * PAGE)
    machine, buffer = machine_of(log, KINDS)
    machine.gone[machine.physical(buffer) // PAGE + page] = FrameStatus.LOST
    lost = range(page * PAGE, (page + 1) * PAGE)
    whole = [
        record
        for (begin, end), (record, _) in zip(log.places(), log.kept, strict=True)
        if begin not in lost and end - 1 not in lost
    ]
    table = machine.dump().log
    shown = table[table["text"].notna()]
    # On page 1 lie the oldest and the newest: how many of either were lost nothing tells.
    uncertain = int(page == 1)
    assert [row[uncertain:] for row in found(shown)] == [row[uncertain:] for row in wanted(whole)]
    assert any("(seq) may be too low" in told for told in table.attrs["problems"]) == bool(uncertain)
    assert 0 < len(whole) < len(log.kept)
    assert any("cannot be read; what they held is missing" in told for told in table.attrs["problems"])
    assert any("records of the log were lost" in told for told in table.attrs["problems"])


@pytest.mark.parametrize("rest", [0, 8, 10, 12])
@pytest.mark.parametrize("row", [0, 1, 5, -2])
def test_a_record_with_a_damaged_head_is_the_only_one_lost(row, rest):
    log = filled()
    at, _ = log.places()[row]
    broken = log.data[at + rest]
    log.data[at + rest] = broken ^ 0x55
    table = machine_of(log, KINDS)[0].dump().log
    whole = kept(log)
    # Without its length the record is no record; another time it is still one.
    gone = [whole.pop(row)] if rest else []
    rows = found(table)
    assert [each for each in rows if each[0] not in [record.number for record in gone]] == (
        wanted(whole) if rest else rows
    )
    assert len(rows) == len(whole)
    assert bool(table.attrs["problems"]) == bool(rest)


@pytest.mark.parametrize("name", ["log_first_idx", "log_next_idx"])
@pytest.mark.parametrize("value", [SIZE, 0xFFFFFFFC, 3])
@pytest.mark.parametrize("count", [20, 200])
def test_where_the_log_begins_or_ends_may_be_damaged(name, value, count):
    log = filled(count)
    machine, _ = machine_of(log, KINDS)
    machine.word(machine.symbols[name], value, 4)
    table = machine.dump().log
    texts = [record.text.decode() for record in kept(log)]
    assert any(f"the log: {name} is {value:,}" in told for told in table.attrs["problems"])
    # The oldest ones may be unknown, or one of those that were given up is still whole.
    assert list(table["text"])[-len(texts) :] == texts
    assert len(table) - len(texts) <= 2


@pytest.mark.parametrize("size", [0, 8, 0xFFFFFFFF])
def test_a_buffer_of_no_size_that_can_be(size):
    machine, _ = machine_of(filled(), KINDS)
    machine.word(machine.symbols["log_buf_len"], size, 4)
    with pytest.raises(
        KernlabError, match=rf"the log cannot be read: its buffer at .* claims {size:,} bytes"
    ):
        machine.dump().log  # noqa: B018


def test_a_kernel_without_a_log_says_so():
    machine = Machine(KINDS, pages=128)
    machine.variable("jiffies")
    with pytest.raises(KernlabError, match=r"keeps no log .CONFIG_PRINTK is off."):
        machine.dump().log  # noqa: B018
