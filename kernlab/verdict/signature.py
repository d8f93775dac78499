"""What a machine died of in, one line to find its siblings by out: the same over releases, CPUs, threads and names of
disks."""

from __future__ import annotations

from kernlab.oops.frames import Frame, frame_of
from kernlab.oops.functions import Stack, normal, telling
from kernlab.oops.signature import signature_of
from kernlab.verdict.alike import alike
from kernlab.verdict.case import Case
from kernlab.verdict.ending import ASKED
from kernlab.verdict.finding import Finding

#: Ends that only say that somebody waited, or that memory ran out: what they follow from is what siblings share, and
#: whom the watchdog named is chance. Any other end's own stack tells, and a log alone has the same.
_FOLLOWS = ASKED | {"hung task", "soft lockup", "hard lockup", "RCU stall", "workqueue stall", "OOM"}
#: Threads of a circle whose functions are taken.
_MOST = 3


def signature(case: Case, findings: list[Finding]) -> str:
    """The signature of findings in the order of the verdict; of `kernlab.oops.signature` where a report tells.

    It is `v1:kind:module:function<caller<caller`. Where the end follows from something else (a deadlock, a lock that is
    kept, who took the memory), kind is that finding, and the functions are those of whoever is to blame. A circle has
    no first thread: its functions stand in the order of the alphabet.
    """
    end = case.end
    first = findings[0] if findings else None
    if first is not None and first.role == "cause" and end.kind in _FOLLOWS:
        return _of_finding(case, first)
    if end.report is not None and not end.asked:
        # A panic's line may say more of the kind than the report that it belongs to.
        _, _, place = str(end.report["signature"]).split(":", 2)
        return f"{signature_of(end.kind, []).rpartition(':kernel:')[0]}:{place}"
    if first is not None and first.role == "end" and not end.asked:
        return _of_finding(case, first)
    return signature_of(end.kind, [])


def _of_finding(case: Case, finding: Finding) -> str:
    if finding.finding == "deadlock":
        told = sorted(
            {frame for pid in _circle(case, finding) for frame in _telling(case, pid, "wait")[:1]},
            key=lambda frame: (not frame.module, frame.module, frame.name),
        )[:_MOST]
    elif finding.pid is not None and finding.function is not None:
        told = _from(_telling(case, finding.pid, "wait"), finding)
    else:
        told = []
    if not told and finding.function is not None:
        told = [Frame(finding.function, module=finding.module or "")]
    if not told:
        told = [Frame(name, module=finding.module or "") for name in [alike(finding)] if name]
    return signature_of(finding.finding, told)


def _from(frames: list[Frame], finding: Finding) -> list[Frame]:
    """The frames from the one that is to blame on; none where it is not among them."""
    names = [frame.name for frame in frames]
    return frames[names.index(finding.function) :] if finding.function in names else []


def _circle(case: Case, finding: Finding) -> list[int]:
    """The threads of a deadlock, by its evidence."""
    rows = next((each.rows for each in finding.evidence if each.table == "waits" and each.rows), ())
    return [int(pid) for pid in case.waits.loc[list(rows), "pid"]] if rows else []


def _telling(case: Case, pid: int, stack: Stack) -> list[Frame]:
    """The frames of a thread that tell, the innermost first, with names as all releases have them."""
    if not case.has("stacks"):
        return []
    rows = case.stack_of(pid)
    sure = rows.loc[rows["symbol"].notna() & rows["reliable"], "symbol"]
    frames = [frame for text in sure if (frame := frame_of(text)) is not None]
    told = telling(frames, stack) if frames else []
    return [Frame(normal(frame.name), module=frame.module) for frame in told]
