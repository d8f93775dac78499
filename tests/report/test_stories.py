"""The story of each sample: what a reader of its report learns, checked against what its guest was made to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

mpl.use("Agg")
from matplotlib import pyplot

import kernlab
from kernlab import report
from kernlab.plots.io.figures import latency_of
from kernlab.plots.replay.disks import alone
from kernlab.report import io_words, memory_sections, memory_words
from kernlab.report.story import Story, story
from kernlab.util.text import human_bytes

SAMPLES = ["debian-6.1", "deadlock", "flight", "hung", "io", "lockup", "oom", "oops", "panic"]


@pytest.fixture(
    scope="module",
    params=SAMPLES,
)
def told(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any, Story]]:
    with kernlab.open(kernlab.sample(request.param), redact="share") as dump:
        yield request.param, dump, story(dump)


#: A title, and what must be said of why, of doubt and of what to do next (samples/*/README.md tell what was done).
EXPECTED = {
    "debian-6.1": (r"on purpose \(SysRq\)", r"nothing wrong", r"one instant", r"who triggered it"),
    "panic": (r"on purpose \(SysRq\)", r"nothing wrong", r"one instant", r"who triggered it"),
    "io": (
        r"on purpose \(SysRq\), while disk vda could not keep up",
        r"Disk vda: .*6 had not come back.*more to do",
        r"one instant",
        r"triggered.*disk busy",
    ),
    "oom": (
        r"Out of memory: reporting \(\d+\) holds 72%",
        r"reporting \(\d+\)\. It holds 210\.\d MiB.*story_session",
        r"not who grew",
        r"maps\(\d+\).*limit.*story_session",
    ),
    "flight": (
        r"Out of memory: billing \(\d+\) holds 66%",
        r"grow: from .* to 275\.0 MiB in the last 5\d s.*protected from the OOM killer.*Swap",
        r"batch-93 \(\d+\) asked for memory last",
        r"recorded",
    ),
    "hung": (
        r"6 tasks hung behind the mutex inventory_lock .* which inventoryd \(\d+\) keeps",
        r"order-1 \(\d+\) and 5 others wait.*the completion answer",
        r"messenger.*completion does not name",
        r"why the completion answer",
    ),
    "deadlock": (
        r"2 deadlocks: checkout and refund, import and reprice wait for each other",
        r"checkout \(\d+\) waits \(in checkout_pay\) for the mutex ledger_lock.*certain.*victims",
        r"messenger",
        r"ledger_lock .*and the mutex stock_lock .*same order",
    ),
    "lockup": (
        r"till \(\d+\) keeps a lock for which others spin",
        r"Probably because of till.*till_lock.*stands in count_up .*called by till_open_deaf",
        r"receipt-2 \(\d+\) is the one that the watchdog caught",
        r"where till",
    ),
    "oops": (
        r"A NULL pointer in order_check of the module kernlab_story",
        r"billing \(1\) ran on CPU 1.*system call write.*called by story_write.*taint O",
        r"not always where it was made",
        r"maintains the module kernlab_story.*disassemble\('order_check'\)",
    ),
}  # fmt: skip


def test_the_story_says_what_was_done_to_the_guest(told: tuple[str, Any, Story]) -> None:
    name, _, found = told
    title, why, doubts, steps = EXPECTED[name]
    assert re.search(title, found.title)
    for pattern, sentences in ((why, found.why), (doubts, found.doubts), (steps, found.next)):
        assert re.search(pattern, " ".join(sentences)), (pattern, sentences)
    assert found.died


def test_memory_is_told_as_it_was(told: tuple[str, Any, Story]) -> None:
    """Short where the kernel died for lack of it, with the one who had it; of the others it is said that it was not."""
    name, dump, _ = told
    said = repr(report.in_short(dump))
    if name in ("oom", "flight"):
        who = {"oom": "reporting", "flight": "billing"}[name]
        assert re.search(r"Memory was short: .* were free", said)
        assert re.search(rf"The largest process is {who} \(\d+\) with 2\d\d\.\d MiB \((?:72|66)%\)", said)
        assert "The largest cache of kernel objects is story_session" in said
    else:
        assert "Memory was not short" in said


def test_sections_show_only_what_a_dump_has(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    replayed = bool(repr(report.last_seconds(dump)))
    # A trace of a quiet machine may be too short to be worth a figure.
    assert replayed == (name in ("flight", "io")) or (
        dump.relay.block_traces and name in ("debian-6.1", "panic")
    )
    assert bool(repr(report.disks(dump))) == bool(dump.relay.block_traces)
    waits = repr(report.waits(dump))
    assert ("deadlock: checkout" in waits) == (name == "deadlock")
    assert ("order-1" in waits) == (name == "hung")
    from matplotlib import pyplot

    pyplot.close("all")


def test_the_log_begins_with_the_trouble(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    lines = repr(report.last_words(dump)).splitlines()
    first = {
        "oom": "reporting invoked oom-killer",
        "flight": "batch-93 invoked oom-killer",
        "hung": "INFO: task inventoryd:",
        "oops": "BUG: kernel NULL pointer dereference",
        "lockup": "watchdog: BUG: soft lockup - CPU#3",
        "deadlock": "INFO: task ",
    }.get(name, "sysrq: Trigger a crash")
    assert first in lines[2]
    assert not any(
        re.search(r"RAX:|Call Trace:|\+0x[0-9a-f]+/0x[0-9a-f]+$", line.split("RIP:")[0]) for line in lines
    )


def test_stacks_are_those_of_who_died_and_of_whom_others_wait_for(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    said = repr(report.stacks(dump))
    assert "panicked on CPU" in said
    wanted = {
        "hung": ("inventoryd", "inventory_thread "),
        "deadlock": ("part of a deadlock", "checkout_pay "),
        "lockup": ("till (", "kernlab_shop"),
        "oops": ("order_check", "a program writes to a file"),
    }.get(name, ("panic ", "the kernel gives up"))
    for words in wanted:
        assert words in said


def test_paths_of_this_machine_are_in_no_section(told: tuple[str, Any, Story]) -> None:
    _, dump, _ = told
    folder = str(kernlab.sample(told[0]).parent)
    told_of = (
        repr(report.provenance(dump, sha256=False)) + repr(report.machine(dump)) + repr(report.head(dump))
    )
    assert folder not in told_of
    assert "kernlab-guest" not in told_of


def test_names_become_what_they_became_in_the_report_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that is there is used: reports of one machine can be held against each other."""
    titles = []
    for name in ("panic", "panic"):
        with report.open_dump(kernlab.sample(name)) as dump:
            titles.append(report.head(dump).data["subtitle"])
            dump.redaction.write_map(tmp_path / "map.json")
        monkeypatch.setenv("KERNLAB_REPORT_MAP", str(tmp_path / "map.json"))
    assert titles[0] == titles[1]
    assert "kernlab-guest" not in titles[0]


def test_figures_tell_of_the_same_memory_and_requests_as_the_words(told: tuple[str, Any, Story]) -> None:
    _, dump, _ = told
    used, words = memory_sections.uses(dump), memory_words.by_group(dump)
    assert sorted(used["bytes"]) == sorted(words["bytes"])
    ax = dump.plot.memory()
    pyplot.close(ax.figure)
    assert ax.get_title("left") == f"Where the memory is: {human_bytes(int(words['bytes'].sum()))}"
    drawn = " ".join(text.get_text() for text in ax.get_yticklabels())
    assert all(name in drawn for name in used["use"])
    for sentence in io_words.answer(dump)[:1]:
        disk, count, *_ = re.findall(r"[\w:]+(?=: [\d,]+ requests)|[\d,]+(?= requests)", sentence)
        drawn = latency_of(alone(dump.replay(), disk))
        pyplot.close(drawn.figure)
        back, *more = re.findall(r"([\d,]+) (?:requests?|had not)", drawn.get_label())
        assert sum(int(number.replace(",", "")) for number in (back, *more)) == int(count.replace(",", ""))
