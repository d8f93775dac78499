"""One step up many stacks at once, by frame pointers on x86-64 (arch/x86/kernel/unwind_frame.c, unwind_next_frame).

A record on the stack has the caller's frame pointer, and behind it the return address. Where a task was interrupted
the frame pointer is the address of the registers that were saved, with its lowest bit set (ENCODE_FRAME_POINTER).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType
from kernlab.linux.stacks.code import behind_call, kernel_code
from kernlab.linux.stacks.frames import NO_REGISTERS, Frames
from kernlab.linux.stacks.machines.x86_64 import modes
from kernlab.linux.stacks.stack_kinds import StackKind

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_WORD = np.uint64(8)
_RECORD = np.uint64(16)
#: How far below a task's registers the last record may end (is_last_aligned_frame, is_last_ftrace_frame).
_ALIGNED, _TRACED = np.uint64(8), np.uint64(24)
_ENCODED, _UNALIGNED = np.uint64(1), np.uint64(7)

#: Why a frame that leads nowhere was not followed.
NOT_ALIGNED = "its frame pointer is not aligned"
NO_STACK = "its frame pointer leads to no stack of its own"
NOT_ABOVE = "the caller's frame does not lie above it"

#: Between a stack's end and a task's registers, with CONFIG_X86_FRED since v6.9 (TOP_OF_KERNEL_STACK_PADDING).
_FRED_ENTRY, _FRED_PADDING = "asm_fred_entrypoint_user", 16

#: How a function begins: endbr64, or what is written over it where no pointer leads there (gen_endbr_poison); ftrace's
#: call or the NOP in its place; push %rbp and mov %rsp, %rbp, and instructions of the function's own between the two.
_ENDBR, _NOP, _CALL = (b"\xf3\x0f\x1e\xfa", b"\x66\x0f\x1f\x00"), b"\x0f\x1f\x44\x00\x00", b"\xe8"
_PUSH, _MOVE = b"\x55", b"\x48\x89\xe5"
_CALL_BYTES = 5
#: Bytes in which all of that is found.
BEGINNING = 32
#: How it ends: with a return, or the jump to what does it (arch/x86/lib/retpoline.S).
_RETURN, _JUMP = 0xC3, 0xE9
_THUNKS = tuple(
    f"{kind}_return_thunk" for kind in ("__x86", "retbleed", "srso", "srso_alias", "call_depth", "its")
)


class FramePointerUnwinder:
    """Takes frames to their callers' in a kernel that was built with CONFIG_FRAME_POINTER."""

    def __init__(self, kernel: Kernel):
        kind = kernel.find_type("struct pt_regs").strip()
        assert isinstance(kind, StructType)
        self._kernel, self._code = kernel, kernel_code(kernel)
        self._offsets = {
            name: np.uint64(kind.member(name).offset) for name in ("ip", "cs", "flags", "sp", "bp")
        }
        self._regs_bytes = np.uint64(kind.size)
        padding = _FRED_PADDING if kernel.symbols.get(_FRED_ENTRY) else 0
        self._above_regs = np.uint64(kind.size + padding)
        edges = [kernel.symbols.get(f"__entry_text_{edge}") for edge in ("start", "end")]
        self._entry = np.array([edge or 0 for edge in edges], dtype=np.uint64)
        thunks = (kernel.symbols.get(name) for name in _THUNKS)
        self._thunks = np.array([thunk for thunk in thunks if thunk], dtype=np.uint64)

    def step(self, frames: Frames) -> None:
        """Every frame that is not done becomes its caller's; where that cannot be known it is marked as failed."""
        rows = np.flatnonzero(frames.running)
        bare, complete = self._without_record(frames, rows)
        going = ~self._end(frames, rows, bare | complete)
        rows, bare, complete = rows[going], bare[going], complete[going]
        if not len(rows):
            return
        sp, bp = frames.sp[rows], frames.bp[rows].copy()
        bp[complete] = sp[complete]
        encoded = ~bare & ~complete & (bp & _UNALIGNED == _ENCODED)
        ip, next_sp, next_bp = (np.zeros(len(rows), dtype=np.uint64) for _ in range(3))
        regs, ok = np.zeros(len(rows), dtype=np.uint64), np.zeros(len(rows), dtype=bool)
        at = np.flatnonzero(bare)
        next_sp[at], next_bp[at] = sp[at] + _WORD, bp[at]
        ip[at], ok[at] = frames.read(rows[at], sp[at])
        at = np.flatnonzero(~bare & ~encoded)
        ip[at], next_sp[at], next_bp[at], ok[at] = self._record(frames, rows[at], bp[at])
        at = np.flatnonzero(encoded)
        regs[at] = bp[at] - _ENCODED
        ip[at], next_sp[at], next_bp[at], ok[at] = self._registers(frames, rows[at], regs[at])
        going = frames.running[rows]
        rows, ip, next_sp, next_bp = rows[going], ip[going], next_sp[going], next_bp[going]
        regs, ok = regs[going], ok[going]
        saved = regs != 0
        frames.advance(rows, ip, next_sp, next_bp, exact=saved, regs=regs, full=saved, ok=ok)

    def _end(self, frames: Frames, rows: I64, called: Mask) -> Mask:
        """Which of `rows` are at their ends, and end there: a task's stack has its registers of user mode above it.

        called bool[k]: which are known to have a caller.
        """
        sp, stack = frames.sp[rows], frames.stack[rows]
        own = (stack >= 0) & (frames.stacks.kind[stack] == StackKind.TASK)
        top = frames.stacks.end[stack] - self._above_regs
        ends: Mask = own & (sp == top)
        # What entry code called may have aligned its stack (GCC repeats the return address above), or ftrace is in it.
        near = np.flatnonzero(own & ((sp == top - _ALIGNED) | (sp == top - _TRACED)))
        if len(near):
            first, read = frames.read(rows[near], sp[near])
            second, read_more = frames.read(rows[near], sp[near] + _RECORD)
            ip, bp = frames.ip[rows[near]], frames.bp[rows[near]]
            aligned = (sp[near] == top[near] - _ALIGNED) & read & (first == ip)
            traced = (sp[near] == top[near] - _TRACED) & read & read_more & (first == bp) & (second == ip)
            ends[near] |= aligned | traced
        # Interrupted in entry code there is no record yet, or none any more.
        ip, bp = frames.ip[rows], frames.bp[rows]
        entry = (ip >= self._entry[0]) & (ip < self._entry[1]) | own & (sp >= top - _TRACED)
        leads_on = (bp & _UNALIGNED <= _ENCODED) & (frames.on_stack(rows, bp & ~_UNALIGNED) >= 0)
        ends |= frames.exact[rows] & entry & ~leads_on
        ends &= ~called
        self._to_user(frames, rows[ends & own], top[ends & own])
        frames.finish(rows[ends])
        return ends

    def _to_user(self, frames: Frames, rows: I64, regs: U64) -> None:
        """Tell which of these came from user mode: kernel threads have no registers there."""
        cs, read = frames.read(rows, regs + self._offsets["cs"])
        flags, read_flags = frames.read(rows, regs + self._offsets["flags"])
        user = read & read_flags & modes(cs, flags)[0]
        frames.user[rows[user]] = regs[user]

    def _record(self, frames: Frames, rows: I64, at: U64) -> tuple[U64, U64, U64, Mask]:
        """(ip, sp, bp, ok) of the callers whose records lie at `at`."""
        stack = frames.on_stack(rows, at)
        whole = (at & _UNALIGNED == 0) & (stack >= 0) & (frames.on_stack(rows, at + _WORD) == stack)
        frames.fail(rows[at & _UNALIGNED != 0], NOT_ALIGNED)
        frames.fail(rows[~whole], NO_STACK)
        overlaps = (stack == frames.stack[rows]) & (at < frames.sp[rows])
        frames.fail(rows[whole & overlaps], NOT_ABOVE)
        bp, read = frames.read(rows, at)
        ip, read_ip = frames.read(rows, at + _WORD)
        return ip, at + _RECORD, bp, read & read_ip & whole & ~overlaps

    def _registers(self, frames: Frames, rows: I64, regs: U64) -> tuple[U64, U64, U64, Mask]:
        """(ip, sp, bp, ok) of what was interrupted, whose registers lie at `regs`."""
        stack = frames.on_stack(rows, regs)
        whole = (stack >= 0) & (frames.on_stack(rows, regs + self._regs_bytes - _WORD) == stack)
        frames.fail(rows[~whole], "its frame pointer leads to registers on no stack of its own")
        overlaps = whole & (stack == frames.stack[rows]) & (regs < frames.sp[rows])
        frames.fail(rows[overlaps], "the registers that it leads to do not lie above it")
        value, ok = {}, whole & ~overlaps
        for name, offset in self._offsets.items():
            value[name], read = frames.read(rows, regs + offset)
            ok &= read
        user, own = modes(value["cs"], value["flags"])
        # A thread that never ran has an empty set at its stack's end.
        top = frames.stacks.end[stack] - self._above_regs
        unused = ok & (frames.stacks.kind[stack] == StackKind.TASK) & (regs == top) & (value["cs"] == 0)
        frames.finish(rows[unused])
        sane = user | own
        frames.fail(rows[ok & ~unused & ~sane], NO_REGISTERS)
        frames.user[rows[ok & user]] = regs[ok & user]
        return value["ip"], value["sp"], value["bp"], ok & sane

    def _without_record(self, frames: Frames, rows: I64) -> tuple[Mask, Mask]:
        """Which were interrupted where the function's record is not on the stack: (bool[k], bool[k]).

        Of the first the return address lies where the stack pointer points, and the frame pointer is the caller's: a
        call that led nowhere, a function's first instructions, and its last one. Of the second the record is complete,
        but the frame pointer does not point to it yet. The kernel passes over such a caller.
        """
        bare, complete = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        at = np.flatnonzero(frames.exact[rows])
        if not len(at):
            return bare, complete
        ip = frames.ip[rows[at]]
        bare[at] = ~self._code.holds(ip)
        here, read = self._bytes(ip, _CALL_BYTES)
        bare[at] |= read & self._returns(ip, here)
        row, offset, _ = self._kernel.lookup(ip)
        code, read = self._bytes(ip - offset, BEGINNING)
        for one in np.flatnonzero((row >= 0) & (offset < BEGINNING) & read).tolist():
            setup = setup_of(code[one].tobytes())
            if setup is not None:
                push, move = setup
                bare[at[one]] |= offset[one] <= push
                complete[at[one]] = push < offset[one] <= move
        candidates = at[bare[at] | complete[at]]
        value, read_value = frames.read(
            rows[candidates],
            frames.sp[rows[candidates]] + np.where(complete[candidates], _WORD, np.uint64(0)),
        )
        called, known = behind_call(self._kernel, value)
        wrong = candidates[~(read_value & called & known)]
        bare[wrong] = complete[wrong] = False
        return bare, complete & ~bare

    def _bytes(self, addresses: U64, size: int) -> tuple[U8, Mask]:
        """The code at each address, uint8[n, size], and whether the dump has it."""
        rows, status = self._kernel.gather(addresses, size, what="")
        return rows, status == 0

    def _returns(self, ip: U64, code: U8) -> Mask:
        """Which of these instructions leave a function: a return, or the jump to the thunk that does it."""
        distance = np.ascontiguousarray(code[:, 1:5]).view("<i4")[:, 0].astype(np.int64).view(np.uint64)
        target = ip + np.uint64(_CALL_BYTES) + distance
        leaves: Mask = (code[:, 0] == _RETURN) | ((code[:, 0] == _JUMP) & np.isin(target, self._thunks))
        return leaves


def setup_of(code: bytes) -> tuple[int, int] | None:
    """Where a function that begins with `code` pushes its caller's frame pointer, where it takes its own; or None."""
    at = len(_ENDBR[0]) if code.startswith(_ENDBR) else 0
    if code.startswith((_NOP, _CALL), at):
        at += _CALL_BYTES
    move = code.find(_MOVE, at + len(_PUSH), BEGINNING)
    return (at, move) if code.startswith(_PUSH, at) and move >= 0 else None
