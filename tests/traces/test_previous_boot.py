"""What the boot before left in memory that outlives a reboot: made up in samples' rings, and captures of two boots."""

from __future__ import annotations

import re
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.captures import captures
from support.heap import Heap
from support.overlay import Overlay
from traces.test_ftrace_pages import Page

import kernlab
from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.traces.ftrace.shift import Piece, Shift

#: By how much the kernel lies further on in this boot than in the one before: less than the image is long.
DELTA = 0x0160_0000
#: Of a task that lives in this boot, and of another one in the boot before.
INIT = 1


@pytest.fixture(scope="module", params=["hung", "oops"])
def sample(request: pytest.FixtureRequest) -> Iterator[Dump]:
    """A kernel of 6.12, and one of 7.2; nothing was traced."""
    with kernlab.open(kernlab.sample(request.param)) as dump:
        yield dump


def number(dump: Dump, name: str) -> int:
    (found,) = dump.ftrace._formats.ids(name)
    return found


def entry(dump: Dump, name: str, pid: int) -> bytes:
    return struct.pack("<HBBi", number(dump, name), 0, 0, pid)


def recorded(dump: Dump, delta: int, start: int) -> Page:
    """A sub-buffer of events by a kernel that lay `delta` before where this one lies."""
    site = dump.symbol("vfs_read") - delta
    page = Page(start)
    switch = struct.pack("<16siiq16sii", b"gone", INIT, 120, 1, b"other", 77, 120)
    page.event(10, entry(dump, "sched:sched_switch", INIT) + switch)
    page.event(10, entry(dump, "ftrace:print", INIT) + struct.pack("<Q", site + 0x10) + b"a mark\n\0")
    page.event(
        10, entry(dump, "ftrace:function", 77) + struct.pack("<QQ", site, dump.symbol("vfs_write") - delta)
    )
    stack = struct.pack("<ixxxx8Q", 2, site + 4, dump.symbol("vfs_write") + 8 - delta, *[0] * 6)
    page.event(10, entry(dump, "ftrace:kernel_stack", 77) + stack)
    said = int.from_bytes(dump.read(dump.symbol("saved_command_line"), 8), "little")
    text = dump.symbol("linux_banner") - delta
    page.event(10, entry(dump, "ftrace:bputs", 88) + struct.pack("<QQ", site, text))
    # Memory of the boot before that was not the kernel's image is something else now.
    page.event(10, entry(dump, "ftrace:bputs", 88) + struct.pack("<QQ", site, said))
    return page


def left(dump: Dump, delta: int, *, today: bool = False) -> Overlay:
    """The dump, as if its global instance's memory outlived a reboot; CPU 1's ring has events of this boot."""
    overlay = Overlay(dump)
    top = dump.symbol("global_trace")
    overlay.set("struct trace_array", top, "range_addr_start", 0xFFFF_8880_1000_0000)
    overlay.set("struct trace_array", top, "text_delta", delta)
    if dump.kernel.types.has_member("struct trace_array", "data_delta"):
        overlay.set("struct trace_array", top, "data_delta", delta)
    put(overlay, 0, recorded(dump, delta, 5_000_000_000), written=False)
    if today:
        put(overlay, 1, recorded(dump, 0, 2_000_000_000), written=True)
    return overlay


def put(overlay: Overlay, cpu: int, page: Page, *, written: bool) -> None:
    """Lay events into the page that a CPU's ring is read from first."""
    ring = next(
        ring for ring in overlay.below.ftrace._instances[0].rings if ring.cpu == cpu and ring.buffer == "main"
    )
    kernel, kind = overlay.kernel, "struct ring_buffer_per_cpu"
    reader = int(kernel.words([overlay.where(kind, ring.address, "reader_page")[0]])[0][0])
    where = int(kernel.words([overlay.where("struct buffer_page", reader, "page")[0]])[0][0])
    overlay.write(where, page.bytes())
    overlay.set("struct buffer_page", reader, "write", len(page.body) if written else 0)
    overlay.set(kind, ring.address, "entries", len(page.events))


