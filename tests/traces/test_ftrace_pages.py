"""Sub-buffers whose every event is known: made by a model of the ring buffer's writer, decoded by kernlab."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.traces.ftrace.pages import decode

HEADER = 16
PADDING, EXTEND, STAMP = 29, 30, 31


@dataclass
class Page:
    """A sub-buffer as kernel/trace/ring_buffer.c fills it; `events` are (time, offset, payload)."""

    start: int
    size: int = 4096
    body: bytearray = field(default_factory=bytearray)
    events: list[tuple[int, int, bytes]] = field(default_factory=list)
    now: int = 0

    def __post_init__(self) -> None:
        self.now = self.start

    def head(self, kind: int, delta: int) -> bytes:
        return struct.pack("<I", delta << 5 | kind)

    def extend(self, delta: int) -> None:
        self.body += self.head(EXTEND, delta & (1 << 27) - 1) + struct.pack("<I", delta >> 27)
        self.now += delta

    def stamp(self, time: int) -> None:
        low = time & (1 << 59) - 1
        self.body += self.head(STAMP, low & (1 << 27) - 1) + struct.pack("<I", low >> 27)
        self.now = time

    def discarded(self, size: int) -> None:
        self.body += self.head(PADDING, 1) + struct.pack("<I", size - 4) + bytes(size - 8)

    def event(self, delta: int, payload: bytes, long: bool = False) -> None:
        payload += bytes(-len(payload) % 4)
        self.now += delta
        if long or len(payload) > 28 * 4 or not payload:
            self.body += self.head(0, delta) + struct.pack("<I", len(payload) + 4)
        else:
            self.body += self.head(len(payload) // 4, delta)
        self.events.append((self.now, HEADER + len(self.body), payload))
        self.body += payload

    def close(self) -> None:
        """The rest of a full page: padding without a delta."""
        self.body += self.head(PADDING, 0) + bytes(self.size - HEADER - len(self.body) - 4)

    def bytes(self, marks: int = 0) -> bytes:
        raw = struct.pack("<QQ", self.start, len(self.body) | marks) + bytes(self.body)
        return raw + b"\xaa" * (self.size - len(raw))


def read(*pages: Page, skip: list[int] | None = None) -> list[tuple[int, int, int, bytes]]:
    data = np.frombuffer(b"".join(page.bytes() for page in pages), dtype=np.uint8).reshape(len(pages), -1)
    found = decode(data, None if skip is None else np.array(skip))
    rows = zip(
        found.page.tolist(), found.time.tolist(), found.offset.tolist(), found.size.tolist(), strict=True
    )
    return [(page, time, at, data[page, at : at + size].tobytes()) for page, time, at, size in rows]


def expected(*pages: Page) -> list[tuple[int, int, int, bytes]]:
    return [(row, *event) for row, page in enumerate(pages) for event in page.events]


def test_every_kind_of_event() -> None:
    page = Page(1000)
    page.event(5, b"abcdefgh")
    page.extend(1 << 40)
    page.event(0, b"x" * 112)
    page.event(3, b"y" * 113)
    page.discarded(24)
    page.event(2, b"short", long=True)
    page.stamp(1 << 50)
    page.event(7, b"zzzz")
    page.close()
    assert read(page) == expected(page)
    assert page.events[-1][0] == (1 << 50) + 7


def test_absolute_times_keep_the_high_bits_of_the_time_before() -> None:
    high = 0x38 << 56
    page = Page(high | 1000)
    page.stamp(high | 5000)
    page.event(1, b"abcd")
    # The 59 bits have lapped: the next lap is meant.
    page.stamp((high | 5) + (1 << 59))
    page.event(1, b"abcd")
    assert [event[1] for event in read(page)] == [(high | 5000) + 1, (high | 5) + (1 << 59) + 1]


def test_what_was_read_is_passed_over_and_its_time_counts() -> None:
    page = Page(100)
    for number in range(5):
        page.event(10, bytes([number]) * 8)
    consumed = page.events[2][1] - 4 - HEADER
    assert read(page, skip=[consumed]) == expected(page)[2:]
    data = np.frombuffer(page.bytes(), dtype=np.uint8).reshape(1, -1)
    assert decode(data, np.array([consumed])).resume.tolist() == [120]


def test_marks_of_lost_events_are_no_length() -> None:
    page = Page(100)
    page.event(1, b"abcd")
    data = np.frombuffer(page.bytes(marks=1 << 31 | 1 << 30), dtype=np.uint8).reshape(1, -1)
    assert len(decode(data).page) == 1


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<II", 0, 0xFFFFFFFF),  # longer than the page
        struct.pack("<II", 0, 1),  # no whole words
        struct.pack("<I", 0),  # a length that would lie behind the end
        struct.pack("<I", 28),  # a payload that would
        struct.pack("<I", EXTEND),  # half a time
        struct.pack("<II", 1 << 5 | PADDING, 0xFFFFFFFC),
    ],
)
def test_damage_ends_a_page_where_it_is(tail: bytes) -> None:
    page = Page(1)
    page.event(1, b"abcd")
    good = len(page.body)
    page.body += tail
    data = np.frombuffer(page.bytes(), dtype=np.uint8).reshape(1, -1)
    found = decode(data)
    assert len(found.page) == 1
    assert found.damage.tolist() == [HEADER + good]


def test_pages_of_any_number_and_none() -> None:
    assert len(decode(np.zeros((0, 4096), dtype=np.uint8)).page) == 0
    assert len(decode(np.zeros((3, 4096), dtype=np.uint8)).page) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.integers(0, (1 << 27) - 1), st.binary(max_size=160)),
        st.tuples(st.just("extend"), st.integers(0, (1 << 58)), st.just(b"")),
        st.tuples(st.just("discarded"), st.sampled_from([8, 12, 40]), st.just(b"")),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 60), STEPS), min_size=1, max_size=6),
    st.sampled_from([4096, 16384]),
)
def test_what_the_writer_wrote_comes_back(
    plan: list[tuple[int, list[tuple[str, int, bytes]]]], size: int
) -> None:
    pages = []
    for start, steps in plan:
        page = Page(start, size)
        for kind, number, payload in steps:
            if len(page.body) > size - 300:
                break
            if kind == "event":
                page.event(number, payload)
            elif kind == "extend" and page.now + number < 1 << 63:
                page.extend(number)
            elif kind == "discarded":
                page.discarded(number)
        pages.append(page)
    assert read(*pages) == expected(*pages)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 0xFFFFFFFF), st.sampled_from([32, 256]))
def test_noise_ends(seed: int, commit: int, most: int) -> None:
    # Small bytes make many short events, any bytes mostly damage.
    page = np.random.default_rng(seed).integers(0, most, (1, 4096)).astype(np.uint8)
    page[0, 8:16] = np.frombuffer(struct.pack("<Q", commit), dtype=np.uint8)
    found = decode(page)
    assert len(found.page) <= 1024
    assert (found.offset + found.size <= 4096).all()
