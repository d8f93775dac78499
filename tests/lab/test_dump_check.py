"""Whether a dump lost what no level leaves out, as the lab tells it of its captures."""

from __future__ import annotations

from kernlab.lab.dump_check import absent_frames


def test_a_damaged_dump_lacks_slabs_and_large_kmallocs(dump_files):
    files = dump_files("damaged-7.2")
    assert absent_frames([files.vmcore]) == {"vmcore": {"slab": 747, "large kmalloc": 14, "table": 0}}


def test_a_whole_dump_lacks_nothing_and_unmarked_kinds_are_not_counted(dump_files):
    files = dump_files("debian-6.1")
    assert absent_frames([files.vmcore]) == {"vmcore": {"slab": 0, "large kmalloc": None, "table": 0}}
