"""How a machine was ended without an error, and what is worth to know beside it."""

from __future__ import annotations

from kernlab.verdict.words.word import Word

_OWN_WORDS = "these are the kernel's own words"

WORDS = {
    "sysrq": Word(
        "The machine was crashed on purpose (SysRq)",
        "[{who} asked|somebody asked] for it, through SysRq (the letter c, or /proc/sysrq-trigger). That is how "
        "people test whether dumps work, and how they get a dump of a machine that no longer answers",
        ("Ask who did that, and what they had seen: only they know why this dump was wanted.",),
        "the log says how the machine died. Why somebody wanted it, no dump tells",
    ),
    "panic": Word(
        "The kernel gave up[: {panic}|: {what}]",
        "the kernel found something with which it would not go on, and panicked[, in {where}][, {during}]",
        (
            "Look at what the kernel said last and at the stack of who panicked.",
            "[Give the log to the maintainers of the module {module}, whose code panicked.]",
        ),
        "these are the kernel's own words. What led there they do not tell",
        noticed="Then the kernel panicked[: {panic}][, in {where}].",
    ),
    "deliberate panic": Word(
        "The kernel was told to give up[ by {where}]",
        "[{where}|code of the kernel] found something with which it would not go on, and panicked[, {during}]",
        (
            "Look at what the kernel said last.",
            "[Give the log to the maintainers of the module {module}, whose code panicked.]",
        ),
    ),
    "init died": Word(
        "The first process ended[: {who}]",
        "its first process, from which all others descend, ended: without it the kernel cannot go on",
        ("Look at what the kernel said last: how that process ended.",),
        _OWN_WORDS,
    ),
    "no root": Word(
        "The machine could not start",
        "it found no file system to start from[ on {device}]",
        (
            "Look at what was to be mounted (root= on the command line), and whether the driver of that disk is there.",
        ),
        _OWN_WORDS,
    ),
    "no init": Word(
        "The machine could not start: no first process",
        "it found no program that could be its first process[: {subject}]",
        (
            "Look at what is to be started (init= on the command line), and whether it is on the root file system.",
        ),
    ),
    "NMI": Word(
        "The machine was stopped from outside (NMI)",
        "it was sent an interrupt that cannot be put off (an NMI), as a person, a host or a watchdog does",
        ("Ask who sent it, or what watches this machine.",),
        "the log says how the machine died. Who sent it, no dump tells",
    ),
    "watchdog": Word(
        "A watchdog stopped the machine",
        "its watchdog was not told in time that the machine still works. A program does that every few seconds, and "
        "where it no longer can, the watchdog stops the machine",
        (
            "Look at what the program that feeds the watchdog did, and at who waited or kept a CPU[: {dump}.waits, "
            "{dump}.tasks].",
        ),
        "the log says how the machine died",
    ),
    "stopped": Word(
        "The machine did not crash: its memory was saved while it ran",
        "It did not stop by itself: no CPU had panicked. The dump is an image that was taken from outside, of a "
        "machine that ran or hung",
        ("Ask why the image was taken, and look at what was waited for and at the largest users of memory.",),
        "nothing panicked, and the log tells of no end",
    ),
    "unexpected reboot": Word(
        "The machine started again by itself",
        "it started again without a word",
        ("Look at its power and its firmware.",),
    ),
    "tainted kernel": Word(
        "The kernel is tainted[: {subject}]",
        "code or an event that is not the kernel's own marked it (taint)[: {subject}]",
    ),
    "out-of-tree module": Word(
        "A module that does not come with the kernel was at work[: {subject}]",
        "[the module {module}|the module {subject}|a module], which does not come with the kernel, was on the stack",
        ("Ask its maintainers.",),
        doubt="To be there is not to be guilty.",
    ),
    "live patch": Word(
        "The kernel was patched while it ran[: {subject}]",
        "functions of the kernel were replaced while it ran[: {subject}]",
    ),
    "clock jump": Word("The clock jumped", "the machine's clock jumped"),
    "clock unstable": Word(
        "The clock cannot be relied on", "the machine's clock was found to go wrong[: {subject}]"
    ),
    "lost log lines": Word("The log is not whole", "lines of the log were lost"),
    "incomplete dump": Word(
        "The dump is not whole",
        "pages are missing from the dump",
        ("Look at how the dump was saved: was there room for it, and time?",),
    ),
    "crash kernel": Word(
        "The dump was not saved as it should be", "the kernel that saves the dump had trouble[: {subject}]"
    ),
}
