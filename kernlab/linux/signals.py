"""Signals: sets of them in words, what each process does with one, and what is queued."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: arch/x86/include/uapi/asm/signal.h and include/uapi/asm-generic/signal.h: those below 32 by number, from 1 on.
_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip
#: _NSIG, and the kernel's own first real-time signal.
MOST, _RTMIN = 64, 32

#: Handlers that are none: the signal's default, and nothing.
DEFAULT, IGNORE = 0, 1

#: include/uapi/asm-generic/siginfo.h: what brought a signal, of any signal and of some.
_CODES = {
    0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO", -5: "SI_SIGIO",
    -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL",
}  # fmt: skip
_CODES_OF = {
    4: ("ILL", "OPC OPN ADR TRP PRVOPC PRVREG COPROC BADSTK BADIADDR BREAK BNDMOD"),
    5: ("TRAP", "BRKPT TRACE BRANCH HWBKPT UNK PERF"),
    7: ("BUS", "ADRALN ADRERR OBJERR MCEERR_AR MCEERR_AO"),
    8: ("FPE", "INTDIV INTOVF FLTDIV FLTOVF FLTUND FLTRES FLTINV FLTSUB DECOVF DECDIV DECERR INVASC INVDEC FLTUNK"),
    11: ("SEGV", "MAPERR ACCERR BNDERR PKUERR ACCADI ADIDERR ADIPERR MTEAERR MTESERR CPERR"),
    17: ("CLD", "EXITED KILLED DUMPED TRAPPED STOPPED CONTINUED"),
    29: ("POLL", "IN OUT MSG ERR PRI HUP"),
    31: ("SYS", "SECCOMP USER_DISPATCH"),
}  # fmt: skip
#: include/uapi/asm-generic/signal-defs.h and arch/x86/include/uapi/asm/signal.h: what else a handler asked for.
_FLAGS = {
    0x1: "NOCLDSTOP", 0x2: "NOCLDWAIT", 0x4: "SIGINFO", 0x400: "UNSUPPORTED", 0x800: "EXPOSE_TAGBITS",
    0x4000000: "RESTORER", 0x8000000: "ONSTACK", 0x10000000: "RESTART", 0x40000000: "NODEFER", 0x80000000: "RESETHAND",
}  # fmt: skip
#: Signals whose siginfo carries the address of a fault where the kernel sent them (kernel/signal.c, siginfo_layout).
FAULTS = (4, 5, 7, 8, 11)


def signal_name(number: int) -> str:
    """SIGTERM, SIGRTMIN+2: the kernel counts real-time signals from 32 on, of which a C library takes two or three."""
    if 1 <= number <= len(_NAMES):
        return f"SIG{_NAMES[number - 1]}"
    if _RTMIN <= number <= MOST:
        return "SIGRTMIN" if number == _RTMIN else f"SIGRTMIN+{number - _RTMIN}"
    return str(number)


def code_name(signal: int, code: int) -> str:
    """What brought a signal: SI_USER, SEGV_MAPERR …; the number where it has no name."""
    if code in _CODES:
        return _CODES[code]
    start, names = _CODES_OF.get(signal, ("", ""))
    known = names.split()
    return f"{start}_{known[code - 1]}" if 1 <= code <= len(known) else str(code)


def flag_names(flags: int) -> str:
    """Flags of an action: "SA_RESTART,SA_SIGINFO"; what has no name as a number."""
    names = [f"SA_{name}" for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS)
    return ",".join(names + [f"{rest:#x}"] * bool(rest))


def set_names(masks: Column) -> Column:
    """Sets of signals in words: "all", '' for none, else names with commas between."""
    sets, of = np.unique(masks.filled(0), return_inverse=True)
    words = [
        "all"
        if mask == (1 << MOST) - 1
        else ",".join(signal_name(bit + 1) for bit in range(MOST) if mask >> bit & 1)
        for mask in sets.tolist()
    ]
    return Column.of(np.array(words, dtype=object)[of], masks.valid, "text")


@dataclass(frozen=True, slots=True)
class Actions:
    """What is done with each signal in each of n struct sighand_struct: uint64[n, 64] each, and which could be read."""

    handler: U64
    flags: U64
    mask: U64
    known: npt.NDArray[np.bool_]


def actions(kernel: Kernel, sighand: StructArray) -> Actions:
    """All of `sighand.action`, read in one go (include/linux/signal_types.h, struct k_sigaction)."""
    access = resolve(sighand.type, "action")
    kind = access.type.strip()
    assert isinstance(kind, ArrayType)
    step = kind.element.size
    start = np.where(sighand.valid, sighand.addresses + np.uint64(access.hops[-1]), np.uint64(0))
    rows, status = kernel.gather(start, step * MOST, "")
    every = rows.reshape(len(sighand), MOST, step)
    kernel.lost("tables of what processes do with signals cannot be read", mask=sighand.valid & (status != 0))

    def words(path: str) -> U64:
        at = resolve(kind.element, path).hops[-1]
        return np.ascontiguousarray(every[:, :, at : at + 8]).view("<u8")[:, :, 0].astype(np.uint64)

    known = (status == 0) & sighand.valid
    return Actions(words("sa.sa_handler"), words("sa.sa_flags"), words("sa.sa_mask.sig[0]"), known)


def ignored_and_caught(kernel: Kernel, sighand: StructArray) -> tuple[Column, Column]:
    """Sets of signals, as masks: those that are ignored, and those that have a handler (fs/proc/array.c,
    collect_sigign_sigcatch)."""
    found = actions(kernel, sighand)
    words, known = found.handler, found.known
    bits = np.uint64(1) << np.arange(MOST, dtype=np.uint64)
    ignored = ((words == IGNORE) * bits).sum(axis=1, dtype=np.uint64)
    caught = ((words > IGNORE) * bits).sum(axis=1, dtype=np.uint64)
    return Column(ignored, known, "uint"), Column(caught, known, "uint")


@dataclass(frozen=True, slots=True)
class Pending:
    """What is queued: `row` of the task, is it `shared` by its whole process, and the struct sigqueue."""

    row: I64
    shared: npt.NDArray[np.bool_]
    entry: StructArray


def pending_signals(kernel: Kernel, task: StructArray) -> Pending:
    """Every signal that waits to be delivered, with what is known of who sent it.

    That of a whole process is the row of its leader, or of the first of its threads that there is. A signal may be
    pending without an entry: below 32 one that found no memory, or too many of its user's.
    """
    own = task.follow("pending.list")
    signal = task["signal"].filled(0)
    # Leaders first, so that they stand for their processes.
    order = np.argsort((task["pid"] != task["tgid"]).values, kind="stable")
    every, first = np.unique(signal[order], return_index=True)
    holder = order[first][every != 0]
    shared = StructArray(kernel, "struct signal_struct", every[every != 0]).follow("shared_pending.list")
    heads = np.concatenate([own.addresses[own.valid], shared.addresses])
    rows = np.concatenate([np.flatnonzero(own.valid), holder])
    of_all = np.arange(len(heads)) >= int(own.valid.sum())
    owner, entry = list_entries(kernel, heads, "struct sigqueue", "list", what="the queues of signals")
    sort = np.argsort(rows[owner], kind="stable")
    owner = owner[sort]
    return Pending(rows[owner], of_all[owner], entry[sort])
