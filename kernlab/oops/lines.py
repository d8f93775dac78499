"""A kernel log in, its lines without prefixes out: what was said, when, and by whom, each made when asked for."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kernlab.oops.prefixes import MOST_CHARACTERS, PROMPT, STAMP, split

#: Blanks before each line of a log that was pasted.
_DEEPEST = 64


class Line(NamedTuple):
    """One line of a log."""

    number: int  # of the line in the text, or of the row in the table
    text: str  # without prefix
    time: int | None  # ns since boot
    caller: str  # T12, C0; '' where the log does not say


class Log:
    """The lines of a log. `text` is all of it; lines are split off and stripped of prefixes when somebody asks."""

    def __init__(self, log: str | pd.Series[str] | pd.DataFrame):
        self._rows: Sequence[int] | None = None  # first line of each row of a table
        self._times: Sequence[int | None] = ()
        self._callers: Sequence[str] = ()
        if isinstance(log, str):
            self.text = log
        else:
            self._of_records(log)
        self.raw = self.text.split("\n")
        if isinstance(log, str) and (indent := _indent(self.raw)):
            self.raw = [line.removeprefix(indent) for line in self.raw]
            self.text = "\n".join(self.raw)
        self._known: dict[int, Line] = {}

    def _of_records(self, log: pd.Series[str] | pd.DataFrame) -> None:
        texts = own_text(log) if isinstance(log, pd.DataFrame) else log
        records = [text if isinstance(text, str) else "" for text in texts.tolist()]
        self.text = "\n".join(records)
        first, rows = 0, []
        for record in records:
            rows.append(first)
            first += record.count("\n") + 1
        self._rows = rows
        times = log["timestamp"] if isinstance(log, pd.DataFrame) and "timestamp" in log else None
        if times is None and isinstance(texts.index, pd.TimedeltaIndex):
            times = texts.index.to_series()
        if times is not None and pd.api.types.is_timedelta64_dtype(times.dtype):
            stamps = times.astype("timedelta64[ns]")
            values, missing = stamps.to_numpy().astype("i8").tolist(), stamps.isna().tolist()
            self._times = [None if no else value for value, no in zip(values, missing, strict=True)]
        if isinstance(log, pd.DataFrame) and "caller" in log:
            self._callers = [caller if isinstance(caller, str) else "" for caller in log["caller"].tolist()]

    def __len__(self) -> int:
        return len(self.raw)

    def line(self, index: int) -> Line:
        """A line by its place among all lines."""
        known = self._known.get(index)
        if known is None:
            text, time, caller = split(self.raw[index], anywhere=self._rows is None)
            number = index
            if self._rows is not None:
                number = bisect.bisect_right(self._rows, index) - 1
                time = self._times[number] if self._times else time
                caller = (self._callers[number] if self._callers else "") or caller
            known = self._known[index] = Line(number, text, time, caller)
        return known

    def tail(self, index: int) -> bool:
        """A line in which another stamp stands, because two CPUs wrote at once, becomes what follows the last one."""
        raw = self.raw[index][:MOST_CHARACTERS]
        stamps = list(STAMP.finditer(raw, 1)) if "]" in raw else []
        last = stamps[-1] if stamps else None
        if last is None or (last.start() <= PROMPT and not raw[: last.start()].strip()):
            return False
        text, time, caller = split(raw[last.start() :])
        self._known[index] = self.line(index)._replace(text=text, time=time, caller=caller)
        return True


def own_text(log: pd.DataFrame) -> pd.Series[str]:
    """What the kernel itself said, by the labels of a `log`: '' for rows whose text is missing, and for what programs
    wrote, where the log tells these apart."""
    text: pd.Series[str] = log["text"].fillna("")
    if "facility" not in log:
        return text
    # /dev/kmsg takes no line for the kernel's own (kernel/printk/printk.c, devkmsg_write). Of a record whose descriptor
    # is lost nobody knows.
    return text.where((log["facility"] == 0).fillna(False), "")


def _indent(lines: list[str]) -> str:
    """The blanks with which all lines begin, as of a log that was pasted into a page."""
    common: str | None = None
    for line in lines:
        if line.strip():
            if common is None:
                common = line[: min(len(line) - len(line.lstrip(" \t")), _DEEPEST)]
            while not line.startswith(common):
                common = common[:-1]
            if not common:
                break
    return common or ""
