"""Text in, those words of it out that not every reader knows, each with what it means in one clause."""

from __future__ import annotations

import re

#: A word, the pattern by which it is found, and what it means.
WORDS = (
    (
        "anonymous memory",
        r"\banonymous\b",
        "memory that a program filled itself, and that is no copy of a file",
    ),
    (
        "cgroup, control group",
        r"\b(?:cgroup|control group)",
        "a set of processes with limits of their own, such as those of one service",
    ),
    (
        "completion",
        r"\bcompletion\b",
        "a sign that one thread waits for and another one gives; it does not tell whose turn it is",
    ),
    (
        "crash kernel",
        r"\bcrash kernel\b",
        "a second kernel, kept ready, that runs after the crash to save the memory of the first",
    ),
    (
        "deadlock",
        r"\bdeadlocks?\b",
        "threads that each hold a lock and wait for the lock of another, in a circle",
    ),
    (
        "folio",
        r"\bfolio",
        "one or more pages of memory that are handled together",
    ),
    (
        "hung task",
        r"\bhung(?:_| )tasks?",
        "a thread that waited for very long and could not be interrupted",
    ),
    (
        "kernel module, taint",
        r"\bmodule\b|\btaint",
        "code that was loaded into the kernel; the kernel is “tainted” by one that does not come with it (O,"
        " out-of-tree), is not signed (E) or is not free software (P)",
    ),
    (
        "mutex",
        r"\bmutex\b",
        "a lock that one thread at a time can have; who waits for it sleeps",
    ),
    (
        "OOM killer",
        r"\bOOM\b|oom_score_adj|panic_on_oom",
        "what ends a process when memory runs out (out of memory); oom_score_adj, from -1000 to 1000, says "
        "how willingly it takes this one",
    ),
    (
        "page cache",
        r"\bpage ?cache\b|copies of files",
        "copies of files in memory, which can be read again from the disk",
    ),
    (
        "request",
        # One request alone may be for memory.
        r"\brequests\b",
        "an order to a disk to read or to write something",
    ),
    (
        "rwsem",
        r"\brwsem",
        "a lock that many readers or one writer can have",
    ),
    (
        "RCU stall",
        r"\bRCU\b",
        "a CPU or a thread did not say for very long that it is done with old data, so that nobody may free these",
    ),
    (
        "semaphore",
        r"\bsemaphore\b",
        "a counter that threads wait for while it is zero",
    ),
    (
        "slab cache",
        r"\bslabs?\b",
        "memory that the kernel keeps for its own small objects of one kind; “unreclaimable”: it cannot take "
        "it back",
    ),
    (
        "softirq",
        r"\bsoftirq",
        "work of the kernel, as for timers and packets, that interrupts whatever thread runs on a CPU",
    ),
    (
        "spinlock",
        r"\bspin(?:lock|s)?\b",
        "a lock for which a CPU waits without doing anything else",
    ),
    (
        "state D",
        r"\bstate D\b|uninterruptible",
        "waiting for something in a way that no signal interrupts, not even a kill; a disk's answer ends it "
        "as usual",
    ),
    (
        "swap",
        r"\b[Ss]wap\b",
        "room on a disk to which memory can be moved",
    ),
    (
        "SysRq",
        r"\bSysRq\b",
        "commands to the kernel from the keyboard or through a file, meant for emergencies",
    ),
    (
        "tmpfs",
        r"\btmpfs\b",
        "a file system whose files lie in memory only",
    ),
    (
        "vmalloc",
        r"\bvmalloc",
        "how the kernel's own code asks for large pieces of memory",
    ),
    (
        "watchdog",
        r"\bwatchdog",
        "a part of the kernel that looks whether CPUs and threads still make progress",
    ),
    (
        "watermark",
        r"\bwatermark",
        "how much of a part of memory (a zone) is to stay free: below the low one the kernel frees some, "
        "below the min one programs wait",
    ),
    (
        "workqueue",
        r"\bworkqueue|\bkworker",
        "how the kernel's code has work done later, by threads of the kernel that are called kworker",
    ),
)


def explained(text: str) -> list[str]:
    """`word: meaning.` of each word that a text uses, in the order of the words.

    >>> from kernlab.verdict.glossary import explained
    >>> explained("order-1 waits for the mutex ledger_lock")
    ['mutex: a lock that one thread at a time can have; who waits for it sleeps.']
    """
    return [f"{word}: {meaning}." for word, pattern, meaning in WORDS if re.search(pattern, text)]
