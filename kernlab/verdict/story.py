"""A verdict in, its story in plain words out: why the machine stopped, how sure that is, what to do next."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kernlab.escape import show_short
from kernlab.util.text import human_time, percent
from kernlab.verdict.doubts import ANOTHER
from kernlab.verdict.glossary import explained
from kernlab.verdict.log_alone import NEEDS_A_DUMP, NO_PANIC
from kernlab.verdict.told import fields, lines_of, says, text
from kernlab.verdict.vocabulary import word
from kernlab.verdict.words import devices
from kernlab.verdict.words.word import filled

#: From which confidence on a finding is called sure, and likely; below it is a hint.
SURE, LIKELY = 0.8, 0.5
#: Other findings that are told, and rows of evidence of each.
_MOST, MOST_EVIDENCE = 8, 6
#: What began so much before the end began before it.
_BEFORE = pd.Timedelta(seconds=2)
_LOST = "Only what programs had not yet written to a disk is lost."


#: Hints that are weaker are not told: others hold more, or nearly all speaks against them.
_FAINT = 0.1
#: How it is told of holders of memory where memory ran out; where it did not, only that they hold it.
_RAN_OUT = "memory ran out, and "
#: Reports of a kernel that checks each access to memory already.
_CHECKED = re.compile(r"\b(?:KASAN|KMSAN|KCSAN): ")
_OF_IT = re.compile(r"\b(most|much) of it\b")
#: What stands still at the end, whatever ended the machine, and does so again after the next start.
_STANDS_STILL = frozenset({"deadlock", "lock not released"})
#: What stands above the code.
_SEE = "See it in Python (dump is the opened dump):"


@dataclass(frozen=True)
class Story:
    """What a verdict says, in sentences. Strings of the dump in them are shown, not escaped for HTML."""

    title: str
    #: Why it stopped, how the kernel noticed, since when, and what is lost.
    died: tuple[str, ...]
    #: What shows it.
    why: tuple[str, ...]
    #: "High", "Medium" or "Low", and of what.
    sure: str
    #: What speaks against it.
    doubts: tuple[str, ...]
    #: What else is wrong, that did not end the machine.
    besides: tuple[str, ...]
    #: What to do next, first things first.
    next: tuple[str, ...]
    #: The code that shows it.
    cell: str


def tell(verdict: pd.DataFrame) -> Story:
    """The story of a verdict (`dump.verdict`), from its findings only."""
    if not len(verdict):
        return _nothing(verdict)
    rows = [row for _, row in verdict.iterrows()]
    first = rows[0]
    if first["role"] == "beside":
        return _without_end(verdict, rows)
    said, known = word(first["finding"]), fields(first)
    ends = [row for row in rows[1:] if row["role"] == "end"]
    others = [row for row in rows[1:] if row["role"] == "cause" and row["confidence"] >= LIKELY]
    hints = [row for row in rows[1:] if row["role"] == "cause" and _FAINT <= row["confidence"] < LIKELY]
    besides = [row for row in rows[1:] if row["role"] == "beside" and row["confidence"] >= _FAINT]
    why = says(first)[:MOST_EVIDENCE]
    for row in others[:_MOST]:
        why.append(f"At the same time: {_clause(row)}.")
        why += [said for said in says(row)[:MOST_EVIDENCE] if said not in why or not _of_a_module(row, said)]
    doubts = [
        # The other causes are told above.
        *(show_short(str(one), 500) for one in first["against"] if not str(one).startswith(ANOTHER)),
        filled(said.doubt, known),
        *_unread(verdict),
    ]
    return Story(
        title(verdict),
        (_stopped(first), *_since(first), *map(_noticed, ends), filled(said.lost, known) or _lost(first)),
        tuple(why),
        how_sure(first),
        tuple(dict.fromkeys(filter(None, doubts))),
        tuple(_beside(row, why) for row in [*hints, *besides][:_MOST]),
        tuple(
            dict.fromkeys(
                [*_steps(first), *(step for row in others for step in _steps(row)), *_cared_for(besides)]
            )
        ),
        text(first["cell"]),
    )


def story(verdict: pd.DataFrame, *, width: int | None = None) -> str:
    """The story of a verdict as text, a paragraph a line, or in lines of at most `width` characters.

    >>> from kernlab.verdict.story import story
    >>> dump = kernlab.open(kernlab.sample("oops"))
    >>> print(story(dump.verdict, width=78).splitlines()[0])
    A NULL pointer in order_check of the module kernlab_story
    """
    told = tell(verdict)
    parts = [[told.title], [" ".join(filter(None, told.died))]]
    parts += _listed("What shows it:", told.why)
    parts.append([f"How sure: {told.sure}"])
    parts += _listed("What is in doubt:", told.doubts)
    parts += _listed("What else was found:", told.besides)
    parts += _listed("What to do next:", told.next)
    used = explained("\n".join(line for part in [*parts, [told.cell]] for line in part))
    paragraphs = ["\n".join(_wrapped(line, width) for line in part) for part in parts]
    if lines := lines_of(told.cell):
        paragraphs.append(f"See it: {lines}.")
    elif told.cell:
        # Never broken, so that it can be copied.
        paragraphs.append(f"{_SEE}\n{told.cell}")
    paragraphs += [
        "\n".join(_wrapped(line, width) for line in part) for part in _listed("Words used here:", used)
    ]
    return "\n\n".join(paragraphs)


def title(verdict: pd.DataFrame) -> str:
    """What a machine died of, in one line; strings of the dump in it are shown, not escaped for HTML."""
    if not len(verdict):
        return "Nothing that ended this machine was found"
    first = verdict.iloc[0]
    if first["role"] == "beside" and first["confidence"] < LIKELY:
        return "Nothing that ended this machine was found"
    if first["role"] == "beside":
        return f"No end of this machine was found, but this: {filled(word(first['finding']).title, fields(first))}"
    circles = [fields(row)["circle"] for _, row in verdict[verdict["finding"] == "deadlock"].iterrows()]
    if first["finding"] == "deadlock" and len(circles) > 1:
        first_of_them, *others = [one for one in circles[:3] if one] or ["threads"]
        also = f", and so do {', and '.join(others)}" if others else ""
        return f"{len(circles):,} deadlocks: {first_of_them} wait for each other{also}"
    return filled(word(first["finding"]).title, fields(first))


def how_sure(row: pd.Series[Any]) -> str:
    """How sure a finding is, and of what: `High (97%): the kernel itself says that memory ran out.`"""
    confidence = float(row["confidence"])
    level = "High" if confidence >= SURE else "Medium" if confidence >= LIKELY else "Low"
    of = filled(word(row["finding"]).sure, fields(row))
    if level == "Low":
        return f"Low ({percent(confidence)}): it is only a hint."
    return f"{level} ({percent(confidence)}): {of or 'tables of the dump show it'}."


def _nothing(verdict: pd.DataFrame) -> Story:
    alone = any(NEEDS_A_DUMP in str(each) for each in verdict.attrs.get("problems", ()))
    step = "Look at the end of the log, and at who was running: dump.log.tail(40), dump.tasks[dump.tasks.on_cpu]."
    return Story(
        "Nothing that ended this machine was found",
        ("Its log tells of no end, and nothing that kernlab looks at was out of the ordinary.",),
        (),
        "Low: that nothing was found does not mean that there was nothing. "
        + ("A log may lack its last lines." if alone else "A dump shows one instant."),
        _unread(verdict) if alone else (),
        (),
        ("Look at the last lines of the log, and whether it is of the time when the machine stopped.",)
        if alone
        else (step,),
        "",
    )


def _without_end(verdict: pd.DataFrame, rows: list[pd.Series[Any]]) -> Story:
    """What went wrong, where nothing tells that the machine died: it may have gone on, or its last words are lost."""
    return Story(
        title(verdict),
        (
            "Nothing tells how the machine ended, or that it did: it may have gone on, or its last lines are missing.",
            f"What went wrong before: {_beside(rows[0], says(rows[0]))}.",
        ),
        tuple(says(rows[0])[:MOST_EVIDENCE]),
        f"{how_sure(rows[0])} Whether the machine ended by it is not known.",
        (*(show_short(str(one), 500) for one in rows[0]["against"]), *_unread(verdict)),
        tuple(map(_beside, rows[1:_MOST])),
        tuple(dict.fromkeys([*_steps(rows[0]), *_cared_for(rows[1:])])),
        text(rows[0]["cell"]),
    )


def _clause(row: pd.Series[Any]) -> str:
    return filled(word(row["finding"]).because, fields(row))


def _stopped(row: pd.Series[Any]) -> str:
    clause = _clause(row)
    if word(row["finding"]).because[:1].isupper():
        return f"{clause}."
    confidence = float(row["confidence"])
    how = (
        "stopped"
        if confidence >= SURE and NO_PANIC not in row["against"]
        else "probably stopped"
        if confidence >= LIKELY
        else "may have stopped"
    )
    return f"The machine {how} because {clause}."


def _noticed(row: pd.Series[Any]) -> str:
    """How the kernel noticed what something else had caused."""
    return filled(word(row["finding"]).noticed, fields(row)) or f"The end itself: {_clause(row)}."


def _since(row: pd.Series[Any]) -> tuple[str, ...]:
    since = row["since"]
    if pd.isna(since) or since < _BEFORE:
        return ()
    return (f"It began {human_time(since.total_seconds())} before the end.",)


def _lost(row: pd.Series[Any]) -> str:
    return "" if row["finding"] == "stopped" else _LOST


def _beside(row: pd.Series[Any], told: Sequence[str] = ()) -> str:
    """Another finding in one line, with what shows it, if that is not `told`: a hint is called one."""
    since, known = row["since"], fields(row)
    # What would follow if a hint were true is not said of it: only what was seen.
    clause = _held(_clause(row)) if row["confidence"] >= LIKELY else _named(row)
    when = "" if pd.isna(since) or since < _BEFORE else f"{human_time(since.total_seconds())} before the end"
    if known["times"]:
        when = f"{known['times']} times, the last {when}".removesuffix(", the last ")
    elif when and any(each["table"] != "log" for each in row["evidence"]):
        # Tables show it at the end: it went on until then.
        when = f"since {when}"
    hint = "" if row["confidence"] >= LIKELY else f"Only a hint ({percent(float(row['confidence']))}): "
    # The clause names the circle and the function already.
    new = [said for said in says(row) if said not in told and not said.endswith(f" in {known['function']}")]
    seen = "" if known["circle"] else "; ".join(new[: 3 if known["earlier"] else 1])
    return f"{hint}{clause}{', ' if when else ''}{when}" + (f" – {seen}" if seen else "")


def _held(clause: str) -> str:
    """What is said of who holds memory, where it did not run out."""
    held = clause.removeprefix(_RAN_OUT)
    return clause if held == clause else _OF_IT.sub(r"\1 of memory", held, count=1)


def _steps(row: pd.Series[Any]) -> list[str]:
    known = fields(row)
    steps = [step for each in word(row["finding"]).steps if (step := filled(each, known))]
    checked = any(_CHECKED.search(said) for said in says(row))
    return [step for step in steps if not (checked and "KASAN" in step)]


def _cared_for(besides: list[pd.Series[Any]]) -> list[str]:
    """What disks, file systems, hardware and locks that nobody will give back need, whatever ended the machine."""
    return [
        step
        for row in besides
        if (row["finding"] in devices.WORDS or row["finding"] in _STANDS_STILL)
        and row["confidence"] >= SURE
        and fields(row)["subject"]
        for step in _steps(row)[:1]
    ]


def _named(row: pd.Series[Any]) -> str:
    subject = fields(row)["subject"]
    return f"{show_short(str(row['finding']))}{': ' if subject else ''}{subject}"


def _of_a_module(row: pd.Series[Any], said: str) -> bool:
    """Whether a sentence of the evidence is about what kind of module it is: that is the same for all findings."""
    return any(each["table"] == "modules" and each["says"] == said for each in row["evidence"])


def _unread(verdict: pd.DataFrame) -> tuple[str, ...]:
    """What the verdict could not look at."""
    problems = list(verdict.attrs.get("problems", ()))
    if not problems:
        return ()
    if NEEDS_A_DUMP in str(problems[0]) and len(problems) == 1:
        return ("Only the log was there to look at: a dump of the machine would tell more.",)
    first = show_short(str(problems[0]), 300)
    more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    return (f"Not all could be looked at: {first}{more}.",)


def _listed(head: str, items: tuple[str, ...] | list[str]) -> list[list[str]]:
    return [[head, *(f"- {item}" for item in items)]] if items else []


def _wrapped(line: str, width: int | None) -> str:
    if width is None:
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False) or line
