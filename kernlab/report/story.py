"""A dump in, its story out: what died, why as far as that is known, what speaks against it, and what to do next.

Until a verdict weighs all evidence, `dump.suspects` and the kind of the death stand in for one; what is a guess is said
with "probably".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.report import faults, hangs, io_words, shortage
from kernlab.report.death import FAULTS, Death, death
from kernlab.report.gaps import gaps
from kernlab.report.phrases import listed, span

if TYPE_CHECKING:
    from kernlab.dump import Dump


@dataclass(frozen=True)
class Story:
    """The story of a death, in sentences. Strings of the dump in it are shown, not escaped for HTML."""

    title: str
    died: tuple[str, ...]
    why: tuple[str, ...]
    #: "High", "Medium" or "Low", and the reason.
    sure: str
    doubts: tuple[str, ...]
    next: tuple[str, ...]


def story(dump: Dump) -> Story:
    """The story of `dump`. What could not be looked at is among its doubts; never raises for a damaged dump."""
    try:
        end = death(dump)
    except KernlabError as error:
        return Story(
            "A dump that does not tell how its machine died",
            ("The dump's own information about the machine's end cannot be read.",),
            (show_controls(str(error)),),
            "Low: the dump does not tell.",
            (),
            ("See what the dump lacks, at the end of this report.",),
        )
    try:
        told = _teller(end)(dump, end)
    except KernlabError as error:
        told = replace(
            _plain(dump, end), doubts=(f"More could not be found out: {show_controls(str(error))}.",)
        )
    if gaps(dump):
        said = "The dump does not hold everything: “What this dump lacks” lists what is missing."
        told = replace(told, doubts=(*told.doubts, said))
    return told


def _teller(end: Death) -> Callable[[Dump, Death], Story]:
    if end.kind == "oom":
        return lambda dump, end: Story(*shortage.tell(dump, end))
    if end.kind in ("hung", "lockup", "hard lockup"):
        return lambda dump, end: Story(*hangs.tell(dump, end))
    if end.kind in FAULTS:
        return lambda dump, end: Story(*faults.tell(dump, end))
    return _plain


#: Ends that need no more than words: a title, what died, and what to do.
_PLAIN = {
    "sysrq": (
        "The machine was crashed on purpose (SysRq)",
        "Nothing failed by itself: {who} asked the kernel to crash, through SysRq (the letter c, or "
        "/proc/sysrq-trigger). That is how people test whether dumps work, and how they get a dump of a machine that "
        "no longer answers.",
        "Ask who triggered it, and what they had seen: only they know why this dump was wanted.",
    ),
    "hardware": (
        "The hardware reported an error",
        "The processor or the memory reported an error that cannot be repaired, and the kernel stopped.",
        "Look at the machine's own error log (BMC, mcelog, rasdaemon), and test its memory: it is hardly the software.",
    ),
    "no root": (
        "The machine could not start, or its first process ended",
        "The kernel lost its first process (init), or found no file system to start from; it cannot go on without.",
        "Look at what the kernel said last: what was mounted, and how init ended.",
    ),
    "stopped": (
        "The machine did not crash: its memory was saved while it ran",
        "No CPU had panicked. The dump is an image that was taken from outside, of a machine that ran or hung.",
        "Ask why the image was taken, and look at what was waited for and at the largest users of memory.",
    ),
    "panic": (
        "The kernel gave up: {message}",
        "The kernel panicked: it found something with which it would not go on.",
        "Look at what the kernel said last and at the stack of who panicked.",
    ),
}  # fmt: skip


def _plain(dump: Dump, end: Death) -> Story:
    """The story of an end that says by itself what it was: the leads are what else there is."""
    title, died, next_step = _PLAIN.get(end.kind, _PLAIN["panic"])
    who = end.who or "somebody"
    words = {"who": who, "message": show_controls(end.message.removeprefix("Kernel panic - not syncing: "))}
    leads = dump.suspects
    slow = io_words.slow_disks(dump)
    why, step = list[str](), list[str]()
    if end.kind not in ("sysrq", "stopped") and end.message:
        why.append(f"The kernel's own words are: “{show_controls(end.message)}”.")
    if len(leads):
        why.append(f"Something else was wrong, which may be why: {_lead(leads.iloc[0])}")
        step.append("Follow the leads, the weightiest first.")
    else:
        why.append("kernlab found nothing wrong with memory, waiting threads, stacks or CPUs.")
    why += io_words.answer(dump, notable=True)
    if slow:
        title = f"{title}, while {listed([_slow(disk) for disk in slow])}"
        step.append(
            "Look at who keeps the disk busy, below, and whether that has to be at that hour."
            if any(disk.overloaded for disk in slow)
            else "Look for why the disk answers so late: the disk itself, or what stands behind it (a host, a network)."
        )
    sure, doubts = _sure(end), list[str]()
    if not len(leads):
        doubts.append(
            "That nothing was found does not mean that there was nothing: a dump shows one instant."
        )
    return Story(
        title.format(**words), (died.format(**words),), tuple(why), sure, tuple(doubts), (next_step, *step)
    )


def _sure(end: Death) -> str:
    if end.kind == "sysrq":
        return "High for how the machine died: the log says so. Why somebody wanted it, no dump tells."
    if end.kind == "stopped":
        return "Medium: no CPU had panicked, and the log tells of no trouble."
    return "Medium: these are the kernel's own words for why it gave up; what led there they do not tell."


def _slow(disk: io_words.Disk) -> str:
    if disk.overloaded:
        return f"more was asked of disk {disk.name} than it could do"
    return f"disk {disk.name} took {span(disk.middle)} for a request"


def _lead(row: pd.Series[Any]) -> str:
    return f"{row['lead']}, {row['subject']}: {row['evidence']}"
