"""The layouts of ORC entries: what is encoded as the kernel's headers say comes out again, whatever the order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from debuginfo.make_btf import Blob
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.orc import Base, Kind, OrcPart, OrcTable
from kernlab.linux.stacks.orc_tables import orc_tables

END = 1 << 20

#: arch/x86/include/asm/orc_types.h, ORC_REG_*: until v7.0, and since.
OLD_REGISTERS = {
    "UNDEFINED": 0, "PREV_SP": 1, "DX": 2, "DI": 3, "BP": 4, "SP": 5, "R10": 6, "R13": 7, "BP_INDIRECT": 8,
    "SP_INDIRECT": 9,
}  # fmt: skip
NEW_REGISTERS = {
    "UNDEFINED": 0, "AX": 1, "DX": 2, "SP": 3, "BP": 4, "DI": 5, "R10": 6, "R13": 7, "PREV_SP": 8, "SP_INDIRECT": 9,
    "BP_INDIRECT": 10,
}  # fmt: skip
#: ORC_TYPE_*: until v6.3, and since; there the end of a stack was a member of its own.
OLD_TYPES = {"CALL": 0, "REGS": 1, "REGS_PARTIAL": 2}
NEW_TYPES = {"UNDEFINED": 0, "END_OF_STACK": 1, "CALL": 2, "REGS": 3, "REGS_PARTIAL": 4}

#: What stands between __start_orc_header and __stop_orc_header since v6.4: scripts/orc_hash.sh, of Debian's headers of
#: 6.12 and 7.2 (those of 7.3 give the same as those of 7.2).
HASHES = {
    "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24": OLD_REGISTERS,
    "137c36ad7627c4dd55932176bb0ecdbd5041fc82": NEW_REGISTERS,
}


def made_types(*flags):
    """struct orc_entry with these bitfields behind its two offsets: (name, bits)."""
    blob = Blob()
    short, word = blob.int("short int", 2, 1), blob.int("unsigned int", 4)
    members, at = [("sp_offset", short, 0, 0), ("bp_offset", short, 16, 0)], 32
    for name, bits in flags:
        members.append((name, word, at, bits))
        at += bits
    blob.struct("orc_entry", 6, members)
    return Btf(blob.bytes()).find("struct orc_entry").strip()


@dataclass(frozen=True)
class Layout:
    """One of the four: the dump that has it (none of v6.3), its registers and types."""

    dump: str | None
    registers: dict
    types: dict

    def kind(self, opened):
        if self.dump is None:
            return made_types(("sp_reg", 4), ("bp_reg", 4), ("type", 2), ("signal", 1), ("end", 1))
        return opened(self.dump).kernel.find_type("struct orc_entry").strip()


LAYOUTS = {
    "v4.14": Layout("debian-5.10", OLD_REGISTERS, OLD_TYPES),
    "v6.3": Layout(None, OLD_REGISTERS, OLD_TYPES),
    "v6.4": Layout("debian-6.12", OLD_REGISTERS, NEW_TYPES),
    "v7.1": Layout("debian-7.2", NEW_REGISTERS, NEW_TYPES),
}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request, opened):
    chosen = LAYOUTS[request.param]
    return chosen, chosen.kind(opened)


@dataclass(frozen=True)
class Entry:
    """What an entry says, in words."""

    sp: str
    bp: str
    sp_offset: int
    bp_offset: int
    type: str
    signal: bool


def encode(entry, layout, kind):
    """Six bytes, each member where the types say that it lies."""
    value = {
        "sp_offset": entry.sp_offset,
        "bp_offset": entry.bp_offset,
        "sp_reg": layout.registers[entry.sp],
        "bp_reg": layout.registers[entry.bp],
        "type": layout.types.get(entry.type, 0),
        "signal": int(entry.signal),
        "end": int(entry.type == "END_OF_STACK"),
    }
    whole = 0
    for member in kind.members:
        bits = member.bit_size or 16
        whole |= (value[member.name] & ((1 << bits) - 1)) << member.bit_offset
    return whole.to_bytes(6, "little")


def meaning(entry, layout, kind):
    """What the unwinder has to make of it: (sp base, bp base, offsets, kind, signal)."""
    told = {member.name for member in kind.members}
    signal = entry.signal if "signal" in told else entry.type in ("REGS", "REGS_PARTIAL")
    return (
        Base[entry.sp],
        Base[entry.bp],
        entry.sp_offset,
        entry.bp_offset,
        Kind[entry.type],
        signal,
    )


def is_terminator(entry):
    """orc_sort_cmp: at one address what ends a section gives way to what begins there."""
    return entry.type == "UNDEFINED"


def entries_of(layout):
    """Entries that objtool writes: one without a base ends the stack, or says nothing."""
    registers = st.sampled_from([name for name in layout.registers if name != "UNDEFINED"])
    short = st.integers(-(1 << 15), (1 << 15) - 1)
    saying = st.builds(
        Entry,
        registers,
        st.sampled_from(list(layout.registers)),
        short,
        short,
        st.sampled_from(["CALL", "REGS", "REGS_PARTIAL"]),
        st.booleans(),
    )
    silent = st.builds(
        Entry,
        st.just("UNDEFINED"),
        st.just("UNDEFINED"),
        st.just(0),
        st.just(0),
        st.sampled_from(["UNDEFINED", "END_OF_STACK"]),
        st.just(False),
    )
    return st.one_of(saying, silent)


def table(layout, kind, placed):
    """A table of [(address, entry)]; most of a kernel's entries go by the stack pointer, as those added here do."""
    usual = Entry("SP", "UNDEFINED", 8, 0, "CALL", False)
    placed = [*placed, *((END + 16 * number, usual) for number in range(len(placed) + 1))]
    ip = np.array([address for address, _ in placed], dtype=np.uint64)
    rows = np.frombuffer(
        b"".join(encode(entry, layout, kind) for _, entry in placed), dtype=np.uint8
    ).reshape(-1, 6)
    end = END + 16 * (len(placed) + 1)
    return OrcTable([OrcPart(ip, rows, np.ones(len(ip), dtype=bool), end)], kind)


