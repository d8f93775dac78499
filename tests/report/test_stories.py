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
    "debian-6.1": (r"on purpose \(SysRq\)", r"nothing wrong", r"one instant", r"Ask who did that"),
    "panic": (r"on purpose \(SysRq\)", r"nothing wrong", r"one instant", r"Ask who did that"),
    "io": (
        r"on purpose \(SysRq\), while disk vda \(254:0\) took 39 ms for a request",
        r"Disk vda \(254:0\): 789 requests .* not the queue: a request that found the disk idle took as long "
        r"\(38 ms\).*6 requests were under way .* nothing is wrong with that",
        r"one instant.*does not hold everything",
        r"Ask who did that.*answers so late",
    ),
    "oom": (
        r"Out of memory: reporting \(\d+\) holds most of it",
        r"reporting \(\d+\) holds 210\.\d MiB.*72% of all.*story_session, of the module kernlab_story",
        r"not who grew",
        r"maps\(\d+\).*limit.*the module kernlab_story, which made story_session.*vm\.panic_on_oom",
    ),
    "flight": (
        r"Out of memory: billing \(\d+\) holds most of it",
        r"grow: from .* to 275\.0 MiB in the last 51\.7 s.*says of it: “shop: billing runs its monthly close” \(when "
        r"its growth began\).*protected from the OOM killer.*Swap",
        r"batch-93 \(\d+\) asked for memory last",
        r"recorded",
    ),
    "hung": (
        r"inventoryd \(\d+\) keeps a lock|inventory_lock",
        r"order-1 \(\d+\) and 5 others wait.*the completion answer",
        r"messenger.*completion does not name",
        r"ended the wait for the completion answer",
    ),
    "deadlock": (
        r"2 deadlocks: checkout and refund wait for each other, and so do import and reprice",
        r"checkout \(\d+\) waits \(in checkout_pay\) for the mutex ledger_lock.*victims",
        r"khungtaskd \(\d+\) panicked.*messenger",
        r"ledger_lock .*and the mutex stock_lock .*same order",
    ),
    "lockup": (
        r"till \(\d+\) keeps a lock|till_lock|locked up in count_up",
        r"till \(\d+\) has .*till_lock.*known that it holds the lock.*stands in count_up .*called by till_open_deaf.*"
        r"receipt-1 \(\d+\) and receipt-2 \(\d+\) only wait.*victims",
        r"receipt-2 \(\d+\) panicked, since the watchdog caught it first",
        r"maintainers of the module kernlab_shop",
    ),
    "oops": (
        r"A NULL pointer in order_check of the module kernlab_story",
        r"not signed \(taint OE\).*billing \(1\) ran on CPU 1, in the system call write.*called by story_write",
        r"not always where it was made",
        r"maintainers of the module kernlab_story.*disassemble\('order_check'\)",
    ),
}  # fmt: skip


def test_the_story_says_what_was_done_to_the_guest(told: tuple[str, Any, Story]) -> None:
    name, _, found = told
    title, why, doubts, steps = EXPECTED[name]
    assert re.search(title, found.title)
    for pattern, sentences in ((why, found.why), (doubts, found.doubts), (steps, found.next)):
        assert re.search(pattern, " ".join(sentences)), (pattern, sentences)
    assert found.died
    assert re.match(SURE[name], found.sure)


#: How sure each story is of itself, and of what.
SURE = {
    "debian-6.1": r"High \(97%\): the log says how",
    "panic": r"High \(97%\): the log says how",
    "io": r"High \(97%\): the log says how",
    "oom": r"High \(\d\d%\): who holds the memory was counted page by page\.$",
    "flight": r"High \(\d\d%\): who holds the memory .* The recording shows when",
    "hung": r"High \(\d\d%\): ",
    "deadlock": r"High \(97%\): each lock names its owner",
    "lockup": r"High \(\d\d%\): ",
    "oops": r"High \(97%\): the processor itself reported the instruction",
}


