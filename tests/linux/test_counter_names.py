"""Counters are named as /proc/vmstat names them, even where the dump lacks the kernel's array of names."""

from __future__ import annotations

import pytest

from kernlab.linux.counter_names import counter_names
from kernlab.linux.vm_counters import vmstat_names


@pytest.mark.parametrize("sort", ["zone", "numa", "node", "limits", "events"])
def test_enumerators_give_the_kernels_own_names(dump, sort):
    names = vmstat_names(dump.kernel)[sort]
    assert counter_names(dump.kernel, sort, len(names)) == names


def test_they_are_those_of_proc_vmstat(dump, whole_dump):
    kernel = dump.kernel
    counts = {sort: len(names) for sort, names in vmstat_names(kernel).items()}
    found = {name for sort, count in counts.items() for name in counter_names(kernel, sort, count)}
    # nr_unstable is printed though nothing counts it any more.
    assert set(whole_dump.truth.vmstat().index) - found <= {"nr_unstable"}
