"""Relay channels of real dumps: what is there, what it means, and what damage to it costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.overlay import Overlay

from kernlab.errors import FaultError, KernlabError, PageExcluded


def row(dump, cpu: int = 0):
    channels = dump.relay.channels
    return channels[(channels["name"] == "vda/trace") & (channels["cpu"] == cpu)].iloc[0]


def test_each_dump_has_its_running_trace(dump):
    channels = dump.relay.channels
    assert channels["name"].tolist() == ["vda/trace"] * 2
    assert channels["cpu"].tolist() == [0, 1]
    assert channels["client"].tolist() == ["blktrace"] * 2
    assert channels["callbacks"].tolist() == ["blk_relay_callbacks"] * 2
    assert channels[["subbuf_size", "n_subbufs"]].to_numpy().tolist() == [[16384, 8]] * 2
    assert channels["overwrite"].tolist() == [False, False]
    assert not channels[["is_global", "closed", "full"]].any().any()
    assert channels["damage"].tolist() == ["", ""]
    assert channels["unread_bytes"].tolist() == [len(dump.relay.read("vda/trace", cpu=cpu)) for cpu in (0, 1)]
    assert channels["unread_bytes"].min() > 1000
    assert str(channels["address"].dtype).startswith("address")


def test_events_tell_the_last_requests(dump):
    events = dump.relay.events("vda/trace")
    assert events.attrs["problems"] == []
    assert len(events) > 200
    assert events["timestamp"].is_monotonic_increasing
    assert events["device"].unique().tolist() == ["254:0"]
    assert {"Q", "G", "D", "C"} <= set(events["action"])
    # Each CPU counted from one on, and nothing is missing.
    for _, own in events.groupby("cpu"):
        assert own["sequence"].tolist() == list(range(1, len(own) + 1))
    assert "dd" in set(events["comm"].dropna())
    last = events["timestamp"].iloc[-1]
    assert last <= pd.Timedelta(dump.info["uptime"])


def test_a_channel_is_found_by_name_or_address_and_no_other(dump):
    address = int(row(dump)["address"])
    assert dump.relay.read(address, 1) == dump.relay.read("vda/trace", 1)
    with pytest.raises(KernlabError, match="vda/trace"):
        dump.relay.read("vda/trce")
    with pytest.raises(KernlabError, match="no buffer of CPU 7; it has: 0, 1"):
        dump.relay.read("vda/trace", cpu=7)
    with pytest.raises(KernlabError, match="no relay channel at 0x"):
        dump.relay.read(0x1234)
    with pytest.raises(KernlabError, match="'unread', 'all'"):
        dump.relay.read("vda/trace", mode="everything")
    with pytest.raises(KernlabError, match="neither a C type"):
        dump.relay.events("vda/trace", "no such dtype")


def test_modes_contain_each_other(dump):
    unread = dump.relay.read("vda/trace", 0)
    raw = dump.relay.read("vda/trace", 0, "raw")
    assert raw.startswith(unread)
    assert len(raw) == 8 * 16384
    assert dump.relay.read("vda/trace", 0, "all") == unread
    assert dump.relay.read("vda/trace", 0, "salvage") == unread


def test_records_by_a_struct_of_the_dump_and_by_dtype(dump):
    data = dump.relay.read("vda/trace", 0)
    words = dump.relay.events("vda/trace", "<u4", cpu=0)
    assert words["value"].tolist() == np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4").tolist()
    pairs = dump.relay.events("vda/trace", "struct list_head", cpu=0)
    assert pairs.columns.tolist() == ["cpu", "next", "prev"]
    first = np.frombuffer(data, dtype="<u8", count=2)
    assert [int(pairs.loc[0, "next"]), int(pairs.loc[0, "prev"])] == first.tolist()
    assert len(pairs) == len(data) // 16


def test_files_hold_what_read_gives(dump, tmp_path):
    written = dump.relay.save("vda/trace", tmp_path)
    assert [path.name for path in written] == ["vda.blktrace.0", "vda.blktrace.1"]
    assert [path.read_bytes() for path in written] == [dump.relay.read("vda/trace", cpu) for cpu in (0, 1)]
    assert dump.relay.hexdump("vda/trace", limit=32).startswith("00000000  07 74 61 65")


def test_a_dump_without_the_channels_page_says_so(opened):
    channels = opened("damaged-7.2").relay.channels
    assert len(channels) == 1
    assert "page that the dump lacks" in channels["damage"][0]
    with pytest.raises(KernlabError):
        opened("damaged-7.2").relay.read("vda/trace")


# Damage, laid over debian-6.1 and debian-7.2


@pytest.fixture(params=["debian-6.1", "debian-7.2"])
def base(request, opened):
    return opened(request.param)


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("subbufs_consumed", 12, "12 sub-buffers are consumed"),
        ("bytes_consumed", 1 << 40, "bytes are consumed"),
        ("offset", 16386, "16,386 bytes are written"),
        ("data", 0xDEAD, "current sub-buffer"),
        ("padding", 0xDEAD0000, "padding of its sub-buffers cannot be read"),
        ("padding", (1 << 64) - 63, "padding of its sub-buffers cannot be read"),
        ("padding", 0, "padding of its sub-buffers cannot be read"),
        ("page_count", 1, "pages do not hold"),
    ],
)
def test_counters_that_cannot_be_true_end_in_a_row(base, member, value, says):
    overlay = Overlay(base)
    overlay.set("struct rchan_buf", int(row(base)["buffer"]), member, value)
    broken = overlay.dump()
    damaged = row(broken)
    assert says in damaged["damage"]
    assert pd.isna(damaged["unread_bytes"])
    with pytest.raises(KernlabError, match="damaged"):
        broken.relay.read("vda/trace", 0)
    # The other CPU's buffer is as it was, and events say what they lack.
    assert broken.relay.read("vda/trace", 1) == base.relay.read("vda/trace", 1)
    events = broken.relay.events("vda/trace")
    assert events["cpu"].unique().tolist() == [1]
    assert any("CPU 0: left out" in problem for problem in events.attrs["problems"])


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("n_subbufs", 0, "cannot be a relay buffer"),
        ("n_subbufs", (1 << 64) - 1, "fit"),
        ("subbuf_size", 1 << 62, "fit"),
        ("version", 6, "version is 6"),
    ],
)
def test_a_channel_that_cannot_be_one_ends_in_rows(base, member, value, says):
    overlay = Overlay(base)
    overlay.set("struct rchan", int(row(base)["address"]), member, value)
    broken = overlay.dump()
    channels = broken.relay.channels
    assert channels["damage"].str.contains(says).all()
    for cpu in (0, 1):
        with pytest.raises(KernlabError):
            broken.relay.read("vda/trace", cpu)


def slot(dump, cpu: int) -> int:
    """Where the pointer to a CPU's buffer lies."""
    where = dump.struct("rchan", int(row(dump)["address"]))
    return (int(where.buf) + int(dump.kernel.percpu_offsets[cpu])) % (1 << 64)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "which buffer is this CPU's lies on a page that the dump lacks"),
        (0, "this CPU is online and has no buffer"),
        ("other", "its slot leads to the buffer of CPU 0"),
        ("channel", "not a buffer of this channel"),
        (0xDEAD0000, "its struct rchan_buf lies on a page that the dump lacks"),
    ],
)
def test_a_cpu_whose_buffer_cannot_be_found_is_a_row(base, value, says):
    if value is None and slot(base, 1) // 4096 == slot(base, 0) // 4096:
        pytest.skip("both CPUs' pointers lie on one page")
    overlay = Overlay(base)
    if value is None:
        overlay.exclude(slot(base, 1))
    else:
        known = {"other": int(row(base, 0)["buffer"]), "channel": int(row(base)["address"])}
        overlay.word(slot(base, 1), known.get(value, value))
    with overlay.dump() as broken:
        channels = broken.relay.channels
        told = channels.attrs["problems"]
        if value == "other":
            # Two CPUs, two pointers to one buffer: as a global channel has it, but for is_global.
            assert any("vda/trace: by is_global it has a buffer for each CPU" in problem for problem in told)
            return
        assert channels["cpu"].tolist() == [0, 1]
        assert says in channels["damage"][1]
        assert pd.isna(channels["produced"][1])
        assert not channels["is_global"].any()
        assert any(problem.startswith("1 of 2 buffers of relay channels are damaged") for problem in told)
        events = broken.relay.events("vda/trace")
        assert any("CPU 1: left out" in problem for problem in events.attrs["problems"])
        assert broken.relay.read("vda/trace", 0) == base.relay.read("vda/trace", 0)


