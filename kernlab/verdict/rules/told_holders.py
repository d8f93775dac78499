"""Who has the locks for which threads hang, as the kernel itself told: for a log whose dump cannot be asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several, say_thread
from kernlab.oops.frames import Frame, frames_of
from kernlab.oops.functions import normal, telling
from kernlab.verdict.case import Blamed, Case
from kernlab.verdict.chains import reported_hung
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text

#: kernel/hung_task.c, debug_show_blocker (CONFIG_DETECT_HUNG_TASK_BLOCKER, since 6.15).
_TOLD = re.compile(
    r"INFO: task (?P<comm>[^\n]{1,64}?):(?P<pid>\d{1,8}) (?:is |<(?:reader|writer)> )?blocked on an? "
    r"(?P<lock>mutex|semaphore|rw-semaphore),? likely (?P<how>owned|last held) by task "
    r"(?P<holder>[^\n]{1,64}):(?P<holder_pid>\d{1,8})(?P<reader> <reader>)?"
)
#: kernel/sched/core.c, sched_show_task.
_SHOWN = re.compile(r"task:.{1,64}? state:\S .{0,80}?\bpid: ?(?P<pid>\d{1,8})\b")
#: Lines of the stack of a thread.
_STACK = 80
#: The kernel looks at all threads at once.
_ONE_LOOK = 10.0
#: Circles that are told at most.
_MOST_CIRCLES = 5


class Wait(NamedTuple):
    """A thread that waits for a lock, and who has that; `sure`: the lock itself says who, and not who had it last."""

    label: int
    comm: str
    pid: int
    lock: str
    holder: str
    holder_pid: int
    sure: bool


@rule
def told_by_the_kernel(case: Case) -> Iterator[Finding]:
    """Who has the lock that hung threads wait for, and waits for none itself, keeps them; the kernel names it."""
    if case.end.kind != "hung task" or case.end.report is None or case.has("waits"):
        return
    waits = {each.pid: each for each in _waits(case)}
    roots, circles = _ends(waits)
    behind = Counter(root for root in roots.values() if root is not None)
    for root, count in behind.most_common(1):
        yield _kept(case, root, [each for each in waits.values() if each.holder_pid == root], count)
    for circle in circles[:_MOST_CIRCLES]:
        yield _deadlock(case, circle)


def _waits(case: Case) -> Iterator[Wait]:
    """What the look that ended the machine told, each thread once."""
    text = kernel_text(case)
    for label in text.index[text.str.contains(" likely ", regex=False)].tolist():
        before = case.before_end(case.log.loc[label, "timestamp"])
        for line in str(text[label]).splitlines():
            if (found := _TOLD.match(line)) and (before is None or before <= _ONE_LOOK):
                yield Wait(
                    int(label),
                    found["comm"],
                    int(found["pid"]),
                    found["lock"],
                    found["holder"],
                    int(found["holder_pid"]),
                    found["how"] == "owned" and not found["reader"],
                )


def _ends(waits: dict[int, Wait]) -> tuple[dict[int, int | None], list[list[Wait]]]:
    """Whom each thread waits for in the end, None for those that lead into a circle; and the circles."""
    roots: dict[int, int | None] = {}
    circles = []
    for pid in waits:
        place: dict[int, int] = {}
        at = pid
        while at in waits and at not in roots and at not in place:
            place[at] = len(place)
            at = waits[at].holder_pid
        path = list(place)
        if at in place:
            circles.append([waits[each] for each in path[place[at] :]])
        end = None if at in place else roots.get(at, at)
        roots |= dict.fromkeys(path, end)
    return roots, circles


def _kept(case: Case, root: int, direct: list[Wait], count: int) -> Finding:
    first = direct[0]
    hung, sure = root in reported_hung(case), all(each.sure for each in direct)
    where = _stands(case, root)
    who = say_thread(first.holder, root)
    names = say_several([say_thread(each.comm, each.pid) for each in direct])
    more = (
        f", and {count - len(direct):,} more behind {'it' if len(direct) == 1 else 'them'}"
        if count > len(direct)
        else ""
    )
    said = f"{names} {'wait' if len(direct) > 1 else 'waits'} for the {first.lock} that {who} has{more}"
    evidence = [Evidence("log", show_controls(said), tuple(each.label for each in direct[:100]))]
    if where.function:
        evidence.append(Evidence("log", show_controls(f"{who} is in {where.function}"), (first.label,)))
    against = () if hung else ("How long it has slept is not known: it may go on.",)
    if not sure:
        against = (*against, "The lock only says who took it last: whether that has it still is not known.")
    return Finding(
        "lock not released",
        show_short(f"{who}, which has a {first.lock}", 200),
        0.45 if not sure else 0.9 if hung else 0.8 if len(direct) == 1 else 0.65,
        tuple(evidence),
        f"dump.log.loc[{[each.label for each in direct[:20]]}]",
        pid=root,
        module=where.module,
        function=where.function,
        against=against,
        explains=frozenset({"hung task"}),
    )


def _deadlock(case: Case, circle: list[Wait]) -> Finding:
    sure = all(each.sure for each in circle)
    parts = [f"{say_thread(each.comm, each.pid)} → a {each.lock} →" for each in circle]
    where = _stands(case, circle[0].pid)
    labels = [each.label for each in circle]
    return Finding(
        "deadlock",
        show_short(" ".join(parts), 300),
        0.95 if sure else 0.45,
        (Evidence("log", "each waits for a lock that the next one has", tuple(labels[:100])),),
        f"dump.log.loc[{labels[:20]}]",
        pid=circle[0].pid,
        module=where.module,
        function=where.function,
        against=()
        if sure
        else ("A lock only says who took it last: whether that has it still is not known.",),
        explains=frozenset({"hung task"}),
    )


def _stands(case: Case, pid: int) -> Blamed:
    """Where a thread is: by the last stack of it that the kernel printed."""
    text = kernel_text(case)
    shown = [
        place for place, line in enumerate(text) if (found := _SHOWN.match(line)) and int(found["pid"]) == pid
    ]
    if not shown:
        return Blamed(None, None)
    frames: list[Frame] = []
    for line in text.iloc[shown[-1] + 1 : shown[-1] + _STACK]:
        frame = frames_of(str(line))
        if frame is not None and frame.reliable:
            frames.append(frame)
        elif frames and frame is None:
            break
    told = telling(frames, "wait") if frames else []
    return Blamed(normal(told[0].name), told[0].module or None) if told else Blamed(None, None)