def test_events_of_the_boot_before_are_named_so(sample: Dump) -> None:
    with left(sample, DELTA).dump() as dump:
        ftrace = dump.ftrace
        assert ftrace.instances[["persistent", "previous_boot"]].values.tolist() == [[True, True]]
        assert any("events of the boot before" in one for one in ftrace.all.attrs["problems"])
        assert ftrace.lost.exact.all()
        assert len(ftrace.all) == 6
        # By which clock the boot before told the time nobody kept.
        assert ftrace.instances["clock"].isna().tolist() == [True]


def test_addresses_are_those_of_this_boot(sample: Dump) -> None:
    """As the same events look that a kernel recorded that lay where it lies now."""
    with left(sample, DELTA).dump() as dump, left(sample, 0).dump() as same:
        ftrace, truth = dump.ftrace, same.ftrace
        assert ftrace.all.text.tolist() == truth.all.text.tolist()
        assert "vfs_read: a mark" in ftrace.all.text.tolist()
        assert "vfs_read <-vfs_write" in ftrace.all.text.tolist()
        assert "<stack trace>\n => vfs_read\n => vfs_write" in ftrace.all.text.tolist()
        assert any("Linux version" in str(text) for text in ftrace.all.text)
        # What it points to is another boot's: nothing is read there.
        assert ftrace.all.text.isna().tolist() == [False] * 5 + [True]
        assert ftrace.all.fields.tolist() == truth.all.fields.tolist()
        for name in ("function", "print", "kernel_stack"):
            columns = ftrace.events(f"ftrace:{name}").drop(columns=["timestamp"])
            assert columns.equals(truth.events(f"ftrace:{name}").drop(columns=["timestamp"])), name
        many = ftrace.events(["ftrace:function", "ftrace:print"])
        assert sample.symbol("vfs_read") in many["ip"].astype("uint64").tolist()


def test_tasks_of_the_boot_before_are_not_those_that_live(sample: Dump) -> None:
    with left(sample, DELTA).dump() as dump:
        comms = dump.ftrace.all.comm
        assert comms[:4].tolist() == ["gone", "gone", "other", "other"]
        assert comms[4:].isna().all()
        assert dump.ftrace.lines()[0].lstrip().startswith("gone-1 ")


def test_an_instance_with_events_of_both_boots_is_there_twice(sample: Dump) -> None:
    with left(sample, DELTA, today=True).dump() as dump:
        ftrace = dump.ftrace
        instances = ftrace.instances
        assert instances["name"].tolist() == ["", " (previous boot)"]
        assert instances["previous_boot"].tolist() == [False, True]
        events = ftrace.all
        # What happened in the boot before comes first, though its clock says more.
        assert events["instance"].tolist() == [" (previous boot)"] * 6 + [""] * 6
        assert events["timestamp"].is_monotonic_increasing is False
        assert events["text"][:5].tolist() == events["text"][6:11].tolist()
        assert events["comm"][0] == "gone"
        assert events["comm"][6] == sample.tasks.set_index("pid")["comm"][INIT]
        # Of CPU 0's ring this boot has nothing, of which no count is known.
        missing = ftrace.lost.set_index(["instance", "cpu"])["missing"]
        assert missing.isna().to_dict() == {("", 0): True, ("", 1): False, (" (previous boot)", 0): False}
        assert missing.dropna().tolist() == [0, 0]
        assert any("two boots" in one for one in instances.attrs["problems"])


def test_the_timeline_and_replay_leave_them_out(sample: Dump) -> None:
    with left(sample, DELTA, today=True).dump() as dump:
        found = dump.timeline()
        assert "ftrace: (previous boot)" not in set(found["source"].astype(str))
        assert (found["source"] == "ftrace").sum() == 6
        assert any("recorded by the boot before" in one for one in found.attrs["problems"])
        with pytest.raises(KernlabError, match="boot before"):
            dump.replay(instance=" (previous boot)").breaks  # noqa: B018
    with left(sample, DELTA).dump() as dump:
        assert not dump.timeline()["source"].astype(str).str.startswith("ftrace").any()


