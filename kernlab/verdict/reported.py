"""A log and the rows of its reports in, what findings quote of them out: the kernel's words, names, labels, code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.oops.lines import own_text

if TYPE_CHECKING:
    from kernlab.verdict.case import Case


def text_or_none(value: object) -> str | None:
    """A cell of a table as text (module, function, comm …), None where it is missing or ''."""
    return None if value is None or pd.isna(value) or not value else str(value)  # type: ignore[call-overload]


def kernel_text(case: Case) -> pd.Series[str]:
    """What the kernel said, by the labels of `log`: '' for rows that are not known, and for what programs wrote."""
    return own_text(case.log)


def pid_of(report: pd.Series[Any]) -> int | None:
    """The thread that a report names, None where it names none. `kernlab.verdict.trap.who_did_it` says whose doing it
    was."""
    return None if pd.isna(report["pid"]) else int(report["pid"])


def label_of(case: Case, report: pd.Series[Any]) -> int:
    """The label in the log's index of a report's first line."""
    return int(case.log.index[int(report["offset"])])


def lines_cell(report: pd.Series[Any]) -> str:
    """The code that shows a report's lines."""
    return f"dump.log.iloc[{int(report['offset'])}:{int(report['end'])}]"
