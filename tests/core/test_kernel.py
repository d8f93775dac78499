"""A kernel is whole once it is made: nothing has to be asked of it first."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.core.kernel import Kernel
from kernlab.errors import DumpFormatError
from kernlab.formats import open_dump_file
from kernlab.util.losses import MOST_LOSSES


@pytest.fixture
def fresh(any_dump):
    with open_dump_file(any_dump.vmcore) as file:
        yield Kernel.open(file)


def test_its_memory_is_mapped_before_its_symbols_are_asked_for(fresh, any_dump, opened):
    """page_offset_base, which the symbols lead to, is part of the layout: the raw memory knows the direct map."""
    known = opened(any_dump.name)
    tasks = known.tasks["address"].to_numpy(dtype=np.uint64)
    physical, status = fresh.memory.translate(tasks)
    assert not status.any()
    assert physical.tolist() == [known.translate(int(address)) for address in tasks.tolist()]
    assert fresh.layout.direct_start == known.kernel.layout.direct_start
    assert fresh.layout.image_start == known.symbol("_text")


def test_a_note_that_says_too_little_is_refused_at_once(any_dump):
    with (
        open_dump_file(any_dump.vmcore) as file,
        pytest.raises(DumpFormatError, match=r"lacks NUMBER.phys_base"),
    ):
        Kernel.open(file, vmcoreinfo=b"OSRELEASE=6.1\n")


@pytest.mark.parametrize("name", ["debian-5.10", "debian-7.2"])
@pytest.mark.parametrize("value", [0, 0xDEAD_0000_0000_0100, 0xFFFF_C000_0000_0000])
def test_the_page_tables_say_where_the_direct_map_is_when_the_variable_is_wrong(opened, name, value):
    below = opened(name)
    address = below.symbol("page_offset_base")
    dump = Overlay(below).word(address, value).dump(fresh=True)
    assert dump.kernel.layout.direct_start == below.kernel.layout.direct_start
    assert not value or any("page_offset_base" in problem for problem in dump.problems)
    assert len(dump.tasks) == len(below.tasks)


@pytest.mark.parametrize("value", [(1 << 64) - 1, 0, 1 << 52])
def test_a_vmalloc_space_that_cannot_be_is_not_known_and_told(opened, value):
    below = opened("debian-7.2")
    dump = Overlay(below).word(below.symbol("vmalloc_base"), value).dump()
    assert dump.kernel.vmalloc_base is None
    assert any("vmalloc_base" in problem for problem in dump.problems)
    assert int(dump.memory["bytes"].sum()) == int(below.memory["bytes"].sum())


def test_what_a_dump_lacks_is_bounded(opened):
    """Each of thousands of copies may bring a sentence of its own."""
    dump = Overlay(opened("debian-7.2")).dump()
    dump.kernel.dump_lost(*[f"copy {number} is lost" for number in range(3 * MOST_LOSSES)])
    assert len(dump.problems) == MOST_LOSSES + 1
    assert dump.problems[-1] == f"and {2 * MOST_LOSSES:,} more losses of the dump"
