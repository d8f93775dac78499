"""Source trees of the kernel in, kernlab/oops/helpers.txt.xz out: names of functions that work for any caller.

    python -m scripts.helper_functions linux-5.10 linux-6.1 linux-6.12

A crash is hardly ever the fault of who copied a string or took a lock: whom a report is about is found by skipping such
functions, and which ones they are is told by the file that defines them. A file is listed here when it is no subsystem
of its own: all of the kernel calls it, for its own purposes. Only names of functions are taken from the sources.
"""

from __future__ import annotations

import lzma
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

OUT = Path(__file__).parent.parent / "kernlab" / "oops" / "helpers.txt.xz"

#: What each group of files is for, and its files: a star stands for part of a name, two for folders below.
FILES = {
    # What prints, stops the machine, takes a trap, or is called by the compiler for a check.
    "reports": """
        kernel/panic.c kernel/printk/*.c kernel/stacktrace.c kernel/kcov.c kernel/kcsan/*.c kernel/locking/lockdep.c
        lib/bug.c lib/dump_stack.c lib/refcount.c lib/debugobjects.c lib/ubsan.c lib/list_debug.c
        lib/smp_processor_id.c mm/kasan/*.c mm/kmsan/*.c mm/kfence/*.c mm/debug.c mm/kmemleak.c mm/usercopy.c
        include/linux/kasan*.h include/linux/kmemleak.h include/linux/lockdep.h include/linux/debugobjects.h
        include/linux/refcount.h arch/*/kernel/traps*.c arch/*/kernel/dumpstack*.c arch/*/kernel/stacktrace.c
        arch/*/kernel/unwind*.c arch/*/mm/fault*.c arch/*/mm/extable.c arch/*/kernel/entry-common.c
        arch/arm64/mm/kasan*.c
        """,
    # What sleeps or spins for whoever calls it.
    "waits": """
        kernel/locking/*.c kernel/locking/*.h kernel/sched/completion.c kernel/sched/wait_bit.c kernel/sched/swait.c
        include/linux/mutex.h include/linux/rwsem.h include/linux/spinlock*.h include/linux/rwlock*.h
        include/linux/wait*.h include/linux/completion.h include/linux/percpu-rwsem.h include/linux/semaphore.h
        drivers/tty/tty_ldsem.c include/asm-generic/qspinlock.h arch/*/lib/*lock*.c
        """,
    # Memory is taken and given back for whoever asks.
    "allocates": """
        mm/slab.c mm/slab.h mm/slub.c mm/slob.c mm/slab_common.c mm/page_alloc.c mm/page_frag_cache.c mm/vmalloc.c
        mm/nommu.c mm/util.c mm/percpu*.c mm/mempool.c mm/mempolicy.c mm/list_lru.c mm/page_owner.c mm/page_ext.c
        mm/dmapool.c mm/failslab.c mm/fail_page_alloc.c include/linux/slab.h include/linux/gfp.h
        include/linux/vmalloc.h net/core/skbuff.c net/core/sock.c net/core/page_pool.c include/linux/skbuff*.h
        """,
    # Strings, trees, counters, copies from and to users.
    "copies": """
        lib/*.c lib/crypto/** lib/math/** lib/crc/** arch/*/lib/** include/linux/list*.h include/linux/rculist*.h
        include/linux/rbtree*.h include/linux/kref.h include/linux/atomic.h include/linux/string.h
        include/linux/fortify-string.h include/linux/uaccess.h include/linux/instrumented.h include/linux/uio.h
        include/linux/xarray.h include/linux/rhashtable*.h arch/x86/include/asm/uaccess*.h
        arch/x86/include/asm/atomic*.h arch/x86/include/asm/bitops.h arch/arm64/include/asm/uaccess.h
        include/asm-generic/bitops/*.h include/asm-generic/atomic*.h mm/maccess.c arch/*/mm/mem*.S
        """,
    # Pages of files, timers, works, and the devices and files of whoever registers some.
    "serves": """
        mm/folio-compat.c mm/filemap.c mm/truncate.c mm/backing-dev.c mm/vmstat.c mm/swap.c mm/ioremap.c mm/highmem.c
        fs/buffer.c kernel/trace/trace_event_perf.c
        arch/*/mm/physaddr.c arch/*/mm/ioremap.c include/linux/page-flags.h include/linux/page_ref.h
        kernel/rcu/*.c kernel/rcu/*.h kernel/time/*.c kernel/workqueue.c kernel/kthread.c kernel/smp.c
        kernel/jump_label.c kernel/notifier.c kernel/user_namespace.c kernel/trace/trace_preemptirq.c
        include/linux/rcupdate.h include/linux/seqlock*.h include/linux/timer.h include/linux/workqueue.h
        drivers/base/*.c drivers/base/power/*.c lib/kobject*.c fs/sysfs/*.c fs/kernfs/*.c fs/proc/generic.c
        fs/proc/proc_net.c fs/seq_file.c drivers/usb/core/urb.c drivers/usb/core/message.c drivers/usb/core/hcd.c
        net/core/datagram.c
        """,
}
#: Files that are no helpers although their folder is: tests, and work of their own.
NONE = re.compile(r"test|/kunit/|lib/timerqueue|lib/radix-tree|mm/kasan/quarantine|memory_hotplug")
#: What a file system hands on as its own read, write or fault (mm/filemap.c, fs/buffer.c) is its work.
OWN = re.compile(r"_*(?:generic_|filemap_(?:read|readahead|fault|map_pages|splice_read|page_mkwrite)$)")
#: What cores of subsystems export to their drivers for the end of what those registered: a driver that calls it twice,
#: too late, or with what it has freed is at fault. No file tells: a core has work of its own as well.
UNREGISTERING = re.compile(
    r"(?:^|_)unregister(?:_|$)|_(?:del|remove)_(?:adapter|bus|controller|dev|device|driver|host)$"
)
_EXPORTED = re.compile(r"^EXPORT_SYMBOL(?:_GPL|_NS|_NS_GPL)?\((\w+)", re.MULTILINE)
#: Second definitions of a name: before the kernel runs, of other machines, in programs, where an option is off.
ASIDE = re.compile(
    r"arch/\w+/(?:boot|purgatory|realmode|um|platform|math-emu|kvm/hyp|tools)/|arch/(?:um|mips|loongarch|alpha|arc|csky|hexagon|m68k|"
    r"microblaze|nios2|openrisc|parisc|sh|sparc|xtensa|ia64|nds32|c6x|h8300)/|drivers/firmware/efi/libstub|/vdso|"
    r"test|/kunit/"
)
LEFT_OUT = {"tools", "Documentation", "samples", "scripts", "usr", "rust"}

