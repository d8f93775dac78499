"""Captures of the story `waits`: what each thread waits for, and who has it, as the driver that put them to sleep says.

KERNLAB_LAB_CAPTURES names folders with captures; without one of this story there is nothing to hold against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.captures import captures
from support.truth import Truth

import kernlab

CAPTURES = captures("waits-*")
LINE = re.compile(r"([\d.]+) (\S+) \((\d+)\) holds (.*), wants (.*)")
#: What `dump.waits` calls what the story names otherwise.
TYPES = {"srcu": "rcu", "thread": "completion"}
#: What tells who has it; newer kernels remember who last took a semaphore.
NAMING = {"rtmutex", "work", "thread"}
HOUR = pd.Timedelta(hours=1)


@pytest.fixture(params=CAPTURES or [None], ids=[path.name for path in CAPTURES] or ["none"], scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[tuple[kernlab.Dump, Truth]]:
    folder: Path | None = request.param
    if folder is None:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with a capture of the lab's story waits")
    with kernlab.open(folder / "vmcore") as dump:
        yield dump, Truth(folder / "truth.tar.xz")


def story(truth: Truth) -> list[tuple[float, int, list[str], list[str]]]:
    """Of each thread: when it was put to sleep, pid, what it holds, what it wants."""
    lines = [LINE.fullmatch(line) for line in truth.text("story.txt").splitlines()[:-1]]
    assert all(lines)
    found = [(float(line[1]), int(line[3]), line[4].split(), line[5].split()) for line in lines if line]
    assert len(found) == 20
    return found


def name_of(dump: kernlab.Dump, kind: str, what: str) -> str:
    """What the object is called that the story names by the driver's own word for it."""
    if kind == "folio":
        page = int.from_bytes(dump.read(dump.symbol(what), 8), "little")
        size = dump.kernel.find_type("struct page").size
        return f"flags of pfn {(page - dump.kernel.vmemmap) // size:#x}"
    if kind == "work":
        return "the work parcels_sort of workqueue events"
    known = {
        "rcu": "an RCU grace period",
        "srcu": "an SRCU grace period",
        "thread": "the end of a kernel thread",
        "timer": "a time",
    }
    return known.get(kind, f"{what} [kernlab_depot]")


def test_every_thread_waits_for_what_the_story_says(told: tuple[kernlab.Dump, Truth]) -> None:
    dump, truth = told
    waits: Any = dump.waits.set_index("pid")
    threads = story(truth)
    naming = NAMING | (
        {"semaphore"} if dump.kernel.types.has_member("struct semaphore", "last_holder") else set()
    )
    holders = {tuple(holds): pid for _, pid, holds, _ in threads}
    for _, pid, _, wants in threads:
        if wants == ["nothing"]:
            assert pid not in waits.index
            continue
        kind, what = wants
        row = waits.loc[pid]
        assert (row["type"], row["name"]) == (TYPES.get(kind, kind), name_of(dump, kind, what))
        assert row["state"] == "D"
        holder = holders.get((kind, what)) if kind in naming else None
        if row["comm"] == "gate-behind":
            # The writer keeps it out, which itself waits for the reader to leave.
            holder = int(waits.index[waits["comm"] == "gate-writer"][0])
        assert holder == (None if pd.isna(row["holder_pid"]) else row["holder_pid"]), row["comm"]


def test_every_thread_sleeps_where_its_wchan_says(told: tuple[kernlab.Dump, Truth]) -> None:
    dump, truth = told
    if truth.release().startswith("5."):
        pytest.skip("this kernel finds wchan by frame pointers, which it does not have")
    waits = dump.waits.set_index("pid")
    for _, pid, _, wants in story(truth):
        if wants != ["nothing"]:
            assert waits.loc[pid, "function"] == truth.text(f"p/{pid}/wchan")


def test_who_takes_an_hour_off_has_the_rest_of_it_to_sleep(told: tuple[kernlab.Dump, Truth]) -> None:
    """msleep: the timer wheel may be late by an eighth of what is asked, and is never early."""
    dump, truth = told
    [began] = [at for at, _, _, wants in story(truth) if wants[0] == "timer"]
    left = dump.waits.set_index("comm").loc["break-taker", "left"]
    passed = dump.info["uptime"] - pd.Timedelta(seconds=began)
    assert pd.Timedelta(0) < passed < pd.Timedelta(minutes=10)
    assert HOUR - passed - pd.Timedelta(seconds=3) < left < HOUR * 9 / 8 - passed
