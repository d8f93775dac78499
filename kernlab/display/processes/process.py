"""`dump.process(176)`: what one process held: its arguments, environment and memory, and a core file for gdb."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame
from kernlab.display.processes.card import card_html, card_text
from kernlab.errors import KernlabError
from kernlab.linux.files import file_names
from kernlab.linux.process_core import SavedPages, auxiliary_vector, missing_words, write_core
from kernlab.linux.tasks import find_tasks
from kernlab.linux.user_memory import Area, UserMemory
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.addresses import number
from kernlab.util.files import naming, whole_file
from kernlab.util.text import few, human_bytes, nearest

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: No pid is larger (include/linux/threads.h, PID_MAX_LIMIT): what is, is the address of a task_struct.
_MOST_PIDS = 1 << 22
#: Arguments and environment are no larger (a quarter of the largest stack that execve allows for them).
_MOST_ARGUMENTS = 6 << 20
_NEAR = 3

#: include/uapi/linux/auxvec.h, arch/x86/include/uapi/asm/auxvec.h: macros
_AUXV = {
    3: "AT_PHDR",
    4: "AT_PHENT",
    5: "AT_PHNUM",
    6: "AT_PAGESZ",
    7: "AT_BASE",
    8: "AT_FLAGS",
    9: "AT_ENTRY",
    11: "AT_UID",
    12: "AT_EUID",
    13: "AT_GID",
    14: "AT_EGID",
    15: "AT_PLATFORM",
    16: "AT_HWCAP",
    17: "AT_CLKTCK",
    23: "AT_SECURE",
    24: "AT_BASE_PLATFORM",
    25: "AT_RANDOM",
    26: "AT_HWCAP2",
    27: "AT_RSEQ_FEATURE_SIZE",
    28: "AT_RSEQ_ALIGN",
    29: "AT_HWCAP3",
    30: "AT_HWCAP4",
    31: "AT_EXECFN",
    32: "AT_SYSINFO",
    33: "AT_SYSINFO_EHDR",
    51: "AT_MINSIGSTKSZ",
}


class OpenProcess:
    """`dump.process(…)`: one process."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(self, pid: Any) -> Process:
        """What one process held: arguments, environment, memory, files, and a core file that gdb opens.

        pid: of the process or one of its threads, its name where no other process has it, or a task_struct (an address,
        a struct). Its memory is in dumps that were saved with user pages (QEMU's, `-d 1`); of others it raises
        PageExcluded when it is read. Raises KernlabError where there is no such process, or more than one.

        >>> init = dump.process(1)
        >>> init
        init (pid 1), 1 thread
        program  /bin/busybox
        memory   2.2 MiB mapped in 10 areas
        >>> init.auxv["AT_PAGESZ"], hex(init.auxv["AT_ENTRY"])
        (4096, '0x40ebf0')
        """
        kernel = self._dump._open_kernel()
        tasks = find_tasks(kernel)
        found = self._rows(tasks, pid)
        tgid = tasks["tgid"]
        groups = np.unique(tgid.values[found & tgid.valid])
        if len(groups) == 1:
            threads = tasks[np.flatnonzero((tgid == int(groups[0])).true)]
            # An idle task is alone: they all have number 0.
            if int(groups[0]) == 0:
                threads = tasks[np.flatnonzero(found)[:1]]
            order = np.lexsort((threads["pid"].values, (threads["pid"] != int(groups[0])).values))
            return Process(self._dump, threads[order])
        if len(groups):
            names = [f"dump.process({group})" for group in groups.tolist()]
            raise KernlabError(f"{len(groups):,} processes have the name {pid!r}: {few(names, _NEAR)}")
        raise KernlabError(self._none(tasks, pid))

    def _rows(self, tasks: StructArray, pid: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        if isinstance(pid, str) and pid[:2].lower() != "0x" and not pid.isdecimal():
            return (tasks["comm"] == pid).true
        wanted = int(pid) if isinstance(pid, str) and pid.isdecimal() else self._dump.kernel.address(pid)
        if wanted >= _MOST_PIDS:
            return np.asarray(tasks.addresses == np.uint64(wanted))
        return (tasks["pid"] == wanted).true

    def _none(self, tasks: StructArray, pid: Any) -> str:
        if isinstance(pid, str) and not pid.isdecimal():
            return f"no process is called {pid!r}{nearest(pid, set(filter(None, tasks['comm'].tolist())))}"
        return f"there is no process {pid}; dump.tasks lists all threads, with the tgid of their processes"


class Process:
    """One process when the machine died; made by `dump.process`.

    `pid` is its thread group's id, `comm` its name, `address` the task_struct of its first thread, `mm` its mm_struct.
    """

    def __init__(self, dump: Dump, threads: StructArray):
        self._dump, self._threads = dump, threads
        self._told: list[str] = []
        first = threads[:1]
        self.pid = int(first["tgid"].int64.filled(0)[0])
        self.comm = str(first["comm"].values[0]) if first["comm"].valid[0] else ""
        self.address = int(first.addresses[0])
        mm = threads["mm"]
        alive = np.flatnonzero(mm.true)
        # A first thread that has ended gave its mm back; the others have the same.
        self._mm = threads.follow("mm")[alive[:1]]
        self.mm = int(self._mm.addresses[0]) if len(alive) else 0

    @cached_property
    def memory(self) -> UserMemory:
        """Its memory, page by page. Raises KernlabError of a kernel thread and of a process that has ended."""
        try:
            return UserMemory(self._dump._open_kernel(), self._mm)
        except KernlabError as error:
            raise KernlabError(f"{say_thread(self.comm, self.pid)}: {error}") from None

    def read(self, address: Any, size: int) -> bytes:
        """`size` bytes at an address of the process.

        What is in no page table yet is read from the page cache, and swapped pages from the swap cache, zswap and zram.
        Memory that nobody wrote to is zeros, as the process would have seen it. Raises FaultError where nothing is
        mapped, PageExcluded where the dump does not have it and says why, AddressError for what is not an address.
        """
        self._dump._open_kernel()
        with self._dump.kernel.watched() as losses:
            data = self.memory.read(number(address), size)
        self._tell(losses.losses)
        return data

    def _tell(self, losses: list[str]) -> None:
        self._told += [loss for loss in losses if loss not in self._told]

    def _between(self, start: str, end: str) -> bytes:
        """The bytes between two addresses that the mm has."""
        low, high = self._mm[start], self._mm[end]
        if not len(self._mm) or not (low.valid[0] and high.valid[0]):
            return self.memory.read(0, 1)
        begin, size = int(low.values[0]), int(high.values[0]) - int(low.values[0])
        if not 0 <= size <= _MOST_ARGUMENTS:
            raise KernlabError(
                f"{start} and {end} of its mm_struct are {size:,} bytes apart, which is damage"
            )
        return self.read(begin, size)

    @property
    def cmdline(self) -> list[str]:
        """Its arguments, as /proc/PID/cmdline has them; [] of a kernel thread. Raises PageExcluded."""
        if not self.mm:
            return []
        return [_decoded(part) for part in _arguments(self._between("arg_start", "arg_end"))]

    @property
    def environ(self) -> dict[str, str]:
        """Its environment when it was started, by name; of a name that stands there twice the first value, as getenv
        has it, which `problems` tells. Raises PageExcluded."""
        found: dict[str, str] = {}
        twice = []
        for name, value in self.environment:
            if name in found:
                twice.append(name)
            found.setdefault(name, value)
        if twice:
            self._tell(
                [f"environ: {few(sorted(set(twice)))} stands there more than once; .environment has all"]
            )
        return found

    @property
    def environment(self) -> list[tuple[str, str]]:
        """All of its environment: (name, value), in its order; without a `=` the value is ''. Raises PageExcluded."""
        if not self.mm:
            return []
        parts = _arguments(self._between("env_start", "env_end"))
        pairs = [_decoded(part).partition("=") for part in parts if part]
        return [(name, value) for name, _, value in pairs]

    @property
    def auxv(self) -> dict[str, int]:
        """What the kernel told the program when it started it (getauxval), by name; those without are by number."""
        if not self.mm:
            return {}
        words = auxiliary_vector(self._mm)
        keys, values = words[0::2], words[1::2]
        return {_AUXV.get(key, str(key)): value for key, value in zip(keys, values, strict=False) if key}

    @property
    def maps(self) -> pd.DataFrame:
        """Its rows of `dump.maps`."""
        return self._mine(self._dump.maps)

    @property
    def map_usage(self) -> pd.DataFrame:
        """Its rows of `dump.map_usage`: what each mapping really holds."""
        return self._mine(self._dump.map_usage)

    @property
    def files(self) -> pd.DataFrame:
        """Its rows of `dump.files`: what it had open."""
        files: pd.DataFrame = getattr(self._dump, "files")  # noqa: B009 - a table that is asked for by name
        return self._mine(files)

    @property
    def threads(self) -> pd.DataFrame:
        """Its rows of `dump.tasks`."""
        tasks = self._dump.tasks
        return tasks[tasks["address"].isin(self._threads.addresses)].reset_index(drop=True)

    def _mine(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["pid"] == self.pid].reset_index(drop=True)

    @property
    def stack(self) -> Any:
        """The kernel stack of its first thread, as `dump.stack` prints it."""
        return self._dump.stack(self.address)

    def save_core(self, path: str | os.PathLike[str]) -> SavedCore:
        """Write a core file of the process that gdb opens: `gdb PROGRAM core`.

        It has the registers of each thread in user mode, its auxiliary vector, the names of mapped files, and all of
        its memory that the dump has; what is missing has no segment, so that gdb says that it cannot be read, and the
        result lists it. The file takes its place when it is whole, for its owner only; one that was there is replaced.
        Raises KernlabError where there is nothing to write, OSError.
        """
        kernel = self._dump._open_kernel()
        memory, target = self.memory, Path(path)
        with kernel.watched() as losses:
            names = self._file_names(memory.areas)
            try:
                arguments = self._between("arg_start", "arg_end").replace(b"\0", b" ").rstrip()
            except KernlabError:
                arguments = self.comm.encode("utf-8", "replace")
            with whole_file(target) as partial, naming(target, partial), open(partial, "wb") as stream:
                if not stream.seekable():
                    raise KernlabError(
                        f"{target} is no file that can be written out of order: name one on a disk"
                    )
                os.fchmod(stream.fileno(), 0o600)
                saved, problems = write_core(
                    stream, memory, self._threads, names, arguments, auxiliary_vector(self._mm)
                )
        swapped = self.memory.swapped.problems if saved.missing else []
        return SavedCore(self, target, saved, [*losses.losses, *problems, *swapped])

    def _file_names(self, areas: list[Area]) -> dict[int, str]:
        files = sorted({area.file for area in areas if area.file})
        kernel = self._dump.kernel
        known = file_names(kernel, StructArray(kernel, "struct file", np.array(files, dtype=np.uint64)))
        return {file: name for file, name in zip(files, known.tolist(), strict=True) if name}

    @property
    def problems(self) -> list[str]:
        """What could not be read of it so far, and why."""
        return [*self._told, *(self.memory.swapped.problems if self.mm and self.memory._swapped else [])]

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.mm:
            exe = self._mm["exe_file"]
            if exe.true[0]:
                name = file_names(
                    self._dump.kernel, StructArray(self._dump.kernel, "struct file", exe.values)
                )
                rows.append(("program", str(name[0] or "?")))
            size = sum(area.end - area.start for area in self.memory.areas)
            rows.append(("memory", f"{human_bytes(size)} mapped in {len(self.memory.areas):,} areas"))
        else:
            rows.append(("memory", "none of its own"))
        return rows

    @property
    def _title(self) -> str:
        count = len(self._threads)
        return f"{self.comm} (pid {self.pid}), {count:,} thread{'' if count == 1 else 's'}"

    def __repr__(self) -> str:
        return card_text(self._title, self._rows(), self.problems)

    def _repr_html_(self) -> str:
        return card_html(self._title, self._rows(), self.problems)


class SavedCore:
    """A core file that was written: its `path`, how large it is (`file_bytes`, of which holes take no room), how much
    of the process's memory is in it (`memory_bytes`, and `zero_bytes` that nobody had written to), and what is not."""

    def __init__(self, process: Process, path: Path, saved: SavedPages, problems: list[str]):
        self._process, self._saved = process, saved
        self.path, self.problems = path, list(dict.fromkeys(problems))
        self.file_bytes, self.memory_bytes, self.zero_bytes = (
            saved.file_bytes,
            saved.memory_bytes,
            saved.zero_bytes,
        )

    @property
    def missing_bytes(self) -> int:
        """How much of the process's memory is not in the file."""
        return sum(end - start for start, end, _ in self._saved.missing)

    @property
    def missing(self) -> pd.DataFrame:
        """What is not in it: start, end (exclusive), size_bytes, reason."""
        runs = self._saved.missing
        start, end = (np.array([run[at] for run in runs], dtype=np.uint64) for at in (0, 1))
        return frame(
            None,
            "missing",
            start=start,
            end=end,
            size_bytes=(end - start).astype(np.int64),
            reason=[missing_words(state) for _, _, state in runs],
        )

    @property
    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("memory", f"{human_bytes(self.memory_bytes)}, {human_bytes(self.zero_bytes)} of zeros"),
            ("missing", human_bytes(self.missing_bytes) if self.missing_bytes else "nothing"),
            ("open it", f"gdb PROGRAM {self.path}"),
        ]

    @property
    def _title(self) -> str:
        return f"core of {say_thread(self._process.comm, self._process.pid)} in {self.path}"

    def __repr__(self) -> str:
        return card_text(self._title, self._rows, self.problems)

    def _repr_html_(self) -> str:
        return card_html(self._title, self._rows, self.problems)


def _arguments(data: bytes) -> list[bytes]:
    """What stands between NULs; the last of them ends the last one."""
    parts = data.split(b"\0")
    return parts[:-1] if parts and not parts[-1] else parts


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
