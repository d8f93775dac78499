"""Who has the locks for which threads hang, by a log alone: as kernels since 6.15 tell it themselves."""

from __future__ import annotations

import pandas as pd
import pytest

import kernlab
from kernlab.verdict.story import story

PANIC = "Kernel panic - not syncing: hung_task: blocked tasks"


def shown(comm: str, pid: int, function: str, state: str = "D") -> list[str]:
    """A thread's stack, as the kernel shows it."""
    return [
        f"task:{comm:<15} state:{state} stack:0     pid:{pid}   tgid:{pid}   ppid:1      flags:0x00004002",
        "Call Trace:",
        " <TASK>",
        " __schedule+0x505/0xbf0",
        " schedule+0x27/0xf0",
        " __mutex_lock.constprop.0+0x1/0x2",
        f" {function}+0x10/0x20 [till]",
        " vfs_write+0xf8/0x440",
        " </TASK>",
    ]


def hung(comm: str, pid: int, told: str) -> list[str]:
    """A thread that the kernel found hung, and what it tells of its lock."""
    return [
        f"INFO: task {comm}:{pid} blocked for more than 120 seconds.",
        "      Not tainted 6.16.1-amd64 #1",
        '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
        *shown(comm, pid, f"{comm}_pay"),
        told,
    ]


def log(*lines: str, at: float = 500.0) -> str:
    return "".join(f"[{at + place / 1e4:12.6f}][     T30] {line}\n" for place, line in enumerate(lines))


def owned(comm: str, pid: int, holder: str, holder_pid: int, lock: str = "mutex") -> str:
    return {
        "mutex": f"INFO: task {comm}:{pid} is blocked on a mutex likely owned by task {holder}:{holder_pid}.",
        "writer": f"INFO: task {comm}:{pid} <writer> blocked on an rw-semaphore likely owned by task "
        f"{holder}:{holder_pid} <writer>",
        "reader": f"INFO: task {comm}:{pid} <writer> blocked on an rw-semaphore likely owned by task "
        f"{holder}:{holder_pid} <reader>",
        "semaphore": f"INFO: task {comm}:{pid} blocked on a semaphore likely last held by task {holder}:{holder_pid}",
    }[lock]


@pytest.mark.parametrize(
    ("lock", "said", "confidence"),
    [("mutex", "mutex", 0.8), ("writer", "rw-semaphore", 0.8), ("reader", "", 0.45), ("semaphore", "", 0.45)],
)
def test_who_has_the_lock_is_the_cause(lock: str, said: str, confidence: float) -> None:
    """It sleeps, and is not hung itself; of a semaphore and of readers the lock only tells who was last: a hint."""
    lines = [
        *hung("alpha", 11, owned("alpha", 11, "keeper:x", 91, lock)),
        *shown("keeper:x", 91, "keeper_nap", "S"),
    ]
    table = kernlab.verdict.of_log(log(*lines, PANIC))
    cause = table[table["role"] == "cause"].iloc[0]
    assert (cause["finding"], cause["pid"], cause["function"]) == ("lock not released", 91, "keeper_nap")
    assert cause["module"] == "till"
    assert cause["confidence"] == pytest.approx(confidence)
    assert bool(said) == (table["role"].iloc[0] == "cause")
    if said:
        assert cause["subject"] == f"keeper:x (91), which has a {said}"
        end = table[table["role"] == "end"].iloc[0]
        assert pd.isna(end["pid"])
        assert "keeper:x (91)" in story(table).splitlines()[0]


def test_behind_a_hung_thread_stands_another() -> None:
    """Two wait for alpha, which waits for keeper: only who waits for nobody is the cause, and it is hung itself."""
    lines = [
        *hung("beta", 12, owned("beta", 12, "alpha", 11)),
        *hung("gamma", 13, owned("gamma", 13, "alpha", 11)),
        *hung("alpha", 11, owned("alpha", 11, "keeper", 91)),
        *hung("keeper", 91, ""),
    ]
    first = kernlab.verdict.of_log(log(*lines, PANIC)).iloc[0]
    assert (first["finding"], first["pid"], first["function"]) == ("lock not released", 91, "keeper_pay")
    assert first["confidence"] == pytest.approx(0.9)
    assert (
        first["evidence"][0]["says"]
        == "alpha (11) waits for the mutex that keeper (91) has, and 2 more behind it"
    )


def test_a_circle_is_a_deadlock() -> None:
    """Nobody of it is a holder that might let go."""
    lines = [
        *hung("alpha", 11, owned("alpha", 11, "beta", 12)),
        *hung("beta", 12, owned("beta", 12, "alpha", 11)),
        *hung("gamma", 13, owned("gamma", 13, "beta", 12)),
    ]
    table = kernlab.verdict.of_log(log(*lines, PANIC))
    first = table.iloc[0]
    assert (first["finding"], first["subject"]) == (
        "deadlock",
        "alpha (11) → a mutex → beta (12) → a mutex →",
    )
    assert first["confidence"] >= 0.9
    assert "gamma" not in first["subject"]
    assert "lock not released" not in table["finding"].tolist()


def test_what_was_told_long_before_is_no_cause() -> None:
    """Another look found it, and the machine went on."""
    before = log(*hung("alpha", 11, owned("alpha", 11, "keeper", 91)), at=100.0)
    table = kernlab.verdict.of_log(before + log(*hung("beta", 12, ""), PANIC))
    assert table["finding"].tolist() == ["hung task", "hung task"]
    assert "keeper" not in " ".join(table["subject"])


def test_long_chains_and_circles_have_an_end_each() -> None:
    """A chain of thousands ends with who waits for nobody; what leads into a circle is no part of it."""
    chain = [owned(f"c{place}", place, f"c{place + 1}", place + 1) for place in range(100, 3100)]
    circle = [owned(name, pid, other, at) for name, pid, other, at in (("x", 7, "y", 8), ("y", 8, "x", 7))]
    text = log(*hung("alpha", 11, owned("alpha", 11, "x", 7)), *chain, *circle, PANIC)
    found = kernlab.verdict.of_log(text)
    kept = found[found["finding"] == "lock not released"]
    assert kept["subject"].tolist() == ["c3100 (3100), which has a mutex"]
    assert "2,999 more behind it" in kept["evidence"].iloc[0][0]["says"]
    (subject,) = found.loc[found["finding"] == "deadlock", "subject"]
    assert subject == "x (7) → a mutex → y (8) → a mutex →"
