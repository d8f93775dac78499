"""Every frame of every thread against drgn, which unwinds one stack at a time by DWARF and the ORC of the vmlinux.

Equal are the instruction pointer, the stack pointer, the frame pointer and whether the frame was interrupted. Where
the two differ, who is right is shown by what neither of them made:

- Return addresses that a tracer took: the thread's own notes have them (test_trampolines.py), drgn shows the trampoline
  and goes on from there as if there were tables for it.
- What drgn takes for the caller of user code: it reads no memory of a process, but QEMU's ELF files say that physical
  memory begins at address 0, so that it gives the machine's interrupt vectors for it.
- Of several symbols the kernel prints the last one at or before an address (kernel/kallsyms.c, get_symbol_pos), drgn
  the one whose size holds it: both are in the vmlinux.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import FOLDERS, SAMPLES
from support.drgn_oracle import drgn_program
from support.stack_truth import stack_dumps

import kernlab
from kernlab.core.struct_array import StructArray
from kernlab.linux.stacks.frames import Frames
from kernlab.linux.stacks.orc import OrcUnwinder
from kernlab.linux.stacks.unwind import unwound

DUMPS = {"debian-6.1": SAMPLES / "debian-6.1" / "vmcore"} | {
    dump.name: dump.vmcore for dump in stack_dumps(SAMPLES, FOLDERS["server"])
}
TRAMPOLINES = ("return_to_handler", "arch_rethook_trampoline", "__kretprobe_trampoline")
USER_END = 1 << 47

#: (ip, sp, bp, interrupted) of a frame; bp is None where its unwinder does not know it.
Frame = tuple[int, int, int | None, bool]


class Both:
    """A dump's stacks by thread (the row in `task`), as kernlab and as drgn have them."""

    def __init__(self, dump: kernlab.Dump, program: Any, pointers: dict[tuple[int, int], int]):
        self.kernel, self.program = dump.kernel, program
        self.found = unwound(dump.kernel)
        self.task = self.found.task
        self.ours: list[list[Frame]] = [[] for _ in range(len(self.task))]
        columns = (self.found.thread, self.found.frame, self.found.ip, self.found.sp, self.found.exact)
        for thread, frame, ip, sp, exact in zip(*(column.tolist() for column in columns), strict=True):
            self.ours[thread].append((ip, sp, pointers.get((thread, frame)), exact))
        self.names = self.kernel.symbolize(self.found.ip, ~self.found.exact)
        self.user = self._user()
        self.theirs = [self._of_drgn(address) for address in self.task.addresses.tolist()]

    def _user(self) -> dict[int, Frame]:
        """The registers of user mode that a thread's stack leads to."""
        threads = list(self.found.user)
        regs = StructArray(self.kernel, "struct pt_regs", [self.found.user[thread] for thread in threads])
        values = zip(*(regs[name].tolist() for name in ("ip", "sp", "bp")), strict=True)
        return {thread: (*each, True) for thread, each in zip(threads, values, strict=True)}

    def _of_drgn(self, address: int) -> list[Frame]:
        import drgn

        task = drgn.Object(self.program, "struct task_struct *", value=address)
        trace = [frame for frame in self.program.stack_trace(task) if not frame.is_inline]
        registers = [frame.registers() for frame in trace]
        return [
            (frame.pc, each["rsp"], each.get("rbp"), frame.interrupted)
            for frame, each in zip(trace, registers, strict=True)
        ]


@pytest.fixture(scope="module", params=DUMPS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    pointers: dict[tuple[int, int], int] = {}
    numbers: dict[int, int] = {}
    step = OrcUnwinder.step

    def noting(self: OrcUnwinder, frames: Frames) -> None:
        rows = np.flatnonzero(frames.running)
        for thread, bp in zip(frames.thread[rows].tolist(), frames.bp[rows].tolist(), strict=True):
            number = numbers[thread] = numbers.get(thread, -1) + 1
            pointers[thread, number] = bp
        step(self, frames)

    with kernlab.open(DUMPS[request.param]) as dump, pytest.MonkeyPatch.context() as patch:
        release = dump.kernel.vmcoreinfo.release
        program = drgn_program(DUMPS[request.param], release, tmp_path_factory.mktemp("drgn"))
        patch.setattr(OrcUnwinder, "step", noting)
        yield Both(dump, program, pointers)


def test_every_physical_frame_is_drgns(both):
    compared = 0
    for thread, (ours, theirs) in enumerate(zip(both.ours, both.theirs, strict=True)):
        user = both.user.get(thread)
        if user is not None:
            ours = [*ours, user]
        taken = next((row for row, frame in enumerate(theirs) if is_trampoline(both, frame)), None)
        if taken is not None:
            assert len(ours) > taken
            assert not is_trampoline(both, ours[taken])
            ours, theirs = ours[:taken], theirs[:taken]
        elif user is not None:
            assert not any(map(has_memory_of_a_process, theirs[len(ours) :]))
            theirs = theirs[: len(ours)]
        assert len(ours) == len(theirs), both.task["pid"].tolist()[thread]
        for frame, other in zip(ours, theirs, strict=True):
            assert (frame[0], frame[1], frame[3]) == (other[0], other[1], other[3])
            assert None in (frame[2], other[2]) or frame[2] == other[2]
            compared += frame[2] is not None and other[2] is not None
    assert compared > 300
    assert compared > 0.7 * len(both.found)


def test_every_symbol_is_in_drgns_table_where_the_kernel_prints_it(both):
    compared = 0
    for ip, exact, name in zip(both.found.ip.tolist(), both.found.exact.tolist(), both.names, strict=True):
        try:
            theirs = both.program.symbol(ip - (not exact))
        except LookupError:
            # The vmlinux has no symbols of modules, nor of code that was made later.
            assert name is None or name.endswith("]"), name
            continue
        symbol, _, offset = name.partition("/")[0].partition("+")
        starts = [same.address for same in both.program.symbols(symbol)]
        assert ip - int(offset, 16) in starts
        assert theirs.address <= ip - int(offset, 16)
        compared += 1
    assert compared > 300


def is_trampoline(both: Both, frame: Frame) -> bool:
    return any(both.kernel.find_symbol(name) == frame[0] for name in TRAMPOLINES)


def has_memory_of_a_process(frame: Frame) -> bool:
    """Is that an address of user code? Vectors of real mode have a segment in their upper half."""
    return 0 < frame[0] < USER_END
