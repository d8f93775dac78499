"""What VMCOREINFO says is held against what can be, and against the kernel's types, symbols and page tables."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.overlay import Overlay

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.debuginfo.vmcoreinfo_ranges import USED
from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.mem_sections import section_bits, sections
from kernlab.linux.page.vmemmap import slab_flag
from kernlab.linux.zones import most_nodes, orders


def changed(note: bytes, **values: str) -> bytes:
    """A note with other values: `NUMBER_PG_slab="64"` is the line NUMBER(PG_slab)=64; "" takes the line away."""
    for name, value in values.items():
        kind, _, rest = name.partition("_")
        key = f"{kind}({rest.replace('__', '.')})" if rest else kind
        line = re.compile(rf"^{re.escape(key)}=.*\n".encode(), re.MULTILINE)
        assert line.search(note) or not value, key
        note = line.sub(f"{key}={value}\n".encode() if value else b"", note)
    return note


@pytest.fixture
def note(opened):
    found = opened("debian-6.1").kernel.file.vmcoreinfo
    assert found
    return found


@pytest.fixture
def with_note(opened, note):
    """Opens debian-6.1 with another VMCOREINFO."""

    def open_(**values: str) -> Dump:
        file = Overlay(opened("debian-6.1")).file()
        return Dump(Kernel.open(file, vmcoreinfo=changed(note, **values)))

    return open_


def test_the_notes_of_real_kernels_are_believed(any_dump):
    from kernlab.formats import open_dump_file

    with open_dump_file(any_dump.vmcore) as file:
        info = Vmcoreinfo.parse(file.vmcoreinfo)
    assert info.problems == []
    assert {key for key in USED if key in info} >= {"NUMBER(phys_base)", "LENGTH(zone.free_area)"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NUMBER(SECTION_SIZE_BITS)", "1"),
        ("NUMBER(SECTION_SIZE_BITS)", "-1"),
        ("NUMBER(SECTION_SIZE_BITS)", "100000000000"),
        ("LENGTH(zone.free_area)", "-5"),
        ("LENGTH(zone.free_area)", "100000000000000000000"),
        ("NUMBER(PG_slab)", "-1"),
        ("NUMBER(PG_slab)", "64"),
        ("NUMBER(KERNEL_IMAGE_SIZE)", "-1"),
        ("NUMBER(KERNEL_IMAGE_SIZE)", "0"),
        ("SYMBOL(swapper_pg_dir)", "fffffff9bc10000"),
        ("SYMBOL(swapper_pg_dir)", "ffffffff9bc10001"),
        ("NUMBER(phys_base)", "41943041"),
        ("NUMBER(phys_base)", "9" * 31),
        ("NUMBER(pgtable_l5_enabled)", "2"),
        ("NUMBER(sme_mask)", "3"),
        ("NUMBER(sme_mask)", "1"),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", "-130"),
        ("NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)", "0"),
        ("NUMBER(HUGETLB_PAGE_DTOR)", "-2"),
        ("LENGTH(node_data)", "0"),
        ("LENGTH(node_data)", "1025"),
        ("SIZE(mem_section)", "3"),
        ("SYMBOL(mem_section)", "7"),
        ("SIZE(printk_info)", "0"),
        ("OFFSET(printk_info.seq)", "-8"),
        ("KERNELOFFSET", "-1"),
        ("SYMBOL(kallsyms_names)", "zzz"),
        ("NUMBER(phys_base)", ""),
        ("NUMBER(phys_base)", "1_0"),
        ("NUMBER(phys_base)", "\u0661"),
        ("NUMBER(phys_base)", "\x1b[31m" + "1" * 9000),
    ],
)
def test_what_cannot_be_is_not_believed_and_said(key, value):
    info = Vmcoreinfo.parse(f"{key}={value}\n".encode())
    kind, _, name = key.rstrip(")").partition("(")
    assert (getattr(info, kind.lower())(name) if name else info.kerneloffset) is None
    (problem,) = info.problems
    assert problem.startswith(f"VMCOREINFO says {key}=")
    assert "cannot be (" in problem
    assert problem.isprintable()
    assert len(problem) < 300


@given(
    st.dictionaries(st.sampled_from([*USED, "NUMBER(x)", "SIZE(y)", "x"]), st.text(max_size=40), max_size=8),
    st.binary(max_size=200),
)
def test_any_text_is_parsed(lines, more):
    text = "\n".join(f"{key}={value}" for key, value in lines.items())
    info = Vmcoreinfo.parse(text.encode("utf-8", "replace") + b"\n" + more)
    for key, possible in USED.items():
        kind, _, name = key.rstrip(")").partition("(")
        value = getattr(info, kind.lower())(name) if name else info.kerneloffset
        assert value is None or possible.holds(value)
        assert value is not None or key not in info or any(f" {key}=" in told for told in info.problems)
    assert all(problem.isprintable() for problem in info.problems)


@given(st.sampled_from(sorted(USED)), st.integers(-(1 << 66), 1 << 66))
def test_every_number_is_in_its_range_or_told(key, value):
    text = f"{key}={value:x}" if USED[key].base == 16 else f"{key}={value}"
    info = Vmcoreinfo.parse(text.encode())
    assert bool(info.problems) != USED[key].holds(value)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(USED)), st.text("0123456789abcdef-", max_size=20)), max_size=4)
)
def test_any_note_opens_or_is_refused(opened_session, lines):
    """A whole dump with any values in its note: KernlabError or a kernel, and nothing else."""
    below, original = opened_session
    text = original + b"".join(f"{key}={value}\n".encode() for key, value in lines)
    try:
        kernel = Kernel.open(Overlay(below).file(), vmcoreinfo=text)
    except KernlabError:
        return
    assert kernel.symbol("init_task") == below.symbol("init_task")


@pytest.fixture(scope="module")
def opened_session(opened):
    below = opened("debian-6.1")
    return below, below.kernel.file.vmcoreinfo


class TestWhatTheTypesSay:
    """The same tables come out as from the note as it was, and the dump says what was wrong."""

    @pytest.mark.parametrize("value", ["-5", "100000000000000000000", "1", "30"])
    def test_free_area(self, with_note, opened, value):
        dump = with_note(LENGTH_zone__free_area=value)
        assert orders(dump.kernel) == 11
        pd.testing.assert_frame_equal(dump.buddyinfo, opened("debian-6.1").buddyinfo)
        assert any(f"LENGTH(zone.free_area)={value}" in problem.replace(",", "") for problem in dump.problems)

    @pytest.mark.parametrize("value", ["-1", "64", "10"])
    def test_slab_flag(self, with_note, opened, value):
        dump = with_note(NUMBER_PG_slab=value)
        assert slab_flag(dump.kernel) == slab_flag(opened("debian-6.1").kernel) == 9
        assert any(f"NUMBER(PG_slab)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["1", "-1", "100000000000", "25", "30", "40"])
    def test_sections(self, with_note, opened, value):
        dump = with_note(NUMBER_SECTION_SIZE_BITS=value)
        assert section_bits(dump.kernel) == 27
        good = sections(opened("debian-6.1").kernel)
        assert np.array_equal(sections(dump.kernel).numbers, good.numbers)
        assert any(f"NUMBER(SECTION_SIZE_BITS)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["0", "2", "100000", "-1"])
    def test_nodes(self, with_note, opened, value):
        dump = with_note(LENGTH_node_data=value)
        assert most_nodes(dump.kernel) == most_nodes(opened("debian-6.1").kernel)
        assert any(f"LENGTH(node_data)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["7", "-2", "99"])
    def test_hugetlb(self, with_note, opened, value):
        dump = with_note(NUMBER_HUGETLB_PAGE_DTOR=value)
        PageLayout(dump.kernel)
        from kernlab.core.told import enumerator

        assert enumerator(dump.kernel, "HUGETLB_PAGE_DTOR") == 2
        assert any(f"NUMBER(HUGETLB_PAGE_DTOR)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["3", "32", "128"])
    def test_size_of_a_section(self, with_note, opened, value):
        dump = with_note(SIZE_mem_section=value)
        assert dump.kernel.vmemmap == opened("debian-6.1").kernel.vmemmap
        assert any(f"SIZE(mem_section)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["ff4719e3a69dd000", "ff4719e3a69dc00", "7"])
    def test_table_of_sections(self, with_note, opened, value):
        dump = with_note(SYMBOL_mem_section=value)
        assert dump.kernel.vmemmap == opened("debian-6.1").kernel.vmemmap
        assert any("SYMBOL(mem_section)=" in problem for problem in dump.problems)


class TestWhatTheMemorySays:
    @pytest.mark.parametrize("value", ["-1", "0", "17", "99999999999999999"])
    def test_image_size(self, with_note, value):
        dump = with_note(NUMBER_KERNEL_IMAGE_SIZE=value)
        assert len(dump.tasks)
        assert any(f"NUMBER(KERNEL_IMAGE_SIZE)={value}" in problem for problem in dump.problems)

    @pytest.mark.parametrize("other", ["ffffffff9bc10000", "", "fffffff9bc10000"])
    @pytest.mark.parametrize(
        "value", ["fffffff9bc10000", "ffffffff9bc1000", "ffffffff9bc11000", "ff1ffff9bc10000", "0", "zzz", ""]
    )
    def test_page_tables(self, with_note, opened, value, other):
        """A digit short, a digit wrong, none at all: the symbol table knows it."""
        dump = with_note(SYMBOL_swapper_pg_dir=value, SYMBOL_init_top_pgt=other)
        good = opened("debian-6.1").kernel
        assert dump.kernel.layout.page_table == good.layout.page_table
        assert dump.kernel.vmalloc_base == good.vmalloc_base
        if value:
            assert any(
                "SYMBOL(swapper_pg_dir)=" in problem or "VMCOREINFO puts them at" in problem
                for problem in dump.problems
            )

    @pytest.mark.parametrize("value", ["0", "2", "-1", ""])
    def test_levels(self, with_note, opened, value):
        dump = with_note(NUMBER_pgtable_l5_enabled=value)
        assert len(dump.kernel.arch.levels) == 5
        assert dump.kernel.layout.direct_start == opened("debian-6.1").kernel.layout.direct_start
        assert any("read with 5 levels" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", [str(1 << 32), "3", str(1 << 51)])
    def test_encryption_mask(self, with_note, opened, value):
        """One that page tables do not use changes nothing of what they map."""
        dump = with_note(NUMBER_sme_mask=value)
        assert dump.kernel.layout.page_table == opened("debian-6.1").kernel.layout.page_table
        assert len(dump.tasks) == len(opened("debian-6.1").tasks)

    @pytest.mark.parametrize("key", ["names", "num_syms", "token_table", "token_index", "offsets"])
    @pytest.mark.parametrize("value", ["ffffffff9b32000", "ffffffff9b300000"])
    def test_kallsyms_is_found_by_its_shape(self, with_note, opened, key, value):
        dump = with_note(**{f"SYMBOL_kallsyms_{key}": value})
        assert dump.symbol("init_task") == opened("debian-6.1").symbol("init_task")
        assert any(f"SYMBOL(kallsyms_{key})" in p or "kallsyms does not lie" in p for p in dump.problems)

    @pytest.mark.parametrize("value", ["ffffffff9a200008", "ffffffff9a20000"])
    def test_another_witness(self, with_note, value):
        dump = with_note(SYMBOL__stext=value)
        assert any("SYMBOL(_stext)=" in problem for problem in dump.problems)

    @pytest.mark.parametrize("value", ["41943040000", "-41943040", "0", "1", ""])
    def test_phys_base(self, with_note, opened, value):
        """The file's own header says it, too."""
        dump = with_note(NUMBER_phys_base=value)
        assert dump.kernel.layout.image_offset == opened("debian-6.1").kernel.layout.image_offset
        assert any("no kernel was found where VMCOREINFO says" in problem for problem in dump.problems)

    @pytest.mark.parametrize("header", [{}, {"phys_base": 1 << 30}, {"phys_base": 41943041}])
    def test_phys_base_that_nothing_says(self, opened, note, header):
        file = Overlay(opened("debian-6.1")).file()
        file.header = header
        with pytest.raises(KernlabError):
            Kernel.open(file, vmcoreinfo=changed(note, NUMBER_phys_base="0"))
