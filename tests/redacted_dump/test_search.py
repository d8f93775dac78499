"""The search for known strings in a dump's pages, against bytes.find over the same pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from formats.make_dump import PAGE, kdump
from formats.reading import write
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.formats import open_dump_file
from kernlab.redacted_dump.search import SHORTEST, Search, search


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=12), max_size=8),
    st.binary(max_size=80),
    st.data(),
)
def test_all_places_are_found(strings: list[bytes], noise: bytes, draw: st.DataObject) -> None:
    data = noise
    for text in strings:
        at = draw.draw(st.integers(0, len(data)))
        data = data[:at] + text + data[at:]
    looking = Search(strings)
    looking.look(data, 0x1000)
    expected = {}
    for text in {text for text in strings if len(text) >= SHORTEST}:
        places = [at for at in range(len(data)) if data.startswith(text, at)]
        if places:
            expected[text] = (len(places), [0x1000 + at for at in places][:16])
    assert {text: (hit.times, hit.places) for text, hit in looking.found.items()} == expected


def pages_with(*places: tuple[int, bytes]) -> dict[int, bytes]:
    """Frames 0 to 9 without 5, filled with a pattern, with some bytes at physical addresses."""
    memory = bytearray(b"\x90" * (10 * PAGE))
    for at, data in places:
        memory[at : at + len(data)] = data
    return {pfn: bytes(memory[pfn * PAGE : (pfn + 1) * PAGE]) for pfn in range(10) if pfn != 5}


def found_in(
    folder: Path, frames: dict[int, bytes], *strings: bytes, skip: list[int] | None = None
) -> dict[bytes, list[int]]:
    with open_dump_file(write(folder, bytes(kdump(frames).data))) as file:
        found = search(file, strings, None if skip is None else np.array(skip))
        return {text: hit.places for text, hit in found.items()}


def test_a_string_across_two_frames_side_by_side(tmp_path: Path) -> None:
    frames = pages_with((3 * PAGE - 3, b"secret-1"))
    assert found_in(tmp_path, frames, b"secret-1") == {b"secret-1": [3 * PAGE - 3]}


def test_a_string_across_two_frames_that_lie_apart(tmp_path: Path) -> None:
    """As of memory of vmalloc: the frame with its rest comes first here."""
    frames = pages_with((8 * PAGE - 6, b"secret"), (2 * PAGE, b"-and-more"))
    assert found_in(tmp_path, frames, b"secret-and-more") == {b"secret-and-more": [-1]}
    # Its beginning alone, or its rest alone, is none.
    assert found_in(tmp_path, pages_with((8 * PAGE - 6, b"secret")), b"secret-and-more") == {}
    assert found_in(tmp_path, pages_with((2 * PAGE, b"-and-more")), b"secret-and-more") == {}


def test_frames_on_both_sides_of_a_hole_are_not_side_by_side(tmp_path: Path) -> None:
    frames = pages_with((5 * PAGE - 3, b"sec"), (6 * PAGE, b"ret-1"))
    assert found_in(tmp_path, frames, b"secret-1") == {}


def test_what_begins_or_ends_a_frame(tmp_path: Path) -> None:
    frames = pages_with((4 * PAGE, b"secret-1"), (10 * PAGE - 8, b"secret-1"))
    assert found_in(tmp_path, frames, b"secret-1") == {b"secret-1": [4 * PAGE, 10 * PAGE - 8]}


def test_many_frames_are_looked_at_in_parts_and_nothing_counts_twice(tmp_path: Path) -> None:
    memory = bytearray(b"\x90" * (2100 * PAGE))
    places = [1024 * PAGE - 20, 1024 * PAGE - 4, 2048 * PAGE - 8, 2048 * PAGE]
    for at in places:
        memory[at : at + 8] = b"secret-1"
    frames = {pfn: bytes(memory[pfn * PAGE : (pfn + 1) * PAGE]) for pfn in range(2100)}
    found = found_in(tmp_path, frames, b"secret-1", b"a much longer string that is nowhere at all")
    assert found == {b"secret-1": places}


def test_frames_can_be_passed_over(tmp_path: Path) -> None:
    frames = pages_with((4 * PAGE, b"secret-1"), (7 * PAGE, b"secret-1"))
    assert found_in(tmp_path, frames, b"secret-1", skip=[4]) == {b"secret-1": [7 * PAGE]}


def test_one_string_in_another(tmp_path: Path) -> None:
    frames = pages_with((4 * PAGE + 5, b"mathilde@host"))
    found = found_in(tmp_path, frames, b"mathilde", b"mathilde@host", b"host", b"ost")
    # Three bytes say nothing.
    assert set(found) == {b"mathilde", b"mathilde@host", b"host"}


def test_nothing_to_look_for(tmp_path: Path) -> None:
    assert found_in(tmp_path, pages_with()) == {}
