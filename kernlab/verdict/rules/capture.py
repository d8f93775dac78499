"""The capture itself: a dump of the kernel that was to save one, a file that was not written to its end, a log that
was overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from kernlab.escape import show_short
from kernlab.util.text import human_time
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text

#: kexec gives this to no kernel but one that saves a dump (Documentation/admin-guide/kdump/kdump.rst).
_OF_CRASH_KERNELS = re.compile(r"(?:^|\s)elfcorehdr=\S")
#: kernel/crash_reserve.c, arch/*/kernel/setup.c.
_NOT_RESERVED = re.compile(
    r"crashkernel:? reservation failed|[Cc]annot (?:reserve|allocate) crashkernel|crashkernel: memory value expected"
)
#: The same: that it was, as by a second try elsewhere.
_RESERVED = re.compile(
    r"crashkernel(?: low memory)? reserved: 0x|[Rr]eserv(?:ing|ed) \d{1,9} ?[MK]B of memory at .{1,60} for crashkernel"
)
#: What `problems` of a file say where it was not written to its end.
_CUT = re.compile(r" is incomplete: | was not written to its end|ends at byte ")
#: A log that tells of less than this, of a machine that ran for longer, was flooded.
_FLOODED = 300.0


@rule
def crash_kernel_itself(case: Case) -> Iterator[Finding]:
    """A kernel that was given the headers of a dump is one that was to save it: it died in its turn."""
    if not case.has_dump or pd.isna(case.info["cmdline"]):
        return
    if _OF_CRASH_KERNELS.search(str(case.info["cmdline"])):
        yield Finding(
            "crash kernel",
            "this is the kernel that was to save the dump of another",
            0.95,
            (Evidence("info", "it was started with elfcorehdr=, as only a crash kernel is", ("cmdline",)),),
            'dump.info[["cmdline", "uptime"]]',
            against=("What the first kernel died of is not in this dump.",),
        )


@rule
def no_crash_kernel(case: Case) -> Iterator[Finding]:
    """Where no memory could be reserved for a crash kernel, the machine could not save a dump by itself."""
    text = kernel_text(case)
    own = text.index[text.str.contains(_NOT_RESERVED)].tolist()
    later = text.loc[own[-1] :].str.contains(_RESERVED).any() if own else False
    if own and not later and not _noted_a_panic(case):
        yield Finding(
            "crash kernel",
            "no memory was reserved for one",
            0.9,
            (Evidence("log", show_short(str(text[own[-1]]), 300), (int(own[-1]),)),),
            f"dump.log.loc[[{own[-1]}]]",
            against=("It has nothing to do with why the machine died.",),
        )


def _noted_a_panic(case: Case) -> bool:
    """Did a crash kernel take over?"""
    if not case.has_dump:
        return False
    source = case.info["crash_time_source"]
    return not pd.isna(source) and source == "the kernel's note at the panic"


@rule
def dump_not_whole(case: Case) -> Iterator[Finding]:
    """A file that was not written to its end lacks pages: what is not found may only be missing."""
    if not case.has_dump:
        return
    cut = [problem for problem in getattr(case.kernel.file, "problems", []) if _CUT.search(problem)]
    if cut:
        yield Finding(
            "incomplete dump",
            "the file was not written to its end, or was cut",
            0.95,
            (Evidence("info", show_short(cut[0], 300), ("file", "file_bytes")),),
            "dump.problems",
            against=("What a verdict does not find may only be missing.",),
        )


@rule
def overwritten_log(case: Case) -> Iterator[Finding]:
    """A log whose beginning was overwritten within minutes was flooded: what came before is lost."""
    log = case.log
    if not case.has_dump or log.empty or int(log["seq"].iloc[0]) == 0:
        return
    first, last = log["timestamp"].iloc[0], log["timestamp"].max()
    if pd.isna(first) or pd.isna(last) or not 0 <= (last - first).total_seconds() < _FLOODED:
        return
    if first.total_seconds() < _FLOODED:
        return
    told = human_time((last - first).total_seconds())
    yield Finding(
        "lost log lines",
        f"only the last {told} are left",
        0.8,
        (
            Evidence(
                "log",
                f"{int(log['seq'].iloc[0]):,} records before it are overwritten; it is of {told} before the end",
                rows_of(log, [log.index[0]]),
            ),
        ),
        "dump.log.head(20)",
        against=("What was said before that is lost: it may be why.",),
        since=case.before_end(first),
    )
