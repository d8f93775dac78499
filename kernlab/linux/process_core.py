"""A process in, an ELF core file of it out: what gdb asks of a core, as the kernel writes it (fs/binfmt_elf.c)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.formats.elf_core import (
    NT_AUXV,
    NT_FILE,
    NT_PRPSINFO,
    NT_PRSTATUS,
    CoreWriter,
    note,
)
from kernlab.linux.page_cache import WORDS, PageState
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.user_memory import BATCH, LARGEST, Area, UserMemory
from kernlab.linux.user_registers import ThreadRegisters, user_registers
from kernlab.util.progress import progress

# include/linux/elfcore.h on 64-bit machines: struct elf_prstatus without registers, struct elf_prpsinfo.
_PRSTATUS = "<iii hxx QQ iiii QQQQQQQQ"
_PRPSINFO = struct.Struct("<cccb4x Q IIiiii 16s 80s")
_NS, _US = 1_000_000_000, 1000
#: fs/binfmt_elf.c, fill_psinfo; include/linux/sched.h: states by the bit, as ps names them.
_STATES = "RSDTtXZPI"
#: e_machine (include/uapi/linux/elf-em.h).
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_AT_NULL = 0


@dataclass(slots=True)
class SavedPages:
    """What was written of a process: bytes of memory, of them zeros that nobody wrote, and what is `missing`, runs
    (start, end, PageState)."""

    memory_bytes: int = 0
    zero_bytes: int = 0
    file_bytes: int = 0
    missing: list[tuple[int, int, PageState]] = field(default_factory=list)

    def miss(self, start: int, end: int, state: PageState) -> None:
        """Add a run of pages that cannot be had."""
        if self.missing and self.missing[-1][1:] == (start, state):
            start = self.missing.pop()[0]
        self.missing.append((start, end, state))


def write_core(
    stream: BinaryIO,
    memory: UserMemory,
    threads: StructArray,
    names: dict[int, str],
    arguments: bytes,
    auxv: Sequence[int],
) -> tuple[SavedPages, list[str]]:
    """Write the core of a process: (what of its memory, what is not known of its threads, a sentence each).

    `threads` are its task_structs, the one first that a debugger shall select; `names` the paths of mapped files by
    their struct file; `arguments` its command line with spaces; `auxv` the words of its auxiliary vector. Memory is
    read and written in pieces. Raises OSError.
    """
    kernel = memory.kernel
    registers = user_registers(kernel, threads)
    problems = [
        f"thread {pid}: {', '.join(one.why)}"
        for pid, one in zip(threads["pid"].tolist(), registers, strict=True)
        if one.why
    ]
    notes = _notes(kernel, memory, threads, registers, names, arguments, auxv)
    writer = CoreWriter(stream, notes, kernel.page_size, _ELF_MACHINES[machine_of(kernel).registers.machine])
    saved = SavedPages()
    total = sum(area.end - area.start for area in memory.areas)
    with progress("writing the core", total, "B") as bar:
        for area in memory.areas:
            for start, end in memory.windows(area):
                _write_window(writer, memory, area, start, end, saved)
                bar.advance(end - start)
            if area.end - area.start > LARGEST:
                saved.miss(area.start + LARGEST, area.end, PageState.UNKNOWN)
                problems.append(
                    f"the area at {area.start:#x} is so large that it must be damaged: its end is left out"
                )
    saved.file_bytes = writer.finish()
    return saved, problems


def _write_window(
    writer: CoreWriter, memory: UserMemory, area: Area, start: int, end: int, saved: SavedPages
) -> None:
    """One window of an area: its pages, and what lies between them."""
    page = memory.kernel.page_size
    flags = (area.flags & 1) << 2 | area.flags & 2 | (area.flags & 4) >> 2
    default = memory.default(area)
    at = start

    def gap(until: int) -> None:
        nonlocal at
        if until > at:
            if default == PageState.ZERO:
                writer.zeros(at, flags, (until - at) // page)
                saved.zero_bytes += until - at
            else:
                saved.miss(at, until, default)
        at = until

    pages = memory.pages(area, start, end)
    for first in range(0, len(pages), BATCH):
        part = slice(first, first + BATCH)
        address = pages.address[part]
        data, state = memory.fetch(pages[part])
        # Runs of neighbours in one state.
        edge = np.flatnonzero((np.diff(address) != page) | (np.diff(state.astype(np.int64)) != 0)) + 1
        for low, high in zip([0, *edge.tolist()], [*edge.tolist(), len(address)], strict=True):
            begin, kind = int(address[low]), PageState(int(state[low]))
            gap(begin)
            size = (high - low) * page
            if kind == PageState.HERE:
                writer.pages(begin, flags, data[low:high])
                saved.memory_bytes += size
            elif kind == PageState.ZERO:
                writer.zeros(begin, flags, high - low)
                saved.zero_bytes += size
            else:
                saved.miss(begin, begin + size, kind)
            at = begin + size
    gap(end)


def _notes(
    kernel: Kernel,
    memory: UserMemory,
    threads: StructArray,
    registers: list[ThreadRegisters],
    names: dict[int, str],
    arguments: bytes,
    auxv: Sequence[int],
) -> bytes:
    statuses = _statuses(threads, registers)
    parts: list[bytes] = []
    for row, (status, one) in enumerate(zip(statuses, registers, strict=True)):
        if one.general is None:
            continue
        parts.append(note("CORE", NT_PRSTATUS, status))
        if len(parts) == 1:
            parts.append(note("CORE", NT_PRPSINFO, _prpsinfo(threads[row : row + 1], arguments)))
            parts.append(note("CORE", NT_AUXV, struct.pack(f"<{len(auxv)}Q", *auxv)))
            parts.append(note("CORE", NT_FILE, _files(memory, names)))
        parts += [note(name, kind, desc) for name, kind, desc in one.notes]
    return b"".join(parts)


def _identity(task: StructArray) -> list[list[int]]:
    """pid, ppid, pgrp, sid of each thread, in the initial namespace."""
    groups = [task[f"signal->pids[{number}]->numbers[0].nr"] for number in _group_kinds(task.kernel)]
    columns = [task["pid"], task["real_parent->tgid"], *groups]
    return np.stack([column.int64.filled(0) for column in columns], axis=1).tolist()  # type: ignore[no-any-return]


def _group_kinds(kernel: Kernel) -> list[int]:
    return [kernel.types.enumerator(name) for name in ("PIDTYPE_PGID", "PIDTYPE_SID")]


def _statuses(task: StructArray, registers: list[ThreadRegisters]) -> list[bytes]:
    pending, held = task["pending.signal.sig[0]"], task["blocked.sig[0]"]
    times = [
        task[path].int64.filled(0).tolist() for path in ("utime", "stime", "signal->cutime", "signal->cstime")
    ]
    names = machine_of(task.kernel).registers.names
    status = struct.Struct(f"{_PRSTATUS} {len(names)}Q i4x")
    result = []
    for row, (identity, one) in enumerate(zip(_identity(task), registers, strict=True)):
        general = one.general or {}
        spent = [
            part for time in times for part in (max(time[row], 0) // _NS, max(time[row], 0) % _NS // _US)
        ]
        values = [general.get(name, 0) & (1 << 64) - 1 for name in names]
        result.append(
            status.pack(
                *(0, 0, 0, 0),
                int(pending.filled(0)[row]),
                int(held.filled(0)[row]),
                *identity,
                *spent,
                *values,
                int(bool(one.notes)),
            )
        )
    return result


def _prpsinfo(task: StructArray, arguments: bytes) -> bytes:
    state = int(task.first("__state", "state").filled(0)[0])
    number = min((state & -state).bit_length(), len(_STATES) - 1) if state else 0
    letter = _STATES[number].encode()
    nice = max(-128, min(127, int(task["static_prio"].int64.filled(120)[0]) - 120))
    uid, gid = (int(task[f"real_cred->{name}.val"].filled(0)[0]) for name in ("uid", "gid"))
    name = task["comm"].values[0] if task["comm"].valid[0] else ""
    comm = str(name).encode("utf-8", "replace")[:15]
    flags = int(task["flags"].filled(0)[0])
    identity = _identity(task)[0]
    return _PRPSINFO.pack(
        bytes([number]),
        letter,
        bytes([letter == b"Z"]),
        nice,
        flags,
        uid,
        gid,
        *identity,
        comm,
        arguments[:79],
    )


def _files(memory: UserMemory, names: dict[int, str]) -> bytes:
    """Which files are mapped where (fill_files_note)."""
    areas = [area for area in memory.areas if area.file and area.file in names]
    head = struct.pack("<QQ", len(areas), memory.kernel.page_size)
    ranges = b"".join(struct.pack("<QQQ", area.start, area.end, area.first) for area in areas)
    texts = b"".join(
        names[area.file].encode("utf-8", "surrogateescape").replace(b"\0", b"") + b"\0" for area in areas
    )
    return head + ranges + texts


def auxiliary_vector(mm: StructArray) -> list[int]:
    """The words of a process's auxiliary vector, up to AT_NULL with its value; [] where they cannot be read."""
    saved = mm["saved_auxv"]
    words: list[int] = []
    if not saved.valid[0]:
        return words
    for key, value in saved.values[0].reshape(-1, 2).tolist():
        words += [key, value]
        if key == _AT_NULL:
            break
    return words


def missing_words(state: PageState) -> str:
    """Why pages are missing, in words."""
    return WORDS.get(state, state.name.lower())
