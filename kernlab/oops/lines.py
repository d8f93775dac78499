"""A kernel log in, its lines without prefixes out: what was said, when, and by whom, each made when asked for."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

#: No line of the kernel is longer (kernel/printk: PRINTKRB_RECORD_MAX, 2048 with its prefix); the rest is not read.
MOST_CHARACTERS = 4096

#: printk's stamp: "[   12.345678]" (kernel/printk/printk.c, print_time).
_STAMP = re.compile(r"\[ *+(?P<seconds>\d{1,10})\.(?P<part>\d{1,9})\]")
#: The caller's id behind it: "[  T123]", "[    C0]" (print_caller); and what some vendors print there.
_CALLER = re.compile(r" ?\[ *+(?P<caller>[TC]\d{1,10})\]")
_VENDOR = re.compile(r" *+\[\d{1,4}: *+[^\]\n]{1,24}: *+\d{1,10}\]")
#: A level where there is no stamp, the time of syslog, journalctl or dmesg -T, and the program that wrote.
_OTHER = re.compile(
    r"(?:<\d{1,3}>)?+"
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] |"
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?+(?:Z|[+-]\d\d:?\d\d)?+ )?+"
    r"(?:[^\s\[]{1,64} kernel(?:\[\d{1,10}\])?+: )?+"
)
#: Colours, as dmesg and systemd write them.
_COLOUR = re.compile(r"\x1b\[[\d;]{0,16}[mK]")
#: A stamp stands so early in a line, behind what a syslog or a prompt of the console wrote.
_PROMPT = 160


class Line(NamedTuple):
    """One line of a log."""

    number: int  # of the line in the text, or of the row in the table
    text: str  # without prefix
    time: int | None  # ns since boot
    caller: str  # T12, C0; '' where the log does not say


def split(raw: str, anywhere: bool = True) -> tuple[str, int | None, str]:
    """What a line says, its time in ns since boot, and its caller; the stamp may stand behind a prompt (`anywhere`).

    >>> split("<4>[   12.000005][  T123]  ? foo+0x1/0x2")
    (' ? foo+0x1/0x2', 12000005000, 'T123')
    """
    raw = raw[:MOST_CHARACTERS].rstrip("\r")
    if "\x1b" in raw:
        raw = _COLOUR.sub("", raw)
    time, caller = None, ""
    stamp = _STAMP.search(raw, 0, _PROMPT) if anywhere else _STAMP.match(raw)
    if stamp:
        time = int(stamp["seconds"]) * 10**9 + int(stamp["part"].ljust(9, "0"))
        end = stamp.end()
    else:
        end = _OTHER.match(raw).end()  # type: ignore[union-attr]  # nothing matches, too
    by = _CALLER.match(raw, end)
    if by:
        caller, end = by["caller"], by.end()
    elif stamp and (vendor := _VENDOR.match(raw, end)):
        end = vendor.end()
    if end and raw[end : end + 1] == " ":
        end += 1
    return raw[end:], time, caller


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
        self._known: dict[int, Line] = {}

    def _of_records(self, log: pd.Series[str] | pd.DataFrame) -> None:
        texts = log["text"] if isinstance(log, pd.DataFrame) else log
        records = [text if isinstance(text, str) else "" for text in texts.tolist()]
        if isinstance(log, pd.DataFrame) and "facility" in log:
            # /dev/kmsg takes no line for the kernel's own (kernel/printk/printk.c, devkmsg_write).
            own = (log["facility"] == 0).tolist()
            records = [text if is_own else "" for text, is_own in zip(records, own, strict=True)]
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
        stamps = list(_STAMP.finditer(raw, 1)) if "]" in raw else []
        last = stamps[-1] if stamps else None
        if last is None or (last.start() <= _PROMPT and not raw[: last.start()].strip()):
            return False
        text, time, caller = split(raw[last.start() :])
        self._known[index] = self.line(index)._replace(text=text, time=time, caller=caller)
        return True
