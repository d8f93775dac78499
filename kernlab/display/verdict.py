"""A verdict in, what a terminal shows of it out: what it died of first and large, what shows it, what speaks against
it, and then what else is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from kernlab.escape import escape_terminal
from kernlab.util.text import human_time
from kernlab.verdict.story import title
from kernlab.verdict.told import lines_of

WIDTH = 80
_MARGIN = 9
#: Sentences of evidence that are shown, of the first finding and of each of the others.
_SHOWN, _BESIDE = 8, 2
_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


def as_text(verdict: pd.DataFrame, coloured: bool = False) -> str:
    """A verdict for a terminal of 80 columns; `coloured` with bold and dim. What is missing is left to who shows it.

    Text of the dump is escaped. Lines of Python are never broken, so that they can be copied.
    """
    rows = verdict.to_dict("records")
    if not rows:
        return _styled(title(verdict), _BOLD, coloured)
    parts = [list(_first(rows[0], title(verdict), coloured))]
    end = [row for row in rows[1:] if row["role"] == "end"]
    other = [row for row in rows[1:] if row["role"] != "end"]
    for heading, found in (("So it ended", end), ("Also", other)):
        if found:
            parts.append([_styled(heading, _BOLD, coloured)])
            parts[-1] += [line for row in found for line in _other(row, coloured)]
    siblings = f"{_label('signature')}{escape_terminal(str(verdict.attrs.get('signature', '')))}"
    parts.append([_styled(siblings, _DIM, coloured)])
    return "\n\n".join("\n".join(part) for part in parts)


def _first(row: dict[Any, Any], headline: str, coloured: bool) -> Iterator[str]:
    """What the machine died of."""
    yield from (_styled(line, _BOLD, coloured) for line in _wrapped(headline, "", ""))
    yield ""
    yield from _listed(
        "found", [f"{row['finding']}: {row['subject']}{'; ' if _place(row) else ''}{_place(row)}"], last=False
    )
    yield from _listed("sure", [_sure(row["confidence"])])
    yield from _listed("shown by", _evidence(row["evidence"], _SHOWN))
    yield from _listed("against", list(row["against"])[:_SHOWN])
    if row["cell"]:
        yield f"{_label('look')}{_cell(row['cell'])}"


def _other(row: dict[Any, Any], coloured: bool) -> Iterator[str]:
    """Something else, in a few lines."""
    sure = _sure(row["confidence"])
    name = escape_terminal(str(row["finding"]))
    yield f"  {_styled(name, _BOLD, coloured)}{sure:>{max(WIDTH - 2 - len(name), len(sure) + 2)}}"
    yield from _wrapped(f"{row['subject']}{'; ' if _place(row) else ''}{_place(row)}", "    ", "    ")
    for said in _evidence(row["evidence"], _BESIDE):
        yield from _wrapped(said, "    ", "      ")
    for said in list(row["against"])[:_BESIDE]:
        yield from _wrapped(f"against: {said}", "    ", "      ")
    if row["cell"]:
        yield f"    {_cell(row['cell'])}"


def _sure(confidence: float) -> str:
    """How sure that is, in words and as a number."""
    words = ((0.95, "certain"), (0.8, "very likely"), (0.5, "likely"), (0.0, "a hint"))
    return f"{next(word for least, word in words if confidence >= least)} ({confidence:.0%})"


def _place(row: dict[Any, Any]) -> str:
    """Where it is: function, module, device, and since when."""
    known = {name: str(row[name]) for name in ("function", "module", "device") if not pd.isna(row[name])}
    parts = []
    if "function" in known:
        parts.append(
            f"in {known['function']}()" + (f" of the module {known['module']}" if "module" in known else "")
        )
    elif "module" in known:
        parts.append(f"in the module {known['module']}")
    if "device" in known and known["device"] != row["subject"]:
        parts.append(f"device {known['device']}")
    # An earlier report says itself when it was.
    if (
        row["role"] != "beside"
        and not pd.isna(row["since"])
        and (seconds := row["since"].total_seconds()) >= 1
    ):
        parts.append(f"since {human_time(seconds)} before the end")
    return ", ".join(parts)


def _evidence(evidence: Iterable[dict[str, Any]], most: int) -> list[str]:
    told = list(evidence)
    shown = [f"{each['table']}: {each['says']}" for each in told[:most]]
    return shown + ([f"and {len(told) - most} more"] if len(told) > most else [])


def _cell(cell: str) -> str:
    """The line that shows it; of a log alone the lines of the file, from 1 on, as editors and sed count."""
    return lines_of(cell) or escape_terminal(cell)


def _listed(label: str, said: list[str], *, last: bool = True) -> Iterator[str]:
    """Sentences behind a label, and an empty line behind the `last` of them."""
    for number, each in enumerate(said):
        yield from _wrapped(each, _label(label if number == 0 else ""), " " * (_MARGIN + 1))
    if said and last:
        yield ""


def _label(label: str) -> str:
    return f"{label:<{_MARGIN}} "


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        escape_terminal(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _styled(text: str, style: str, coloured: bool) -> str:
    return f"{style}{text}{_PLAIN}" if coloured else text
