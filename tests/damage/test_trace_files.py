"""Hostile numbers in files of traces: streams, copies of buffers, recordings; all end, in answers or a KernlabError."""

from __future__ import annotations

import contextlib
import json
import warnings

import numpy as np
import pytest

import kernlab

NUMBERS = (0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 62, 1 << 63, (1 << 64) - 1)
WORDS = (1, 2, 4, 8)
#: So many damaged copies of each file.
CASES = 60


@pytest.fixture(scope="module")
def streams(opened):
    dump = opened("debian-6.1")
    return [dump.relay.read("vda/trace", cpu) for cpu in (0, 1)]


@pytest.fixture(scope="module")
def buffers(opened):
    dump = opened("debian-6.1")
    return [dump.relay.read("vda/trace", cpu, "raw") for cpu in (0, 1)]


def damaged(data: bytes, seed: int) -> bytes:
    """A few words of a file overwritten; every third time most of them in its first records."""
    generator = np.random.default_rng(seed)
    made = bytearray(data)
    reach = min(len(made), 256) if seed % 3 == 0 else len(made)
    for _ in range(int(generator.integers(1, 6))):
        width = int(generator.choice(WORDS))
        number = NUMBERS[int(generator.integers(len(NUMBERS)))] & ((1 << (8 * width)) - 1)
        at = int(generator.integers(0, reach - width)) & ~(width - 1)
        made[at : at + width] = number.to_bytes(width, "little")
    return bytes(made)


def use(files) -> None:
    """All that there is to ask of opened files."""
    for step in (
        lambda: files.channels,
        lambda: files.events(),
        lambda: files.events(np.dtype([("a", "<u4"), ("b", "<u8")])),
        lambda: [files.slots(cpu) for cpu in (0, 1)],
        lambda: [files.read(cpu) for cpu in (0, 1)],
        lambda: [files.hexdump(cpu, limit=64) for cpu in (0, 1)],
        lambda: everything(files.blktrace()),
    ):
        with contextlib.suppress(kernlab.KernlabError):
            step()


def everything(trace) -> None:
    """All views of a block trace."""
    assert len(trace.events) + len(trace.note_rows) <= trace.record_count
    trace.text()
    trace.latencies().summary("all")


def ends(path, *arguments, **geometry) -> None:
    """Open a file and ask for all of it: answers, or a KernlabError, and no warning of an overflow."""
    with warnings.catch_warnings(), contextlib.suppress(kernlab.KernlabError):
        warnings.simplefilter("error")
        with kernlab.relay.open(path, *arguments, **geometry) as files:
            use(files)


@pytest.mark.parametrize("seed", range(CASES))
def test_saved_streams(streams, tmp_path, seed):
    for cpu, data in enumerate(streams):
        (tmp_path / f"vda.blktrace.{cpu}").write_bytes(damaged(data, 1000 * cpu + seed))
    ends(tmp_path / "vda.blktrace.*")


@pytest.mark.parametrize("seed", range(CASES))
def test_copies_of_buffers(buffers, tmp_path, seed):
    for cpu, data in enumerate(buffers):
        (tmp_path / f"trace{cpu}").write_bytes(damaged(data, 1000 * cpu + seed))
    ends(tmp_path / "trace*", "mmap", subbuf_size=16384, n_subbufs=8)


@pytest.mark.parametrize(
    "number", [-1, 1 << 62, 1 << 64, 10**30, float("inf"), float("nan"), "9", [9], True, {}]
)
def test_a_recordings_description(streams, tmp_path, number):
    for cpu, data in enumerate(streams):
        (tmp_path / f"vda.blktrace.{cpu}").write_bytes(data)
    kernlab.relay.record(tmp_path / "vda.blktrace.*", tmp_path / "out", seconds=5)
    described = json.loads((tmp_path / "out" / "relay.json").read_text())
    described["dropped"] = number
    (tmp_path / "out" / "relay.json").write_text(json.dumps(described))
    ends(tmp_path / "out")
    with kernlab.relay.open(tmp_path / "out") as files:
        events = files.events()
        # What cannot be a count is none: of the undamaged streams nothing is called lost.
        assert [loss["events"] for loss in events.attrs["lost"]] == ([number] if number == 1 << 62 else [])


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "null", "[]", '{"files": 3}', '{"files": [3]}', '{"files": [{"file": 3}]}']
)
def test_a_recordings_description_that_is_none(streams, tmp_path, text):
    (tmp_path / "vda.blktrace.0").write_bytes(streams[0])
    (tmp_path / "relay.json").write_text(text)
    ends(tmp_path)
    ends(tmp_path / "vda.blktrace.*")