#: A definition begins a line and ends with the brace of its body.
_FUNCTION = re.compile(
    r"^(?![ \t#/}*])(?!typedef|return|else|if\b|struct \w+ \w+ =)(?P<before>[A-Za-z_][\w \t*]*?[ \t*])?\**"
    r"(?P<name>[A-Za-z_]\w*)\([^;{}]*?\)[^;{}()=]*?\n?\{",
    re.MULTILINE,
)
_ASSEMBLER = re.compile(
    r"\b(?:SYM_(?:INNER_|TYPED_)?(?:FUNC|CODE)(?:_START)?(?:_\w+)?|ENTRY|WEAK|SYM_FUNC_ALIAS(?:_\w+)?)\((\w+)"
)
_SYSCALL = re.compile(r"^(?:COMPAT_)?SYSCALL_DEFINE\d\((\w+)", re.MULTILINE)


def glob(pattern: str) -> str:
    """A pattern of files as a regular expression."""
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)


def group_of() -> dict[str, re.Pattern[str]]:
    """A pattern of each group's files."""
    return {
        group: re.compile("(?:" + "|".join(map(glob, files.split())) + ")$") for group, files in FILES.items()
    }


def defined(text: str, assembler: bool) -> Iterator[str]:
    """Functions that a file defines."""
    if assembler:
        yield from _ASSEMBLER.findall(text)
        return
    yield from (f"sys_{name}" for name in _SYSCALL.findall(text))
    for found in _FUNCTION.finditer(text):
        name = found["name"]
        if not name.isupper() and not name.startswith(
            ("SYSCALL_DEFINE", "COMPAT_SYSCALL", "DEFINE_", "DECLARE_")
        ):
            yield name


def private(text: str) -> Iterator[str]:
    """Functions of a file that no helper's caller meets: those of which only a pointer is passed on, which are some
    work's own, and static ones that one place calls, which compilers put there."""
    for found in _FUNCTION.finditer(text):
        if "static" in (found["before"] or ""):
            name = found["name"]
            # Definitions and declarations begin a line, comments a star or two slashes.
            uses = re.findall(
                rf"^(?![A-Za-z_]|[ \t]*(?:\*|//)).*(?<![\w.>]){name}\b(\s*\()?", text, re.MULTILINE
            )
            called = sum(bool(bracket) for bracket in uses)
            if not called or (called == 1 == len(uses) and "noinline" not in found["before"]):
                yield name


