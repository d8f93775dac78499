"""A dump in, its story out: what its verdict says, and what the tables add to that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report import faults, hangs, io_words, shortage
from kernlab.report.death import FAULTS, WATCHED, death
from kernlab.report.details import Details
from kernlab.report.gaps import gaps
from kernlab.report.phrases import listed, span
from kernlab.verdict.story import Story, tell
from kernlab.verdict.told import fields
from kernlab.verdict.vocabulary import word
from kernlab.verdict.words.word import filled

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Ends of which the disks may be why somebody wanted them.
_UNCAUSED = frozenset({"sysrq", "panic", "stopped"})


def story(dump: Dump) -> Story:
    """The story of `dump`. What could not be looked at is among its doubts; never raises for a damaged dump."""
    try:
        verdict = dump.verdict
        told = tell(verdict)
    except KernlabError as error:
        return Story(
            "A dump that does not tell how its machine died",
            ("The dump's own information about the machine's end cannot be read.",),
            (show_controls(str(error)),),
            "Low: the dump does not tell.",
            (),
            (),
            ("See what the dump lacks, at the end of this report.",),
            "",
        )
    if len(verdict):
        try:
            told = _joined(told, _details(dump, verdict), verdict.iloc[0])
            if verdict["finding"].iloc[0] in _UNCAUSED:
                told = _uncaused(dump, told)
        except KernlabError as error:
            said = f"More could not be found out: {show_controls(str(error))}."
            told = replace(told, doubts=(*told.doubts, said))
    if gaps(dump):
        said = "The dump does not hold everything: “What this dump lacks” lists what is missing."
        told = replace(told, doubts=(*told.doubts, said))
    return told


def _details(dump: Dump, verdict: pd.DataFrame) -> Details:
    """What the tables add, by how the machine ended."""
    end, first = death(dump), verdict.iloc[0]
    if end.kind == "OOM":
        return shortage.details(dump, end, first)
    if end.kind in WATCHED or first["finding"] in ("deadlock", "lock not released"):
        return hangs.details(dump, end, first)
    ends = verdict[verdict["role"] == "end"]
    if end.kind in FAULTS and len(ends):
        return faults.details(dump, end, fields(ends.iloc[0])["during"])
    return Details()


def _joined(told: Story, more: Details, first: pd.Series[Any]) -> Story:
    own = told.doubts
    if more.settled:
        always = filled(word(first["finding"]).doubt, fields(first))
        own = tuple(doubt for doubt in own if doubt != always)
    whole = more.whole
    return replace(
        told,
        # What was set comes behind why it stopped, what is lost comes last.
        died=_each(told.died[:-1], more.died, told.died[-1:]),
        why=_each(() if whole and more.why else told.why, more.why),
        sure=f"{told.sure} {more.sure}".strip(),
        doubts=_each(more.doubts, own),
        next=_each(() if whole and more.next else told.next, more.next),
    )


def _each(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Sentences one behind the other, each once."""
    return tuple(dict.fromkeys(one for part in parts for one in part if one))


def _uncaused(dump: Dump, told: Story) -> Story:
    """The same of an end that no rule found a cause of: what else is known, and what a block trace tells of disks."""
    told = _with_leads(dump, told)
    slow = io_words.slow_disks(dump)
    why = _each(told.why, tuple(io_words.answer(dump, notable=True)))
    if not slow:
        return replace(told, why=why)
    step = (
        "Look at who keeps the disk busy, below, and whether that has to be at that hour."
        if any(disk.overloaded for disk in slow)
        else "Look for why the disk answers so late: the disk itself, or what stands behind it (a host, a network)."
    )
    title = f"{told.title}, while {listed([_slow(disk) for disk in slow])}"
    return replace(told, title=title, why=why, next=_each(told.next, (step,)))


def _with_leads(dump: Dump, told: Story) -> Story:
    if len(dump.suspects):
        return replace(told, next=_each(told.next, ("Follow the leads, the weightiest first.",)))
    if told.besides:
        return told
    said = "kernlab found nothing wrong with memory, waiting threads, stacks or CPUs."
    doubt = "That nothing was found does not mean that there was nothing: a dump shows one instant."
    return replace(told, why=_each(told.why, (said,)), doubts=_each((doubt,), told.doubts))


def _slow(disk: io_words.Disk) -> str:
    if disk.overloaded:
        return f"more was asked of disk {disk.name} than it could do"
    return f"disk {disk.name} took {span(disk.middle)} for a request"
