"""The story of a machine whose kernel ran into an error of its code: where, called for what, with which pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.escape import show_controls
from kernlab.report.death import callers
from kernlab.report.explain import in_words, request, split_symbol

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

Told = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]

#: The error by the kind of the death: in a title, and as what code did.
_ERRORS = {
    "null pointer": ("A NULL pointer", "followed a pointer that was NULL, that is: to nothing"),
    "bad pointer": ("A bad pointer", "followed a pointer to memory that is not there or not its own"),
    "overflow": ("A kernel stack overflowed", "used more of its stack than there is, or wrote over its end"),
    "bug": ("A check of the kernel failed", "found its own data in a state that must never be (BUG)"),
    "divide": ("A division by zero", "divided by zero"),
    "warning": (
        "A warning of the kernel",
        "found something unexpected (WARN), and warnings were set to panic",
    ),
}


def tell(dump: Dump, end: Death) -> Told:
    """Title, what died, why, doubts and next steps of an error of the kernel's code."""
    error, did = _ERRORS[end.kind]
    # What the compiler made of a function is still that function.
    function = show_controls(end.function.split(".")[0])
    where = f"{function} of the module {show_controls(end.module)}" if end.module else function
    who = end.who
    title = f"{error} in {where}" if function else error
    died = [
        f"The kernel's code {did}. After such an error its data may be damaged, and it panicked rather than go on."
    ]
    why, doubts, steps = list[str](), list[str](), list[str]()
    called = callers(dump, end.function) if function else []
    if function:
        why.append(f"It happened in {where}" + (f", while {who} ran on CPU {end.cpu}." if who else "."))
    asked = request(called)
    if asked:
        what = next((said for one in called if (said := in_words(one)) and said.startswith("a program ")), "")
        why.append(f"{who or 'A program'} was in the system call {asked}{f' ({what})' if what else ''}.")
    if called:
        near, near_module = split_symbol(called[0])
        why.append(
            f"{function} was called by {show_controls(near)}"
            + (f" of the module {show_controls(near_module)}" if near_module else "")
            + ", from which it probably got what it used."
        )
    if end.address and end.kind in ("null pointer", "bad pointer"):
        small = int(end.address, 16) < 1 << 12
        why.append(
            f"The address was {end.address}: "
            + (
                "a member of a struct that was not there."
                if small and int(end.address, 16)
                else "the pointer itself was zero."
                if small
                else "no address that this code may use; memory may have been overwritten or freed too early."
            )
        )
    if end.module:
        why.append(
            f"The fault is probably in the module {show_controls(end.module)}"
            + _foreign(dump, end.module)
            + "."
        )
        steps.append(
            f"Give the stack and the log below to whoever maintains the module {show_controls(end.module)}; until it "
            "is mended, do without it if you can."
        )
    else:
        steps.append(
            "Look whether a newer kernel of your distribution mends this: search its bug tracker for the function."
        )
    doubts.append(
        "Where an error is found is not always where it was made: the caller, or whoever wrote to that memory before, "
        "may be to blame."
    )
    if function:
        steps.append(
            f"For the instruction: dump.disassemble({function!r}); for source lines open the dump with vmlinux=, or "
            "with the module's debug file."
        )
    steps += [
        f"Also look at: {row['lead']}, {row['subject']}." for _, row in dump.suspects.head(2).iterrows()
    ]
    return title, tuple(died), tuple(why), tuple(doubts), tuple(steps)


def _foreign(dump: Dump, module: str) -> str:
    taint = dump.info["taint"]
    if not isinstance(taint, str) or "O" not in taint:
        return ""
    return ", and modules that do not come with the kernel were loaded (taint O)"
