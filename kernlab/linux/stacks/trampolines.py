"""True callers: addresses that a tracer put in the place of return addresses, and what lay there before it did.

Function-graph tracing, kretprobes and rethooks each have one trampoline that functions return to instead, and note of
the thread which address they took, and where. Several may take one, each the trampoline of who came before: the notes
of one place are given back from the newest on, as the trampolines themselves do when the function returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray, container
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.linux.stacks.machines import machine_of
from kernlab.linux.tasks import find_tasks
from kernlab.walk.lists import chain_nodes

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD = np.uint64(8)
#: include/linux/ftrace.h, FTRACE_RETFUNC_DEPTH: calls that are noted of one thread at most (to v6.10).
_MOST_CALLS = 50
#: kernel/trace/fgraph.c since v6.11: words of a shadow stack, and the bits of one that lead to the entry below it.
_SHADOW_WORDS, _BACK = 512, np.uint64(0x3FF)
#: kernel/kprobes.c, KPROBE_TABLE_SIZE (to v5.10).
_TABLE_SIZE = 64


@dataclass(frozen=True, slots=True)
class Notes:
    """M return addresses that were taken: `thread` int64[m] (row in `find_tasks`), `where` uint64[m] on its stack, and
    the address `caller` uint64[m]; those of one place from the newest on."""

    thread: I64
    where: U64
    caller: U64


class _Index:
    """Notes by thread and place."""

    def __init__(self, notes: Notes, threads: int):
        self._places, place = np.unique(notes.where, return_inverse=True)
        self._threads = threads
        keys = place.astype(np.int64) * threads + notes.thread
        order = np.argsort(keys, kind="stable")
        self._keys, self._caller = keys[order], notes.caller[order]

    def find(self, thread: I64, where: U64, passed: I64) -> tuple[U64, Mask]:
        """The caller noted of each place, `passed` int64[n] newer ones apart: (uint64[n], bool[n] whether there is)."""
        if not len(self._keys):
            return np.zeros(len(where), dtype=np.uint64), np.zeros(len(where), dtype=bool)
        place = np.minimum(np.searchsorted(self._places, where), len(self._places) - 1)
        key = place.astype(np.int64) * self._threads + thread
        at = np.minimum(np.searchsorted(self._keys, key) + passed, len(self._keys) - 1)
        found = (self._places[place] == where) & (thread >= 0) & (self._keys[at] == key)
        return np.where(found, self._caller[at], np.uint64(0)), found


class Trampolines:
    """The trampolines of one kernel."""

    def __init__(self, kernel: Kernel):
        self._kernel = kernel
        self._by_frame = machine_of(kernel).traced_by_frame
        found = [(kernel.find_symbol(name), name, read) for name, read in _TRAMPOLINES]
        self._known = [(start, name, read) for start, name, read in found if start]
        self._starts = np.array([start for start, _, _ in self._known], dtype=np.uint64)
        self._sizes = [kernel.symbols.room(start) for start, _, _ in self._known]
        self._indexes: dict[Callable[[Kernel], Notes], _Index] = {}

    def place(self, at: U64, bp: U64) -> U64:
        """What tracers know return addresses by that lie at uint64[n]; bp uint64[n] are the callers' frame pointers.

        That is where they lie; on arm64, where a function that is traced has not stored its yet, the frame pointer.
        """
        return bp if self._by_frame else at

    def true_callers(self, thread: I64, ip: U64, where: U64) -> tuple[U64, Mask]:
        """Return addresses as they were before a tracer took them.

        Parameters: thread int64[n], rows in `find_tasks` (-1: not known); ip uint64[n], the addresses as they are read;
        where uint64[n], the `place` of the words that they were read from. Returns (uint64[n], bool[n]: False of
        those whose true caller is noted nowhere, which stay as they are). Without trampolines it costs a comparison.
        Mirrors unwind_recover_ret_addr (arch/x86/include/asm/unwind.h), and goes on where several took one address.
        """
        rows = np.flatnonzero(self.begin(ip))
        known = np.ones(len(ip), dtype=bool)
        if not len(rows):
            return ip, known
        ip = ip.copy()
        passed = np.zeros((len(self._known), len(ip)), dtype=np.int64)
        # Every round passes one note of each that is left: notes end.
        while len(rows):
            moved = np.zeros(len(ip), dtype=bool)
            for number, (start, _, read) in enumerate(self._known):
                here = rows[ip[rows] == np.uint64(start)]
                if len(here):
                    caller, found = self._index(read).find(thread[here], where[here], passed[number, here])
                    here = here[found]
                    ip[here], moved[here] = caller[found], True
                    passed[number, here] += 1
            known[rows[~moved[rows]]] = False
            rows = rows[moved[rows] & self.begin(ip[rows])]
        return ip, known

    def begin(self, ip: U64) -> Mask:
        """Which of the addresses uint64[n] are those of a trampoline's begin: bool[n]."""
        return np.isin(ip, self._starts)

    def within(self, ip: U64) -> dict[str, I64]:
        """The trampolines in which any of the addresses uint64[n] lie, and which those are."""
        rows = {
            name: np.flatnonzero(ip - np.uint64(start) < np.uint64(size))
            for (start, name, _), size in zip(self._known, self._sizes, strict=True)
        }
        return {name: at for name, at in rows.items() if len(at)}

    def _index(self, read: Callable[[Kernel], Notes]) -> _Index:
        if read not in self._indexes:
            try:
                notes = read(self._kernel)
            except KernlabError as error:
                self._kernel.lost(f"callers behind trampolines are not known: {error}")
                notes = _none()
            self._indexes[read] = _Index(notes, len(find_tasks(self._kernel)))
        return self._indexes[read]


