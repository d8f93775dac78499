"""Forms of what the kernel's own checks find: WARN, sanitizers, slabs, lists, reference counts, leaks."""

from __future__ import annotations

import re

from kernlab.oops.forms import form


def _kasan(match: re.Match[str]) -> str:
    what = match["what"]
    if ("free" in what and "invalid" in what) or what.startswith("double-free"):
        return "invalid free"
    if "use-after" in what:
        return "use after free"
    if "null-ptr" in what:
        return "null dereference"
    if "wild" in what or "user-memory" in what or "invalid-access" in what:
        return "bad pointer"
    return "out of bounds"


def _kasan_title(match: re.Match[str]) -> str:
    what = match["what"]
    if what.startswith("double-free or invalid-free") or what == "invalid-free":
        what = "invalid-free"
    # {access} is told by the line that follows.
    access = "" if _kasan(match) == "invalid free" else " {access}"
    return f"KASAN: {what}{access} in {{function}}"


def _kmsan(match: re.Match[str]) -> str:
    return "information leak" if "infoleak" in match["what"] else "uninitialised value"


def _kfence(match: re.Match[str]) -> str:
    what = match["what"]
    for words, kind in (
        ("use-after-free", "use after free"),
        ("out-of-bounds", "out of bounds"),
        ("invalid free", "invalid free"),
        ("memory corruption", "memory corruption"),
    ):
        if words in what:
            return kind
    return "bad pointer"


#: Files whose WARN says which check failed, and what that is called: (file, kind, title).
_WARNERS = (
    ("lib/refcount.c", "refcount", "WARNING: refcount bug in {function}"),
    ("include/linux/refcount.h", "refcount", "WARNING: refcount bug in {function}"),
    ("lib/debugobjects.c", "WARNING", "WARNING: ODEBUG bug in {function}"),
    ("kernel/locking/irqflag-debug.c", "WARNING", "WARNING in {function}"),
    ("kernel/locking/", "lock bug", "WARNING: locking bug in {function}"),
    ("kernel/lockdep.c", "lock bug", "WARNING: locking bug in {function}"),
    ("lib/kobject.c", "WARNING", "WARNING: kobject bug in {function}"),
    ("fs/proc/generic.c", "WARNING", "WARNING: proc registration bug in {function}"),
    ("mm/usercopy.c", "bad user copy", "WARNING: bad usercopy in {function}"),
    ("lib/list_debug.c", "list corruption", "WARNING: corrupted list in {function}"),
    ("mm/slab_common.c", "WARNING", "WARNING: kmalloc bug in {function}"),
    ("mm/slub.c", "WARNING", "WARNING: kmalloc bug in {function}"),
    ("mm/util.c", "WARNING", "WARNING: kmalloc bug in {function}"),
    ("mm/vmalloc.c", "WARNING", "WARNING: zero-size vmalloc in {function}"),
)


def _warning(match: re.Match[str]) -> str:
    file = match["file"] or match["path"] or ""
    return next((kind for name, kind, _ in _WARNERS if name in file), "WARNING")


def _warning_title(match: re.Match[str]) -> str:
    file = match["file"] or match["path"] or ""
    return next((title for name, _, title in _WARNERS if name in file), "WARNING in {function}")


