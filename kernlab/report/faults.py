"""The story of a machine whose kernel ran into an error of its code: where, called for what, with which pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.escape import show_controls
from kernlab.report.death import callers
from kernlab.report.explain import in_words, request, split_symbol
from kernlab.report.owners import setting
from kernlab.report.phrases import listed

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death

Told = tuple[str, tuple[str, ...], tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]

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
    """Title, what died, why, how sure, doubts and next steps of an error of the kernel's code."""
    error, did = _ERRORS[end.kind]
    # What the compiler made of a function is still that function.
    function = show_controls(end.function.split(".")[0])
    where = f"{function} of the module {show_controls(end.module)}" if end.module else function
    who = end.who
    title = f"{error} in {where}" if function else error
    died = [f"The kernel's code {did}. {_why_panic(dump, end)}"]
    why, doubts, steps = list[str](), list[str](), list[str]()
    called = callers(dump, end.function) if function else []
    if function:
        spelt = (
            f" ({show_controls(end.function)}: a copy that the compiler made)" if "." in end.function else ""
        )
        why.append(
            f"It happened in {where}{spelt}" + (f", while {who} ran on CPU {end.cpu}." if who else ".")
        )
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
            f"The fault is probably in the module {show_controls(end.module)}, whose code it was."
            f"{_foreign(dump, end.module)}"
        )
        steps.append(
            f"Give the stack and the log below to who maintains the module {show_controls(end.module)}. Until they "
            "have corrected it, do not load it if you can do without."
        )
    else:
        steps.append(
            "Look whether a newer kernel of your distribution has this corrected: search its bug tracker for the "
            "function."
        )
    doubts.append(
        "Where an error is found is not always where it was made: the caller, or whoever wrote to that memory before, "
        "may be to blame."
    )
    if function:
        steps.append(
            f"See which instruction it was: dump.disassemble({function!r}). Open the dump with the kernel's or the "
            "module's debug file (vmlinux=) for lines of the source."
        )
    steps += [
        f"Also look at: {row['lead']}, {row['subject']}." for _, row in dump.suspects.head(2).iterrows()
    ]
    sure = (
        "High for where it happened: the processor itself reported the instruction. Medium for who is to blame."
        if function
        else "Low: where in the code it happened is not known."
    )
    return title, tuple(died), tuple(why), sure, tuple(doubts), tuple(steps)


def _why_panic(dump: Dump, end: Death) -> str:
    """Why an error of one thread ended the whole machine."""
    first = (
        f"It did so in process 1, {show_controls(end.comm)}, from which all others descend: without it the kernel "
        "cannot go on."
        if end.pid == 1
        else ""
    )
    if setting(dump, "panic_on_oops"):
        said = "It was set to panic after such an error (kernel.panic_on_oops), since its own data may be damaged."
        return f"{said} {first}".strip()
    if end.pid == 0:
        return "It did so outside of any process, where the kernel cannot end one and go on."
    return (
        first
        or "After such an error the kernel's own data may be damaged, and it panicked rather than go on."
    )


#: What the letters of a taint mean that matter here (Documentation/admin-guide/tainted-kernels.rst).
_TAINTS = {"O": "does not come with the kernel", "E": "is not signed", "P": "is not free software"}


def _foreign(dump: Dump, module: str) -> str:
    """What the kernel holds against a module, by its own taint."""
    table = dump.modules
    taint = table.loc[table["name"] == module, "taint"]
    letters = str(taint.iloc[0]) if len(taint) == 1 and isinstance(taint.iloc[0], str) else ""
    said = [f"{what} (taint {letter})" for letter, what in _TAINTS.items() if letter in letters]
    return f" The kernel notes that it {listed(said)}." if said else ""