@fact
def graph_notes(kernel: Kernel) -> Notes:
    """What function-graph tracing took (kernel/trace/fgraph.c, ftrace_graph_ret_addr); damage is told."""
    task = find_tasks(kernel)
    if not task.has("curr_ret_stack"):
        return _none()
    pointer = resolve(task.type, "ret_stack").type
    # In v6.11 an array of entries became a stack of words, among which entries lie.
    is_array = isinstance(pointer, PointerType) and isinstance(pointer.target.strip(), StructType)
    first, depth = task["ret_stack"], task["curr_ret_stack"].int64
    empty, most = (-1, _MOST_CALLS) if is_array else (0, _SHADOW_WORDS + 1)
    rows = np.flatnonzero(first.true & depth.valid & (depth.values != empty))
    number = depth.values[rows]
    sane = (number > empty) & (number < most)
    if not sane.all():
        kernel.lost(
            f"callers behind function_graph's trampoline: the depth of {np.count_nonzero(~sane):,} threads cannot be "
            f"one ({int(number[~sane][0]):,}); their callers are not known"
        )
    rows, number = rows[sane], number[sane]
    if is_array:
        size = np.uint64(kernel.find_type("struct ftrace_ret_stack").size)
        thread = np.repeat(rows, number + 1)
        ends = np.repeat(np.cumsum(number + 1), number + 1)
        index = (ends - 1 - np.arange(len(thread))).astype(np.uint64)
        entry = first.values[thread] + index * size
    else:
        thread, entry = _shadow_entries(kernel, rows, first.values[rows], number)
    return _notes(StructArray(kernel, "struct ftrace_ret_stack", entry), thread, "retp", "ret")