def test_what_is_saved_has_one_boots_symbols(sample: Dump, tmp_path: Path) -> None:
    with left(sample, DELTA, today=True).dump() as dump:
        texts = dump.ftrace.events("ftrace:function", text=True)["text"].tolist()
        for name, comm in ((" (previous boot)", "gone"), ("", "gone")):
            path = dump.ftrace.save(tmp_path / f"{len(name)}.dat", instance=name)
            with kernlab.ftrace.open(path) as trace:
                assert trace.events("ftrace:function", text=True)["text"].tolist() == texts[:1]
                if name:
                    assert trace.all["comm"][0] == comm
        with kernlab.ftrace.open(dump.ftrace.save(tmp_path / "both.dat")) as trace:
            assert len(trace.all) == 6


@pytest.mark.parametrize("taken", [False, True])
def test_a_trace_that_no_instance_took_over_is_told(sample: Dump, taken: bool) -> None:
    """reserve_mem= without trace_instance=."""
    overlay = Overlay(sample)
    page = overlay.make(1, lambda _: struct.pack("<I", 0xBADFEED).ljust(4096, b"\0"))
    start = page - sample.kernel.layout.direct_start
    overlay.write(sample.symbol("reserved_mem_table"), struct.pack("<16sQQ", b"trace", start, 4096))
    overlay.write(
        sample.symbol("reserved_mem_table") + 32, struct.pack("<16sQQ", b"other", start - 4096, 4096)
    )
    if taken:
        overlay.set("struct trace_array", sample.symbol("global_trace"), "range_addr_start", page)
    with overlay.dump() as dump:
        told = [one for one in dump.ftrace.instances.attrs["problems"] if "reserved memory" in one]
        assert len(told) == (0 if taken else 1)
        assert taken or "'trace'" in told[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=64, max_size=256))
def test_any_table_of_reserved_memory_ends(newer: Dump, noise: bytes) -> None:
    overlay = Overlay(newer).write(newer.symbol("reserved_mem_table"), noise)
    with overlay.dump() as dump:
        assert len(dump.ftrace.instances) == 1


# Addresses.


def test_an_address_moves_with_the_piece_that_it_is_in() -> None:
    shift = Shift([Piece(0x1000, 0x2000, 0x500), Piece(0x8000, 0x9000, -0x800, "mod")])
    given = np.array([0xFFF, 0x1000, 0x1FFF, 0x2000, 0x8000, 0x9000, (1 << 64) - 1], dtype=np.uint64)
    moved, piece = shift.apply(given)
    assert moved.tolist() == [0xFFF, 0x1500, 0x24FF, 0x2000, 0x7800, 0x9000, (1 << 64) - 1]
    assert piece.tolist() == [-1, 0, 0, -1, 1, -1, -1]
    assert shift.back(0x1500, "") == 0x1000
    assert shift.back(0x7800, "mod") == 0x8000
    assert shift.back(0x7800, "") is None
    assert Shift([]).apply(given)[0].tolist() == given.tolist()


# Tables of modules (since 6.15).


@pytest.fixture(scope="module")
def newer() -> Iterator[Dump]:
    with kernlab.open(kernlab.sample("oops")) as dump:
        yield dump


def with_module(dump: Dump, name: bytes, was: int, delta: int) -> Overlay:
    """CPU 0's ring holds a call at address `was` of a module, which the table of the boot before names."""
    overlay = left(dump, DELTA)
    heap = Heap(dump)
    scratch = heap.alloc(4096, 4096)
    heap.put(
        scratch,
        struct.pack("<QQQ", 0, dump.symbol("_text") - DELTA, 1) + struct.pack("<Q56s", was - 0x40, name),
    )
    deltas = heap.alloc(64)
    heap.put(deltas, struct.pack("<16xq", delta))
    overlay._areas += heap.overlay._areas
    top = dump.symbol("global_trace")
    for member, value in (("scratch", scratch), ("scratch_size", 4096), ("module_delta", deltas)):
        overlay.set("struct trace_array", top, member, value)
    page = Page(5_000_000_000)
    page.event(
        10, entry(dump, "ftrace:function", 77) + struct.pack("<QQ", was, dump.symbol("vfs_read") - DELTA)
    )
    put(overlay, 0, page, written=False)
    return overlay