def test_a_channel_is_global_by_its_buffers_not_by_what_it_says(base):
    overlay = Overlay(base).set("struct rchan", int(row(base)["address"]), "is_global", 1)
    with overlay.dump() as broken:
        channels = broken.relay.channels
        assert channels["cpu"].tolist() == [0, 1]
        assert not channels["is_global"].any()
        assert any("by is_global it has one buffer" in problem for problem in channels.attrs["problems"])
        assert broken.relay.read("vda/trace", 1) == base.relay.read("vda/trace", 1)


def test_a_directory_without_a_name_is_told(base):
    overlay = Overlay(base).set("struct rchan", int(row(base)["address"]), "parent", 0xDEAD0000)
    with overlay.dump() as broken:
        channels = broken.relay.channels
        assert set(channels["name"]) == {"trace"}
        assert any("lost the name of their directory" in problem for problem in channels.attrs["problems"])


def test_a_list_that_loops_or_leads_astray_ends(base):
    channel = int(row(base)["address"])
    link = base.struct("rchan", channel)["list"].address_
    for target in (link, 0xDEAD0000, 0):
        overlay = Overlay(base)
        overlay.word(link, target)
        assert row(overlay.dump())["unread_bytes"] > 0


def test_a_channel_off_the_list_is_found_through_an_open_file(base):
    # As relay_close leaves it behind while somebody has its file open: off the list, and some file's private data.
    head = base.symbol("relay_channels")
    tasks = base.structs("task_struct", base.tasks["address"])
    table = tasks["files->fdt->fd"]
    standard_input, _ = base.kernel.words(table.values[table.valid])
    file = next(int(pointer) for pointer in standard_input if pointer)
    overlay = Overlay(base)
    overlay.word(head, head).word(head + 8, head)
    assert len(overlay.dump().relay.channels) == 0
    overlay.set("struct file", file, "private_data", int(row(base, 1)["buffer"]))
    found = overlay.dump().relay
    assert found.channels["closed"].tolist() == [True, True]
    assert found.channels["name"].tolist() == ["vda/trace"] * 2
    assert found.read("vda/trace", 1) == base.relay.read("vda/trace", 1)
    # What only looks like a buffer is none.
    overlay.set("struct rchan_buf", int(row(base, 1)["buffer"]), "cpu", 0)
    assert len(overlay.dump().relay.channels) == 0


