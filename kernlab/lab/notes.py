"""The third disk of some guests: what a program wrote there until the kernel was gone, as files of the truth.

Comes in: the disk, lines of JSON and zeros behind them. Goes out: samples.jsonl, and the story with what it came to
be after the results disk was put away.
"""

from __future__ import annotations

import json
from pathlib import Path

from kernlab.lab.steps import LabError

#: Its file in the lab's scratch folder.
NOTES = "notes.raw"


def read_notes(disk: Path, out: Path) -> None:
    """Write `out`/samples.jsonl and `out`/story from the notes; nothing where the guest has no such disk.

    LabError: a line but the last is not JSON.
    """
    if not disk.exists() or not disk.stat().st_size:
        return
    lines = disk.read_bytes().rstrip(b"\0").decode("ascii", "replace").split("\n")
    story, samples = [], []
    for number, line in enumerate(lines):
        try:
            told = json.loads(line) if line else {}
        except ValueError as error:
            if number < len(lines) - 1:
                raise LabError(
                    f"The guest's notes have a line {number + 1} that is not JSON: {error}"
                ) from error
            continue  # the kernel died while it was written
        if "story" in told:
            story.append(told["story"])
        elif told:
            samples.append(line)
    if not samples:
        raise LabError("The guest was done, but the disk with its notes is empty.")
    (out / "samples.jsonl").write_text("".join(f"{line}\n" for line in samples))
    (out / "story").write_text("".join(f"{line}\n" for line in story))
