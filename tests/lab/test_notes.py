"""The disk that a guest writes until its kernel is gone, as files of the truth. No guest runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kernlab.lab.notes import read_notes
from kernlab.lab.steps import LabError

SAMPLE = json.dumps(
    {"mono": 1.0, "boot": 1.0, "meminfo": {}, "vmstat": {}, "rss": {"7": ["a}\n{", 4, 0, 0, 0]}}
)
STORY = json.dumps({"story": '1.10 somebody said "no"'})


def disk(tmp_path: Path, *lines: str, size: int = 1 << 16) -> Path:
    place = tmp_path / "notes.raw"
    place.write_bytes("\n".join(lines).encode().ljust(size, b"\0"))
    return place


@pytest.mark.parametrize("torn", ["", '{"mono": 2.0, "meminfo": {"MemFr'])
def test_samples_and_story_are_told_apart_and_a_torn_end_is_left_out(tmp_path: Path, torn: str) -> None:
    (tmp_path / "story").write_text("0.50 as far as the results disk knows\n")
    read_notes(disk(tmp_path, SAMPLE, STORY, SAMPLE, torn), tmp_path)
    assert (tmp_path / "samples.jsonl").read_text() == f"{SAMPLE}\n{SAMPLE}\n"
    assert (tmp_path / "story").read_text() == '1.10 somebody said "no"\n'


def test_a_line_in_the_middle_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="line 2 that is not JSON"):
        read_notes(disk(tmp_path, SAMPLE, '{"mono": 2.0', SAMPLE, ""), tmp_path)


def test_a_disk_that_nobody_wrote_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is empty"):
        read_notes(disk(tmp_path), tmp_path)


def test_most_guests_have_no_such_disk(tmp_path: Path) -> None:
    read_notes(tmp_path / "notes.raw", tmp_path)
    read_notes(disk(tmp_path, size=0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.raw"]
