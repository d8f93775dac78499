"""The sections of a report that every dump has: the story, the log, the stack, the machine, what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kernlab.display.summary import summary
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.linux.whatis.threads import say_thread
from kernlab.report import io_words, memory_words
from kernlab.report.death import FAULTS, WATCHED, Death, death
from kernlab.report.explain import in_words, split_symbol
from kernlab.report.gaps import gaps
from kernlab.report.hangs import root_holder
from kernlab.report.lead_list import leads_of
from kernlab.report.log_lines import log_lines, telling
from kernlab.report.parts import (
    Folded,
    Heading,
    Items,
    Leads,
    Lines,
    Part,
    Section,
    Table,
    Words,
)
from kernlab.report.phrases import listed, several
from kernlab.report.story import story

if TYPE_CHECKING:
    from kernlab.display.stacks.stack import Stack
    from kernlab.dump import Dump

#: Lines of the log that are shown at once, around the death; and of the whole report, folded.
_SHOWN, _FOLDED = 12, 400
#: Stacks of others that are shown beside that of who died.
_MOST_STACKS = 4
_MOST_LEADS = 12
#: Half of what a lead that a CPU is held stands for.
_HARDLY = pd.Timedelta(seconds=5)
#: Said where there is code to run.
_WHO_RUNS = (
    "What begins with “dump.” is Python: whoever has the dump and kernlab can run it (kernlab notebook vmcore opens "
    "both)."
)


def in_short(dump: Dump) -> Section:
    """The answers that a reader comes for: why it died, how sure that is, what to do next, what ate the memory.

    Where memory was short, who has it is told before what to do.
    """
    told = story(dump)
    parts: list[Part] = [Heading("Why it died"), Words(" ".join(filter(None, told.died)))]
    if told.why:
        parts += [Heading("What shows it"), Items(told.why)]
    parts += [Heading("How sure that is"), Words(told.sure)]
    if told.doubts:
        parts += [Heading("What is in doubt"), Items(told.doubts)]
    if told.besides:
        parts += [Heading("What else was found"), Items(told.besides)]
    short, memory = _memory(dump)
    if short:
        parts += memory
    disks = io_words.answer(dump, notable=True)
    if disks and not any(one in told.why for one in disks):
        parts += [Heading("What the disks did"), Items(disks)]
    parts += [Heading("What to do next"), Items(told.next, numbered=True)]
    if told.cell:
        parts += [Words("The code that shows why:"), Lines([told.cell])]
    if told.cell or any("dump." in step for step in told.next):
        parts.append(Words(_WHO_RUNS))
    return Section("In short", parts if short else parts + memory)


def _memory(dump: Dump) -> tuple[bool, list[Part]]:
    """Whether memory was short, and what had it, in sentences under their heading."""
    try:
        short = memory_words.is_short(dump)
        head = Heading("What ate the memory" if short else "How much memory was free")
        return short, [head, *map(Words, memory_words.answer(dump))]
    except KernlabError as error:
        return False, [Heading("How much memory was free"), Words(f"The dump does not tell: {error}")]


def leads(dump: Dump) -> Section:
    """The leads of `dump.suspects`, the weightiest first: what, why it looks wrong, and the code that shows more."""
    found = leads_of(dump)[:_MOST_LEADS]
    if not found:
        return Section("Leads", [Words("None: nothing that kernlab looks at was out of the ordinary.")])
    said = f"What looks wrong, the weightiest first, each with the code that shows more. {_WHO_RUNS}"
    return Section("Leads", [Words(said), Leads(found)])


def last_words(dump: Dump) -> Section:
    """The log where the last trouble begins, up to the panic."""
    log = dump.log
    if not len(log):
        return Section("What the kernel said last", [Words("The dump holds no log.")])
    end = death(dump)
    found = end.report
    first, last = found if found is not None else (max(0, len(log) - _SHOWN), len(log) - 1)
    lines = telling(log_lines(log, first, min(last + 1, len(log))))
    begin = lines[:_SHOWN]
    parts: list[Part] = [
        Words(
            "The kernel's log from where its last trouble begins, without registers and stacks; times are "
            "seconds since boot."
            if found is not None
            else "The end of the kernel's log, which tells of no trouble; times are seconds since boot."
        ),
    ]
    cut = len(lines) - _SHOWN - 1
    begin = [*begin, f"    … {cut:,} more line{'s' if cut > 1 else ''} …", lines[-1]] if cut > 0 else lines
    parts.append(Lines(begin))
    if end.kind in FAULTS and not any("Kernel panic" in line for line in lines):
        parts.append(
            Words(
                "There is no line “Kernel panic”: after such an error the kernel starts the crash kernel, which writes "
                "the dump, without another word."
            )
        )
    around = log_lines(log, max(0, first - 20), min(last + 21, len(log)))
    if len(around) > len(begin):
        most = around if len(around) <= _FOLDED else [*around[: _FOLDED - 50], "    …", *around[-50:]]
        parts.append(Folded(f"All {len(around):,} lines of it, with those before and after", [Lines(most)]))
    return Section("What the kernel said last", parts)


def stacks(dump: Dump) -> Section:
    """The stack of who died, each frame in plain words; and of who keeps the others waiting, where somebody does."""
    end = death(dump)
    died, others = _of_panic(dump, end), list[Part]()
    for what, pid in _others(dump)[:_MOST_STACKS]:
        if pid == end.pid:
            continue
        try:
            others += _stack(dump.stack(pid), what)
        except KernlabError as error:
            others.append(Words(f"{what}: {error}"))
    # Of a machine that hung the one who panicked is the messenger.
    parts = [*others, *died] if end.kind in WATCHED else [*died, *others]
    if not parts:
        return Section(
            "Where it stood", [Words("No CPU had panicked, and nobody is known to keep others waiting.")]
        )
    lead = Words(
        "Each thread's chain of calls when the machine died, the latest first: read from the bottom up to follow how "
        "it came there."
    )
    return Section("Where it stood", [lead, *parts])


def _of_panic(dump: Dump, end: Death) -> list[Part]:
    if end.kind == "stopped" and end.cpu is None:
        return []
    try:
        stack = dump.stack.of_panic()
    except KernlabError as error:
        return [Words(f"The stack of who panicked is not known: {error}")]
    return _stack(stack, f"{end.who or 'The thread that panicked'}, which panicked on CPU {end.cpu}")


def _others(dump: Dump) -> list[tuple[str, int]]:
    """Threads whose stacks tell more than that of who panicked: those in a deadlock, who holds what others wait for."""
    found: list[tuple[str, int]] = []
    tasks = dump.tasks.drop_duplicates("pid").set_index("pid")["comm"]
    try:
        graph = dump.waits.graph()
        found += [
            (f"{say_thread(str(tasks.get(pid, '?')), pid)}, part of a deadlock", pid)
            for cycle in graph.cycles
            for pid in cycle
        ]
        root = root_holder(dump)
        # A program that waits for its child is no trouble.
        if root is not None and not graph.cycles and root in _kept_by_lock(dump):
            found.append((f"{say_thread(str(tasks.get(root, '?')), root)}, for whom others wait", root))
    except KernlabError:
        pass
    return found


def _stack(stack: Stack, title: str) -> list[Part]:
    rows = stack.frames
    parts: list[Part] = [Heading(title)]
    sure = rows[rows["reliable"]]
    if not len(sure):
        return [*parts, Words("No frame of it is known."), *map(Words, stack.problems[:2])]
    names = [str(one) if isinstance(one, str) else "?" for one in sure["symbol"]]
    split = [split_symbol(name) for name in names]
    frame = pd.DataFrame(
        {
            "function": [function for function, _ in split],
            "module": [module or "kernel" for _, module in split],
            "words": _once([in_words(name) for name in names]),
        }
    )
    parts.append(
        Table(
            f"Calls of {title.split(',')[0]}, the latest first",
            frame,
            {"function": "function", "module": "of", "words": "in words"},
        )
    )
    parts.append(Folded("As the kernel prints it, with registers", [Lines(str(stack).split("\n"))]))
    return parts


def _once(words: list[str]) -> list[str]:
    """What functions do in words, said once where several in a row do the same."""
    last, said = "", []
    for each in words:
        said.append("" if each == last else each)
        last = each or last
    return said


def _kept_by_lock(dump: Dump) -> set[int]:
    """The pids of those who have a lock that others wait for."""
    rows = dump.waits[dump.waits["holder_pid"].notna() & ~dump.waits["type"].isin(["child", "process"])]
    return {int(pid) for pid in rows["holder_pid"]}


def cpus(dump: Dump) -> Section:
    """What each CPU ran when the machine died."""
    tasks = dump.tasks
    running = tasks[tasks["on_cpu"].fillna(False)].sort_values("cpu", kind="stable")
    if not len(running):
        return Section("What the CPUs did")
    blocked = int((tasks["state"] == "D").sum())
    busy = running[running["pid"] != 0]
    idle = len(running) - len(busy)
    rest = f", {'the other one was' if idle == 1 else 'the others were'} idle" if idle else ""
    asleep = (
        f"{blocked:,} waited for something and could not be interrupted (state D: no signal wakes such a thread, what "
        "it waits for does)"
        if blocked
        else "none waited for something that cannot be interrupted (state D)"
    )
    words = (
        f"{len(busy):,} of {several(len(running), 'CPU')} ran a thread{rest}. Of "
        f"{several(int((tasks['pid'] > 0).sum()), 'thread')} {asleep}."
    )
    shown = busy.head(16)
    parts: list[Part] = [Words(words)]
    if len(shown):
        caption = "Threads on CPUs" + (f", {len(shown)} of {len(busy):,}" if len(busy) > len(shown) else "")
        parts.append(
            Table(
                caption,
                shown,
                {
                    "cpu": "CPU",
                    "comm": "thread",
                    "pid": "pid",
                    "utime": "as a program",
                    "stime": "in the kernel",
                },
            )
        )
        deaf = _deaf(dump)
        parts.append(
            Words(
                "The times are those of a thread's whole life; the kernel counts them in ticks of its clock."
                + (
                    f" {listed(deaf)} had the CPU for longer than these times say, and so heard no ticks: interrupts "
                    "were switched off there."
                    if deaf
                    else ""
                )
            )
        )
    return Section("What the CPUs did", parts)


def _deaf(dump: Dump) -> list[str]:
    """The threads that kept their CPUs for long, by `dump.suspects`, of which hardly any time was counted."""
    tasks = dump.tasks
    counted = tasks["utime"] + tasks["stime"]
    little = tasks[tasks["on_cpu"].fillna(False) & (counted < _HARDLY)]
    names = {
        show_controls(say_thread(str(comm), int(pid)))
        for comm, pid in zip(little["comm"], little["pid"], strict=True)
    }
    rows = dump.suspects
    return [name for name in rows.loc[rows["lead"] == "CPU held", "subject"] if name in names]


def machine(dump: Dump) -> Section:
    """Facts of the machine, its kernel and the dump."""
    told = summary(dump)
    rows = pd.DataFrame([(name, value) for name, value in told.rows], columns=["fact", "value"])
    return Section(
        "The machine", [Table("The machine", rows, {"fact": "what", "value": "as the dump tells"})]
    )


def missing(dump: Dump) -> Section:
    """What the dump lacks, as the file and every table so far say it."""
    problems = gaps(dump)
    if not problems:
        return Section(
            "What this dump lacks", [Words("Nothing that was looked at: all tables could be read whole.")]
        )
    return Section(
        "What this dump lacks",
        [
            Words("What could not be read or was not recorded; what depends on it above may be incomplete."),
            Items(problems[:40]),
            *([Words(f"And {len(problems) - 40:,} more.")] if len(problems) > 40 else []),
        ],
    )