FORMS = (
    form(
        _warning,
        "WARNING: ",
        r"WARNING: (?:CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,8}) )?at "
        r"(?P<file>[^\s:]{1,200}):(?P<line>\d{1,7})"
        r"|WARNING: (?P<path>[^\s:]{1,200}\.[chS]):\d{1,7} at ",
        _warning_title,
        "kernel/panic.c, __warn; file first since 6.18",
        blame="top",
    ),
    form(
        _kasan,
        "KASAN: ",
        r"(?:Internal error: )?BUG: KASAN: (?P<what>(?:double-free or )?[a-z-]{1,40})",
        _kasan_title,
        "mm/kasan/report.c, print_error_description",
    ),
    form(
        _kmsan,
        "KMSAN: ",
        r"BUG: KMSAN: (?P<what>[a-z-]{1,40})",
        "KMSAN: {what} in {function}",
        "mm/kmsan/report.c, kmsan_report",
        blame="traced",
    ),
    form(
        _kfence,
        "KFENCE: ",
        r"BUG: KFENCE: (?P<what>(?:out-of-bounds|use-after-free|memory corruption|invalid free|"
        r"invalid)(?: (?:read|write))?)",
        "KFENCE: {what} in {function}",
        "mm/kfence/report.c, kfence_report_error",
        blame="traced",
    ),
    form(
        "data race",
        "KCSAN: ",
        r"BUG: KCSAN: (?P<what>data-race|assert: race) in (?P<where>[^\n]{1,300})",
        lambda match: (
            f"KCSAN: {match['what']} in "
            + re.sub(
                r"\+0x\w{1,8}/0x\w{1,8}|\.(?:isra|constprop|part|cold)[.\d]*", "", match["where"]
            ).strip()
        ),
        "kernel/kcsan/report.c, print_report",
        blame="head",
    ),
    form(
        "UBSAN",
        "UBSAN: ",
        r"UBSAN: (?P<what>[^\n]{1,80}?) in (?:\S{1,200}):\d{1,7}",
        lambda match: (
            "UBSAN: "
            + ("undefined-behaviour" if match["what"].lower() == "undefined behaviour" else match["what"])
            + " in {function}"
        ),
        "lib/ubsan.c, ubsan_prologue",
    ),
    form(
        "list corruption",
        "list_",
        r"(?:slab-out-of-bounds )?list_(?:add|del)(?:_valid)?[ _](?:corruption|double add)",
        "BUG: corrupted list in {function}",
        "lib/list_debug.c",
        role="says",
    ),
    form(
        "list corruption",
        "kernel BUG at lib/list_debug.c",
        r"kernel BUG at lib/list_debug\.c:",
        "BUG: corrupted list in {function}",
        "lib/list_debug.c",
    ),
    form(
        "bad user copy",
        "usercopy: ",
        r"usercopy: (?P<what>Kernel memory|kernel memory|BUG|Bad)",
        "BUG: bad usercopy in {function}",
        "mm/usercopy.c, usercopy_abort (report_usercopy before 4.16)",
        role="says",
    ),
    form(
        "bad user copy",
        "kernel BUG at mm/usercopy.c",
        r"kernel BUG at mm/usercopy\.c:",
        "BUG: bad usercopy in {function}",
        "mm/usercopy.c",
    ),
    form(
        "memory corruption",
        "BUG ",
        r"BUG (?P<cache>[^\n()]{1,80}) \((?:Not tainted|Tainted: |[A-Z]|\w)[^\n]{0,120}?\): (?P<what>[^\n]{1,120})",
        "BUG: {what}",
        "mm/slub.c, slab_bug; between lines of = and -",
        below="=====",
    ),
    form(
        "bad page",
        "BUG: Bad ",
        r"BUG: Bad (?P<what>page state|page map|rss-counter state|page cache) in process",
        "BUG: Bad {what} in {function}",
        "mm/page_alloc.c, bad_page; mm/memory.c, print_bad_pte",
        blame="traced",
    ),
    form(
        "bad page",
        "BUG: Bad rss-counter",
        r"BUG: Bad rss-counter state",
        "BUG: Bad rss-counter state",
        "kernel/fork.c, check_mm",
        blame="none",
    ),
    form(
        "memory leak",
        "BUG: memory leak",
        r"BUG: memory leak",
        "memory leak in {function}",
        "what reads mm/kmemleak.c's file in tests of kernels",
        blame="traced",
    ),
    form(
        "memory leak",
        "unreferenced object 0x",
        r"unreferenced object 0x[0-9a-f]{8,16} \(size",
        "memory leak in {function}",
        "mm/kmemleak.c, print_unreferenced",
        blame="traced",
    ),
    form(
        "BUG",
        "still in use",
        r"BUG: Dentry [^\n]{1,300}? still in use \(-?\d{1,10}\) \[unmount of",
        "BUG: Dentry still in use in unmount",
        "fs/dcache.c, umount_check",
        blame="none",
    ),
    form(
        "use after free",
        "VFS: Busy inodes",
        r"VFS: Busy inodes after unmount of",
        "VFS: Busy inodes after unmount (use-after-free)",
        "fs/super.c, generic_shutdown_super",
        blame="none",
    ),
    form(
        "BUG",
        "MAX_STACK_TRACE_ENTRIES",
        r"BUG: MAX_STACK_TRACE_ENTRIES too low!",
        "BUG: MAX_STACK_TRACE_ENTRIES too low!",
        "kernel/locking/lockdep.c, save_trace",
        blame="none",
    ),
    form(
        "BUG",
        "has bad value",
        r"WARNING: kernel stack (?P<what>regs|frame pointer) (?:at \S{1,40} )?in [^\n]{1,80} has bad value",
        "WARNING: kernel stack {what} has bad value",
        "arch/x86/kernel/unwind_frame.c",
        blame="none",
    ),
)
