"""Forms of what a processor refuses: faults on memory, traps, and what BUG() makes of a trap."""

from __future__ import annotations

import re

from kernlab.oops.forms import form

NULL = "BUG: unable to handle kernel NULL pointer dereference in {function}"
PAGING = "BUG: unable to handle kernel paging request in {function}"

#: Addresses below belong to the first page or to a member of what NULL points to (arch/x86/mm/fault.c: one page).
FIRST_PAGE = 4096


def _access(match: re.Match[str]) -> str:
    """arm64 and others name every bad access a paging request; the address tells."""
    if "NULL" in match[0]:
        return "null dereference"
    address = match.groupdict().get("address")
    if address and int(address, 16) < FIRST_PAGE:
        return "null dereference"
    if "execut" in match[0] or "exec from" in match[0]:
        return "execute of data"
    return "bad pointer"


def _access_title(match: re.Match[str]) -> str:
    return NULL if "NULL" in match[0] else PAGING


def _trap(match: re.Match[str]) -> str:
    what = match["what"].lower().replace("_", " ")
    for words, kind in (
        ("general protection", "general protection"),
        ("divide", "divide error"),
        ("invalid opcode", "invalid opcode"),
        ("double fault", "double fault"),
        ("undefined instruction", "invalid opcode"),
        ("bug", "BUG"),
    ):
        if words in what:
            return kind
    return "processor exception"


def _trap_title(match: re.Match[str]) -> str:
    return f"{match['what'].replace('_', ' ')} in {{function}}"


_TRAPS = (
    r"general protection(?: ?fault)?|divide[ _]error|invalid opcode|int3|stack segment|bounds|overflow|"
    r"coprocessor segment overrun|invalid TSS|segment not present|alignment check|double fault|"
    r"device not available|debug|control protection|SIMD exception|fpu exception|simd exception"
)
#: A line that kernels before 4.15 left without an end (arch/x86/mm/kasan_init_64.c, kasan_die_handler).
_UNENDED = r"(?:kasan: GPF could be caused by NULL-ptr deref or user memory access)?"
_ADDRESS = r"(?:0x)?(?P<address>[0-9a-f]{1,16})"

