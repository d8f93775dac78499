"""`info` against the guests' own /proc, and the words it chooses for a panic."""

from __future__ import annotations

import json
import re
import struct

import pandas as pd
import pytest
from support.overlay import Overlay

import kernlab
from kernlab.core.kernel import Kernel
from kernlab.display.summary import summary
from kernlab.dump import Dump
from kernlab.tables.system.info import taint


def test_the_machine(whole_dump, dump):
    truth = whole_dump.truth
    info = dump.info
    assert info["release"] == truth.release()
    # /proc/version: "Linux version RELEASE (builder) (compiler) #1 SMP …"; the last part is utsname's version.
    assert truth.version().endswith(info["version"])
    assert info["machine"] == "x86_64"
    assert info["cpus"] == truth.cpus()
    assert info["memory_bytes"] == truth.meminfo()["MemTotal"]
    assert info["cmdline"] == truth.cmdline()


def test_when_and_why(whole_dump, dump):
    info = dump.info
    assert info["uptime"].total_seconds() == pytest.approx(float(whole_dump.log[-1].timestamp), abs=2)
    assert info["uptime"].total_seconds() > whole_dump.truth.uptime()
    assert isinstance(info["crash_time"], pd.Timestamp)
    assert str(info["crash_time"].tz) == "UTC"
    assert info["panic_message"] == "Kernel panic - not syncing: sysrq triggered crash"
    assert (info["panic_pid"], info["panic_comm"]) == (1, "init")
    assert info["panic_cpu"] == int(dump.tasks.set_index("pid").loc[1, "cpu"])


def test_a_dump_without_a_time_of_death_is_told_by_the_kernels_clock(whole_dump, opened):
    """QEMU writes none; the panic's own CRASHTIME, which the test takes away, is the same clock's."""
    whole = opened(whole_dump.name)
    assert whole.info["crash_time_source"] == "the kernel's note at the panic"
    file = Overlay(whole).file()
    file.header = {key: value for key, value in file.header.items() if key != "timestamp"}
    silent = re.sub(rb"CRASHTIME=\d+\n", b"", whole.kernel.file.vmcoreinfo)
    assert silent != whole.kernel.file.vmcoreinfo
    with Dump(Kernel.open(file, vmcoreinfo=silent)) as dump:
        assert dump.info["crash_time"] == whole.info["crash_time"]
        assert dump.info["crash_time_source"] == "the kernel's clock at its last tick"
        assert dict(summary(dump).rows)["died"].startswith(
            f"{whole.info['crash_time']:%Y-%m-%d %H:%M:%S} UTC by the kernel's clock"
        )


@pytest.mark.parametrize("said", [b"179542739", b"1"])
def test_a_time_of_death_far_from_the_kernels_clock_is_told(opened, said):
    whole = opened("debian-6.1")
    assert not any("crash_time" in problem for problem in whole.info.attrs["problems"])
    other = re.sub(rb"CRASHTIME=\d+\n", b"CRASHTIME=" + said + b"\n", whole.kernel.file.vmcoreinfo)
    with Dump(Kernel.open(Overlay(whole).file(), vmcoreinfo=other)) as dump:
        assert dump.info["crash_time"].timestamp() == int(said)
        (told,) = (problem for problem in dump.info.attrs["problems"] if problem.startswith("crash_time"))
        assert f"the kernel's clock at its last tick says {whole.info['crash_time']:%Y-%m-%d %H:%M}" in told


def test_a_header_says_when_where_the_kernel_does_not(opened):
    whole = opened("debian-6.1")
    silent = re.sub(rb"CRASHTIME=\d+\n", b"", whole.kernel.file.vmcoreinfo)
    with Dump(Kernel.open(Overlay(whole).file(), vmcoreinfo=silent)) as dump:
        assert dump.info["crash_time_source"] == "the file's header"
        assert dump.info["crash_time"].timestamp() == whole.kernel.file.header["timestamp"]


def test_taint_is_what_the_kernel_printed_at_the_panic(whole_dump, dump):
    """dump_stack prints "CPU: 0 PID: 1 Comm: init Tainted: G  E  …" or "… Not tainted"."""
    line = next(record.text for record in whole_dump.log if record.text.startswith("CPU: "))
    if "Not tainted" in line:
        assert dump.info["taint"] == "Not tainted"
    else:
        letters = line.split("Tainted: ")[1].split(dump.info["release"])[0].replace(" ", "")
        assert dump.info["taint"] == letters.replace("G", "", 1) or dump.info["taint"] == letters


