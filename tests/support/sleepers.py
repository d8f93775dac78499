"""Threads put to sleep elsewhere: their stacks rewritten, function by function, as the kernel's own tables say.

    sleeper = Sleeper(Overlay(dump), pid)
    sleeper.sleep("schedule_timeout", ("__down_common", "__down"), "down")
    at = sleeper.room("__down_common", "struct semaphore_waiter")

The innermost frames, those of the scheduler, and the outermost ones stay what they were; between them come the ones
asked for, each at a call (of the one before it, where there is one such), with a frame as large as ORC says. What a
frame holds is zero but for what the test puts there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from support.overlay import Overlay

from kernlab.debuginfo.orc import Base, Kind
from kernlab.linux.locks.live_stacks import function_name
from kernlab.linux.stacks.code import behind_call
from kernlab.linux.stacks.orc_tables import orc_tables
from kernlab.linux.stacks.unwind import unwound

#: Where the frames that stay begin.
_OUTER = ("do_syscall_64", "do_syscall_x64", "x64_sys_call", "kthread")
_SCHEDULES = ("__schedule", "schedule")
#: Where a function finds its frame by the frame pointer, the tables do not tell how large it is.
_BP_FRAME = 832


@dataclass(frozen=True)
class Call:
    """A return address; `size` from the stack pointer there to behind where it lies itself, `by_bp`: how far below that
    the frame pointer is by which it is found (0: it is not), `saved`: how far below the caller's is kept (0: it is
    not)."""

    wanted: bool
    size: int
    ip: int
    by_bp: int
    saved: int


class Sleeper:
    """A thread of a dump that sleeps; `overlay` takes what is written. `frames`: [start, end) by function."""

    def __init__(self, overlay: Overlay, pid: int):
        self.overlay, self.dump, self.kernel = overlay, overlay.below, overlay.kernel
        every = unwound(self.kernel)
        row = int(np.flatnonzero((every.task["pid"].values == pid) & (every.task["pid"].values != 0))[0])
        mine = np.flatnonzero(every.thread == row)
        self.pid, self.task = pid, int(every.task.addresses[row])
        names = [function_name(name) for name in self.kernel.symbolize(every.ip[mine])]
        inner = max(at for at, name in enumerate(names) if name in _SCHEDULES)
        outer = next(at for at, name in enumerate(names) if name in _OUTER)
        self._start = int(every.task["thread.sp"].values[row])
        self._scheduler = [
            (int(every.ip[mine[at]]), int(every.sp[mine[at + 1]])) for at in range(inner, -1, -1)
        ]
        self._inner = int(every.sp[mine[inner + 1]])
        self._outer, self._ip = int(every.sp[mine[outer]]), int(every.ip[mine[outer]])
        # Where the outermost one finds its own end by the frame pointer, that is what it was.
        by_bp = self._call(self._ip, False).by_bp
        self._bp = int(every.sp[mine[outer + 1]]) - by_bp if by_bp else 0
        self.frames: dict[str, tuple[int, int]] = {}

    def sleep(self, *functions: str | tuple[str, ...]) -> Sleeper:
        """Sleep in these, the innermost first; of several names the first that this kernel has counts."""
        names = [self._name(several) for several in functions]
        calls = [
            max(self._calls(name, callee), key=lambda call: (call.wanted, call.size))
            for name, callee in zip(names, ["schedule", *names[:-1]], strict=True)
        ]
        top = self._outer - sum(call.size for call in calls)
        moved = top - self._inner
        self.overlay.write(top, bytes(self._outer - top))
        # From the outermost on: what the frame pointer has to be in each, so that those find their ends by it.
        needed, end = self._bp, self._outer
        for name, call in reversed(list(zip(names, calls, strict=True))):
            self.frames[name] = (end - call.size, end - 8 - call.by_bp)
            self.overlay.word(end - call.size - 8, call.ip)
            if call.saved:
                self.overlay.word(end - call.saved, needed)
            if call.by_bp or call.saved:
                needed = end - call.by_bp if call.by_bp else 0
            end -= call.size
        self.overlay.word(self._outer - 8, self._ip)
        old = self.dump.read(self._start, self._inner - 8 - self._start)
        words = [
            word + moved if self._start <= word <= self._outer else word
            for word in struct.unpack(f"<{len(old) // 8}Q", old)
        ]
        self.overlay.write(self._start + moved, struct.pack(f"<{len(words)}Q", *words))
        for ip, end in self._scheduler:
            if saved := self._call(ip, False).saved:
                self.overlay.word(end + moved - saved, needed)
                break
        self.overlay.set("struct task_struct", self.task, "thread.sp", self._start + moved)
        return self

    def room(self, function: str | tuple[str, ...], type_name: str, above: int = 0) -> int:
        """Where in a function's frame a struct has room, `above` bytes behind its beginning."""
        start, end = self.frames[self._name(function)]
        size = self.kernel.find_type(type_name).size
        assert start + above + size <= end, f"the frame has {end - start} bytes, {type_name} {size}"
        return start + above

    def has(self, *functions: str) -> bool:
        """Does this kernel have one of these functions?"""
        return any(self._calls(name) for name in functions)

    def _addresses(self, name: str) -> list[int]:
        self.kernel.with_modules()
        made = [self.kernel.symbols.get(name + end) for end in ("", ".constprop.0", ".isra.0", ".part.0")]
        return [address for address in made if address is not None]

    def _name(self, names: str | tuple[str, ...]) -> str:
        several = (names,) if isinstance(names, str) else names
        found = next((name for name in several if self._calls(name)), None)
        assert found, f"this kernel has none of {', '.join(several)}"
        return found

    def _calls(self, name: str, callee: str = "") -> list[Call]:
        """The calls in a function, and whether they are of another one."""
        found = []
        targets = self._addresses(callee)
        for start in self._addresses(name):
            _, _, sizes = self.kernel.symbols.lookup(np.array([start], dtype=np.uint64))
            ips = np.arange(start + 5, start + max(int(sizes[0]), 6), dtype=np.uint64)
            for ip in ips[behind_call(self.kernel, ips)[0]].tolist():
                distance = int.from_bytes(self.dump.read(ip - 4, 4), "little", signed=True)
                call = self._call(ip, ip + distance in targets)
                if call.size > 0:
                    found.append(call)
        return found

    def _call(self, ip: int, wanted: bool) -> Call:
        entry = orc_tables(self.kernel).at(np.array([ip - 1], dtype=np.uint64))
        size, by_bp = int(entry.sp_offset[0]), 0
        if entry.sp_base[0] == Base.BP:
            size, by_bp = _BP_FRAME, size
        if entry.kind[0] != Kind.CALL or entry.sp_base[0] not in (Base.SP, Base.BP):
            return Call(wanted, 0, ip, 0, 0)
        saved = -int(entry.bp_offset[0]) if entry.bp_base[0] == Base.PREV_SP else 0
        return Call(wanted, size, ip, by_bp, saved)


def enlist(overlay: Overlay, head: int, *nodes: int) -> None:
    """Make a list of a list_head and of these, in this order."""
    ring = [head, *nodes]
    for at, node in enumerate(ring):
        overlay.word(node, ring[(at + 1) % len(ring)]).word(node + 8, ring[at - 1])
