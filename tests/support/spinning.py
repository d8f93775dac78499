"""CPUs made to spin for a lock: their registers as the crash would have saved them, their nodes in the queues."""

from __future__ import annotations

from support.overlay import Overlay

from kernlab import Dump
from kernlab.linux.stacks.registers import cpu_registers
from kernlab.linux.stacks.unwind import unwound
from kernlab.walk.cpus import percpu, possible_cpus

SLOWPATH = "native_queued_spin_lock_slowpath"
#: Of struct elf_prstatus in a CPU's note in memory, behind the note's head and "CORE": where registers begin.
_REGISTERS = 12 + 8 + 112
_ORDER = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"),
    *("orig_ax", "ip", "cs", "flags", "sp", "ss"),
)


class Spin:
    """An overlay over a dump that has its kernel's notes of all CPUs (crash_notes)."""

    def __init__(self, dump: Dump):
        self.below, self.kernel = dump, dump.kernel
        self.overlay = Overlay(dump)
        self.numbers = possible_cpus(self.kernel)
        pointer = int.from_bytes(dump.read(dump.symbol("crash_notes"), 8), "little")
        self._notes = percpu(self.kernel, pointer, self.numbers)
        self._nodes = percpu(self.kernel, self.kernel.symbol("qnodes"), self.numbers)
        self.node_size = self.kernel.find_type("struct qnode").size

    def pid(self, cpu: int) -> int:
        """The thread that the CPU ran."""
        registers, every = cpu_registers(self.kernel), unwound(self.kernel)
        row = int(registers.thread[list(registers.cpu).index(cpu)])
        return int(every.task["pid"][row])

    def register(self, cpu: int, name: str, value: int) -> Spin:
        """Change a register that the CPU left."""
        self.overlay.word(int(self._notes[cpu]) + _REGISTERS + 8 * _ORDER.index(name), value)
        return self

    def forget(self, cpu: int) -> Spin:
        """No register but ip, sp and the segments tells anything."""
        for name in set(_ORDER) - {"ip", "sp", "cs", "ss", "flags"}:
            self.register(cpu, name, 0)
        return self

    def spin(self, cpu: int, lock: int, function: str = SLOWPATH, register: str = "di") -> Spin:
        """The CPU had just been called to wait for a lock by whom the second of its frames is."""
        registers, every = cpu_registers(self.kernel), unwound(self.kernel)
        row = registers.thread[list(registers.cpu).index(cpu)]
        caller = next(at for at in range(len(every)) if every.thread[at] == row and every.frame[at] == 1)
        self.forget(cpu)
        self.register(cpu, "ip", self.kernel.symbol(function))
        self.register(cpu, "sp", int(every.sp[caller]) - 8)
        return self.register(cpu, register, lock)

    def node(self, cpu: int, index: int = 0) -> int:
        """Where a CPU's node lies."""
        return int(self._nodes[cpu]) + index * self.node_size

    def queue(self, lock: int, *cpus: int, value: int = 1) -> Spin:
        """These wait in the lock's queue, in this order; the rest of its word is `value`."""
        for cpu, behind in zip(cpus, [*cpus[1:], None], strict=True):
            self.overlay.set("struct mcs_spinlock", self.node(cpu), "count", 1)
            self.overlay.set(
                "struct mcs_spinlock", self.node(cpu), "next", self.node(behind) if behind is not None else 0
            )
        tail = (cpus[-1] + 1) << 18 if cpus else 0
        return self.word(lock, value | tail)

    def word(self, lock: int, value: int) -> Spin:
        """The lock's word."""
        self.overlay.word(lock, value, 4)
        return self

    def dump(self) -> Dump:
        """The dump with all that."""
        return self.overlay.dump()
