"""SystemTap's relay files: bulk mode's messages of all CPUs by their sequence, plain text, damage; live ones in a dump.

The format is that of runtime/transport/transport.c: struct _stp_trace (magic, sequence, length), then the message.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.overlay import Overlay

import kernlab
from kernlab.traces.relay import clients


def message(sequence, text):
    return struct.pack("<III", 0xBAA99FF0, sequence, len(text)) + text


def saved(folder, streams):
    for cpu, data in streams.items():
        (folder / f"trace{cpu}").write_bytes(data)
    return folder / "trace*"


def test_messages_of_all_cpus_are_put_in_their_sequence(tmp_path):
    path = saved(
        tmp_path,
        {
            0: message(0, b"open /etc\n") + message(3, b"") + message(4, b"read\0\xff"),
            1: message(1, b"open /usr\n") + message(2, b"close\n"),
        },
    )
    with kernlab.relay.open(path) as files:
        events = files.events()
    assert events["sequence"].tolist() == [0, 1, 2, 3, 4]
    assert events["cpu"].tolist() == [0, 1, 1, 0, 0]
    assert events["data"].tolist() == [b"open /etc\n", b"open /usr\n", b"close\n", b"", b"read\0\xff"]
    assert events.attrs["problems"] == []
    assert str(events["sequence"].dtype) == "Int64"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), min_size=1, max_size=30), st.data())
def test_a_torn_end_costs_the_last_message_and_is_told(tmp_path_factory, plan, data):
    folder = tmp_path_factory.mktemp("stp")
    streams, whole = {}, {}
    for sequence, (cpu, text) in enumerate(plan):
        streams[cpu] = streams.get(cpu, b"") + message(sequence, text)
        whole.setdefault(cpu, []).append((len(streams[cpu]), sequence, text))
    victim = data.draw(st.sampled_from(sorted(streams)))
    # The magic of the first message must be there, or the file is some text.
    cut = data.draw(st.integers(12, len(streams[victim])))
    streams[victim] = streams[victim][:cut]
    expected = sorted(
        (sequence, text, cpu)
        for cpu, rows in whole.items()
        for end, sequence, text in rows
        if cpu != victim or end <= cut
    )
    with kernlab.relay.open(saved(folder, streams)) as files:
        events = files.events()
    found = events.dropna(subset=["sequence"])
    first_is_whole = whole[victim][0][0] <= cut
    if first_is_whole:
        assert list(zip(found["sequence"], found["data"], found["cpu"], strict=True)) == expected
        rest = cut - max((end for end, *_ in whole[victim] if end <= cut), default=0)
        told = [f"{rest:,} bytes are not whole SystemTap messages"] if rest else []
        assert events.attrs["problems"] == told


def test_a_length_that_cannot_be_ends_the_messages(tmp_path):
    bad = struct.pack("<III", 0xBAA99FF0, 9, 0xFFFFFFFF) + b"x" * 100
    with kernlab.relay.open(saved(tmp_path, {0: message(0, b"good") + bad})) as files:
        events = files.events()
    assert events["data"].tolist() == [b"good"]
    assert events.attrs["problems"] == ["112 bytes are not whole SystemTap messages"]


def test_text_without_bulk_mode_stays_text(tmp_path):
    with kernlab.relay.open(saved(tmp_path, {0: b"vfs_read 123\nvfs_read 124\n"})) as files:
        assert files.events()["data"].tolist() == [b"vfs_read 123\nvfs_read 124\n"]


@pytest.fixture
def as_systemtap(monkeypatch):
    """blktrace's channel of a dump, taken for one of SystemTap."""
    client = clients.CLIENTS["__stp_relay_callbacks", ""]
    monkeypatch.setitem(clients.CLIENTS, ("blk_relay_callbacks", ""), client)


def test_a_channel_of_a_dump_is_read_from_where_its_reader_was(dump_files, as_systemtap):
    # Not the dump that all tests share: it would go on to take its channels for SystemTap's.
    base = kernlab.open(dump_files("debian-6.1").vmcore)
    overlay = Overlay(base)
    channels = base.relay.channels
    wanted = []
    for cpu, row in enumerate(channels.itertuples()):
        count, size = int(row.n_subbufs), int(row.subbuf_size)
        start = int.from_bytes(
            base.read(overlay.where("struct rchan_buf", row.buffer, "start")[0], 8), "little"
        )
        # Two sub-buffers were filled, of the first the reader took one message and a half; the third is begun.
        texts = [f"cpu {cpu} message {number}\n".encode() for number in range(9)]
        filled = [texts[0:4], texts[4:7], texts[7:9]]
        padding = overlay.where("struct rchan_buf", row.buffer, "padding")[0]
        padding = int.from_bytes(base.read(padding, 8), "little")
        number = 0
        for slot, part in enumerate(filled):
            data = b""
            for text in part:
                data += message(10 * number + cpu, text)
                number += 1
            overlay.write(start + slot * size, data.ljust(size, b"\0"))
            overlay.word(padding + 8 * slot, size - len(data) if slot < 2 else 0)
            if slot == 0:
                read = len(message(0, texts[0])) + 7
        for slot in range(3, count):
            overlay.word(padding + 8 * slot, 0)
        overlay.set("struct rchan_buf", row.buffer, "subbufs_produced", 2)
        overlay.set("struct rchan_buf", row.buffer, "subbufs_consumed", 0)
        overlay.set("struct rchan_buf", row.buffer, "bytes_consumed", read)
        overlay.set("struct rchan_buf", row.buffer, "offset", len(data))
        overlay.set("struct rchan_buf", row.buffer, "data", start + 2 * size)
        wanted += [(10 * number + cpu, cpu, text) for number, text in enumerate(texts) if number]
    with overlay.dump() as dump:
        assert set(dump.relay.channels["client"]) == {"SystemTap"}
        events = dump.relay.events("vda/trace")
        # The first message was read, the second in part: it is there whole.
        assert list(zip(events["sequence"], events["cpu"], events["data"], strict=True)) == sorted(wanted)
        assert events.attrs["problems"] == []
        assert len(dump.relay.events("vda/trace", mode="all")) == len(wanted) + len(channels)
        assert dump.relay.read("vda/trace", 0).endswith(message(80, b"cpu 0 message 8\n"))