def read(trees: Iterable[Path]) -> dict[str, set[str]]:
    """All functions of the trees, and the files that define them."""
    files: dict[str, set[str]] = defaultdict(set)
    for tree in trees:
        for path in sorted(tree.rglob("*.[chS]")):
            place = path.relative_to(tree).as_posix()
            if place.partition("/")[0] not in LEFT_OUT and not path.is_symlink():
                for name in defined(path.read_text("utf-8", "replace"), path.suffix == ".S"):
                    files[name].add(place)
    return files


def met(trees: Iterable[Path], places: set[str]) -> set[tuple[str, str]]:
    """(function, file) of helpers' files, where the function can stand in a stack in one of the trees."""
    found: set[tuple[str, str]] = set()
    for tree in trees:
        for place in places:
            path = tree / place
            if path.is_file():
                text = path.read_text("utf-8", "replace")
                names = set(defined(text, path.suffix == ".S"))
                if path.suffix == ".c":
                    names.difference_update(private(text))
                found.update((name, place) for name in names)
    return found


def unregistering(trees: Iterable[Path]) -> set[str]:
    """Functions that the trees export to drivers for what these registered."""
    found: set[str] = set()
    for tree in trees:
        for path in tree.rglob("*.c"):
            if path.relative_to(tree).parts[0] not in LEFT_OUT and not path.is_symlink():
                names = _EXPORTED.findall(path.read_text("utf-8", "replace"))
                found.update(name for name in names if UNREGISTERING.search(name))
    return found


def grouped(files: dict[str, set[str]], trees: list[Path]) -> dict[str, set[str]]:
    """Names by group: those of which at least half of the definitions are in files of helpers."""
    patterns = group_of()
    known: dict[str, str] = {}
    for place in set().union(*files.values()):
        group = next((group for group, pattern in patterns.items() if pattern.match(place)), "")
        if group and not NONE.search(place) and not ASIDE.search(place):
            known[place] = group
    stands = met(trees, set(known))
    found: dict[str, set[str]] = {group: set() for group in FILES}
    for name, places in files.items():
        counted = [known.get(place, "") for place in places if not ASIDE.search(place)]
        groups = [known[place] for place in places if place in known and (name, place) in stands]
        if groups and 2 * len(groups) >= len(counted) and len(name) > 2 and not OWN.match(name):
            first = min(groups, key=lambda group: (-groups.count(group), list(FILES).index(group)))
            found[first].add(name)
    return found


def folded(names: set[str], everything: Iterable[str]) -> list[str]:
    """Names, where all that begin with the same words are among them as one family: "kmem_cache_*"."""
    others: set[str] = set()
    for name in everything:
        if name not in names:
            others.update(_beginnings(name))
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        for beginning in _beginnings(name):
            counts[beginning] += 1
    told = set()
    for name in names:
        family = next((each for each in _beginnings(name) if each not in others and counts[each] > 1), None)
        told.add(f"{family}*" if family else name)
    return sorted(told)


def _beginnings(name: str) -> Iterator[str]:
    for place in range(3, len(name)):
        if name[place - 1] == "_" and name[place] != "_" and name[:place].strip("_"):
            yield name[:place]


def main(arguments: list[str]) -> None:
    """Write the table."""
    trees = [Path(argument) for argument in arguments]
    files = read(trees)
    lines = [
        f"# Names of functions in Linux {', '.join(map(version, trees))}, and nothing else of the sources; made by",
        "# scripts/helper_functions.py. A line is what begins several names, and how each goes on; a star is any end.",
    ]
    groups = grouped(files, trees)
    for group, names in {
        **groups,
        "unregisters": unregistering(trees).difference(*groups.values()),
    }.items():
        lines += [f"[{group}]", *written(folded(names, files))]
    OUT.write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode("ascii"), preset=9))
    print(f"{OUT.name}: {len(lines):,} lines, {OUT.stat().st_size:,} bytes")


def written(names: Iterable[str]) -> list[str]:
    """Lines of names, by the word that several begin with."""
    begun: dict[str, list[str]] = defaultdict(list)
    for name in names:
        begin = re.match(r"_*[^_]+_?", name)
        begun[begin[0] if begin else ""].append(name.removeprefix(begin[0]) if begin else name)
    return [f"{begin} {' '.join(rest or '=' for rest in sorted(begun[begin]))}" for begin in sorted(begun)]


def version(tree: Path) -> str:
    """The version that a tree's Makefile says."""
    said = dict(
        re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", (tree / "Makefile").read_text(), re.MULTILINE)
    )
    return ".".join(said.values())


if __name__ == "__main__":
    main(sys.argv[1:])
