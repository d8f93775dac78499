"""The story `flight`: what the recorder wrote into the dump, held against the samples that the guest took of itself.

KERNLAB_LAB_CAPTURES names folders with captures beside the sample. Nothing here asks kernlab's replay: it is what
that is held against.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from support.captures import dumps_in, told
from support.truth import Truth, read_dmesg

import kernlab
from kernlab.traces.clock.clocks import clocks

FOLDERS = told(Path(__file__).resolve().parents[2] / "samples", "flight")
F64 = npt.NDArray[np.float64]
#: What a counter may differ by from what the samples on both sides of it say, as a share of all memory: a sample takes
#: a while to read, and each CPU holds back some of its counts.
CLOSE = 0.01
#: Where memory is; how much of it is active changes in steps (MGLRU ages a generation at once).
KINDS = [
    *(
        "nr_free_pages",
        "nr_anon_pages",
        "nr_file_pages",
        "nr_shmem",
        "nr_slab_reclaimable",
        "nr_slab_unreclaimable",
    ),
    *("nr_page_table_pages", "nr_kernel_stack", "nr_mapped", "nr_swapcached"),
]
MARK = re.compile(r"kernlab/1 (vmstat|tasks) (\d+) (.*)")


@dataclass
class Flight:
    """A dump of the story and its truth; times are seconds on the log's axis."""

    dump: kernlab.Dump
    truth: Truth

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.truth.text("samples.jsonl").splitlines()]

    @cached_property
    def sampled(self) -> F64:
        """When each sample was begun."""
        return self.axis("mono", np.array([sample["mono"] for sample in self.samples]) * 1e9)

    @cached_property
    def marks(self) -> pd.DataFrame:
        """time, kind, number, text of each line that the recorder wrote."""
        events = self.dump.ftrace.events("print", instance="kernlab")
        found = events["text"].str.extract(MARK).set_axis(["kind", "number", "text"], axis=1)
        found["time"] = self.axis(
            "local", events["timestamp"].to_numpy().astype("timedelta64[ns]").astype(np.int64)
        )
        found = found.dropna()
        return found.assign(number=found["number"].astype(int))

    @cached_property
    def settings(self) -> dict[str, Any]:
        options: dict[str, Any] = json.loads(self.truth.text("truth.json"))["options"]
        return dict(options["settings"])

    def axis(self, clock: str, ns: npt.NDArray[Any]) -> F64:
        return clocks(self.dump.kernel).to_axis(clock, ns.astype(np.int64))[0] / 1e9

    def story(self, words: str) -> float:
        """When the story says so, as seconds since boot."""
        lines = [line for line in self.truth.text("story.txt").splitlines() if words in line]
        assert len(lines) == 1, words
        return float(lines[0].split()[0])

    def outside(self, times: F64, values: F64, sampled: F64) -> F64:
        """By how much values lie outside of what the two samples around them say (0: between them)."""
        after = np.clip(np.searchsorted(self.sampled, times), 1, len(self.sampled) - 1)
        around = np.stack([sampled[after - 1], sampled[after]])
        return np.maximum(0, np.maximum(around.min(axis=0) - values, values - around.max(axis=0)))


@pytest.fixture(params=FOLDERS, ids=[path.name for path in FOLDERS], scope="module")
def flight(request: pytest.FixtureRequest) -> Iterator[Flight]:
    folder: Path = request.param
    with kernlab.open(dumps_in(folder)[0]) as dump:
        yield Flight(dump, Truth(folder / "truth.tar.xz"))


def test_the_story_went_as_it_should(flight: Flight) -> None:
    parts = [
        "the recorder is switched on",
        "a calm day",
        "the driver forgets",
        "80,000 sessions were",
        "billing begins",
    ]
    parts += ["the disk slows", "archive is asked", "the OOM killer struck"]
    times = [flight.story(part) for part in parts]
    assert times == sorted(times)
    log = read_dmesg(flight.truth.archive.with_name("vmcore-dmesg.txt"))
    killed = [record for record in log if "Killed process" in record.text]
    assert ["(reports)" in record.text for record in killed] == [True]
    assert abs(float(killed[0].timestamp) - times[-1]) < 1
    assert any("panic_on_oom is enabled" in record.text for record in log)