def test_modules_are_where_they_are_now(newer: Dump) -> None:
    newer.kernel.with_modules()
    symbols = newer.kernel.symbols
    row = next(row for row, module in enumerate(symbols.modules()) if module == "kernlab_story")
    name, now = symbols.names()[row], int(symbols.addresses[row])
    with with_module(newer, b"kernlab_story", now - 0x123000, 0x123000).dump() as dump:
        assert dump.ftrace.all.text.tolist() == [f"{name} <-vfs_read"]
        assert dump.ftrace.events("ftrace:function")["ip"].tolist() == [now]


def test_what_lies_where_a_module_was_is_not_it(newer: Dump) -> None:
    """A module that this boot did not load: another one may be in its place."""
    newer.kernel.with_modules()
    symbols = newer.kernel.symbols
    row = next(row for row, module in enumerate(symbols.modules()) if module == "kernlab_story")
    now = int(symbols.addresses[row])
    with with_module(newer, b"another", now, 0).dump() as dump:
        assert dump.ftrace.all.text.tolist() == [f"{now:#x} <-vfs_read"]


numbers = st.integers(0, (1 << 64) - 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, (1 << 32) - 1),
    scratch=numbers,
    deltas=numbers,
    delta=numbers,
    count=numbers,
    own=st.booleans(),
)
# Behind the end of all addresses.
@example(size=88, scratch=0, deltas=(1 << 64) - 16, delta=0, count=1, own=True)
def test_damaged_tables_cost_names_only(
    newer: Dump, size: int, scratch: int, deltas: int, delta: int, count: int, own: bool
) -> None:
    """Anything in what says where the boot before had its kernel and modules."""
    overlay, top = left(newer, DELTA), newer.symbol("global_trace")
    for member, value in (("scratch_size", size), ("module_delta", deltas), ("text_delta", delta)):
        overlay.set("struct trace_array", top, member, value)
    if own:
        # The table lies in memory that can be read, and claims anything.
        scratch = newer.symbol("init_task")
        overlay.word(scratch + 16, count)
    overlay.set("struct trace_array", top, "scratch", scratch)
    with overlay.dump() as dump:
        assert len(dump.ftrace.all) == 6
        assert len(dump.ftrace.all.text) == len(dump.ftrace.all.fields) == 6


# Captures of the lab's scenario `reboot`: the first boot's own trace file, and what the second boot prints of it.

CAPTURES = captures("reboot-*")
#: The kernel hashes pointers that it prints; where pages were described is not known of another boot.
POINTER = re.compile(r"\b[0-9a-f]{16}\b|(?<=page=)\?")
#: An address in a module: 6.12 does not keep where those were.
IN_MODULE = re.compile(r"0xffffffffc[0-9a-f]{7}\b|\w+\+0x[0-9a-f]+/0x[0-9a-f]+ \[\w+\]")
LINE = re.compile(r"\s*.*?-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+\S+\s+(?P<time>[\d.]+): (?P<text>.*)", re.DOTALL)


@pytest.fixture(scope="module", params=CAPTURES, ids=lambda folder: folder.name)
def rebooted(request: pytest.FixtureRequest) -> Iterator[tuple[Dump, str, dict[str, str]]]:
    """A dump of the second boot, the instance with what the first one recorded, and the files that tell the truth."""
    with tarfile.open(request.param / "truth.tar.xz") as archive:
        truth = {
            member.name.removeprefix("out/after/"): file.read().decode()
            for member in archive
            if member.name.startswith("out/after/") and (file := archive.extractfile(member))
        }
    with kernlab.open(request.param / "vmcore") as dump:
        instances = dump.ftrace.instances
        (name,) = instances["name"][instances["previous_boot"]]
        assert not any("reserved memory" in one for one in instances.attrs["problems"])
        clock = instances.set_index("name")["clock"].astype(object)[name]
        # The number of the clock is kept by the newer kernels only.
        assert clock == "local" or not dump.kernel.types.has_member("struct trace_scratch", "clock_id")
        yield dump, name, truth


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line and line[0] != "#"]