def test_what_the_machine_was_set_to_do_is_told(told: tuple[str, Any, Story]) -> None:
    """Why this ended the machine: by the kernel's own settings, and not by what is usual."""
    name, _, found = told
    died = " ".join(found.died)
    wanted = {
        "flight": r"9\.9 s before that it had killed reports \(237\).*panic_on_oom was not set then",
        "oom": r"set to panic in that case instead of killing a process \(panic_on_oom\)\.",
        "hung": r"more than 10 seconds .*hung_task_panic",
        "oops": r"set to panic after such an error \(kernel\.panic_on_oops\).*process 1, billing",
    }
    assert re.search(wanted.get(name, ""), died)


def test_memory_comes_before_what_to_do_where_it_was_short(told: tuple[str, Any, Story]) -> None:
    """Elsewhere nothing ate it, and who reads on for what to do finds that first."""
    name, dump, _ = told
    lines = repr(report.in_short(dump)).splitlines()
    eaten, free, steps = (
        next((place for place, line in enumerate(lines) if head in line), None)
        for head in ("What ate the memory", "How much memory was free", "What to do next")
    )
    assert steps is not None
    if name in ("oom", "flight"):
        assert free is None
        assert eaten is not None
        assert eaten < steps
    else:
        assert eaten is None
        assert free is not None
        assert free > steps


def test_each_lead_is_told_once_and_causes_come_first(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    leads = [line for line in repr(report.leads(dump)).splitlines() if re.match(r"\d+\. ", line)]
    first = {
        "oops": (1, "null dereference: order_check [kernlab_story]"),
        "deadlock": (2, "deadlock: checkout"),
        "hung": (2, "hung tasks: order-1"),
        "lockup": (1, "CPU not given up: till"),
        "oom": (4, "large process: reporting"),
        "flight": (6, "large process: billing"),
    }.get(name)
    assert len(leads) == (first[0] if first else 0)
    if first:
        assert leads[0].startswith(f"1. {first[1]}")


def test_disks_have_names_and_what_is_under_way_is_no_alarm(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    if not dump.relay.block_traces:
        assert repr(report.disks(dump)) == ""
        return
    from matplotlib import pyplot

    said = "\n".join(map(repr, (report.in_short(dump), report.disks(dump), report.last_seconds(dump))))
    pyplot.close("all")
    assert "Disk vda (254:0): " in said
    assert "never came back" not in said
    assert "may have stopped" not in said
    assert ("Disk vdb (254:16)" in said) == ("Disk vdc (254:32)" in said) == (name == "flight")
    assert ("it is the queue: a request that found the disk idle took 308 µs" in said) == (name == "flight")
    assert ("it is not the queue" in said) == (name == "io")


def test_what_traces_lost_is_among_what_the_dump_lacks(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    said = repr(report.missing(dump))
    assert ("The block trace vda/trace is not whole" in said) == (name in ("flight", "io", "panic"))
    assert ("ftrace does not hold the last 1 min 15 s" in said) == (name == "debian-6.1")
    assert said.count("in crash_notes point to no stack") == (name == "flight")


def test_cpus_and_threads_are_counted_as_people_do(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    said = repr(report.cpus(dump))
    busy = {
        "flight": "2 of 2 CPUs ran a thread. ",
        "lockup": "3 of 4 CPUs ran a thread, the other one was idle. ",
    }
    assert busy.get(name, "1 of 2 CPUs ran a thread, the other one was idle. ") in said
    assert "nothing can wake" not in said
    assert bool(re.search(r"till \(\d+\) had the CPU for longer .* no ticks", said)) == (name == "lockup")


def test_words_are_explained_where_they_are_used(told: tuple[str, Any, Story]) -> None:
    name, dump, _ = told
    said = repr(report.words_used(dump))
    for word, names in {
        "mutex": ("hung", "deadlock"),
        "completion": ("hung",),
        "rwsem": ("deadlock",),
        "spinlock": ("lockup",),
        "SysRq": ("io", "panic", "debian-6.1"),
        "swap": ("flight",),
    }.items():
        assert (f"- {word}: " in said) == (name in names), word


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
        said = re.match(r"Disk (\w+) \([\d:]+\): ([\d,]+) requests", sentence)
        assert said
        disk, count = said.groups()
        drawn = latency_of(alone(dump.replay(), disk))
        pyplot.close(drawn.figure)
        back, *more = re.findall(r"([\d,]+) (?:requests?|had not)", drawn.get_label())
        assert sum(int(number.replace(",", "")) for number in (back, *more)) == int(count.replace(",", ""))