def test_the_file(whole_dump):
    # Opened anew: the module's types that 5.10 lacks are a problem once somebody has asked for them.
    with kernlab.open(whole_dump.vmcore) as dump:
        info = dump.info
    assert info["format"] == {"debian-6.12": "kdump-lzo"}.get(whole_dump.name, "kdump-zlib")
    assert info["dump_level"] == 31
    assert info["file_bytes"] == whole_dump.vmcore.stat().st_size
    assert info["slab_frames_absent"] == info["table_frames_absent"] == 0
    assert not info.attrs["problems"]


def test_frames_that_no_level_drops_are_counted_when_absent(damaged_dump, opened):
    info = opened(damaged_dump.name).info
    assert info["slab_frames_absent"] == 747  # of 4,453; docs/design.md, Dumps
    assert info["table_frames_absent"] == 0
    assert any(
        problem.startswith("747 of 4,453 slab frames are absent") for problem in info.attrs["problems"]
    )


@pytest.mark.parametrize("name", ["debian-7.2", "oops"])
@pytest.mark.parametrize("kind", ["slab", "large kmalloc", "page table"])
def test_each_absent_frame_of_a_kind_that_no_level_drops_is_counted(machine_of, name, kind):
    """Heads and tails, with five and four levels of page tables; large kmallocs have a mark in 7.2."""
    dump = machine_of(name).dump
    frames = dump.pages.loc[dump.pages["kind"] == kind, "pfn"]
    gone = frames.sample(9, random_state=1).astype(int) * 4096
    with Overlay(dump).exclude(*gone, physical=True).dump() as other:
        counts = {name: other.info[f"{name}_frames_absent"] for name in ("slab", "kmalloc", "table")}
        assert counts == dict.fromkeys(counts, 0) | {kind.split()[-1]: 9}
        words = f"9 of {len(frames):,} {kind.replace('page table', 'page-table')} frames are absent"
        assert any(problem.startswith(words) for problem in other.info.attrs["problems"])


def test_large_kmallocs_without_a_mark_are_not_counted_as_none(opened):
    assert opened("debian-6.12").info["kmalloc_frames_absent"] is None


def test_attrs_are_plain_json(dump):
    for table in (dump.info, dump.tasks, dump.slabs, dump.maps, dump.modules, dump.log, dump.symbols):
        attrs = json.loads(json.dumps(table.attrs))
        assert attrs["source"].endswith("vmcore")
        assert isinstance(attrs["problems"], list)


def test_a_fact_that_cannot_be_read_is_missing_and_told(opened):
    sample = opened("debian-6.1")
    with Overlay(sample).exclude(sample.symbol("tainted_mask")).dump() as damaged:
        info = damaged.info
        assert info["taint"] is None
        assert info["release"] == sample.info["release"]
        assert info.attrs["problems"]


@pytest.mark.parametrize(
    ("mask", "letters"), [(0, "Not tainted"), (1, "P"), (1 << 13 | 1 << 12, "OE"), (1 << 40, "bit40")]
)
def test_taint_letters(mask, letters):
    assert taint(mask) == letters


def test_crash_without_a_panic_has_no_panic_task(opened):
    """A guest that was merely stopped: panic_cpu is -1 (PANIC_CPU_INVALID)."""
    sample = opened("debian-6.1")
    with Overlay(sample).word(sample.symbol("panic_cpu"), -1, 4).dump() as stopped:
        assert stopped.info["panic_cpu"] is None
        assert stopped.info["panic_pid"] is None
        assert "no CPU had panicked" in stopped._repr_html_() or isinstance(stopped, kernlab.Dump)


