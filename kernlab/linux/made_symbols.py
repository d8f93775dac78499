"""Symbols of code that the kernel made at run time: BPF programs, trampolines, probes' copies of instructions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.symbols import MoreSymbols
from kernlab.errors import KernlabError
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]


def made_symbols(kernel: Kernel) -> list[MoreSymbols]:
    """What /proc/kallsyms lists behind the modules' symbols, in its order; a kind that the kernel lacks gives nothing.

    Mirrors kernel/kallsyms.c, update_iter_mod: ftrace_mod_get_kallsym, bpf_get_kallsym, kprobe_get_kallsym.
    """
    found: list[MoreSymbols] = []
    kinds: tuple[tuple[Callable[[Kernel], list[MoreSymbols]], str], ...] = (
        (_init_functions, "modules' functions that were freed"),
        (_trampolines, "ftrace's trampolines"),
        (_bpf, "BPF programs"),
        (_probe_pages, "kprobes' instructions"),
    )
    for read, what in kinds:
        try:
            found += read(kernel)
        except KernlabError as error:
            kernel.lost(f"the symbols of {what} are not known: {error}")
    return found


def _bpf(kernel: Kernel) -> list[MoreSymbols]:
    """Programs, trampolines and dispatchers of BPF (kernel/bpf/core.c)."""
    start, end, name = _bpf_symbols(kernel)
    good = name.valid & (end > start).true
    return _part("bpf", name.values[good].tolist(), start.values[good], (end.values - start.values)[good])


def bpf_code(kernel: Kernel) -> tuple[U64, U64]:
    """Where the JIT's code lies, and how long each piece is: uint64[n] both; programs, trampolines and dispatchers."""
    start, end, _ = _bpf_symbols(kernel)
    good = (end > start).true
    return start.values[good], (end.values - start.values)[good]


def _bpf_symbols(kernel: Kernel) -> tuple[Column, Column, Column]:
    """Where each piece of the JIT's code begins and ends, and its name."""
    what = "the list of BPF symbols"
    entry = _listed(kernel, "bpf_kallsyms", "struct bpf_ksym", "lnode", what)
    if entry is not None:
        return entry["start"], entry["end"], entry["name"]
    # Linux commit 535911c80ad4 ("bpf: Add struct bpf_ksym") (in v5.7): before, the programs themselves are listed.
    program = _listed(kernel, "bpf_kallsyms", "struct bpf_prog_aux", "ksym_lnode", what)
    if program is None:
        none = Column.of(np.zeros(0, dtype=np.uint64))
        return none, none, Column.of([], kind="text")
    start, tag, name = program["prog->bpf_func"], program["prog->tag"], program["name"].text
    # include/linux/filter.h, bpf_jit_binary_hdr: what begins the page says how many there are.
    first = start & ~(kernel.page_size - 1)
    header = StructArray(kernel, "struct bpf_binary_header", first.filled(0).astype(np.uint64), start.true)
    # bpf_get_prog_name: the hash of its instructions, and what user space called it.
    words = [
        f"bpf_prog_{bytes(row).hex()}{'_' if own else ''}{own or ''}"
        for row, own in zip(tag.values.astype(np.uint8), name.tolist(), strict=True)
    ]
    return start, first + header["pages"] * kernel.page_size, Column.of(words, tag.valid & name.valid, "text")


def _init_functions(kernel: Kernel) -> list[MoreSymbols]:
    """Functions that modules needed to begin with, and that ftrace met before they were freed."""
    what = "the list of modules' freed functions"
    part = _listed(kernel, "ftrace_mod_maps", "struct ftrace_mod_map", "list", what)
    if part is None:
        return []
    owner, function = list_entries(
        kernel,
        part.follow("funcs").addresses,
        "struct ftrace_mod_func",
        "list",
        what=what,
    )
    start, size = function["ip"], function["size"]
    name = c_strings(kernel, function["name"], 512)
    module = part.follow("mod")["name"]
    good = np.flatnonzero(start.valid & size.valid & name.valid)
    ends = np.searchsorted(owner[good], np.arange(len(part) + 1)).tolist()
    found = []
    for number, (first, last) in enumerate(itertools.pairwise(ends)):
        mine = good[first:last]
        names = [str(text) for text in name.values[mine]]
        found += _part(
            str(module.values[number]), names, start.values[mine], size.values[mine], "T", gone=True
        )
    return found


def _trampolines(kernel: Kernel) -> list[MoreSymbols]:
    """Trampolines that ftrace made for one user each (kernel/trace/ftrace.c)."""
    entry = ftrace_trampolines(kernel)
    if entry is None:
        return []
    start, size = entry["trampoline"], entry["trampoline_size"]
    good = start.true & size.valid
    names = ["ftrace_trampoline"] * int(good.sum())
    return _part("__builtin__ftrace", names, start.values[good], size.values[good])


def ftrace_trampolines(kernel: Kernel) -> StructArray | None:
    """The struct ftrace_ops for which trampolines were made; None where the kernel keeps no list of them."""
    what = "the list of ftrace's trampolines"
    return _listed(kernel, "ftrace_ops_trampoline_list", "struct ftrace_ops", "list", what)


def _probe_pages(kernel: Kernel) -> list[MoreSymbols]:
    """Pages with the instructions that kprobes displaced, and the jumps of optimised ones (kernel/kprobes.c)."""
    found = []
    for cache, name in (
        ("kprobe_insn_slots", "kprobe_insn_page"),
        ("kprobe_optinsn_slots", "kprobe_optinsn_page"),
    ):
        where = kernel.find_symbol(cache)
        if where is None:
            continue
        head = StructArray(kernel, "struct kprobe_insn_cache", [where]).follow("pages")
        _, page = list_entries(
            kernel,
            head.addresses,
            "struct kprobe_insn_page",
            "list",
            what="the list of kprobes' pages",
        )
        start = page["insns"]
        good = start.true
        count = int(good.sum())
        sizes = np.full(count, kernel.page_size, dtype=np.uint64)
        found += _part("__builtin__kprobes", [name] * count, start.values[good], sizes)
    return found


def _listed(kernel: Kernel, head: str, type_name: str, member: str, what: str) -> StructArray | None:
    """The entries of a list by its head's symbol; None where the kernel has no such list."""
    where = kernel.find_symbol(head)
    if where is None or not kernel.types.has_member(type_name, member):
        return None
    _, entry = list_entries(kernel, [where], type_name, member, what=what)
    return entry


def _part(
    module: str, names: list[str], addresses: U64, sizes: U64, letter: str = "t", *, gone: bool = False
) -> list[MoreSymbols]:
    if not names:
        return []
    letters = np.full(len(names), ord(letter), dtype=np.uint8)
    return [MoreSymbols(module, names, addresses.astype(np.uint64), letters, sizes.astype(np.uint64), gone)]
