"""One step up many stacks at once, by ORC (arch/x86/kernel/unwind_orc.c, unwind_next_frame)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.orc import Base, Entries, Kind, OrcTable
from kernlab.debuginfo.types import StructType
from kernlab.linux.stacks.callers import callers
from kernlab.linux.stacks.frames import NO_REGISTERS, Frames
from kernlab.linux.stacks.machines.x86_64 import modes
from kernlab.linux.stacks.made_code import made_code
from kernlab.linux.stacks.starts import REALIGNED

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD = np.uint64(8)
_SAVED = ("ip", "cs", "flags", "sp", "bp", *REALIGNED)
#: Registers that lead to the caller's frame where a function realigned its stack, by their names in struct pt_regs.
_REGISTERS = {Base.DX: "dx", Base.DI: "di", Base.R10: "r10", Base.R13: "r13", Base.AX: "ax"}


class OrcUnwinder:
    """Takes frames to their callers' with one table for all of the kernel."""

    def __init__(self, kernel: Kernel, table: OrcTable):
        self._kernel, self._table = kernel, table
        kind = kernel.find_type("struct pt_regs").strip()
        assert isinstance(kind, StructType)
        self._offsets = {name: kind.member(name).offset for name in _SAVED}

    def step(self, frames: Frames) -> None:
        """Every frame that is not done becomes its caller's; where that cannot be known it is marked as failed."""
        rows = np.flatnonzero(frames.running)
        # Behind a call that does not return there is another function: what called it lies before the address.
        ip = frames.ip[rows]
        before = np.where(frames.exact[rows], 0, 1).astype(np.uint64)
        entry = self._table.at(ip - before)
        if (entry.unknown & (ip != 0)).any():
            # What ftrace copied does as what it is a copy of.
            entry = self._table.at(made_code(self._kernel).originals(ip) - before)
        # A call of NULL: nothing of it was done but to push where it came from.
        null = ip == 0
        entry.kind[null], entry.sp_base[null], entry.sp_offset[null] = Kind.CALL, Base.SP, 8
        # Code that was made while the kernel ran, as the kernel itself does: it may have a frame pointer.
        made = entry.unknown & ~null
        entry.kind[made], entry.sp_base[made], entry.sp_offset[made] = Kind.CALL, Base.BP, 16
        entry.bp_base[made], entry.bp_offset[made] = Base.PREV_SP, -16
        if made.any():
            sure = made_code(self._kernel).is_bpf(ip) & ~frames.exact[rows]
            frames.guessed[rows[made & ~sure]] = True
        untold = np.flatnonzero((entry.kind == Kind.UNDEFINED) & ~made)
        if len(untold):
            above = callers(frames, rows[untold], ip[untold])
            called = untold[above != 0]
            entry.kind[called], entry.sp_base[called] = Kind.CALL, Base.SP
            entry.sp_offset[called] = (above[above != 0] - frames.sp[rows[called]]).astype(np.int64)
            # Of what it saved on its way nothing is known but where it has only begun to do so.
            frames.guessed[rows[called[~frames.exact[rows[called]]]]] = True
        # To the tables a trampoline is an end or unknown; one whose caller is noted nowhere was never called itself.
        lost = frames.guessed[rows] & ~frames.exact[rows] & frames.trampolines.begin(ip)
        entry.kind[lost] = Kind.UNDEFINED
        ended = np.flatnonzero(entry.kind <= Kind.END_OF_STACK)
        for name, at in frames.trampolines.within(ip[ended]).items():
            frames.fail(rows[ended[at]], f"who called what returned to {name} is noted nowhere")
        frames.finish(rows[entry.kind == Kind.END_OF_STACK])
        frames.fail(
            rows[(entry.kind == Kind.UNDEFINED) & frames.running[rows]],
            "the kernel's tables do not tell where its caller is",
        )
        going = entry.kind >= Kind.CALL
        rows, entry = rows[going], entry[going]
        if not len(rows):
            return
        sp, ok = self._caller(frames, rows, entry)
        ip, next_sp = np.zeros(len(rows), dtype=np.uint64), sp.copy()
        regs, full = np.zeros(len(rows), dtype=np.uint64), entry.kind == Kind.REGS
        call = entry.kind == Kind.CALL
        ip[call], read = frames.read(rows[call], sp[call] - _WORD)
        ok[call] &= read
        saved = np.flatnonzero(~call)
        if len(saved):
            # Of an interrupt's frame only what the CPU pushed itself is there yet, which begins with ip.
            regs[saved] = sp[saved] - np.where(full[saved], 0, self._offsets["ip"]).astype(np.uint64)
            values = {}
            for name in ("ip", "sp", "cs", "flags"):
                where = regs[saved] + np.uint64(self._offsets[name])
                values[name], read = frames.read(rows[saved], where)
                ok[saved] &= read
            ip[saved], next_sp[saved] = values["ip"], values["sp"]
            by_user, by_kernel = modes(values["cs"], values["flags"])
            frames.fail(rows[saved[ok[saved] & ~by_user & ~by_kernel]], NO_REGISTERS)
            ok[saved] &= by_user | by_kernel
            user = saved[ok[saved] & by_user]
            frames.user[rows[user]] = regs[user]
        # Where the registers of user mode were saved the rest need not be known.
        bp, read = self._frame_pointer(frames, rows, entry, sp, regs)
        ok &= read | (frames.user[rows] != 0)
        frames.advance(rows, ip, next_sp, bp, exact=entry.signal, regs=regs, full=full, ok=ok)

    def _caller(self, frames: Frames, rows: I64, entry: Entries) -> tuple[U64, Mask]:
        """The caller's stack pointer before it called; for saved registers where they lie."""
        base, offset = entry.sp_base, entry.sp_offset.astype(np.uint64)
        found = np.where(np.isin(base, (Base.BP, Base.BP_INDIRECT)), frames.bp[rows], frames.sp[rows])
        ok = ~np.isin(base, (Base.UNDEFINED, Base.PREV_SP))
        through = base == Base.SP_INDIRECT
        found = np.where(through, found, found + offset)
        indirect = np.flatnonzero(through | (base == Base.BP_INDIRECT))
        if len(indirect):
            value, read = frames.read(rows[indirect], found[indirect])
            found[indirect] = value + np.where(through[indirect], offset[indirect], np.uint64(0))
            ok[indirect] &= read
        for number, name in _REGISTERS.items():
            at = np.flatnonzero(base == number)
            if len(at):
                found[at], ok[at] = frames.register(rows[at], name, self._offsets[name])
        return found, ok

    def _frame_pointer(
        self, frames: Frames, rows: I64, entry: Entries, sp: U64, regs: U64
    ) -> tuple[U64, Mask]:
        """The caller's frame pointer: as it is, from the registers that were saved, or from the stack."""
        base, offset, bp = entry.bp_base, entry.bp_offset.astype(np.uint64), frames.bp[rows]
        found, ok = bp.copy(), ~np.isin(base, (*_REGISTERS, Base.SP, Base.SP_INDIRECT, Base.BP_INDIRECT))
        stored = np.flatnonzero((base == Base.PREV_SP) | (base == Base.BP))
        if len(stored):
            at = np.where(base[stored] == Base.PREV_SP, sp[stored], bp[stored]) + offset[stored]
            found[stored], ok[stored] = frames.read(rows[stored], at)
        # Saved with all others; or, by an interrupt in the midst of that, by who saved all before.
        saved = np.flatnonzero((base == Base.UNDEFINED) & (entry.kind != Kind.CALL))
        if len(saved):
            at = np.where(entry.kind[saved] == Kind.REGS, regs[saved], frames.saved(rows[saved]))
            value, read = frames.read(rows[saved], at + np.uint64(self._offsets["bp"]))
            known = read & (at != 0)
            found[saved[known]] = value[known]
        return found, ok
