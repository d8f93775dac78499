"""The arithmetic of relay buffers against a model of their writer and reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces.relay_model import Model

from kernlab.traces.relay.layout import LARGEST_BUFFER, BufferCounters


def counters(model: Model) -> BufferCounters:
    return BufferCounters(
        subbuf_size=model.size,
        n_subbufs=model.count,
        produced=model.produced,
        consumed=model.consumed,
        bytes_consumed=model.position,
        offset=model.offset,
        current=model.current,
        padding=list(model.padding),
    )


def bytes_of(model: Model, mode: str) -> bytes:
    pieces = counters(model).pieces(mode)
    return b"".join(
        bytes(model.memory[p.slot * model.size + p.start : p.slot * model.size + p.end]) for p in pieces
    )


#: A write of so many bytes, a read of so many, or a flush.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 40)),
        st.tuples(st.just("write"), st.integers(1, 40)),
        st.tuples(st.just("read"), st.integers(1, 70)),
        st.tuples(st.just("flush"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([16, 50, 64]), st.sampled_from([1, 2, 3, 4, 8]), st.booleans(), steps, st.integers(0, 255)
)
def test_recovered_bytes_are_what_reads_give(size, count, overwrite, script, first):
    model = Model(size, count, overwrite=overwrite)
    number = first
    for what, amount in script:
        if what == "write":
            model.write(bytes((number + i) % 256 for i in range(amount)))
            number += amount
        elif what == "read":
            model.read(amount)
        else:
            model.flush()
    assert counters(model).damage() == ""
    kept = b"".join(model.contents[s] for s in model.whole())
    assert bytes_of(model, "all") == kept
    salvaged = bytes_of(model, "salvage")
    assert salvaged.endswith(kept)
    if not model.full and model.produced >= count:
        # The tail of the sub-buffer that is being overwritten, its lost padding among it.
        assert len(salvaged) - len(kept) == size - len(model.contents[-1])
    unread = bytes_of(model, "unread")
    assert counters(model).unread_bytes() == len(unread)
    assert unread == model.rest()


def test_lost_sub_buffers_are_counted():
    model = Model(10, 4, overwrite=True)
    for number in range(15):
        model.write(bytes([number]) * 10)
    model.flush()
    state = counters(model)
    # 15 were filled and nobody read; of the last four slots the oldest is being written again.
    assert (state.produced, state.lost_subbufs) == (15, 12)
    assert bytes_of(model, "unread") == b"".join(bytes([n]) * 10 for n in (12, 13, 14))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_subbufs": 0}, "cannot be a relay buffer"),
        ({"subbuf_size": 0}, "cannot be a relay buffer"),
        ({"subbuf_size": LARGEST_BUFFER}, "cannot be a relay buffer"),
        ({"current": 4}, "slot 4 of 4"),
        ({"offset": 102}, "102 bytes are written"),
        ({"consumed": 6}, "6 sub-buffers are consumed"),
        ({"bytes_consumed": 101}, "101 bytes are consumed"),
        ({"padding": None}, "padding of its sub-buffers cannot be read"),
        ({"padding": [0, 0, 0, 101]}, "more padding"),
        ({"padding": [0, 0]}, "more padding"),
    ],
)
def test_what_cannot_be_true_is_said(change, says):
    good = {
        "subbuf_size": 100,
        "n_subbufs": 4,
        "produced": 5,
        "consumed": 3,
        "bytes_consumed": 20,
        "offset": 7,
        "current": 1,
        "padding": [0, 3, 2, 1],
    }
    assert BufferCounters(**good).damage() == ""
    assert says in BufferCounters(**{**good, **change}).damage()


def test_counters_that_wrapped_around_are_fine():
    state = BufferCounters(
        100, 4, produced=2, consumed=(1 << 64) - 1, bytes_consumed=0, offset=5, current=2, padding=[0] * 4
    )
    assert state.damage() == ""
    assert state.unread_bytes() == 305
