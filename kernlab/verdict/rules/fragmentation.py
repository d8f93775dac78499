"""Memory in pieces: pages are free, but no block of them is as large as one that was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.oops.frames import frame_of, frames_of
from kernlab.oops.functions import normal
from kernlab.util.text import few, human_bytes
from kernlab.verdict.askers import Asker, asker
from kernlab.verdict.case import Case
from kernlab.verdict.ending import TRAPS
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.oom_report import Zone, read_zones
from kernlab.verdict.oom_shortage import shortage
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text, label_of, pid_of

#: mm/page_alloc.c, warn_alloc.
_FAILED = re.compile(
    r"(?P<comm>.*?): page allocation failure: order:(?P<order>\d{1,2}), "
    r"mode:(?P<mode>0x[0-9a-f]+)(?:\((?P<flags>[^)]*)\))?"
)
#: Whoever got no memory dies of it within so many lines and seconds.
_SOON_LINES, _SOON_SECONDS = 200, 5.0
#: A failure is told within so many lines (the stack, Mem-Info, the zones).
_LINES = 400
#: Who may not sleep cannot wait until the kernel has moved pages together (include/linux/gfp_types.h).
_CANNOT_WAIT = frozenset({"GFP_ATOMIC", "GFP_NOWAIT"})


@rule
def out_of_blocks(case: Case) -> Iterator[Finding]:
    """The OOM killer was called for a block of pages: there were pages free, but no such block."""
    report, oom = case.end.report, case.oom
    if report is None or oom is None or (lack := shortage(oom)).kind != "blocks":
        return
    label = (label_of(case, report),)
    asked = asker(report["frames"])
    size = oom.page_size << oom.order
    evidence = [
        Evidence("log", f"{show_controls(oom.comm)} asked for {_pages(oom.order, size)} and got none", label),
        Evidence("log", few([_pieces(zone) for zone in lack.zones], 4, between="; "), label),
    ]
    pid = pid_of(report)
    yield Finding(
        "fragmentation",
        show_controls(oom.comm if pid is None else say_thread(oom.comm, pid)),
        0.93,
        tuple(evidence),
        "dump.plot.physical()",
        pid=pid,
        module=asked.module,
        function=asked.function,
        explains=frozenset({"OOM"}),
        since=case.before_end(report["timestamp"]),
    )


@rule
def no_block_of_pages(case: Case) -> Iterator[Finding]:
    """Who got no block of pages though pages were free, and dies of it soon after, dies of fragmentation."""
    text = kernel_text(case)
    places = np.flatnonzero(
        text.str.contains("page allocation failure: order:", regex=False).to_numpy(dtype=bool)
    )
    failed = [
        (int(place), found)
        for place in places
        if (found := _FAILED.match(text.iloc[place])) and int(found["order"]) > 0
    ]
    if not failed:
        return
    place, found = failed[-1]
    label = int(case.log.index[place])
    rows = _own_lines(case, place)
    zones = read_zones(rows)
    # One that has less than it keeps has too little at all, in whatever pieces.
    rich = [zone for zone in zones if zone.blocks and zone.free > _kept(zone)]
    order = int(found["order"])
    page = min((size for zone in rich for size in zone.blocks), default=4096)
    size = page << order
    broken = [zone for zone in rich if not any(count for each, count in zone.blocks.items() if each >= size)]
    if zones and not broken:
        return
    asked = asker(str(frame) for line in rows if (frame := frames_of(line)) is not None)
    who = _who(case, place, found["comm"])
    flags = {flag.removeprefix("__") for flag in (found["flags"] or "").split("|")}
    said = f"{show_controls(found['comm'])} asked for {_pages(order, size)} and got none"
    evidence = [Evidence("log", said, (label,))]
    if broken:
        evidence.append(Evidence("log", few([_pieces(zone) for zone in broken], 4, between="; "), (label,)))
    if len(failed) > 1:
        labels = tuple(int(case.log.index[each]) for each, _ in failed[-100:])
        evidence.append(Evidence("log", f"{len(failed):,} times in the log", labels))
    against = []
    if not zones:
        against.append("The log does not show in what pieces memory was.")
    elif len(broken) < len(rich):
        against.append("Another zone had such blocks.")
    if flags & _CANNOT_WAIT and "GFP_DIRECT_RECLAIM" not in flags:
        against.append("Who asked could not wait until the kernel had moved pages together.")
    since = case.before_end(case.log.loc[label, "timestamp"])
    soon = _soon(case, place, since) and who is not None
    tied = soon and _tied(case, asked)
    if soon and not tied:
        against.append("Nothing but the time and the thread ties the end to it.")
    yield Finding(
        "fragmentation",
        show_controls(found["comm"] if who is None else say_thread(found["comm"], who)),
        (0.93 if tied else 0.45 if soon else 0.6) if broken else 0.45,
        tuple(evidence),
        "dump.plot.physical()" if soon else f"dump.log.iloc[{place}:{place + len(rows)}]",
        pid=who,
        module=asked.module,
        function=asked.function,
        against=tuple(against),
        explains=TRAPS | {"panic"} if soon else frozenset(),
        since=since,
    )


def _kept(zone: Zone) -> int:
    """What a zone keeps for those who may use no other, and for who must not wait; bytes."""
    return zone.marks[0] + max(zone.reserve, default=0) * min(zone.blocks, default=0)


def _own_lines(case: Case, place: int) -> list[str]:
    """The lines of a failure, of the same thread, up to the next line that begins something."""
    rows = case.log.iloc[place : place + _LINES]
    caller = rows["caller"].iloc[0]
    if not pd.isna(caller):
        rows = rows[rows["caller"] == caller]
    lines = [line for text in rows["text"].fillna("") for line in text.splitlines()]
    ends = (
        number
        for number, line in enumerate(lines)
        if number and ("page allocation failure" in line or line.startswith(("Kernel panic", "BUG:", "---[")))
    )
    return lines[: next(ends, len(lines))]


def _soon(case: Case, place: int, since: float | None) -> bool:
    end = case.end.report
    if end is None or not 0 <= int(end["offset"]) - place <= _SOON_LINES:
        return False
    return since is None or since <= _SOON_SECONDS


def _who(case: Case, place: int, comm: str) -> int | None:
    """The pid, where the machine's end is the same thread's."""
    end = case.end.report
    if end is None or pd.isna(end["pid"]) or str(end["comm"]) != comm:
        return None
    ours, theirs = case.log["caller"].iloc[place], end["caller"]
    told = not pd.isna(ours) and not pd.isna(theirs) and ours and theirs
    return int(end["pid"]) if not told or ours == theirs else None


def _tied(case: Case, asked: Asker) -> bool:
    """Did the function that got no block, or its module, end the machine?"""
    end = case.end.report
    if end is None or asked.function is None:
        return False
    if end["function"] == asked.function or (asked.module and end["module"] == asked.module):
        return True
    frames = [one for text in end["frames"] if (one := frame_of(str(text))) is not None]
    return any(normal(one.name) == asked.function for one in frames)


def _pages(order: int, size: int) -> str:
    return f"{1 << order:,} pages in one block ({human_bytes(size)})"


def _pieces(zone: Zone) -> str:
    largest = max((size for size, count in zone.blocks.items() if count), default=0)
    return f"zone {zone.name} had {human_bytes(zone.free)} free, in blocks of {human_bytes(largest)} at most"
