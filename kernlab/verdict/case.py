"""What rules look at: the tables of a dump, each built once and only if one asks, and how its machine ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError, TypesLostError
from kernlab.linux.locks.hung import hung_after
from kernlab.oops import parse
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import Stack, normal, telling
from kernlab.tables.block.disks import disks
from kernlab.tables.block.inflight import inflight
from kernlab.tables.block.volumes import volumes
from kernlab.tables.containers.pressure import pressure
from kernlab.tables.devices.works import works
from kernlab.tables.files.filesystems import filesystems
from kernlab.tables.memory.allocations import allocations
from kernlab.tables.memory.hugepages import hugepages
from kernlab.tables.memory.meminfo import meminfo
from kernlab.tables.memory.memory import memory
from kernlab.tables.memory.page_owner import page_owner
from kernlab.tables.memory.swap import swap
from kernlab.tables.memory.vmalloc import vmalloc
from kernlab.tables.network.netdevs import netdevs
from kernlab.tables.network.sockets import sockets
from kernlab.tables.processes.locks import locks
from kernlab.tables.processes.registers import registers
from kernlab.tables.processes.stacks import stacks
from kernlab.tables.processes.tasks import tasks
from kernlab.tables.processes.waits import Waits, waits
from kernlab.tables.scheduling.delays import delays
from kernlab.tables.scheduling.grace_periods import grace_periods
from kernlab.tables.scheduling.watchdogs import watchdogs
from kernlab.tables.suspects.evidence import Evidence as Memory
from kernlab.tables.system.info import info
from kernlab.tables.system.log import log
from kernlab.tables.system.modules import modules
from kernlab.util import losses
from kernlab.verdict.boots import one_boot
from kernlab.verdict.chains import Chains
from kernlab.verdict.ending import TRAPS as TRAPS
from kernlab.verdict.ending import End as End
from kernlab.verdict.ending import end_of
from kernlab.verdict.log_alone import lines_of
from kernlab.verdict.oom_report import OomReport, read_oom_report

Table = TypeVar("Table", bound=pd.DataFrame)


class Blamed(NamedTuple):
    """A function and its module (None for the kernel's own)."""

    function: str | None
    module: str | None


class LogAloneError(KernlabError):
    """A rule asked for what only a dump has, and there is a log alone."""


class Case:
    """The tables of a dump that rules look at, or a log alone. What a table lacks is the verdict's to tell.

    A rule that can conclude from the log asks `has_dump` before it looks at tables: of a log alone they raise, and a
    rule that raises is not asked.
    """

    def __init__(self, kernel: Kernel | None, text: str = ""):
        self._kernel = kernel
        # What a file ends with is no line of its own.
        self._text = one_boot(text.removesuffix("\n"))

    @property
    def has_dump(self) -> bool:
        """Is there a dump, and not only its log?"""
        return self._kernel is not None

    @property
    def kernel(self) -> Kernel:
        """The dump's kernel. Raises LogAloneError where there is a log alone."""
        if self._kernel is None:
            raise LogAloneError("a log alone has no tables of a dump")
        return self._kernel

    def has(self, *tables: str) -> bool:
        """Can these tables (`stacks`, `waits`) be read? For a rule that concludes less without; why not is told once.

        Of a log alone none can.
        """
        if not self.has_dump:
            return False
        for name in tables:
            if name in self._unread:
                return False
            try:
                getattr(self, name)
            except TypesLostError:
                raise
            except KernlabError as error:
                self._unread.add(name)
                losses.lost(f"verdict: {name} could not be read: {error}")
                return False
        return True

    @cached_property
    def _unread(self) -> set[str]:
        return set()

    @cached_property
    def info(self) -> pd.Series[Any]:
        """`dump.info`."""
        return info(self.kernel)

    @cached_property
    def log(self) -> pd.DataFrame:
        """`dump.log`; of a log alone its lines."""
        return lines_of(self._text) if self._kernel is None else self._table(log)

    @cached_property
    def reports(self) -> pd.DataFrame:
        """The reports of the log (`kernlab.oops.parse`): by the kernel, not by programs that wrote into its log."""
        if self._kernel is None:
            return parse(self._text)
        # /dev/kmsg takes no line for the kernel's own (kernel/printk/printk.c, devkmsg_write).
        own = self.log["facility"] == 0
        return parse(self.log if own.all() else self.log.assign(text=self.log["text"].where(own, "")))

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
    def tasks(self) -> pd.DataFrame:
        """`dump.tasks`."""
        return self._table(tasks)

    @cached_property
    def stacks(self) -> pd.DataFrame:
        """`dump.stacks`."""
        return self._table(stacks)

    @cached_property
    def registers(self) -> pd.DataFrame:
        """`dump.registers`."""
        return self._table(registers)

    @cached_property
    def waits(self) -> Waits:
        """`dump.waits`."""
        return self._table(waits)

    @cached_property
    def chains(self) -> Chains:
        """Who stands behind whom in `dump.waits`."""
        return Chains(self.waits, self.waits.graph())

    @cached_property
    def locks(self) -> pd.DataFrame:
        """`dump.locks`."""
        return self._table(locks)

    @cached_property
    def modules(self) -> pd.DataFrame:
        """`dump.modules`."""
        return self._table(modules)

    @cached_property
    def works(self) -> pd.DataFrame:
        """`dump.works`."""
        return self._table(works)

    @cached_property
    def netdevs(self) -> pd.DataFrame:
        """`dump.netdevs`."""
        return self._table(netdevs)

    @cached_property
    def grace_periods(self) -> pd.DataFrame:
        """`dump.grace_periods`."""
        return self._table(grace_periods)

    @cached_property
    def watchdogs(self) -> pd.DataFrame:
        """`dump.watchdogs`."""
        return self._table(watchdogs)

    @cached_property
    def delays(self) -> pd.DataFrame:
        """`dump.delays`."""
        return self._table(delays)

    @cached_property
    def disks(self) -> pd.DataFrame:
        """`dump.disks`."""
        return self._table(disks)

    @cached_property
    def inflight(self) -> pd.DataFrame:
        """`dump.inflight`."""
        return self._table(inflight)

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """`dump.volumes`."""
        return self._table(volumes)

    @cached_property
    def filesystems(self) -> pd.DataFrame:
        """`dump.filesystems`."""
        return self._table(filesystems)

    @cached_property
    def memory(self) -> Memory:
        """Who holds memory: tables by process, slab cache, file and cgroup, and pages by kind."""
        return Memory(self.kernel)

    @cached_property
    def kinds(self) -> pd.DataFrame:
        """`dump.memory`: bytes by kind and node."""
        return self._table(memory)

    @cached_property
    def meminfo(self) -> pd.Series[Any]:
        """`dump.meminfo`."""
        built = meminfo(self.kernel)
        self.kernel.lost(*built.attrs["problems"])
        return built

    @cached_property
    def swap(self) -> pd.DataFrame:
        """`dump.swap`."""
        return self._table(swap)

    @cached_property
    def vmalloc(self) -> pd.DataFrame:
        """`dump.vmalloc`."""
        return self._table(vmalloc)

    @cached_property
    def hugepages(self) -> pd.DataFrame:
        """`dump.hugepages`."""
        return self._table(hugepages)

    @cached_property
    def allocations(self) -> pd.DataFrame:
        """`dump.allocations`; that a kernel does not count is no loss."""
        return allocations(self.kernel)

    @cached_property
    def page_owner(self) -> pd.DataFrame:
        """`dump.page_owner`; that a kernel does not note it is no loss."""
        return page_owner(self.kernel)

    @cached_property
    def sockets(self) -> pd.DataFrame:
        """`dump.sockets`."""
        return self._table(sockets)

    @cached_property
    def pressure(self) -> pd.DataFrame:
        """`dump.pressure`; that a kernel does not measure is no loss."""
        return pressure(self.kernel)

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
        if not told:
            return Blamed(None, None)
        module = told[0].module or None
        return Blamed(None if self._half_known(module) else normal(told[0].name), module)

    def _half_known(self, module: str | None) -> bool:
        """Whether symbols of a module are lost: then the one before an address may be another function's."""
        lost = [each for each in self.modules.attrs["problems"] if "symbols of module" in each]
        return module is not None and any(repr(module) in each for each in lost)

    def before_end(self, timestamp: object) -> float | None:
        """How many seconds before the log's last line something was; None where that is not known."""
        last = self.log["timestamp"].max()
        if pd.isna(last) or timestamp is None or pd.isna(timestamp):  # type: ignore[call-overload]
            return None
        return float((last - pd.Timedelta(timestamp)).total_seconds())  # type: ignore[arg-type]

    def _table(self, table: Callable[[Kernel], Table]) -> Table:
        """A table; what it lacks is lost for the verdict, too, but not what this kernel was built without."""
        built = table(self.kernel)
        self.kernel.lost(*(each for each in built.attrs["problems"] if "(CONFIG_" not in each))
        return built
