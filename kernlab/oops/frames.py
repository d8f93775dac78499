"""A line of a stack in, its frames out: how each architecture and release prints a function's name and offset."""

from __future__ import annotations

import re
from typing import NamedTuple


class Frame(NamedTuple):
    """One frame of a stack. `str()` prints it as the kernel does: "? name+0x1/0x2 [module]"."""

    name: str
    offset: int | None = None
    size: int | None = None
    module: str = ""
    reliable: bool = True
    register: bool = False  # where a CPU stood (RIP, pc, NIP …), no return address

    def __str__(self) -> str:
        place = "" if self.offset is None else f"+{self.offset:#x}/{self.size or 0:#x}"
        return (
            f"{'' if self.reliable else '? '}{self.name}{place}{f' [{self.module}]' if self.module else ''}"
        )


#: "name+0x12/0x34 [module]", as %pS and %pB print it (kernel/kallsyms.c, __sprint_symbol); a build id may follow the
#: module's name. KSYM_NAME_LEN is 512, MODULE_NAME_LEN 56 or 64.
SYMBOL = (
    r"(?P<name>[A-Za-z_$.][\w$.]{0,511}+)\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})"
    r"(?: \[(?P<module>[\w-]{1,64})(?: [0-9a-f]{1,64})?\])?"
)
_SYMBOL = re.compile(r"(?<![\w$.])" + SYMBOL)

#: A frame as `str()` shows it.
_SHOWN = re.compile(
    r"(?P<doubt>\? )?(?P<name>[^\s+]{1,600})(?:\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8}))?"
    r"(?: \[(?P<module>[\w-]{1,64})\])?"
)

#: What may stand before a frame's name on its line: a mark of the stack, an address, "?"
#: (arch/x86/kernel/dumpstack.c, printk_stack_address; arch/powerpc's show_stack prints two words, arch/s390's one
#: in parentheses).
_FRAME = re.compile(
    r"(?P<indent>[ \t]*+)(?:(?:</?(?:IRQ|TASK|NMI|SOFTIRQ|EOE|EOI|\#DF|\#DB|ENTRY_TRAMPOLINE|[A-Z#]{2,12})> *+)*+)"
    r"(?:\(?(?:\[ ?<?(?:0x)?[0-9a-f]{8,16}>?\] ?){1,2}+\(?)?+(?P<doubt>\? )?+" + SYMBOL
)
#: arch/arm/kernel/traps.c, dump_backtrace_entry: "[<c01>] (callee) from [<c02>] (caller+0x1/0x2)", "callee from
#: caller+0x1/0x2".
_ARM = re.compile(
    r" *+(?:\[<[0-9a-f]{8,16}>\] )?\(?[A-Za-z_$.][\w$.]{0,511}+(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?\)? "
    r"(?:\[[\w-]{1,64}\]\)? )?from (?:\[<[0-9a-f]{8,16}>\] )?\(?" + SYMBOL
)
#: A frame that a script has made of inlined functions: "foo mm/slub.c:12 [inline]" (scripts/decode_stacktrace.sh).
_INLINE = re.compile(
    r"[ \t]*+(?P<name>[A-Za-z_][\w.]{0,511}+) (?:\.{0,2}/)?[\w./-]{1,200}\.[chS]:\d{1,6} \[inline\]"
)
#: Where a CPU stood, in the words of x86, arm64, arm, ppc, riscv and loongarch, s390.
_REGISTER = re.compile(
    r" *+(?:[RE]?IP(?:: (?:[0-9a-f]{4}:)?| is at )|pc : |PC is at |NIP \[[0-9a-f]{8,16}\] |"
    r"epc : |era: [0-9a-f]{8,16} |Krnl PSW : [0-9a-f]{16} [0-9a-f]{16} \(?)"
    r"(?:\[<[0-9a-f]{8,16}>\]? *+){0,2}(?:\[<[0-9a-f]{8,16}>\] *+)?" + SYMBOL
)
#: A register that points to user space: what follows is of another stack.
_USER = re.compile(r" *+(?:RIP: 0033:|EIP: 0073:|RIP: 0023:)")

#: What else stands in a report: registers, dumps of memory, heads of stacks, the machine.
_REPORT = re.compile(
    r"\s*+(?:[RE]?[A-DS][XPI]: |R\d\d: |[FGDEC]S: |CR\d: |DR\d: |PKRU: |Code: |Call [Tt]race|CPU: |CPU#|"
    r"Hardware name: |"
    r"Modules linked in|Stack: ?|task: |Workqueue: |</?[A-Z#]{2,8}>|x\d{1,2} ?: |sp : |lr : |pstate|pc : |Tainted: |"
    r"irq event stamp|(?:hard|soft)irqs last|NMI backtrace|Sending NMI|rcu: |Allocated |Freed |The buggy |"
    r"Memory state |"
    r"Last potentially|Showing |\d+ locks? held |#\d+: |other info|stack backtrace|Backtrace|Possible |Chain exists |"
    r"lock\(|\*\*\* DEADLOCK|but task |which lock|-> #\d|the existing|page:|flags: |raw: |page dumped|"
    r"[>0-9a-f]{16} |ff[0-9a-f]{6,14}[ :]|Exception stack|Process |Mem abort|Data abort|ESR = |EC = |"
    r"SET = |EA = |FSC = |ISV = |"
    r"CM = |user pgtable|swapper pgtable|\[[0-9a-f]{16}\] |PGD |PGD|\#PF: |Oops|"
    r"Mem-Info|active_|Node \d|lowmem_reserve|Tasks state|\[ *+(?:pid|\d{1,8}) *+\]|oom-kill:|"
    r"Out of memory|Memory cgroup|"
    r"memory: usage|swap: usage|Failing address|Krnl |NIP|LR \[|REGS|epc : | ra : |GPR\d\d|"
    r"unreferenced object|comm \"|hex dump|backtrace|Uninit was|Local variable|Bytes \d|INFO: |Object |"
    r"Bytes b4 |Redzone |Padding )"
)


def frames_of(text: str) -> Frame | None:
    """The frame that a line shows; None where it is no frame."""
    found = None
    reliable, register = True, False
    if "+0x" in text:
        found = _FRAME.match(text)
        if found:
            reliable = not found["doubt"] and not text.endswith(" (unreliable)")
        else:
            found = _REGISTER.match(text)
            register = bool(found)
            found = found or _ARM.match(text)
    elif "[inline]" in text:
        inline = _INLINE.match(text)
        return Frame(inline["name"]) if inline else None
    if not found:
        return None
    return Frame(
        found["name"],
        int(found["offset"], 16),
        int(found["size"], 16),
        found["module"] or "",
        reliable,
        register,
    )


def frame_of(text: str) -> Frame | None:
    """The frame that `str()` of one shows, or a bare name of a function."""
    found = _SHOWN.fullmatch(text)
    if not found:
        return None
    offset, size = (int(found[each], 16) if found[each] else None for each in ("offset", "size"))
    return Frame(found["name"], offset, size, found["module"] or "", not found["doubt"])


def symbol_in(text: str) -> Frame | None:
    """The first "name+0x1/0x2 [module]" anywhere in a text."""
    found = _SYMBOL.search(text) if "+0x" in text else None
    if not found:
        return None
    return Frame(found["name"], int(found["offset"], 16), int(found["size"], 16), found["module"] or "")


def is_user(text: str) -> bool:
    """A register that points to user space ends a stack."""
    return bool(_USER.match(text))


def looks_like_report(text: str) -> bool:
    """A line of the kind that reports are made of."""
    return not text or text.isspace() or bool(_REPORT.match(text))
