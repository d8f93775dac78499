"""Where blktrace's records begin: on made-up streams whose records are known, whole and damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces.blk_records import Record

from kernlab.traces.blktrace.headers import headers
from kernlab.traces.blktrace.records import MAGIC7, MAGIC8, scan
from kernlab.traces.blktrace.trace import BlkTrace

MAGICS = [magic.to_bytes(4, order) for magic in (MAGIC7, MAGIC8) for order in ("little", "big")]

#: Bytes of a record's own; magics, and whole records, among them.
payloads = st.one_of(
    st.just(b""),
    st.binary(max_size=20),
    st.sampled_from(MAGICS),
    st.builds(lambda n: Record(1, 1, sequence=n, time=n).pack(), st.integers(0, 99)),
)
plans = st.lists(st.tuples(st.sampled_from([7, 8]), payloads), max_size=40)


def stream(plan, *, big: bool = False) -> tuple[bytes, list[int]]:
    data, offsets = b"", []
    for number, (version, pdu) in enumerate(plan):
        offsets.append(len(data))
        data += Record(1, 2, sequence=number + 1, time=number * 10, pdu=pdu).pack(big=big, version=version)
    return data, offsets


def offsets_of(data: bytes) -> list[int]:
    return scan(np.frombuffer(data, dtype=np.uint8), 0, len(data)).offsets.tolist()


@settings(max_examples=300, deadline=None)
@given(plans, st.booleans())
def test_every_record_is_found_and_nothing_else(plan, big):
    data, offsets = stream(plan, big=big)
    array = np.frombuffer(data, dtype=np.uint8)
    found = scan(array, 0, len(array))
    assert found.offsets.tolist() == offsets
    assert (found.skipped, found.torn) == (0, 0)
    rows = headers(array, found.offsets, found.version8, found.swapped)
    assert rows["sequence"].tolist() == list(range(1, len(plan) + 1))
    assert rows["pdu_len"].tolist() == [len(pdu) for _, pdu in plan]


@settings(max_examples=200, deadline=None)
@given(plans.filter(bool), st.data())
def test_a_torn_end_costs_one_record(plan, data):
    whole, offsets = stream(plan)
    cut = data.draw(st.integers(offsets[-1] + 1, len(whole) - 1))
    array = np.frombuffer(whole[:cut], dtype=np.uint8)
    found = scan(array, 0, cut)
    assert found.offsets.tolist() == offsets[:-1]
    assert found.torn == cut - offsets[-1]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([7, 8]), st.binary(max_size=9)), min_size=4, max_size=30),
    st.data(),
)
def test_damage_costs_what_it_hits_and_no_more(plan, data):
    whole, offsets = stream(plan)
    victim = data.draw(st.integers(1, len(plan) - 3))
    # The magic is overwritten: the record is lost, and those after it are found again.
    broken = bytearray(whole)
    broken[offsets[victim] : offsets[victim] + 4] = b"\0\0\0\0"
    found = offsets_of(bytes(broken))
    # That the record before led to the damage does not make it wrong.
    assert set(found) >= {o for n, o in enumerate(offsets) if n not in (victim, victim - 1)}
    assert set(found) <= set(offsets)


@settings(max_examples=400, deadline=None)
@given(
    plans,
    st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=12)), max_size=6),
    st.booleans(),
)
def test_no_damage_leads_out_of_the_stream(plan, damage, big):
    data = bytearray(stream(plan, big=big)[0])
    for at, what in damage:
        if data:
            at %= len(data)
            data[at : at + len(what)] = what
    array = np.frombuffer(bytes(data), dtype=np.uint8)
    found = scan(array, 0, len(array))
    rows = headers(array, found.offsets, found.version8, found.swapped)
    stops = found.offsets + found.header_sizes() + rows["pdu_len"].astype(np.int64)
    assert (stops <= len(array)).all()
    # One after the other, none inside another.
    assert (found.offsets[1:] >= stops[:-1]).all()
    trace = BlkTrace.from_bytes({0: bytes(data)})
    assert len(trace.events) <= len(found.offsets)
    trace.text()
    trace.latencies().summary("process")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 3))
def test_bytes_of_any_kind_are_no_trace(noise, repeat):
    trace = BlkTrace.from_bytes({0: noise + MAGICS[0] * repeat + noise, 3: MAGICS[2] + noise})
    assert len(trace.events) == len(trace.events.dropna(subset=["timestamp"]))


@pytest.mark.parametrize("filler", [MAGICS[0], MAGICS[0] + b"\0", MAGICS[3] + b"\1\2\3"])
def test_megabytes_of_nothing_but_magics_end_soon(filler):
    data = (filler * (9_000_000 // len(filler)))[:9_000_001]
    array = np.frombuffer(data, dtype=np.uint8)
    found = scan(array, 0, len(array))
    assert len(found.offsets) <= len(array) // 48


def test_records_of_both_versions_share_a_table():
    data = Record(1, 2, sequence=1, sector=8, bytes=512).pack() + Record(
        7, (1 << 22) | 2, sequence=2, sector=1 << 40, bytes=1024
    ).pack(version=8)
    events = BlkTrace.from_bytes({0: data}).events
    assert events["action"].tolist() == ["Q", "D"]
    assert events["sector"].tolist() == [8, 1 << 40]
    assert events["rwbs"].tolist() == ["W", "WZ"]