def test_a_page_that_is_not_there_costs_its_records(base):
    start = base.struct("rchan_buf", int(row(base)["buffer"])).start
    overlay = Overlay(base)
    overlay.exclude(int(start))
    broken = overlay.dump()
    with pytest.raises(PageExcluded):
        broken.relay.read("vda/trace", 0)
    events = broken.relay.events("vda/trace", cpu=0)
    whole = base.relay.events("vda/trace", cpu=0)
    assert any("pages that the dump lacks" in problem for problem in events.attrs["problems"])
    size = len(base.relay.read("vda/trace", 0))
    if size > 4096 + 100:
        assert 0 < len(events) < len(whole)
        assert set(events["sequence"]) <= set(whole["sequence"])


def test_a_buffer_without_its_map_is_read_through_its_pages(base):
    # The buffer's address leads nowhere; the array of its struct pages is as good.
    buffer = int(row(base)["buffer"])
    pages = base.struct("rchan_buf", buffer)
    start = int(pages.start)
    overlay = Overlay(base)
    overlay.set("struct rchan_buf", buffer, "start", 0xFFFFC90000000000 + start % 4096)
    overlay.set("struct rchan_buf", buffer, "data", 0xFFFFC90000000000 + start % 4096)
    assert overlay.dump().relay.read("vda/trace", 0) == base.relay.read("vda/trace", 0)


@pytest.fixture(scope="module")
def fields(opened):
    """Where the words lie that relay reads: of both buffers, the channel, the padding, and the first records."""
    dump = opened("debian-6.1")
    places = []
    for cpu in (0, 1):
        buffer = int(row(dump, cpu)["buffer"])
        places += range(buffer, buffer + dump.kernel.find_type("struct rchan_buf").size, 8)
        padding = int.from_bytes(
            dump.read(Overlay(dump).where("struct rchan_buf", buffer, "padding")[0], 8), "little"
        )
        places += range(padding, padding + 64, 8)
        start = int(dump.struct("rchan_buf", buffer).start)
        places += range(start, start + 512, 8)
    channel = int(row(dump)["address"])
    places += range(channel, channel + 128, 8)
    return dump, places


words = st.one_of(
    st.integers(0, 40),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([(1 << 64) - 1, 1 << 63, 1 << 32, 16384, 16385, 16386, 0x65617407, 0xFFFFFFFF81000000]),
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_damage_hangs_crashes_or_goes_astray(fields, data):
    dump, places = fields
    overlay = Overlay(dump)
    for place, value in data.draw(
        st.lists(st.tuples(st.sampled_from(places), words), min_size=1, max_size=6)
    ):
        overlay.word(place, value)
    relay = overlay.dump().relay
    channels = relay.channels
    for channel in channels.itertuples():
        for mode in ("unread", "all", "salvage", "raw"):
            try:
                got = relay.read(int(channel.address), int(channel.cpu), mode)
            except (KernlabError, FaultError):
                continue
            assert len(got) <= 1 << 20
        try:
            events = relay.events(int(channel.address), mode="salvage")
        except KernlabError:
            continue
        assert len(events) < 1 << 16
