"""Relay files outside of dumps: saved ones, pipes, images of whole buffers, recordings."""

from __future__ import annotations

import os
import threading

import pytest

import kernlab


@pytest.fixture
def saved(opened, tmp_path):
    opened("debian-6.1").relay.save("vda/trace", tmp_path)
    return tmp_path


def test_saved_files_give_the_dumps_events(opened, saved):
    with kernlab.relay.open(saved / "vda.blktrace.*") as files:
        events = files.events()
        assert files.read(0) == opened("debian-6.1").relay.read("vda/trace", 0)
    expected = opened("debian-6.1").relay.events("vda/trace").drop(columns="comm")
    assert events.drop(columns="comm").equals(expected)


def test_a_mapped_image_gives_the_same_records(opened, tmp_path):
    dump = opened("debian-6.1")
    for cpu in (0, 1):
        (tmp_path / f"trace{cpu}").write_bytes(dump.relay.read("vda/trace", cpu, "raw"))
    with kernlab.relay.open(tmp_path / "trace*", "mmap", subbuf_size=16384, n_subbufs=8) as mapped:
        assert (
            mapped.events().drop(columns="comm").equals(dump.relay.events("vda/trace").drop(columns="comm"))
        )
        assert len(mapped.slots(0)) == 8
    with pytest.raises(kernlab.KernlabError, match="subbuf_size"):
        kernlab.relay.open(tmp_path / "trace*", "mmap")


def test_a_copy_of_a_buffer_that_is_cut_while_it_is_open_ends_no_process(opened, tmp_path):
    path = tmp_path / "trace0"
    path.write_bytes(opened("debian-6.1").relay.read("vda/trace", 0, "raw"))
    with kernlab.relay.open(path, "mmap", subbuf_size=16384, n_subbufs=8) as files:
        assert len(files.slots(0)) == 8
        os.truncate(path, 20_000)
        with pytest.raises(kernlab.KernlabError, match=r"only 20,000 of its 131,072 bytes left"):
            files.slots(0)


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe0")
    writer = threading.Thread(target=(tmp_path / "pipe0").write_bytes, args=(b"abc" * 1000,))
    writer.start()
    with kernlab.relay.open(tmp_path / "pipe0") as files:
        assert files.events()["data"].tolist() == [b"abc" * 1000]
    writer.join()


def test_a_recording_reads_as_its_source(saved, tmp_path):
    described = kernlab.relay.record(saved / "vda.blktrace.*", tmp_path / "out", seconds=5)
    assert described["ended_by"] == "end of data"
    with kernlab.relay.open(tmp_path / "out") as again, kernlab.relay.open(saved / "vda.blktrace.*") as first:
        assert again.events().equals(first.events())
    with pytest.raises(kernlab.KernlabError, match="there already"):
        kernlab.relay.record(saved / "vda.blktrace.*", tmp_path / "out", seconds=1)


def test_what_the_kernel_dropped_while_recording_reaches_the_events(saved, tmp_path):
    kernlab.relay.record(saved / "vda.blktrace.*", tmp_path / "out", seconds=5)
    described = tmp_path / "out" / "relay.json"
    with kernlab.relay.open(tmp_path / "out") as whole:
        assert whole.events().attrs["lost"] == []
    described.write_text(described.read_text().replace('"dropped": null', '"dropped": 9'))
    with kernlab.relay.open(tmp_path / "out") as files:
        events = files.events()
    # Nothing tells when: the numbers of this kernel have no gaps.
    (lost,) = events.attrs["lost"]
    assert (lost["events"], lost["since_ns"], lost["until_ns"]) == (9, None, None)
    assert any(
        "9 events were dropped by the kernel's own count (relay.json)" in p for p in events.attrs["problems"]
    )