FORMS = (
    form(
        _access,
        ("NULL pointer dereference", "paging request", "BUG: unable to handle page"),
        rf"BUG: (?:unable to handle )?(?:[Kk]ernel )?(?:NULL pointer dereference|paging request|page)(?: fault)?"
        rf"(?: on (?:read|write))?(?:,? (?:at|for)?(?: virtual)? ?address:? ?|"
        rf" at (?:virtual address )?)?(?:{_ADDRESS})?",
        _access_title,
        "arch/x86/mm/fault.c, show_fault_oops (show_ldttss before it)",
        blame="top",
    ),
    form(
        _access,
        "nable to handle",
        rf"(?:BUG: )?[Uu]nable to handle (?:kernel )?(?:NULL pointer dereference|"
        rf"pointer dereference in virtual|paging request|"
        rf"access to user memory outside uaccess "
        rf"routines|execute from non-executable memory|read from unreadable memory|write to read-only memory|"
        rf"unknown operation)"
        rf"(?: at (?:virtual )?address:? {_ADDRESS})?",
        _access_title,
        "arch/{arm64,arm,riscv,loongarch,mips,s390}/mm/fault.c, die_kernel_fault",
        blame="top",
    ),
    form(
        _access,
        "BUG: Unable to handle kernel",
        rf"BUG: Unable to handle kernel (?:data access|instruction fetch|NULL pointer dereference|"
        rf"unaligned access)[^\n]{{0,40}}? at {_ADDRESS}",
        _access_title,
        "arch/powerpc/mm/fault.c, bad_page_fault",
        blame="top",
    ),
    form(
        "bad pointer",
        "BUG: unable to handle kernel",
        r"BUG: unable to handle kernel\s*$",
        "BUG: unable to handle kernel",
        "arch/x86/mm/fault.c before 5.1, cut within its line",
        blame="top",
    ),
    form(
        "execute of data",
        "tried to execute NX-protected page",
        r"kernel tried to execute NX-protected page - exploit attempt\?",
        "kernel tried to execute NX-protected page in {function}",
        "arch/x86/mm/fault.c",
        role="says",
        blame="top",
    ),
    form(
        "execute of data",
        "unable to execute userspace code",
        r"unable to execute userspace code \(SMEP\?\)",
        "unable to execute userspace code in {function}",
        "arch/x86/mm/fault.c",
        role="says",
        blame="top",
    ),
    form(
        "stack overflow",
        "stack guard page was hit",
        r"BUG: (?:\w+ )?stack guard page was hit at",
        "BUG: stack guard page was hit in {function}",
        "arch/x86/{mm/fault,kernel/traps,kernel/dumpstack}.c, handle_stack_overflow",
        blame="stalled",
    ),
    form(
        "stack overflow",
        "ernel stack overflow",
        r"(?:Kernel|kernel) stack overflow(?: detected| in|:|\s*$)",
        "kernel stack overflow in {function}",
        "arch/s390/kernel/traps.c; arch/powerpc/kernel/traps.c",
        blame="stalled",
    ),
    form(
        "stack overflow",
        "Insufficient stack space",
        r"Insufficient stack space to handle exception!",
        "kernel stack overflow in {function}",
        "arch/{arm64,riscv}/kernel/traps.c, handle_bad_stack",
        blame="stalled",
    ),
    form(
        "double fault",
        "double fault",
        r"(?:PANIC|traps: PANIC): double fault",
        "PANIC: double fault in {function}",
        "arch/x86/kernel/traps.c, df_debug",
        blame="top",
    ),
    form(
        _trap,
        "[#",
        rf"{_UNENDED}(?:Oops: )?(?:segment-related )?(?P<what>{_TRAPS})(?:,[^\n]{{0,200}}?)?: [0-9a-f]{{4,8}} \[#\d",
        _trap_title,
        "arch/x86/kernel/{traps,dumpstack}.c, die_header; behind Oops: since 6.10",
        role="trap",
        blame="top",
    ),
    form(
        _trap,
        "eneral protection fault",
        rf"{_UNENDED}(?:Oops: )?(?:segment-related )?(?P<what>general protection fault)(?:[,:]|\s*$)",
        _trap_title,
        "arch/x86/kernel/traps.c, exc_general_protection",
        role="trap",
        blame="top",
    ),
    form(
        "bad pointer",
        "Oops",
        r"(?:Oops: )?(?P<what>Oops): [0-9a-f]{1,16} \[#\d|Oops: Kernel access of bad area|"
        r"Oops: [0-9a-f]{4} ilc:\d \[#\d|Oops \[#\d",
        PAGING,
        "arch/x86/kernel/dumpstack.c, __die; arch/{powerpc,riscv}/kernel/traps.c; arch/s390/kernel/dumpstack.c",
        role="trap",
        blame="top",
    ),
    form(
        lambda match: (
            "BUG"
            if "BUG" in match["what"]
            else "invalid opcode"
            if "undefined" in match["what"] or "nstruction" in match["what"]
            else "processor exception"
        ),
        "Internal error: ",
        r"Internal error: (?P<what>[^\n]{1,120}?): (?:0x)?[0-9a-f]{1,16} \[#\d",
        "Internal error in {function}",
        "arch/{arm64,arm}/kernel/traps.c, die",
        role="trap",
        blame="top",
    ),
    form(
        "processor exception",
        "Unhandled fault",
        r"Unhandled fault: ",
        "Unhandled fault in {function}",
        "arch/{arm64,arm}/mm/fault.c, do_DataAbort, do_mem_abort",
        blame="top",
    ),
    form(
        "processor exception",
        "Unhandled prefetch abort",
        r"Unhandled prefetch abort: ",
        "Unhandled prefetch abort in {function}",
        "arch/arm/mm/fault.c",
        blame="top",
    ),
    form(
        "processor exception",
        "Alignment trap",
        r"Alignment trap: not handling instruction",
        "Alignment trap in {function}",
        "arch/arm/mm/alignment.c",
        blame="top",
    ),
    form(
        "processor exception",
        "Bad mode in",
        r"Bad mode in .{1,40} handler detected",
        "kernel panic: bad mode",
        "arch/arm64/kernel/traps.c, bad_mode",
        blame="none",
    ),
    form(
        "BUG",
        "kernel BUG at",
        r"(?:\w+: )?kernel BUG at (?P<file>[^\s:]{1,200}):(?P<line>\d{1,7})!?",
        "kernel BUG in {function}",
        "lib/bug.c, report_bug; include/asm-generic/bug.h",
        blame="top",
    ),
    form(
        "",
        "---[ end ",
        r"-{1,8}\[ end (?:trace|Kernel panic)",
        "",
        "kernel/panic.c, print_oops_end_marker",
        role="end",
    ),
)
