"""`log` against makedumpfile's own log of the same dump, and against a model of the kernel's ring buffer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.overlay import Overlay

MASK = (1 << 64) - 1
ID_MASK = (1 << 62) - 1


def first_id(count_bits: int) -> int:
    """The id of the descriptor that the ring begins with, and which is no record (printk_ringbuffer.h, DESC0_ID)."""
    return -((1 << count_bits) + 1) & ID_MASK


def printed(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Timestamps as makedumpfile prints them (µs, rounded down), callers and texts."""
    stamps = frame["timestamp"].astype("int64") // 1000
    return [
        (f"{us // 1_000_000}.{us % 1_000_000:06d}", caller, text)
        for us, caller, text in zip(stamps, frame["caller"], frame["text"], strict=True)
    ]


def test_every_line_of_makedumpfiles_log(whole_dump, dump):
    wanted = [(record.timestamp, record.text) for record in whole_dump.log]
    ours = [(stamp, text) for stamp, _, text in printed(dump.log)]
    # The file was written before the last records of the crash kernel's start, and holds nothing we lack.
    assert ours[: len(wanted)] == wanted
    assert len(ours) - len(wanted) <= 2


def test_callers_where_the_kernel_notes_them(whole_dump, dump):
    said = [record.caller for record in whole_dump.log]
    if any(said):
        assert list(dump.log["caller"])[: len(said)] == said
    else:
        assert set(dump.log["caller"]) <= {""} or dump.log["caller"].str.match(r"[TC]\d+$").all()


def test_levels_and_facilities(dump):
    log = dump.log
    assert log["level"].between(0, 7).all()
    assert str(log["level"].dtype) == str(log["facility"].dtype) == "int64"
    # "Kernel panic" is pr_emerg (kernel/panic.c), the banner pr_notice (init/main.c).
    assert log.loc[log["text"].str.startswith("Kernel panic"), "level"].tolist() == [0]
    assert log.loc[log["text"].str.startswith("Linux version"), "level"].tolist() == [5]
    assert log["timestamp"].is_monotonic_increasing or (log["timestamp"].diff().min() > pd.Timedelta(-1, "s"))
    assert log["seq"].is_monotonic_increasing


def test_damaged_dump_has_its_log_too(damaged_dump, opened):
    wanted = [(record.timestamp, record.text) for record in damaged_dump.log]
    ours = {(stamp, text) for stamp, _, text in printed(opened(damaged_dump.name).log)}
    assert len([line for line in wanted if line in ours]) >= 0.99 * len(wanted)