def whole(lines: list[str]) -> list[str]:
    """Each event's lines in one: a stack has several."""
    found: list[str] = []
    for line in lines:
        if line.startswith(" =>"):
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


def plain(line: str, *, modules: bool) -> str:
    said = POINTER.sub("X", line)
    return said if modules else IN_MODULE.sub("M", said)


def test_lines_are_those_of_the_boot_that_recorded_them(rebooted: tuple[Dump, str, dict[str, str]]) -> None:
    dump, name, truth = rebooted
    modules = dump.kernel.types.has_member("struct trace_array", "module_delta")
    first = [plain(entry, modules=modules) for entry in whole(lines_of(truth["first.trace"]))]
    lines = [plain(entry, modules=modules) for entry in dump.ftrace.lines(name)]
    if name == "boot_map":
        assert len(first) > 4000
        assert lines == first
        return
    # Both boots added events: this one's took the place of each CPU's last sub-buffer where it had any.
    assert 3000 < len(lines) < len(first)
    for cpu in ("[000]", "[001]"):
        mine = [line for line in lines if line.split()[1] == cpu]
        theirs = [line for line in first if line.split()[1] == cpu]
        assert mine == theirs[: len(mine)]
        assert len(theirs) - len(mine) < 250


def test_events_are_those_that_the_second_boot_prints(rebooted: tuple[Dump, str, dict[str, str]]) -> None:
    """Its own trace file, in which addresses are as they were recorded."""
    dump, name, truth = rebooted
    events = dump.ftrace.all
    events = events[events["instance"] == name]
    entries = [LINE.fullmatch(line) for line in lines_of(truth["before.trace"]) if not line.startswith(" =>")]
    assert all(entries)
    found = [entry for entry in entries if entry]
    if name == "boot_map":
        micro = (events["timestamp"].astype("int64") + 500) // 1000
        assert micro.tolist() == [round(float(entry["time"]) * 1e6) for entry in found]
        assert events["cpu"].tolist() == [int(entry["cpu"]) for entry in found]
        assert events["pid"].tolist() == [int(entry["pid"]) for entry in found]
        assert dump.ftrace.lost.set_index("instance").loc[name, "exact"].all()
        freed = (
            dump.ftrace.events("kmem:kmem_cache_free", instance=name)["call_site"].astype("uint64").tolist()
        )
        printed = [entry["text"] for entry in found if entry["text"].startswith("kmem_cache_free: ")]
        sites = [re.search(r"call_site=(.*?) \(", text) for text in printed]
        address = int(dump.ftrace.instances.set_index("name").loc[name, "address"])
        delta = int(dump.struct("trace_array", address)["text_delta"])
        assert len(sites) == len(freed) > 100
        for site, now, named in zip(sites, freed, dump.kernel.symbolize(freed), strict=True):
            assert site is not None
            # 6.12 prints addresses of events as they were recorded, later kernels by name.
            if not site[1].startswith("0x"):
                assert named == site[1]
            elif not IN_MODULE.fullmatch(site[1]):
                assert now == int(site[1], 16) + delta


def test_this_boots_own_events_are_on_its_axis(rebooted: tuple[Dump, str, dict[str, str]]) -> None:
    dump, name, truth = rebooted
    today = dump.ftrace.lines("today")
    assert today == lines_of(truth["ftrace.today"])
    sources = dump.timeline()["source"].astype(str)
    assert (sources == "ftrace:today").sum() == len(today)
    assert f"ftrace:{name}" not in set(sources)


def test_captures_of_reboots_are_there() -> None:
    if not CAPTURES:
        pytest.skip(
            "KERNLAB_LAB_CAPTURES names no folder with captures of the lab's scenario reboot (reboot-*)"
        )
    assert all((folder / "vmcore").is_file() for folder in CAPTURES)
