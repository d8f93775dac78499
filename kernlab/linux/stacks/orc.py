"""One step up many stacks at once, by ORC (arch/x86/kernel/unwind_orc.c, unwind_next_frame)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.orc import Base, Kind, OrcTable
from kernlab.debuginfo.types import StructType
from kernlab.linux.stacks.frames import Frames

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD = np.uint64(8)
#: Registers that lead to the caller's frame where a function realigned its stack, by their names in struct pt_regs.
_REGISTERS = {Base.DX: "dx", Base.DI: "di", Base.R10: "r10", Base.R13: "r13", Base.AX: "ax"}


class OrcUnwinder:
    """Takes frames to their callers' with one table for all of the kernel."""

    def __init__(self, kernel: Kernel, table: OrcTable):
        self._kernel, self._table = kernel, table
        kind = kernel.find_type("struct pt_regs").strip()
        assert isinstance(kind, StructType)
        self._offsets = {
            name: kind.member(name).offset for name in ("ip", "cs", "sp", "bp", *_REGISTERS.values())
        }
        self._registers_bytes = kind.size

    def step(self, frames: Frames) -> None:
        """Every frame that is not done becomes its caller's; where that cannot be known it is marked as failed."""
        rows = np.flatnonzero(frames.running)
        table, sp, bp = self._table, frames.sp[rows], frames.bp[rows]
        # Behind a call that does not return there is another function: what called it lies before the address.
        entry = table.find(frames.ip[rows] - np.where(frames.exact[rows], 0, 1).astype(np.uint64))
        known = entry >= 0
        kind = np.where(known, table.kind[entry], Kind.UNDEFINED)
        frames.finish(rows[kind == Kind.END_OF_STACK])
        frames.fail(rows[kind == Kind.UNDEFINED], "no ORC entry tells of it")
        going = kind >= Kind.CALL
        rows, entry, kind, sp, bp = rows[going], entry[going], kind[going], sp[going], bp[going]
        if not len(rows):
            return
        cfa, ok = self._cfa(frames, rows, entry, sp, bp)
        call = kind == Kind.CALL
        exact = table.signal[entry]
        ip, next_sp = np.zeros(len(rows), dtype=np.uint64), cfa.copy()
        regs, full = frames.regs[rows], frames.full[rows]
        value, read = frames.read(rows[call], cfa[call] - _WORD)
        ip[call] = value
        ok[call] &= read
        regs[call], full[call] = 0, False
        for which, offset, is_full in (
            (kind == Kind.REGS, 0, True),
            (kind == Kind.REGS_PARTIAL, self._offsets["ip"], False),
        ):
            at = np.flatnonzero(which)
            if not len(at):
                continue
            saved = cfa[at] - np.uint64(offset)
            for target, name in ((ip, "ip"), (next_sp, "sp")):
                target[at], read = frames.read(rows[at], saved + np.uint64(self._offsets[name]))
                ok[at] &= read
            cs, read = frames.read(rows[at], saved + np.uint64(self._offsets["cs"]))
            ok[at] &= read
            # A partial frame within a full one: the registers of before are still what they were.
            regs[at] = saved
            full[at] = is_full
            frames.user[rows[at[read & (cs & np.uint64(3) != 0)]]] = True
        frames.regs[rows], frames.full[rows] = regs, full
        next_bp, read = self._bp(frames, rows, entry, cfa, bp)
        ok &= read | frames.user[rows]
        frames.advance(rows, ip, next_sp, next_bp, exact, ok)

    def _cfa(self, frames: Frames, rows: I64, entry: I64, sp: U64, bp: U64) -> tuple[U64, Mask]:
        """The caller's stack pointer before it called; for saved registers where they lie."""
        base = self._table.sp_base[entry]
        offset = self._table.sp_offset[entry].astype(np.uint64)
        cfa = np.where(np.isin(base, (Base.BP, Base.BP_INDIRECT)), bp, sp)
        ok = ~np.isin(base, (Base.UNDEFINED, Base.PREV_SP))
        through = base == Base.SP_INDIRECT
        cfa = np.where(through, cfa, cfa + offset)
        indirect = np.flatnonzero(through | (base == Base.BP_INDIRECT))
        if len(indirect):
            value, read = frames.read(rows[indirect], cfa[indirect])
            cfa[indirect] = value + np.where(through[indirect], offset[indirect], np.uint64(0))
            ok[indirect] &= read
        for number, name in _REGISTERS.items():
            at = np.flatnonzero(base == number)
            if len(at):
                cfa[at], ok[at] = self._register(frames, rows[at], name)
        return cfa, ok

    def _bp(self, frames: Frames, rows: I64, entry: I64, cfa: U64, bp: U64) -> tuple[U64, Mask]:
        """The caller's frame pointer: as it is, from the registers that were saved, or from the stack."""
        base = self._table.bp_base[entry]
        offset = self._table.bp_offset[entry].astype(np.uint64)
        next_bp, ok = bp.copy(), np.ones(len(rows), dtype=bool)
        stored = np.flatnonzero((base == Base.PREV_SP) | (base == Base.BP))
        if len(stored):
            at = np.where(base[stored] == Base.PREV_SP, cfa[stored], bp[stored]) + offset[stored]
            next_bp[stored], ok[stored] = frames.read(rows[stored], at)
        kept = np.flatnonzero((base == Base.UNDEFINED) & frames.full[rows])
        if len(kept):
            value, read = self._register(frames, rows[kept], "bp")
            next_bp[kept[read]] = value[read]
        return next_bp, ok

    def _register(self, frames: Frames, rows: I64, name: str) -> tuple[U64, Mask]:
        """A register of frames whose registers were all saved."""
        value, read = frames.read(rows, frames.regs[rows] + np.uint64(self._offsets[name]))
        return value, read & frames.full[rows] & (frames.regs[rows] != 0)