@dataclass
class Model:
    """A writer as kernel/printk/printk_ringbuffer.c has it: ids, logical positions, blocks that never cross the end.

    With `fits_exactly` a block may end with the ring (as since v6.19), before that it went to the start.
    """

    count_bits: int
    size_bits: int
    fits_exactly: bool
    descriptors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    infos: dict[int, tuple[int, int]] = field(default_factory=dict)
    records: list[tuple[int, int, bytes]] = field(default_factory=list)

    def __post_init__(self):
        self.data = bytearray(1 << self.size_bits)
        self.next_id = -(1 << self.count_bits) & ID_MASK
        self.head = self.tail = -(1 << self.size_bits) & MASK
        self.next_seq = 0

    def write(self, text: bytes):
        seq, id_ = self.next_seq, self.next_id
        self.next_seq += 1
        self.next_id = (self.next_id + 1) & ID_MASK
        if not text:
            begin = after = 3
        else:
            begin, after = self.reserve(text, id_)
        slot = id_ % (1 << self.count_bits)
        self.descriptors[slot] = (2 << 62 | id_, begin, after)
        self.infos[slot] = (seq, len(text))
        self.records = [*self.records, (seq, begin, text)][-(1 << self.count_bits) :]

    def reserve(self, text: bytes, id_: int) -> tuple[int, int]:
        size = (8 + len(text) + 7) // 8 * 8
        ring = 1 << self.size_bits
        begin = self.head
        after = (begin + size) & MASK
        last = (after - 1) & MASK if self.fits_exactly else after
        wraps = begin >> self.size_bits != last >> self.size_bits
        if wraps:
            after = (after // ring * ring + size) & MASK
        while (after - self.tail) & MASK > ring:
            # The oldest blocks make room: their positions lie before the tail from now on.
            self.tail = self.block_after(self.tail)
        self.head = after
        start = 0 if wraps else begin % ring
        block = id_.to_bytes(8, "little")
        if wraps:
            self.data[begin % ring : begin % ring + 8] = block
        self.data[start : start + 8 + len(text)] = block + text
        self.ends = {**getattr(self, "ends", {}), begin: after}
        return begin, after

    def block_after(self, lpos: int) -> int:
        return self.ends.get(lpos, (lpos + 8) & MASK)

    @property
    def tail_id(self) -> int:
        """The oldest descriptor: before the first lap is over that of no record (prb_init)."""
        written = len(self.descriptors)
        count = 1 << self.count_bits
        return (self.next_id - (count if written == count else written + 1)) & ID_MASK

    def whole(self) -> list[tuple[int, str | None]]:
        """What a reader gets: sequence number and text, None where it was overwritten."""
        result = []
        for seq, begin, text in self.records:
            # A tail ahead of a text by anything but a lap.
            ahead = (self.tail - begin) & MASK
            gone = text and 0 < ahead < 1 << 63
            result.append((seq, None if gone else text.decode()))
        return result

    def lay(self, dump) -> Overlay:
        """Put the ring into a dump's memory, where its own ring lies."""
        kernel = dump.kernel
        overlay = Overlay(dump)
        prb = kernel.word("prb")
        ring = dump.struct("printk_ringbuffer", prb)
        for path, value in {
            "desc_ring.count_bits": self.count_bits,
            "desc_ring.head_id.counter": (self.next_id - 1) & ID_MASK,
            "desc_ring.tail_id.counter": self.tail_id,
            "text_data_ring.size_bits": self.size_bits,
            "text_data_ring.head_lpos.counter": self.head,
            "text_data_ring.tail_lpos.counter": self.tail,
        }.items():
            overlay.set("struct printk_ringbuffer", prb, path, value)
        descriptors, infos = int(ring["desc_ring.descs"]), int(ring["desc_ring.infos"])
        descriptor_size = kernel.find_type("struct prb_desc").size
        info_size = kernel.find_type("struct printk_info").size
        for slot in range(1 << self.count_bits):
            unused = (
                (3 << 62 | first_id(self.count_bits), 1, 1)
                if slot == (1 << self.count_bits) - 1
                else (0, 0, 0)
            )
            state, begin, after = self.descriptors.get(slot, unused)
            where = descriptors + slot * descriptor_size
            overlay.set("struct prb_desc", where, "state_var.counter", state)
            overlay.set("struct prb_desc", where, "text_blk_lpos.begin", begin)
            overlay.set("struct prb_desc", where, "text_blk_lpos.next", after)
            seq, length = self.infos.get(slot, (0, 0))
            where = infos + slot * info_size
            overlay.set("struct printk_info", where, "seq", seq)
            overlay.set("struct printk_info", where, "text_len", length)
        overlay.write(int(ring["text_data_ring.data"]), bytes(self.data))
        return overlay


def read_back(model: Model, dump) -> list[tuple[int, str | None]]:
    with model.lay(dump).dump() as damaged:
        log = damaged.log
        texts = [
            None if missing else text for text, missing in zip(log["text"], log["text"].isna(), strict=True)
        ]
        return list(zip(log["seq"].tolist(), texts, strict=True))


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


@pytest.mark.parametrize("fits_exactly", [False, True])
def test_a_record_that_wraps_is_read_from_its_own_beginning(sample, fits_exactly):
    """drgn 0.3.0 gives eight bytes of the id and the text without its end here."""
    model = Model(3, 7, fits_exactly)
    model.write(b"a" * 60)
    model.write(b"the one that wraps")
    model.write(b"after it")
    model.write(b"more" * 9)
    assert model.data[8 : 8 + 18] == b"the one that wraps" or b"the one that wraps" in bytes(model.data)
    assert read_back(model, sample) == model.whole()
    assert (1, "the one that wraps") in read_back(model, sample)


@settings(max_examples=60, deadline=None)
@given(
    count_bits=st.integers(1, 4),
    size_bits=st.integers(6, 9),
    fits_exactly=st.booleans(),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60),
)
# The rest of the ring behind a block that wraps keeps the id of a text that made room.
@example(count_bits=2, size_bits=7, fits_exactly=False, lengths=[1, 9, 9, 17, 17, 1, 25, 1, 25, 25, 33])
def test_any_ring_is_read_as_the_kernel_would(sample, count_bits, size_bits, fits_exactly, lengths):
    model = Model(count_bits, size_bits, fits_exactly)
    for number, length in enumerate(lengths):
        # No block is larger than half the ring (printk_ringbuffer.c, data_check_size).
        model.write((f"{number}:" + "x" * length)[: min(length, (1 << size_bits) // 2 - 16)].encode())
    assert read_back(model, sample) == model.whole()
    with model.lay(sample).dump() as damaged:
        told = damaged.log.attrs["problems"]
        assert [problem for problem in told if "lost their text" not in problem] == []
        assert bool(told) == any(text is None for _, text in model.whole())


def test_a_text_for_which_there_was_no_room_is_missing_not_empty(sample):
    model = Model(2, 7, False)
    model.write(b"one")
    model.write(b"")
    model.write(b"lost")
    state, _, _ = model.descriptors[2]
    model.descriptors[2] = (state, 1, 1)
    assert read_back(model, sample) == [(0, "one"), (1, ""), (2, None)]


def test_pages_of_the_ring_that_are_absent_are_counted(sample):
    ring = sample.struct("printk_ringbuffer", sample.kernel.word("prb"))
    whole = len(sample.log)
    with Overlay(sample).exclude(int(ring["desc_ring.descs"])).dump() as damaged:
        log = damaged.log
        assert 0 < len(log) < whole
        assert any(
            "records of the log lie on pages that the dump lacks" in problem
            for problem in log.attrs["problems"]
        )
    with Overlay(sample).exclude(int(ring["text_data_ring.data"])).dump() as damaged:
        log = damaged.log
        assert len(log) == whole
        assert 0 < log["text"].isna().sum() < whole
        assert any("have lost their text" in problem for problem in log.attrs["problems"])


@pytest.mark.parametrize(
    ("member", "bits"),
    [("desc_ring.count_bits", 60), ("text_data_ring.size_bits", 60), ("text_data_ring.size_bits", 2)],
)
def test_a_ring_that_claims_what_no_ring_has_is_refused(sample, member, bits):
    import kernlab

    overlay = Overlay(sample).set("struct printk_ringbuffer", sample.kernel.word("prb"), member, bits)
    with (
        overlay.dump() as damaged,
        pytest.raises(kernlab.KernlabError, match=r"the log cannot be read.*claims"),
    ):
        damaged.log  # noqa: B018


def descriptor(dump, row: int) -> int:
    """Where the descriptor of a row of `dump.log` lies."""
    ring = dump.struct("printk_ringbuffer", dump.kernel.word("prb"))
    count = 1 << int(ring["desc_ring.count_bits"])
    slot = (int(ring["desc_ring.head_id.counter"]) - (len(dump.log) - 1 - row)) % count
    return int(ring["desc_ring.descs"]) + slot * dump.kernel.find_type("struct prb_desc").size


def info(dump, row: int) -> int:
    """Where the info of a row of `dump.log` lies."""
    ring = dump.struct("printk_ringbuffer", dump.kernel.word("prb"))
    slot = (descriptor(dump, row) - int(ring["desc_ring.descs"])) // dump.kernel.find_type(
        "struct prb_desc"
    ).size
    return int(ring["desc_ring.infos"]) + slot * dump.kernel.find_type("struct printk_info").size


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
@pytest.mark.parametrize("state", [0, 0xDEADBEEF, (1 << 64) - 1, 3 << 62])
def test_a_damaged_descriptor_costs_no_record(opened, name, state):
    dump = opened(name)
    overlay = Overlay(dump)
    for row in (3, 7):
        overlay.set("struct prb_desc", descriptor(dump, row), "state_var.counter", state)
    with overlay.dump() as damaged:
        log = damaged.log
        pd.testing.assert_frame_equal(log, dump.log)
        (told,) = log.attrs["problems"]
        assert told.startswith("2 of ")
        assert "have a damaged descriptor; their text and number tell" in told


def test_all_descriptors_damaged_cost_no_record(opened):
    dump = opened("debian-6.12")
    overlay = Overlay(dump)
    for row in range(len(dump.log)):
        overlay.set("struct prb_desc", descriptor(dump, row), "state_var.counter", 0x0BAD << 50 | row)
    with overlay.dump() as damaged:
        pd.testing.assert_frame_equal(damaged.log, dump.log)
        (told,) = damaged.log.attrs["problems"]
        assert told.startswith(f"{len(dump.log):,} of ")


def test_a_descriptor_whose_text_is_not_its_own_leaves_a_gap_that_is_told(opened):
    dump = opened("debian-6.12")
    overlay = Overlay(dump).write(descriptor(dump, 5), bytes(dump.kernel.find_type("struct prb_desc").size))
    with overlay.dump() as damaged:
        log = damaged.log
        assert log["seq"].tolist() == [seq for seq in dump.log["seq"] if seq != dump.log["seq"][5]]
        (told,) = log.attrs["problems"]
        assert told.startswith("1 of ")
        assert told.endswith("records of the log have a damaged descriptor, and are left out")


@pytest.mark.parametrize("member", ["desc_ring.head_id.counter", "desc_ring.tail_id.counter"])
@pytest.mark.parametrize("change", [-100, 100, 1 << 40, -1 << 55])
def test_head_and_tail_that_the_descriptors_contradict(opened, member, change):
    dump = opened("debian-6.12")
    prb = dump.kernel.word("prb")
    value = int(dump.struct("printk_ringbuffer", prb)[member]) + change
    with Overlay(dump).set("struct printk_ringbuffer", prb, member, value).dump() as damaged:
        log = damaged.log
        pd.testing.assert_frame_equal(log, dump.log)
        assert log.attrs["problems"], "a ring of which the ends are damaged says so"


def test_an_info_that_belongs_to_another_record_is_told(opened):
    dump = opened("debian-6.12")
    with Overlay(dump).set("struct printk_info", info(dump, 9), "seq", 123_456).dump() as damaged:
        log = damaged.log
        pd.testing.assert_frame_equal(log, dump.log)
        (told,) = log.attrs["problems"]
        assert told.startswith("1 of ")
        assert "an info that is not theirs" in told


def test_a_text_longer_than_its_block_is_damaged(opened):
    dump = opened("debian-6.12")
    with Overlay(dump).set("struct printk_info", info(dump, 9), "text_len", 9999).dump() as damaged:
        log = damaged.log
        assert log["text"].isna().tolist() == [row == 9 for row in range(len(log))]
        assert any("have lost their text" in problem for problem in log.attrs["problems"])


@pytest.mark.parametrize("change", [1 << 30, 1 << 63, -1 << 20])
def test_texts_stay_where_the_oldest_text_is_not_where_the_ring_says(opened, change):
    dump = opened("debian-6.12")
    prb, member = dump.kernel.word("prb"), "text_data_ring.tail_lpos.counter"
    value = int(dump.struct("printk_ringbuffer", prb)[member]) + change
    with Overlay(dump).set("struct printk_ringbuffer", prb, member, value).dump() as damaged:
        pd.testing.assert_frame_equal(damaged.log, dump.log)
        (told,) = damaged.log.attrs["problems"]
        assert "where its oldest text begins is damaged" in told


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_what_an_info_cannot_say_is_missing_not_0(opened, name):
    dump = opened(name)
    size = dump.kernel.page_size
    cut = {
        number: where
        for number in range(len(dump.log))
        if 8 <= size - (where := info(dump, number)) % size <= 16
    }
    if not cut:
        pytest.skip("no info is cut by a page between its number and its level")
    row, where = next(iter(cut.items()))
    with Overlay(dump).exclude((where + size) & ~(size - 1)).dump() as damaged:
        log = damaged.log
        here = log[log["seq"] == dump.log["seq"][row]]
        assert len(here) == 1
        assert here[["level", "facility", "text"]].isna().all(axis=None)
        assert here["caller"].item() != "T0"


def test_hostile_texts_stay_as_they_are_and_are_inert_where_shown(sample):
    hostile = "<img src=x onerror=alert(1)>\x1b[2J\u202e$x$"
    model = Model(3, 9, False)
    model.write(hostile.encode())
    model.write(b"\xff\xfe broken \x80")
    with model.lay(sample).dump() as damaged:
        log = damaged.log
        assert log["text"].tolist() == [hostile, "\\xff\\xfe broken \\x80"]
        from kernlab.display.html import to_html

        page = to_html(log)
        assert "<img" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_levels_are_numbers_of_the_record(sample):
    assert np.issubdtype(sample.log["level"].dtype, np.integer)