def _shadow_entries(kernel: Kernel, rows: I64, stack: U64, depth: I64) -> tuple[I64, U64]:
    """The entries on shadow stacks whose `depth` words are in use, from the newest on: whose, and where they lie.

    Behind each entry and the data of who asked for it lie words that say how far below it begins (get_ret_stack).
    """
    threads, entries = [rows[:0]], [stack[:0]]
    damaged = 0
    while len(rows):
        word, read = kernel.words(
            stack + (depth - 1).astype(np.uint64) * _WORD, what="shadow stacks of threads"
        )
        back = (word & _BACK).astype(np.int64)
        good = read & (back > 0) & (back < depth)
        damaged += int(np.count_nonzero(read & ~good))
        rows, stack, depth = rows[good], stack[good], depth[good] - 1 - back[good]
        threads.append(rows)
        entries.append(stack + depth.astype(np.uint64) * _WORD)
        more = depth > 0
        rows, stack, depth = rows[more], stack[more], depth[more]
    if damaged:
        kernel.lost(
            f"callers behind function_graph's trampoline: the shadow stacks of {damaged:,} threads are damaged; what "
            "was noted before that is not known"
        )
    return np.concatenate(threads), np.concatenate(entries)


@fact
def rethook_notes(kernel: Kernel) -> Notes:
    """What rethooks took, those of kretprobes and fprobes (kernel/trace/rethook.c, rethook_find_ret_addr)."""
    task = find_tasks(kernel)
    return _listed(kernel, task, "rethooks", "struct rethook_node", "frame")


@fact
def kretprobe_notes(kernel: Kernel) -> Notes:
    """What kretprobes took that have no rethook (kernel/kprobes.c, kretprobe_find_ret_addr)."""
    task = find_tasks(kernel)
    kind = kernel.type_or_none("struct kretprobe_instance")
    if kind is None:
        return _none()
    # Linux commit d741bf41d7c7 ("kprobes: Remove kretprobe hash") (in v5.11).
    if not StructArray(kernel, kind, []).has("hlist"):
        return _listed(kernel, task, "kretprobe_instances", "struct kretprobe_instance", "fp")
    table = kernel.symbol("kretprobe_inst_table")
    heads = np.uint64(table) + np.arange(_TABLE_SIZE, dtype=np.uint64) * _WORD
    first, _ = kernel.words(heads, what="heads of the table of kretprobes")
    _, nodes = chain_nodes(kernel, first, what=_CHAINS)
    instance = container(kernel, "struct kretprobe_instance", "hlist", nodes)
    owner = instance["task"]
    order = np.argsort(task.addresses)
    at = order[np.minimum(np.searchsorted(task.addresses, owner.values, sorter=order), len(order) - 1)]
    mine = np.flatnonzero(owner.true & (task.addresses[at] == owner.values))
    return _notes(instance[mine], at[mine], "fp", "ret_addr")


_CHAINS = "the lists of functions that return to a probe"


def _listed(kernel: Kernel, task: StructArray, head: str, type_name: str, where: str) -> Notes:
    """The notes on each thread's list, the newest first."""
    if not task.has(head) or not kernel.type_or_none(type_name):
        return _none()
    first = task[f"{head}.first"]
    thread, nodes = chain_nodes(kernel, first.filled(0).astype(np.uint64), what=_CHAINS)
    return _notes(container(kernel, type_name, "llist", nodes), thread, where, "ret_addr")


def _notes(entry: StructArray, thread: I64, where: str, caller: str) -> Notes:
    """The notes that can be read of those that there are, in their order."""
    place, address = entry[where], entry[caller]
    good = np.flatnonzero(place.valid & address.valid)
    return Notes(
        thread[good].astype(np.int64),
        place.values[good].astype(np.uint64),
        address.values[good].astype(np.uint64),
    )


def _none() -> Notes:
    nothing = np.zeros(0, dtype=np.uint64)
    return Notes(nothing.astype(np.int64), nothing, nothing)


#: In v5.18 kretprobes joined the rethooks; in v5.15 their trampoline got its underscores.
_TRAMPOLINES: tuple[tuple[str, Callable[[Kernel], Notes]], ...] = (
    ("return_to_handler", graph_notes),
    ("arch_rethook_trampoline", rethook_notes),
    ("__kretprobe_trampoline", kretprobe_notes),
    ("kretprobe_trampoline", kretprobe_notes),
)
