"""Recovered bytes against what the guest itself read later: it was stopped, dumped, and went on reading.

Captures are folders of the lab's scenario `trace` (kernlab lab … trace, with QEMU's dump): `vmcore.qemu-elf` beside
`after/`, what the guest read after it went on. They lie among the dumps, or where KERNLAB_LAB_CAPTURES says.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import DUMPS
from support.captures import captures

import kernlab
from kernlab.errors import TypeNotFoundError

CAPTURES = [
    path for path in (*sorted(DUMPS.glob("*trace*")), *captures("*trace*")) if list(path.glob("vmcore*"))
]


def later_reads(folder: Path) -> dict[str, bytes]:
    """What the guest read after the dump, by file name (vda.trace0)."""
    if (folder / "after").is_dir():
        return {path.name: path.read_bytes() for path in (folder / "after").iterdir()}
    with tarfile.open(folder / "truth.tar.xz") as archive:
        return {
            Path(member.name).name: archive.extractfile(member).read()
            for member in archive
            if member.isfile() and "/after/" in member.name
        }


@pytest.fixture(params=CAPTURES or [None], ids=[path.name for path in CAPTURES] or ["none"], scope="module")
def capture(request):
    if request.param is None:
        pytest.skip(
            "no capture of the lab's scenario trace is here (KERNLAB_LAB_CAPTURES names a folder of them)"
        )
    folder = request.param
    truth = later_reads(folder)
    if not any(name.startswith("story.") for name in truth):
        pytest.skip(f"{folder.name} holds no later reads")
    with kernlab.open(folder / "vmcore.qemu-elf") as dump:
        yield dump, truth


def test_recovered_bytes_are_what_the_guest_read(capture):
    dump, truth = capture
    compared = 0
    for row in dump.relay.channels.itertuples():
        name = f"{row.name.replace('/', '.')}{row.cpu}"
        assert row.damage == ""
        assert dump.relay.read(row.name, row.cpu) == truth[name], name
        assert row.unread_bytes == len(truth[name])
        compared += 1
    # Block trace and the driver's three channels, one of them global.
    assert compared >= 7


def test_what_is_known_of_each_channel(capture):
    dump, truth = capture
    channels = dump.relay.channels.set_index(["name", "cpu"])
    assert channels.loc[("vda/trace", 0), "channel_dropped"] == int(truth["vda.dropped"])
    assert channels["client"].loc["vda/trace"].tolist() == ["blktrace", "blktrace"]
    assert channels["module"].loc["story/drop"].tolist() == ["kernlab_story"] * 2
    assert channels["is_global"].loc["story/global"].tolist() == [True]
    assert channels.loc[("story/drop", 1), "full"]
    assert channels["overwrite"].loc["story/flight"].tolist() == [True, True]
    assert channels.loc[("story/flight", 0), "lost_subbufs"] > 0
    # 300 bytes of it had been read.
    assert channels.loc[("story/flight", 1), "read_bytes"] == 300


@pytest.mark.parametrize("name", ["story/drop", "story/flight", "story/global"])
def test_records_of_a_modules_struct(capture, name):
    dump, _ = capture
    plain = [
        ("time_ns", "<u8"),
        ("sequence", "<u4"),
        ("kind", "<u2"),
        ("x", "<u2"),
        ("comm", "S16"),
        ("value", "<u8"),
    ]
    by_dtype = dump.relay.events(name, plain)
    assert len(by_dtype) > 40
    try:
        events = dump.relay.events(name, "struct story_event")
    except TypeNotFoundError as error:
        # 5.10 keeps no types of modules.
        pytest.skip(f"the types of modules are not in this dump: {error}")
    assert len(events) == len(by_dtype)
    sequence = events["sequence"].to_numpy().astype(np.uint64)
    assert (events["value"].to_numpy().astype(np.uint64) == sequence * sequence).all()
    assert (events["kind"] == sequence % 7).all()
    assert set(events["comm"]) <= {"sh", "taskset"}
    # Sub-buffers end in padding, and a reader that stops inside a record has not read it.
    for _, own in events.groupby("cpu"):
        assert own["sequence"].is_monotonic_increasing
    if name != "story/global":
        assert (events["record_cpu"] == events["cpu"]).all()


def test_salvage_gives_older_records_before_the_rest(capture):
    dump, _ = capture
    kept, more = dump.relay.read("story/flight", 0), dump.relay.read("story/flight", 0, "salvage")
    assert more.endswith(kept)
    assert 0 < len(more) - len(kept) <= 4096


def test_all_is_unread_and_what_was_read_before(capture):
    dump, _ = capture
    assert dump.relay.read("story/flight", 1, "all")[300:] == dump.relay.read("story/flight", 1)


def test_block_events_end_with_the_guests_last_requests(capture):
    dump, _ = capture
    events = dump.relay.events("vda/trace")
    assert not [p for p in events.attrs["problems"] if "skipped" in p or "torn" in p]
    assert {"dd"} <= set(events["comm"].dropna())


def test_what_was_refused_is_told_with_the_moment(capture):
    """By the kernel's own count of what its channel refused (the file dropped), notes of processes among it."""
    dump, truth = capture
    channels = dump.relay.channels
    own = channels[channels["name"] == "vda/trace"].set_index("cpu")
    events = dump.relay.events("vda/trace")
    lost = events.attrs["lost"]
    dropped = int(truth["vda.dropped"])
    if all(one["events"] for one in lost):
        assert 0 <= dropped - sum(one["events"] for one in lost) <= 8
    else:
        # Before 7.x the kernel counts for all CPUs together.
        assert [told for told in events.attrs["problems"] if f"{dropped:,} events were dropped" in told]
    last = events[events["action"] != "m"].groupby("cpu")["timestamp"].max().astype("int64")
    ends = {one["cpu"]: one["since_ns"] for one in lost if one["until_ns"] is None}
    assert ends == {cpu: last[cpu] for cpu in own.index[own["full"].astype(bool)]}
    said = dump.relay.events("story/drop").attrs["problems"]
    assert [problem for problem in said if "CPU 1" in problem and "full" in problem]
    said = dump.relay.events("story/flight").attrs["problems"]
    assert [problem for problem in said if "sub-buffers were overwritten before anybody read them" in problem]
