"""The story of a machine whose kernel ran into an error of its code: where, called for what, with which pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.escape import show_controls
from kernlab.report.death import callers
from kernlab.report.details import Details
from kernlab.report.explain import in_words, request, split_symbol
from kernlab.report.owners import setting

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.report.death import Death


def details(dump: Dump, end: Death, during: str) -> Details:
    """More of an error of the kernel's code: for what it was called, with which pointer, and why it ended it all.

    `during` says what ran meanwhile, as the verdict has it: where an interrupt did, the thread below has no part in it.
    """
    # What the compiler made of a function is still that function.
    function = show_controls(end.function.split(".")[0])
    who = end.who if during.startswith("while ") else ""
    why = list[str]()
    called = callers(dump, end.function) if function else []
    asked = request(called)
    if who:
        what = next((said for one in called if (said := in_words(one)) and said.startswith("a program ")), "")
        within = f", in the system call {asked}{f' ({what})' if what else ''}" if asked else ""
        why.append(f"{who} ran on CPU {end.cpu}{within}.")
    if function and "." in end.function:
        why.append(f"It was {show_controls(end.function)}, a copy of {function} that the compiler made.")
    if called:
        near, near_module = split_symbol(called[0])
        why.append(
            f"{function} was called by {show_controls(near)}"
            + (f" of the module {show_controls(near_module)}" if near_module else "")
            + ", from which it probably got what it used."
        )
    if end.address and end.kind in ("null dereference", "bad pointer"):
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
        why.append(f"The fault is probably in the module {show_controls(end.module)}, whose code it was.")
    return Details((_why_panic(dump, end),), tuple(why))


def _why_panic(dump: Dump, end: Death) -> str:
    """Why an error of one thread ended the whole machine."""
    first = (
        f"It happened in process 1, {show_controls(end.comm)}, from which all others descend: without it the kernel "
        "cannot go on."
        if end.pid == 1
        else ""
    )
    if end.kind == "WARNING":
        return "It was set to panic after a warning (kernel.panic_on_warn)."
    if setting(dump, "panic_on_oops"):
        said = "It was set to panic after such an error (kernel.panic_on_oops), since its own data may be damaged."
        return f"{said} {first}".strip()
    if end.pid == 0:
        return "It happened outside of any process, where the kernel cannot end one and go on."
    return (
        first
        or "After such an error the kernel's own data may be damaged, and it panicked rather than go on."
    )
