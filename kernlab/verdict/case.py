"""What rules look at: the tables of a dump or a log alone, the reports of the log, and how the machine ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.linux.locks.hung import hung_after
from kernlab.oops import parse
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import Stack, normal, telling
from kernlab.tables.system.log import log
from kernlab.verdict.ata_disks import ata_disks
from kernlab.verdict.boots import one_boot
from kernlab.verdict.case_tables import CaseTables, Table
from kernlab.verdict.chains import Chains
from kernlab.verdict.dying import UP_TO_THE_END, as_at_the_panic, panicked_at, seconds_of_dying
from kernlab.verdict.ending import End, end_of
from kernlab.verdict.log_alone import lines_of
from kernlab.verdict.oom_report import OomReport, read_oom_report
from kernlab.verdict.reported import kernel_text


class Blamed(NamedTuple):
    """A function and its module (None for the kernel's own)."""

    function: str | None
    module: str | None


class Case(CaseTables):
    """A dump with its tables, or a log alone.

    A rule that can conclude from the log asks `has_dump` before it looks at tables: of a log alone they raise, and a
    rule that raises is not asked.
    """

    #: A log may be of several boots, none of which died.
    _of_one_boot = True

    def __init__(self, kernel: Kernel | None, text: str = ""):
        super().__init__(kernel)
        # What a file ends with is no line of its own.
        self._text, self._of_one_boot = one_boot(text.removesuffix("\n"))

    @cached_property
    def log(self) -> pd.DataFrame:
        """`dump.log`; of a log alone its lines."""
        return lines_of(self._text) if self._kernel is None else self._table(log)

    @cached_property
    def reports(self) -> pd.DataFrame:
        """The reports of the log (`kernlab.oops.parse`): by the kernel, not by programs that wrote into its log."""
        return parse(self._text if self._kernel is None else self.log)

    @cached_property
    def end(self) -> End:
        """How the machine came to its end."""
        return end_of(self)

    @property
    def end_cpu(self) -> int | None:
        """The CPU that the end's report is about; None where it names none."""
        report = self.end.report
        return self.end.cpu if report is None or pd.isna(report["cpu"]) else int(report["cpu"])

    def lines(self, first: int, end: int) -> list[tuple[int, str]]:
        """Lines of the log by their places, `end` not with them: the label in the log's index, and the text."""
        own = self.log["text"].iloc[first:end].fillna("")
        return list(zip(own.index.tolist(), own.tolist(), strict=True))

    @cached_property
    def chains(self) -> Chains:
        """Who stands behind whom in `dump.waits`."""
        return Chains(self.waits, self.waits.graph())

    @cached_property
    def oom(self) -> OomReport | None:
        """What the OOM killer's report says that the machine ended with; None where it ended otherwise."""
        report = self.end.report
        if report is None or self.end.kind != "OOM":
            return None
        return read_oom_report(self.told(report))

    def told(self, report: pd.Series[Any]) -> list[str]:
        """The lines that a report's thread printed, up to the next report: also those that it lists at length."""
        first, end = int(report["offset"]), int(report["end"])
        later = self.reports["offset"][self.reports["offset"] > first]
        until = int(later.min()) if len(later) else len(self.log)
        caller = report["caller"]
        if pd.isna(caller) or not caller:  # CONFIG_PRINTK_CALLER=n
            return [str(text) for text in self.log["text"].iloc[first:end].fillna("")]
        rows = self.log.iloc[first:until]
        # A record of several lines has its prefix once, where the log is a text.
        without = (rows["caller"].fillna("") == "").to_numpy() & (np.arange(first, until) < end)
        return [
            str(text) for text in rows["text"][(rows["caller"] == caller).to_numpy() | without].fillna("")
        ]

    @cached_property
    def hung_after(self) -> int:
        """Seconds after which an uninterruptible sleep is called hung: what was set, else the usual two minutes."""
        return hung_after(self.kernel)

    def stack_of(self, pid: int) -> pd.DataFrame:
        """The frames of a thread, the innermost first; no rows where it is not known. Idle threads have none here."""
        return self.stacks[(self.stacks["pid"] == pid) & (pid != 0)]

    def stack_of_cpu(self, cpu: int) -> pd.DataFrame:
        """The frames of what ran on a CPU when the machine died, the innermost first."""
        return self.stacks[self.stacks["cpu"] == cpu]

    def blamed(self, frames: pd.DataFrame, stack: Stack) -> Blamed:
        """The function that a stack is about, and its module; None each where no frame tells.

        `frames` are rows of `stacks`; `stack` is whose it is, as for `kernlab.oops`.
        """
        sure = frames.loc[frames["symbol"].notna() & frames["reliable"], "symbol"]
        told = telling([one for text in sure if (one := frame_of(text)) is not None], stack)
        # Code that no symbol covers, as of a module whose own are lost, is somebody's all the same.
        if not told or told[0].name.startswith("0x"):
            return Blamed(None, None)
        module = told[0].module or None
        return Blamed(None if self._half_known(module) else normal(told[0].name), module)

    def _half_known(self, module: str | None) -> bool:
        """Whether symbols of a module are lost: then the one before an address may be another function's."""
        lost = [each for each in self.modules.attrs["problems"] if "symbols of module" in each]
        return module is not None and any(repr(module) in each for each in lost)

    @cached_property
    def ata_disks(self) -> dict[str, str]:
        """Disks by the name of an ATA port's device (`ata1.00`), where the log tells."""
        text = kernel_text(self)
        return ata_disks(text[text.str.startswith(("ata", "sd ", "scsi "))])

    @cached_property
    def _last_time(self) -> Any:
        panicked = panicked_at(self)
        return self.log["timestamp"].max() if pd.isna(panicked) else panicked

    @cached_property
    def dying(self) -> float:
        """Seconds from the panic to the machine's last moment, where these are many; else 0."""
        return seconds_of_dying(self)

    def _table(self, table: Callable[[Kernel], Table]) -> Table:
        """As the machine was when it panicked: what waited while it died shows nothing."""
        built = super()._table(table)
        if built.attrs["table"] in UP_TO_THE_END and self.dying:
            built = built.copy()
            as_at_the_panic(built, self.dying)
        return built

    def before_end(self, timestamp: object) -> float | None:
        """How many seconds before the panic's line, or the log's last one where nothing panicked, something was; 0 of
        what was later, None where that is not known."""
        if not self._of_one_boot:
            return None  # each boot has a clock of its own
        last = self._last_time
        if pd.isna(last) or timestamp is None or pd.isna(timestamp):  # type: ignore[call-overload]
            return None
        return max(float((last - pd.Timedelta(timestamp)).total_seconds()), 0.0)  # type: ignore[arg-type]
