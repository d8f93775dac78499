"""A stack in, the functions that tell out: without frames that only report, wait, allocate or enter, and under the
names that they have in every release."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from kernlab.oops.boilerplate import (
    ALLOCATING,
    COPYING,
    DISPATCHING,
    ENTERING,
    GIVING,
    HELPING,
    REPORTING,
    SLABS,
    TICKING,
    WAITING,
    WATCHING,
)
from kernlab.oops.frames import Frame
from kernlab.oops.helpers import Group, helps
from kernlab.oops.rust import demangled

#: Whose stack it is: of a fault, of a check that reports, of a CPU that spins, of one that RCU waits for, of who
#: waits, of who called what may sleep, of who gave memory away, of who asked for memory that nobody freed,
#: of who takes a lock.
Stack = Literal["fault", "report", "spin", "stall", "wait", "sleep", "leak", "lost", "lock"]

#: Helpers that a stack is never about, by their files. Who may sleep says so: only locks and slabs do for all. An
#: allocator has locks of its own.
_GROUPS: dict[Stack, tuple[Group, ...]] = {
    "wait": ("waits",),
    "sleep": ("waits",),
    "leak": ("copies",),
    "lock": ("reports", "waits", "copies", "serves", "unregisters"),
}
_ALL: tuple[Group, ...] = ("reports", "waits", "allocates", "copies", "serves", "unregisters")
_FAMILIES_OF: dict[Stack, tuple[re.Pattern[str], ...]] = {
    "wait": (WAITING, REPORTING, ENTERING),
    "sleep": (REPORTING, ENTERING, SLABS),
    "leak": (COPYING, REPORTING, ENTERING),
    "lost": (GIVING, REPORTING, HELPING, ALLOCATING, ENTERING),
}
#: Crates of Rust's own: a panic stands in them, and what every function is made of.
_RUST = ("core::", "alloc::", "<core::", "<alloc::", "__rustc::")
#: Modules of which functions are helpers.
_SERVING = ("", "usbcore")

#: What compilers put behind a name (GCC's clones, Clang's ThinLTO and CFI), and the kernel's own alloc_hooks().
_SUFFIX = re.compile(
    r"(?:\.(?:constprop|isra|part|cold|llvm|lto_priv|localalias|specialized|cfi_jt|cfi)(?:\.\d{1,20})*+|"
    r"\.\d{1,20}|_noprof)++$"
)
#: Wrappers of system calls, by the release: sys_read, SyS_read, SYSC_read, __x64_sys_read, __do_sys_read, ksys_read
#: (include/linux/syscalls.h; arch/*/include/asm/syscall_wrapper.h since 4.17).
_SYSCALL = re.compile(
    r"(?:ksys_|__(?:x64|ia32|x32|arm64|s390x?|riscv|powerpc|loongarch|do|se)_?(?:compat_)?sys_|"
    r"(?:compat_)?SyS_|(?:compat_)?SYSC_|"
    r"C_SYSC_|__compat_sys_|compat_sys_|__do_compat_sys_)(?=\w)"
)
#: One thing that releases call by several names.
_FAMILIES = (
    (re.compile(r"synchronize_(?:rcu_\w+|sched\w*)$"), "synchronize_rcu"),
    (re.compile(r"smp_call_function_(?:single|many|many_cond|single_async|any)$"), "smp_call_function"),
    (re.compile(r"__(?:cfi|pfx)_+(?=\w)"), ""),
    # A program's tag is a hash of its instructions (kernel/bpf/core.c, bpf_prog_ksym_set_name; trampoline.c).
    (re.compile(r"bpf_prog_[0-9a-f]{16}(?=_|$)"), "bpf_prog"),
    (re.compile(r"bpf_trampoline_\d{1,20}(?:_\d{1,3})?$"), "bpf_trampoline"),
)


@lru_cache(maxsize=1 << 14)
def normal(name: str) -> str:
    """A function's name without what compilers and releases make of it.

    >>> [normal(name) for name in ("foo.isra.3.cold", "__x64_sys_read", "SyS_read", "kmalloc_noprof")]
    ['foo', 'sys_read', 'sys_read', 'kmalloc']
    """
    name = (
        _SYSCALL.sub("sys_", _SUFFIX.sub("", name), count=1)
        if _SYSCALL.match(name)
        else _SUFFIX.sub("", name)
    )
    for pattern, family in _FAMILIES:
        if pattern.match(name):
            return pattern.sub(family, name, count=1)
    return name


def shown(name: str) -> str:
    """A function's normal name as people write it: Rust's with its path."""
    return demangled(normal(name))


@lru_cache(maxsize=1 << 14)
def is_boilerplate(name: str, stack: Stack = "report", module: str = "") -> bool:
    """Whether a function, by its normal name, is never what a report is about.

    That a helper of the kernel's image has its name says nothing of a module's function.
    """
    families = _FAMILIES_OF.get(stack, (REPORTING, HELPING, ALLOCATING, ENTERING))
    if any(family.match(name) for family in families):
        return True
    if name.startswith("_R") and demangled(name).startswith(_RUST):
        return True
    groups = _GROUPS.get(stack, _ALL)
    if module in _SERVING:
        return helps(name, *groups)
    # What a module exports has a name of its own in all of the kernel.
    return "unregisters" in groups and helps(name, "unregisters")


def _is_boilerplate(frame: Frame, stack: Stack = "report") -> bool:
    return is_boilerplate(normal(frame.name), stack, frame.module)


def enters(frame: Frame) -> bool:
    """Whether a frame is at the bottom of stacks."""
    return bool(ENTERING.match(normal(frame.name)))


def telling(frames: Iterable[Frame], stack: Stack = "report") -> list[Frame]:
    """The frames that say what was done, the innermost first: all but boilerplate, and those that are sure.

    Where all is boilerplate, what is left without what reports; where all reports, the outermost first.
    """
    frames = list(frames)
    frames = [frame for frame in frames if not _past_its_end(frame)] or frames
    frames = [frame for frame in frames if frame.reliable] or frames
    if stack == "stall":
        return _asked(_interrupted(frames))
    if stack == "spin":
        watched = bool(frames) and WATCHING.match(normal(frames[0].name))
        return _asked(_interrupted(frames) if watched else frames)
    told = [frame for frame in frames if not _is_boilerplate(frame, stack)]
    silent = [frame for frame in frames if not REPORTING.match(normal(frame.name))]
    if not told and stack == "wait":
        told = [frame for frame in silent if not WAITING.match(normal(frame.name))]
    if not told and stack != "wait":
        # One helper for another: the outermost does it of its own.
        told = [frame for frame in silent if not enters(frame)][::-1]
    return told or silent or frames[::-1]


def _past_its_end(frame: Frame) -> bool:
    """A return address behind a function's end: its caller does not return, and the name is that of what lies
    behind it."""
    return bool(frame.size) and frame.offset == frame.size


def _interrupted(frames: Sequence[Frame]) -> list[Frame]:
    """The frames of what a tick interrupted: what comes and goes above it is not what lasts. All where none did."""
    place = next(
        (place for place, frame in enumerate(frames) if TICKING.match(normal(frame.name))), len(frames)
    )
    while place < len(frames) and TICKING.match(normal(frames[place].name)):
        place += 1
    return list(frames[place:]) or list(frames)


def _asked(frames: Sequence[Frame]) -> list[Frame]:
    """The frames of a CPU that spins, from what it was asked to do on: where it stood when somebody looked is chance.

    That is the innermost function that a dispatcher called (an ioctl of a driver, a timer's function), the system call,
    or the wait for another CPU.
    """
    names = [normal(frame.name) for frame in frames]
    for place, name in enumerate(names):
        inner = names[place - 1] if place else ""
        native = names[place - 2] if place > 1 else ""
        if inner.endswith("_compat_ioctl") and native == inner.replace("_compat_ioctl", "_ioctl"):
            return list(frames[place - 2 :])
        if (
            inner
            and DISPATCHING.match(name)
            and not DISPATCHING.match(inner)
            and not _is_boilerplate(frames[place - 1])
        ):
            return list(frames[place - 1 :])
        if name.startswith("sys_") and not (place and DISPATCHING.match(name)):
            return list(frames[place:])
        if name.startswith("smp_call_function"):
            return list(frames[place:])
    return [frame for frame in frames if not _is_boilerplate(frame)]