def test_uptime_is_what_the_guest_read_a_moment_before(machine_or_server):
    """On captures of -rt kernels, too (KERNLAB_TEST_MACHINES)."""
    since = machine_or_server.dump.info["uptime"].total_seconds() - machine_or_server.truth.uptime()
    assert 0 < since < 120


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12"])
@pytest.mark.parametrize("lock_bytes", [16, 72])
def test_uptime_where_the_lock_before_the_timekeeper_is_larger(opened, name, lock_bytes):
    """With PREEMPT_RT and with lockdep: the kernel's types say so, and all of it lies further on."""
    dump = opened(name)
    kernel = dump.kernel
    start, size = kernel.symbol("tk_core"), kernel.find_type("struct timekeeper").size
    first, last = kernel.symbol("__start_BTF"), kernel.symbol("__stop_BTF")
    types = dump.read(first, last - first)
    names = struct.unpack_from("<I", types, 4)[0] + sum(
        struct.unpack_from("<I", types, at)[0] for at in (16,)
    )
    members = [types.index(f"\0{member}\0".encode(), names) + 1 - names for member in ("seq", "timekeeper")]
    # A nameless struct of two members: its name, kind 4 and their number, its size, then name, type, bit for each.
    pattern = re.escape(struct.pack("<II", 0, 4 << 24 | 2)) + b"....(?=%b........%b....)" % tuple(
        re.escape(struct.pack("<I", member)) for member in members
    )
    (found,) = re.finditer(pattern, types, re.DOTALL)
    overlay = Overlay(dump)
    overlay.word(first + found.end() + 12 + 8, 8 * lock_bytes, 4)
    overlay.write(start + lock_bytes, dump.read(start + 8, size))
    with overlay.dump(fresh=True) as other:
        assert other.info["uptime"] == dump.info["uptime"]


def test_uptime_that_the_types_do_not_tell_of_is_unknown(opened):
    dump = opened("debian-6.1")
    first, last = dump.symbol("__start_BTF"), dump.symbol("__stop_BTF")
    at = dump.read(first, last - first).index(b"\0timekeeper\0")
    with Overlay(dump).write(first + at + 1, b"T").dump(fresh=True) as other:
        assert other.info["uptime"] is None
        assert any("uptime" in problem for problem in other.info.attrs["problems"])


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
@pytest.mark.parametrize("number", [64, 4096, 0x7FFFFFFF, 0x80000000])
def test_a_panic_cpu_that_is_no_cpu_is_not_shown_as_one(opened, name, number):
    dump = opened(name)
    with Overlay(dump).word(dump.symbol("panic_cpu"), number, 4).dump() as broken:
        info = broken.info
        # The CPU that began the crash is the same.
        assert info["panic_cpu"] == dump.info["panic_cpu"]
        assert info["panic_pid"] == dump.info["panic_pid"]
        assert any(
            f"panic_cpu is {number:,}, and the machine has no such CPU" in p for p in info.attrs["problems"]
        )
    overlay = (
        Overlay(dump).word(dump.symbol("panic_cpu"), number, 4).word(dump.symbol("crashing_cpu"), 7777, 4)
    )
    with overlay.dump() as broken:
        info = broken.info
        assert info["panic_cpu"] is None
        assert (
            f"panic_cpu is {number:,}, and the machine has no such CPU" in info.attrs["unknown"]["panic_cpu"]
        )


def test_a_panic_cpu_that_another_word_contradicts_is_told(opened):
    dump = opened("debian-6.12")
    other = 1 - dump.info["panic_cpu"]
    with Overlay(dump).word(dump.symbol("panic_cpu"), other, 4).dump() as broken:
        assert any(f"panic_cpu is {other}, but CPU" in problem for problem in broken.info.attrs["problems"])


@pytest.mark.parametrize("pages", [0, 1000])
def test_memory_that_the_zones_do_not_manage_is_told(opened, pages):
    dump = opened("debian-6.12")
    with Overlay(dump).word(dump.symbol("_totalram_pages"), pages).dump() as broken:
        assert any("_totalram_pages is" in problem for problem in broken.info.attrs["problems"])


def test_an_uptime_that_cannot_be_is_told(opened):
    dump = opened("debian-6.12")
    start = dump.symbol("tk_core")
    overlay = Overlay(dump)
    # offs_boot, the last of what is added up: whatever its place is, every word of the timekeeper is out of range.
    for place in range(start + 8, start + 8 + dump.kernel.find_type("struct timekeeper").size, 8):
        overlay.word(place, 0x7F7F7F7F7F7F7F7F)
    with overlay.dump() as broken:
        info = broken.info
        assert info["uptime"] is None
        assert "which is not a time" in info.attrs["unknown"]["uptime"]
