"""Errors of the kernel's code, and memory that was damaged."""

from __future__ import annotations

from kernlab.verdict.words.word import Word

_MAINTAINERS = (
    "[Give the log to the maintainers of the module {module}. Until they have corrected it, do not load it if you can "
    "do without.|Look whether a newer kernel of your distribution has this corrected: search its bug tracker "
    "for {function}.|Look whether a newer kernel of your distribution has this corrected: search its bug tracker for "
    "the words of the log.]"
)
_INSTRUCTION = (
    "[See which instruction it was: {dump}.disassemble('{function}'). Open the dump with the kernel's or the module's "
    "debug file (vmlinux=) for lines of the source.]"
)
_STEPS = (_MAINTAINERS, _INSTRUCTION)
_CHECKS = (
    _MAINTAINERS,
    "Run the same work on a kernel that checks each access to memory (KASAN, or slub_debug=FZPU on its command line): "
    "it names who wrote there.",
)
_WHERE = "the processor itself reported the instruction where it happened"
_CODE = "the kernel's code"
_BLAME = (
    "Where an error is found is not always where it was made: the caller, or whoever wrote to that memory before, may "
    "be to blame."
)
_DAMAGED = (
    "Memory may have been damaged before the end, and so may what was written to disks in that time: check what "
    "matters."
)


def _trap(title: str, because: str, lost: str = "") -> Word:
    met = f"The kernel met it when {because.replace(_CODE, 'its code')}[ in {{where}}][, {{during}}]."
    clause = f"{because}[ in {{where}}][, {{during}}]"
    return Word(f"{title}[ in {{where}}]", clause, _STEPS, _WHERE, _BLAME, lost, met)


def _damage(title: str, because: str) -> Word:
    return Word(
        f"{title}[ in {{where}}]",
        f"{because}[ (of {{what}})][, found in {{where}}][, {{during}}]",
        _CHECKS,
        "the kernel's own checks, or the marks that it leaves in memory, show it",
        "Who was caught is not always who did it: the code that freed the memory, or wrote past its end, may be "
        "another.",
        _DAMAGED,
    )


WORDS = {
    "null dereference": _trap(
        "A NULL pointer", "the kernel's code followed a pointer that led to nothing (NULL)"
    ),
    "bad pointer": _trap(
        "A bad pointer", "the kernel's code followed a pointer to memory that is not there or not its own"
    ),
    "general protection": _trap(
        "A bad pointer",
        "the kernel's code used an address that cannot be (as after memory was overwritten or freed too early)",
    ),
    "stack overflow": Word(
        "A kernel stack overflowed[ in {where}]",
        "[{who}|a thread] ran out of its kernel stack[ in {where}]",
        (
            _MAINTAINERS,
            "See who took the room: [{dump}.stack({pid})|the call trace in the log] shows whether a function calls "
            "itself, again and again.",
        ),
        "the processor itself reported it, at the end of the stack",
        "The function that took the last of it need not be the one that took most.",
        noticed="The kernel met it when [{who}|a thread] ran out of its stack[ in {where}].",
    ),
    "invalid opcode": _trap("An invalid instruction", "the processor came to bytes that are no instruction"),
    "divide error": _trap("A division by zero", "the kernel's code divided by zero"),
    "double fault": _trap(
        "A double fault", "the processor met an error while it still handled one, mostly for want of stack"
    ),
    "execute of data": Word(
        "The kernel jumped to where no code is[, from {where}]",
        "the kernel's code jumped to a place that holds no code[, from {where}][, {during}]",
        _STEPS,
        "the processor itself reported it",
        "Where an error is found is not always where it was made: whoever wrote the address to which it jumped may be "
        "to blame.",
        noticed="The kernel met it when its code jumped to a place that holds no code[, from {where}][, {during}].",
    ),
    "processor exception": _trap(
        "An error that the processor found", "the processor found an error in the kernel's code"
    ),
    "bad user copy": _trap(
        "A copy to or from a program went wrong",
        "the kernel was about to copy more than an object of its own holds, to or from a program",
    ),
    "BUG": Word(
        "A check of the kernel failed[ in {where}]",
        "the kernel found its own data in a state that must never be (BUG)[ in {where}][, {during}]",
        _STEPS,
        "the kernel itself says where it was found",
        _BLAME,
        noticed="The kernel met it when a check of its own failed[ in {where}][, {during}].",
    ),
    "WARNING": Word(
        "A warning of the kernel[ in {where}]",
        "the kernel found something that it did not expect (WARN)[ in {where}][, {during}]",
        (
            *_STEPS,
            "Decide whether the machine should stop for a warning (kernel.panic_on_warn): with 0 it goes on.",
        ),
        "the kernel itself says where it was found",
        "A warning alone is no reason to stop: a machine goes on after it, if it is not set to panic.",
        noticed="The kernel met it with a warning[ in {where}][, {during}], and was set to stop then.",
    ),
    "UBSAN": Word(
        "A check of the kernel's code failed[ in {where}]",
        "a check that was built into the kernel's code found what the language leaves undefined (UBSAN)[ in {where}]",
        _STEPS,
        "the kernel itself says where it was found",
    ),
    "use after free": _damage(
        "Memory was used after it was freed", "code used memory that had been given back already"
    ),
    "double free": _damage("Memory was freed twice", "the same piece of memory was given back twice"),
    "invalid free": _damage(
        "Memory was freed that could not be", "code gave back memory that was not its to give back"
    ),
    "out of bounds": _damage(
        "Code reached past the end of its memory", "code reached past the end of its piece of memory"
    ),
    "memory corruption": _damage(
        "Memory was overwritten", "memory was overwritten by code that did not own it"
    ),
    "uninitialised value": _damage(
        "Memory was used before it was filled", "code used memory in which nothing had been written yet"
    ),
    "information leak": _damage(
        "Memory of the kernel leaked to a program",
        "memory that nothing had been written in was given to a program",
    ),
    "list corruption": _damage(
        "A list of the kernel was damaged", "a list in the kernel's memory was damaged"
    ),
    "refcount": _damage(
        "A reference count went wrong",
        "the count of who uses an object went wrong, so that it is freed too early or never",
    ),
    "bad page": _damage(
        "A page of memory was in a wrong state", "a page of memory was given back in a wrong state"
    ),
    "data race": _damage(
        "Two threads changed the same data at once", "two threads used the same data at once without a lock"
    ),
    "stack nearly full": Word(
        "A kernel stack was nearly full",
        "a thread had used nearly all of its kernel stack[: {subject}]",
        _STEPS,
    ),
    "bit flip": Word(
        "A bit of memory may have flipped",
        "a pointer differs in one bit from a good one, as faulty memory makes it",
        ("Test the machine's memory.",),
        doubt="Code can make the same difference.",
    ),
}