def slow(placed, address):
    """The entry that an address lies behind."""
    before = [(ip, not is_terminator(entry), row) for row, (ip, entry) in enumerate(placed) if ip <= address]
    return placed[max(before)[2]][1] if before else None


def told(found, row):
    return (
        found.sp_base[row],
        found.bp_base[row],
        found.sp_offset[row],
        found.bp_offset[row],
        found.kind[row],
        bool(found.signal[row]),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_encoded_comes_out_again_sorted_or_not(layout, data):
    chosen, kind = layout
    entry = entries_of(chosen)
    # No two at an address but for a terminator and what begins there.
    addresses = data.draw(st.lists(st.integers(16, END - 8), min_size=1, max_size=12, unique=True))
    placed = [(address, data.draw(entry)) for address in addresses]
    nothing = Entry("UNDEFINED", "UNDEFINED", 0, 0, "UNDEFINED", False)
    ends = data.draw(st.lists(st.sampled_from(addresses), unique=True))
    placed = data.draw(st.permutations([*placed, *((address, nothing) for address in ends)]))
    asked = [
        *addresses,
        *(address - 1 for address in addresses),
        *(address + 3 for address in addresses),
        END - 1,
    ]
    found = table(chosen, kind, placed).at(np.array(asked, dtype=np.uint64))
    for row, address in enumerate(asked):
        wanted = slow(placed, address)
        if wanted is None:
            assert found.unknown[row]
            assert found.kind[row] == Kind.UNDEFINED
        else:
            assert told(found, row) == meaning(wanted, chosen, kind)


@pytest.mark.parametrize("first", [True, False])
def test_the_end_of_stacks_begins_where_a_section_ended(layout, first):
    """Both have no base; ret_from_fork is such a function, and may begin a section."""
    chosen, kind = layout
    ends = Entry("UNDEFINED", "UNDEFINED", 0, 0, "END_OF_STACK", False)
    nothing = Entry("UNDEFINED", "UNDEFINED", 0, 0, "UNDEFINED", False)
    placed = [(64, ends), (64, nothing)] if first else [(64, nothing), (64, ends)]
    assert table(chosen, kind, placed).at(np.array([70], dtype=np.uint64)).kind[0] == Kind.END_OF_STACK


def test_every_register_and_kind_of_each_layout(layout):
    chosen, kind = layout
    placed = [
        (16 * (1 + number), Entry(sp, bp, -8, 16, type_, signal))
        for number, (sp, bp, type_, signal) in enumerate(
            (sp, bp, type_, signal)
            for sp in chosen.registers
            if sp != "UNDEFINED"
            for bp in chosen.registers
            for type_ in ("CALL", "REGS", "REGS_PARTIAL")
            for signal in (False, True)
        )
    ]
    found = table(chosen, kind, placed).at(np.array([ip + 5 for ip, _ in placed], dtype=np.uint64))
    assert [told(found, row) for row in range(len(placed))] == [
        meaning(entry, chosen, kind) for _, entry in placed
    ]


def test_the_numbers_of_registers_are_those_that_the_orc_header_names(dump):
    """The kernel's own words on which layout its tables have, which kernlab does not read."""
    start = dump.kernel.symbols.get("__start_orc_header")
    members = {member.name for member in dump.kernel.find_type("struct orc_entry").strip().members}
    if start is None:
        assert "end" in members, "of v6.4 and later there is a header"
        registers = OLD_REGISTERS
    else:
        registers = HASHES[dump.read(start, 20).hex()]
    orc = orc_tables(dump.kernel)
    assert {name: int(orc._bases[number]) for name, number in registers.items()} == {
        name: int(Base[name]) for name in registers
    }


@pytest.mark.parametrize("name", ["schedule", "vfs_read", "do_exit", "ext4_readdir", "kthread"])
def test_orc_says_at_a_functions_first_instruction_that_the_return_address_is_on_top(dump, name):
    """Whatever the layout: there the caller's stack pointer is 8 bytes above."""
    start = dump.kernel.symbols.get(name) or dump.kernel.symbol("wake_up_process")
    found = orc_tables(dump.kernel).at(np.array([start], dtype=np.uint64))
    assert told(found, 0) == (Base.SP, Base.UNDEFINED, 8, found.bp_offset[0], Kind.CALL, False)
