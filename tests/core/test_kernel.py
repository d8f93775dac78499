"""A kernel is whole once it is made: nothing has to be asked of it first."""

from __future__ import annotations

import numpy as np
import pytest

from kernlab.core.kernel import Kernel
from kernlab.errors import DumpFormatError
from kernlab.formats import open_dump_file


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
