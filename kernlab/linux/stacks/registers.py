"""What each CPU was doing: its registers, from the kernel's own notes in memory, QEMU's, or those of the file.

Notes belong to CPUs by what they hold, never by their place in the file: a CPU that did not answer has none, and those
behind it move up (kernel/crash_core.c, crash_save_cpu; fs/proc/vmcore.c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.formats.cpu_notes import CpuNote, cpu_notes
from kernlab.formats.notes import parse_notes
from kernlab.formats.register_sets import RegisterSet
from kernlab.linux.stacks.areas import Stacks, find_stacks
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.stacks.stack_kinds import StackKind
from kernlab.linux.tasks import find_tasks
from kernlab.walk.cpus import cpus, percpu, possible_cpus

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Before the registers of a CPU's note in memory: its head, and "CORE"; struct elf_prstatus follows.
_NOTE_HEAD = 12 + 8
_CRASH_NOTES = "crash_notes"
#: Registers besides by which two notes are told to be of one CPU.
_TELLING = ("flags", "ax", "di", "pstate", "x0", "x30")


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """C CPUs, those that were online and those of which registers are known, ascending.

    cpu int64[c]; thread int64[c]: which row of `find_tasks` ran there, -1 where that is not known; source: who tells
    the registers ("crash_notes", "QEMU", "NT_PRSTATUS"; '' where nobody does). `values` has the registers by the
    kernel's names, uint64[c], and `known` which were told, bool[c]; `set` says which they are, and what they mean.
    """

    cpu: I64
    thread: I64
    source: list[str]
    values: dict[str, U64]
    known: dict[str, Mask]
    set: RegisterSet

    def __len__(self) -> int:
        return len(self.cpu)

    @property
    def ip(self) -> U64:
        """Instruction pointers, uint64[c]."""
        return self.values[self.set.ip]

    @property
    def sp(self) -> U64:
        """Stack pointers, uint64[c]."""
        return self.values[self.set.sp]

    @property
    def fp(self) -> U64:
        """Frame pointers, uint64[c]."""
        return self.values[self.set.fp]

    @property
    def told(self) -> Mask:
        """Of which CPUs registers are known, bool[c]."""
        return np.array([source != "" for source in self.source], dtype=bool)

    @property
    def user(self) -> Mask:
        """Which were in user mode, bool[c]."""
        return self.told & self.set.are_user(self.values[self.set.state])


@fact
def cpu_registers(kernel: Kernel) -> CpuRegisters:
    """The registers of every CPU. What no CPU can be found for is told. Raises KernlabError where no task is found."""
    machine = _Machine(kernel)
    found = machine.match()
    online = _online(kernel)
    shown = [cpu for cpu in machine.numbers.tolist() if cpu in online or cpu in found]
    kind = machine.set
    names = (*kind.names, *kind.control)
    values = {name: np.zeros(len(shown), dtype=np.uint64) for name in names}
    known = {name: np.zeros(len(shown), dtype=bool) for name in names}
    for row, cpu in enumerate(shown):
        for name, value in found[cpu].registers.items() if cpu in found else ():
            values[name][row], known[name][row] = value, True
    silent = [cpu for cpu in shown if cpu not in found]
    if silent:
        kernel.lost(
            f"the registers of {_named_cpus(silent)} are in no note: "
            "what ran there when the machine died is not known further"
        )
    threads = [machine.thread_on(cpu, found.get(cpu)) for cpu in shown]
    source = [found[cpu].source if cpu in found else "" for cpu in shown]
    return CpuRegisters(
        np.array(shown, dtype=np.int64), np.array(threads, dtype=np.int64), source, values, known, kind
    )


def _online(kernel: Kernel) -> set[int]:
    try:
        return set(cpus(kernel, "online").tolist())
    except KernlabError as error:
        kernel.lost(f"which CPUs were online is not known ({error}): all that are possible are taken for it")
        return set(possible_cpus(kernel).tolist())


class _Machine:
    """What tells whose a note is: each CPU's per-CPU area, its stacks, and the thread that it runs."""

    def __init__(self, kernel: Kernel):
        self.kernel, self.set = kernel, machine_of(kernel).registers
        self.numbers = possible_cpus(kernel)
        self.tasks, self.stacks = find_tasks(kernel), find_stacks(kernel)
        self.base = dict(
            zip(self.numbers.tolist(), kernel.percpu_offsets[self.numbers].tolist(), strict=True)
        )
        queue = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), self.numbers))
        row_of = {address: row for row, address in enumerate(self.tasks.addresses.tolist())}
        current = queue["curr"]
        self.current = {
            cpu: row_of.get(address, -1) if read else -1
            for cpu, address, read in zip(
                self.numbers.tolist(), current.values.tolist(), current.valid.tolist(), strict=True
            )
        }
        self.pid = self.tasks["pid"]

    def match(self) -> dict[int, CpuNote]:
        """The note of each CPU that has one."""
        own = self._in_memory()
        file = [note for note in cpu_notes(self.kernel.file.notes) if note.set is self.set]
        # The file's copies of what is in memory say nothing more.
        copied = {note.raw for note in own.values()}
        left = [note for note in file if note.raw not in copied]
        found = {cpu: note for cpu, note in own.items() if self._possible(cpu, note)}
        doubted = {cpu: note for cpu, note in own.items() if cpu not in found}
        by_qemu = [note for note in left if note.source == "QEMU"]
        # QEMU says twice what a CPU holds, and numbers CPUs where the kernel's notes have the thread.
        said = {_essence(note) for note in by_qemu}
        plain = [note for note in left if note.source != "QEMU" and _essence(note) not in said]
        tests = (self._by_base, self._by_stack)
        left = [
            *self._assign(by_qemu, found, tests),
            *self._assign(plain, found, self._tests_of_plain(own, by_qemu, plain)),
        ]
        for cpu, note in doubted.items():
            self.kernel.lost(
                f"the registers of CPU {cpu:,} in {_CRASH_NOTES} point to no stack of its own"
                + (f"; those of {found[cpu].source} are taken" if cpu in found else "")
            )
            found.setdefault(cpu, note)
        if left:
            self.kernel.lost(
                f"{len(left):,} of {len(file):,} notes hold registers of which nothing tells whose they are "
                f"(the first: {self.set.ip} {left[0].ip:#x}, sp {left[0].sp:#x})"
            )
        return found

    def _tests_of_plain(
        self, own: dict[int, CpuNote], by_qemu: list[CpuNote], plain: list[CpuNote]
    ) -> tuple[Callable[[CpuNote], list[int]], ...]:
        """What tells whose the NT_PRSTATUS are: the kernel names the thread in them, QEMU numbers CPUs from 1 on."""
        if by_qemu:
            return self._by_base, self._by_stack
        # Where QEMU wrote no notes of its own (arm64) and the kernel left none, all numbers in their order are QEMU's.
        if not own and [note.pid for note in plain] == list(range(1, len(self.numbers) + 1)):
            return self._by_stack, self._by_number
        return self._by_base, self._by_stack, self._by_pid

    def _by_number(self, note: CpuNote) -> list[int]:
        """The CPU that QEMU numbers so (dump/dump.c, cpu_index)."""
        return [int(self.numbers[note.pid - 1])] if note.pid else []

    def _assign(
        self,
        notes: list[CpuNote],
        found: dict[int, CpuNote],
        tests: tuple[Callable[[CpuNote], list[int]], ...],
    ) -> list[CpuNote]:
        """Give the notes to CPUs that have none, by the surest test first; what is left over."""
        for test in tests:
            claims: dict[int, list[CpuNote]] = {}
            for note in notes:
                owners = test(note)
                if len(owners) == 1:
                    claims.setdefault(owners[0], []).append(note)
            used = set()
            for cpu, claimed in claims.items():
                # Where two notes of one kind claim a CPU nothing tells which is true; who was asked first is believed.
                if len(claimed) == 1 and (cpu not in found or found[cpu].source != claimed[0].source):
                    found.setdefault(cpu, claimed[0])
                    used.add(id(claimed[0]))
            notes = [note for note in notes if id(note) not in used]
        return notes

    def _in_memory(self) -> dict[int, CpuNote]:
        """What each CPU left in its crash_notes as the machine died; nothing where it did not come to that."""
        symbol = self.kernel.symbols.get(_CRASH_NOTES)
        if symbol is None:
            return {}
        pointer, read = self.kernel.words([symbol], what="pointers crash_notes")
        if not read[0] or not pointer[0]:
            return {}
        where = percpu(self.kernel, int(pointer[0]), self.numbers)
        rows, status = self.kernel.gather(
            where, _NOTE_HEAD + self.set.note_bytes, "notes of CPUs (crash_notes)"
        )
        found = {}
        for cpu, row, lost in zip(self.numbers.tolist(), rows, status.tolist(), strict=True):
            notes = [] if lost else cpu_notes(parse_notes(row.tobytes(), 0))
            if notes and notes[0].set is self.set:
                found[cpu] = replace(notes[0], source=_CRASH_NOTES)
        return found

    def _possible(self, cpu: int, note: CpuNote) -> bool:
        """Can these be the registers of that CPU? In the kernel they point to one of its stacks."""
        return note.user or cpu in self._by_stack(note)

    def _by_base(self, note: CpuNote) -> list[int]:
        """The CPU whose per-CPU area a note's GS base is, which is swapped out in user mode."""
        bases = {note.registers.get(name, 0) for name in ("gs_base", "kernel_gs_base")}
        return [cpu for cpu, base in self.base.items() if base and base in bases]

    def _by_stack(self, note: CpuNote) -> list[int]:
        """The CPU on whose stack, or on the stack of whose thread, a note's stack pointer is."""
        if note.user:
            return []
        row = self._stack(note)
        if row < 0:
            return []
        owner = int(self.stacks.owner[row])
        if self.stacks.kind[row] != StackKind.TASK:
            return [owner]
        return [cpu for cpu, thread in self.current.items() if thread == owner]

    def _by_pid(self, note: CpuNote) -> list[int]:
        """The CPU that runs the thread which a note names; pid 0 runs on all that are idle."""
        if not note.pid:
            return []
        threads = {
            thread
            for thread in self.current.values()
            if thread >= 0 and self.pid.valid[thread] and int(self.pid.values[thread]) == note.pid
        }
        return [cpu for cpu, thread in self.current.items() if thread in threads]

    def thread_on(self, cpu: int, note: CpuNote | None) -> int:
        """The row of the thread on whose stack a CPU was, else of the one that its queue calls current."""
        row = self._stack(note) if note is not None and not note.user else -1
        if row >= 0 and self.stacks.kind[row] == StackKind.TASK:
            # While it switches the queue names the next one already.
            return int(self.stacks.owner[row])
        return self.current[cpu]

    def _stack(self, note: CpuNote) -> int:
        sp = np.array([note.sp], dtype=np.uint64)
        return int(on_or_behind(self.stacks, sp)[0])


def on_or_behind(stacks: Stacks, sp: U64) -> I64:
    """The stack that each stack pointer belongs to; that of an empty one is the address behind it."""
    at = stacks.find(sp)
    return np.where(at >= 0, at, stacks.find(sp - np.uint64(8)))


def _essence(note: CpuNote) -> tuple[int, ...]:
    names = (note.set.ip, note.set.sp, note.set.fp, *_TELLING)
    return tuple(note.registers[name] for name in names if name in note.registers)


def _named_cpus(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8:,} more" if len(numbers) > 8 else ""
    return f"CPU {shown}{more}"