def test_the_guest_told_of_itself_until_the_end(flight: Flight) -> None:
    crash = clocks(flight.dump.kernel).crash_ns / 1e9
    assert np.diff(flight.sampled).max() < 1
    assert crash - 1 < flight.sampled[-1] < crash


def test_where_memory_was_by_the_marks_is_where_the_guest_saw_it(flight: Flight) -> None:
    lines = flight.marks[flight.marks["kind"] == "vmstat"]
    found = [dict(word.split("=") for word in text.split()) for text in lines["text"]]
    marks = pd.DataFrame(found).astype(float).groupby(lines["number"].to_numpy()).first()
    # Reading took a while before the mark was written.
    times = (
        lines.groupby("number")["time"].first().to_numpy()
        - marks.get("took_us", pd.Series(0.0)).to_numpy() / 1e6
    )
    total = flight.samples[0]["meminfo"]["MemTotal"] / 4
    assert len(marks) > 40
    for kind in KINDS:
        if kind not in flight.samples[0]["vmstat"]:  # swap cache is there since 5.12
            continue
        sampled = np.array([sample["vmstat"][kind] for sample in flight.samples], dtype=float)
        outside = flight.outside(times, marks[kind].to_numpy(), sampled)
        # What a process takes and gives back between two samples, only a mark sees.
        assert np.quantile(outside, 0.98) < CLOSE * total, kind
        assert outside.max() < 3 * CLOSE * total, kind


def test_whose_memory_was_by_the_marks_is_whose_the_guest_saw(flight: Flight) -> None:
    total = flight.samples[0]["meminfo"]["MemTotal"] / 4
    seen: dict[str, list[tuple[float, list[float]]]] = {}
    for line in flight.marks[flight.marks["kind"] == "tasks"].itertuples():
        for task in line.text.split(";"):
            pid, _, *pages, comm = task.split(",")
            if any(sample["rss"].get(pid, [None])[0] == comm for sample in flight.samples):
                seen.setdefault(pid, []).append((line.time, [float(number) for number in pages]))
    names = {sample["rss"][pid][0] for sample in flight.samples for pid in seen if pid in sample["rss"]}
    assert names >= {"billing", "catalog", "basket", "archive", "reports"}
    for pid, rows in seen.items():
        times = np.array([time for time, _ in rows])
        for column in range(4):
            values = np.array([pages[column] for _, pages in rows])
            # Before it was born and after it died there is nothing to hold against.
            sampled = (
                np.array(
                    [sample["rss"].get(pid, [0] + [np.nan] * 4)[1 + column] for sample in flight.samples]
                )
                / 4
            )
            assert not (flight.outside(times, values, sampled) > CLOSE * total).any(), (pid, column)


def test_a_hole_shows_in_the_numbers_of_the_marks(flight: Flight) -> None:
    """Recording off for two seconds: marks of that time are missing, and so is every other event."""
    events = flight.dump.ftrace.all
    events = events[events["instance"] == "kernlab"]
    times = flight.axis("local", events["timestamp"].to_numpy().astype("timedelta64[ns]").astype(np.int64))
    # Where buffers wrapped, one CPU's goes further back than the other's.
    whole = pd.Series(times).groupby(events["cpu"].to_numpy()).min().max()
    longest = np.diff(np.sort(times[times >= whole])).max()
    numbers = flight.marks.loc[flight.marks["time"] >= whole, "number"].drop_duplicates().to_numpy()
    if flight.settings.get("HOLE") == "off":
        assert np.diff(numbers).max() > 3
        assert 1.5 < longest < 4
    else:
        assert (np.diff(numbers) == 1).all()
        assert longest < 1


def test_a_small_buffer_has_lost_its_oldest_events_only(flight: Flight) -> None:
    lost = flight.dump.ftrace.lost
    lost = lost[lost["instance"] == "kernlab"]
    assert lost["exact"].all()
    assert (lost["dropped_events"] == 0).all()
    assert (lost["overrun"] > 0).any() == (int(flight.settings.get("BUFFER_KIB", 4096)) < 1024)
