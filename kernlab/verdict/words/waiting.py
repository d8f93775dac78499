"""Threads that wait for ever, and CPUs that nobody gave up."""

from __future__ import annotations

from kernlab.verdict.words.word import Word

_GIVE = "Give the log and the stack of the one that keeps the others waiting to {maintainer}."
_STACK = (
    "Look at what [{who} was doing: {dump}.stack({pid}) says where it stood.|{who} was doing: its stack says where it "
    "stood.|was going on there: the call trace in the log says where it stood.]"
)
_MESSENGER = "The watchdog names the thread that it caught: that one may only be waiting for another."
_SPUN = (
    "A dump shows where a CPU stood at one instant, not how it came to stay there: that only its code tells."
)


def _lockup(title: str, because: str, sure: str) -> Word:
    noticed = (
        "[The kernel's watchdog caught {who}, which need not be to blame|The kernel's watchdog noticed it]"
        "[, in {where}]."
    )
    return Word(title, because, (_STACK, "Give the log to {maintainer}."), sure, _SPUN, noticed=noticed)


WORDS = {
    "deadlock": Word(
        "Deadlock: [{circle} wait for each other|threads wait for each other in a circle]",
        "threads wait for each other in a circle, so that none of them will ever go on[: {subject}]",
        (
            "Give the log and the stacks to {maintainer}. A restart only helps until the next time.",
            "For whoever mends that code: take these locks in the same order everywhere.",
        ),
        "each lock names its owner, and so none of them can ever go on",
    ),
    "lock not released": Word(
        "[{who} keeps {lock}, which others need|{who} keeps a lock that others need|{what} was not given back|A lock "
        "was not given back]",
        "[{who} keeps {lock}, for which others wait|{who} keeps a lock for which others wait|a lock for which others "
        "wait was not given back: {what}|a lock for which others wait was not given back][, and stood in {where}]",
        (
            _STACK,
            _GIVE,
            "For whoever mends that code: do not wait for long while holding a lock, or wait with a time limit.",
            "If it happens again: killing those that wait does not help where no signal wakes them. A restart does, "
            "until the next time.",
        ),
        "it is known who has the lock, and who waits for it",
        "Why it is kept for so long only its code tells.",
    ),
    "lock convoy": Word(
        "Many wait for one lock[: {what}]",
        "many threads queued for one lock[, {subject}]",
        ("Look at what is done while that lock is held, and whether it can be done without.", _GIVE),
    ),
    "hung task": Word(
        "[{who} hung|Threads hung][ in {where}]",
        "[{who}, which does the work of {queue}, did not go on, and others waited for that work|{who} waited for so "
        "long, where no signal could wake it, that the kernel's watchdog gave up|a thread waited for so long, where no "
        "signal could wake it, that the kernel's watchdog gave up][; it stood in {where}]",
        (
            "Look at the stacks of those who wait, and at the log for errors of disks and networks.",
            "Find out who should have ended that wait, and why that never happened.",
            "[Give the log to the maintainers of the module {module}, in whose code it stood.]",
        ),
        "[it is known who does the work of {queue}, and who waits for it|the kernel's watchdog says that it waited]",
        f"[Why the work of {{queue}} does not end only its code tells.|{_MESSENGER}]",
        noticed="The kernel's watchdog found[ {who}| a thread] waiting for too long.",
    ),
    "soft lockup": _lockup(
        "A CPU locked up[ in {where}]",
        "a CPU ran[ {who}| {borrowed}| one thread] for so long, without letting others run, that the kernel's watchdog "
        "noticed[; it stood in {where}]",
        "the kernel's watchdog says that the CPU was not given up",
    ),
    "hard lockup": _lockup(
        "A CPU locked up, with interrupts off[ in {where}]",
        "a CPU did not even take interrupts for so long that the kernel's watchdog noticed[; {who} ran there][, in "
        "{where}]",
        "the kernel's watchdog says that the CPU took no interrupts",
    ),
    "RCU stall": _lockup(
        "A CPU held up the whole kernel[ in {where}]",
        "[{who}|{borrowed}|a CPU or a thread] did not come to a point at which the kernel could tidy up (an RCU stall)"
        "[; it stood in {where}]",
        "the kernel's own watch says so",
    ),
    "workqueue stall": Word(
        "Work of the kernel was not done[: {subject}]",
        "work that the kernel had queued was not done for long[, in {subject}][, behind {where}]",
        (_STACK, "Give that stack to {maintainer}."),
        "the kernel's watchdog says that the work stood still",
    ),
    "lock bug": Word(
        "A lock was used wrongly[ in {where}]",
        "code used a lock in a way that is not allowed, and that can end in a deadlock[, in {where}]",
        ("Give the report in the log to {maintainer}.",),
        "the kernel itself says where it was found",
    ),
    "sleeping in atomic": Word(
        "Code slept where it must not[ in {where}]",
        "code that must not sleep did so[, in {where}]",
        ("Give the report in the log to {maintainer}.",),
        "the kernel itself says where it was found",
    ),
    "lost wakeup": Word(
        "Nobody woke who waited[: {subject}]",
        "[{subject} waited|a thread waited] for something that had happened already, and nobody woke it",
        (_GIVE,),
    ),
    "task in D": Word(
        "A thread waits where no signal wakes it[: {who}]",
        "[{who}|a thread] waits for something, and no signal can wake it",
    ),
}
