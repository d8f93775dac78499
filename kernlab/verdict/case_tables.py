"""The tables of a dump that rules look at: each built once, and only if a rule asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError, TypesLostError
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
from kernlab.tables.system.modules import modules
from kernlab.util import losses
from kernlab.verdict.ending import TRAPS as TRAPS
from kernlab.verdict.ending import End as End

Table = TypeVar("Table", bound=pd.DataFrame)


class LogAloneError(KernlabError):
    """A rule asked for what only a dump has, and there is a log alone."""


class CaseTables:
    """A dump's tables by their names, and some of their parts. What a table lacks is the verdict's to tell.

    Where there is no dump but a log alone, each raises LogAloneError.
    """

    def __init__(self, kernel: Kernel | None):
        self._kernel = kernel

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

    def _table(self, table: Callable[[Kernel], Table]) -> Table:
        """A table; what it lacks is lost for the verdict, too, but not what this kernel was built without."""
        built = table(self.kernel)
        self.kernel.lost(*(each for each in built.attrs["problems"] if "(CONFIG_" not in each))
        return built
