"""ftrace's ring buffers in a dump: a `Kernel` in, trace instances and their sub-buffers in the order of reading out.

Mirrors kernel/trace/trace.c (ftrace_trace_arrays) and kernel/trace/ring_buffer.c: each CPU has a ring of sub-buffers
and one more, the reader page, outside of it. A reader gets the rest of the reader page, then the ring from its head
(the sub-buffer to which a link leads that is marked in its two low bits) up to the commit page.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.traces.ftrace.buffers import COUNTERS, MAIN, SNAPSHOT, Instance, Ring
from kernlab.traces.ftrace.previous_boot import part_boots, tell_untaken
from kernlab.traces.ftrace.settings import clock_numbers, ring_cpus, subbuf_sizes
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

U64 = npt.NDArray[np.uint64]

#: ring_buffer.c, RB_PAGE_HEAD and RB_PAGE_UPDATE: marks in a link to the sub-buffer that is read (or moved on) next.
_MARKS = 3

#: ring_buffer.c, RB_WRITE_MASK: the rest of a sub-buffer's count of bytes written is of writers that are at it.
_WRITE_MASK = 0xFFFFF


def find_instances(kernel: Kernel) -> list[Instance]:
    """Every trace instance with its rings, the global one first, then the newest first."""
    head = kernel.find_symbol("ftrace_trace_arrays")
    if head is None:
        kernel.lost("this kernel has no ftrace (CONFIG_TRACING is off: no symbol ftrace_trace_arrays)")
        return []
    _, arrays = list_entries(
        kernel,
        [head],
        "struct trace_array",
        "list",
        what="the trace instances",
    )
    top = kernel.symbols.get("global_trace")
    if top is not None and top not in arrays.addresses:
        arrays = StructArray(kernel, arrays.type, np.append(arrays.addresses, np.uint64(top)))
    instances = _describe(kernel, arrays, top)
    instances.sort(key=lambda instance: instance.address != top)
    _find_rings(kernel, instances)
    tell_untaken(kernel, instances)
    return part_boots(kernel, instances)


def _describe(kernel: Kernel, arrays: StructArray, top: int | None) -> list[Instance]:
    pointer = arrays["name"]
    names = c_strings(kernel, pointer)
    # The global one has none, of all the others a name is asked for when they are made.
    nameless = (arrays.addresses == np.uint64(top)) if top is not None else (pointer == 0).true
    kernel.lost("trace instances have lost their name", mask=~names.valid & ~nameless)
    tracers = c_strings(kernel, arrays.follow("current_trace", "struct tracer")["name"])
    kernel.lost("trace instances have lost the name of their tracer", mask=~tracers.valid)
    range_start = arrays["range_addr_start"] if arrays.has("range_addr_start") else None
    instances = []
    for row, address in enumerate(arrays.addresses.tolist()):
        name = "" if nameless[row] else names[row]
        instances.append(
            Instance(
                f"{address:#018x}" if name is None else name,
                address,
                tracers[row],
                range_start=0 if range_start is None else range_start[row],
            )
        )
    # Linux commit 1c5eb4481e01 ("tracing: Rename trace_buffer to array_buffer") (in v5.6).
    main = "array_buffer" if arrays.has("array_buffer") else "trace_buffer"
    _buffers(kernel, arrays, instances, MAIN, main)
    # 7.2 calls it what it is; before, it has the name of the latency tracers' use.
    for member in ("snapshot_buffer", "max_buffer"):
        if arrays.has(member):
            _buffers(kernel, arrays, instances, SNAPSHOT, member)
            break
    return instances


def _buffers(kernel: Kernel, arrays: StructArray, instances: list[Instance], kind: str, member: str) -> None:
    pointer = arrays[f"{member}.buffer"]
    buffers = StructArray(kernel, _buffer_type(kernel), pointer.values, pointer.valid)
    labels = [_label(instance.name, kind) for instance in instances]
    sizes = subbuf_sizes(kernel, labels, buffers)
    flags, disabled = buffers["flags"], buffers["record_disabled.counter"]
    overwrites = kernel.types.enumerator_or_none("RB_FL_OVERWRITE") or 1
    for row, instance in enumerate(instances):
        if kind == SNAPSHOT:
            instance.snapshot = None if pointer[row] is None else bool(pointer[row])
        # Only a snapshot need not be.
        if pointer[row] is None or (kind == MAIN and not pointer[row]):
            kernel.lost(f"{labels[row]}: the dump lacks where its buffer lies")
        if (size := sizes[row]) is not None:
            instance.buffers[kind] = (int(buffers.addresses[row]), size)
        if kind == MAIN and flags.valid[row] and disabled.valid[row]:
            instance.overwrite = bool(flags[row] & overwrites)
            # tracing_on clears the buffer's own count; RB_BUFFER_OFF is the bit above the writers' counts.
            instance.recording = disabled[row] == 0
    if kind == MAIN:
        numbers = clock_numbers(kernel, labels, arrays, buffers)
        for instance, number in zip(instances, numbers, strict=True):
            instance.clock_id = number


def _buffer_type(kernel: Kernel) -> StructType | str:
    """What holds the rings of all CPUs."""
    # Linux commit 13292494379f ("tracing: Make struct ring_buffer less ambiguous") (in v5.6): what was called
    # trace_buffer until then is another struct, around this one.
    # perf has a struct ring_buffer, too.
    return kernel.types.describing("struct ring_buffer", "buffers") or "struct trace_buffer"


def _find_rings(kernel: Kernel, instances: list[Instance]) -> None:
    """Fill in `rings` of all instances, walking all CPUs' lists together."""
    cpus = len(kernel.percpu_offsets)
    owners = [
        (instance, kind, size) for instance in instances for kind, (_, size) in instance.buffers.items()
    ]
    if not owners:
        return
    trace = StructArray(
        kernel,
        _buffer_type(kernel),
        [instance.buffers[kind][0] for instance, kind, _ in owners],
    )
    slots = trace["buffers"]
    where = slots.values[:, None] + np.arange(cpus, dtype=np.uint64)[None, :] * np.uint64(8)
    pointers, read = kernel.words(where.reshape(-1), what="")
    wanted, told = ring_cpus(kernel, trace)
    rings: list[Ring] = []
    known: set[int] = set()
    for row, (instance, kind, size) in enumerate(owners):
        label = _label(instance.name, kind)
        for cpu in range(cpus):
            index = row * cpus + cpu
            if not (slots.valid[row] and read[index]):
                kernel.lost(f"{label}: the ring of CPU {cpu} cannot be found: the dump lacks its address")
            elif int(pointers[index]) in known:
                kernel.lost(
                    f"{label}: the ring of CPU {cpu} cannot be found: its address is that of another's"
                )
            elif pointers[index]:
                known.add(int(pointers[index]))
                rings.append(Ring(instance, kind, cpu, int(pointers[index]), size))
            elif told[row] and wanted[row, cpu]:
                kernel.lost(f"{label}: the ring of CPU {cpu} cannot be found: its address is gone")
    if rings:
        _read_rings(kernel, rings)
    for ring in rings:
        ring.instance.rings.append(ring)
        if ring.damage:
            label = _label(ring.instance.name, ring.buffer)
            kernel.lost(f"{label}, CPU {ring.cpu}: {ring.damage}")


def _label(name: str, kind: str) -> str:
    which = f"trace instance {name!r}" if name else "the global trace"
    return which if kind == MAIN else f"the snapshot of {which}"


def _read_rings(kernel: Kernel, rings: list[Ring]) -> None:
    cpu_buffers = StructArray(kernel, "struct ring_buffer_per_cpu", [ring.address for ring in rings])
    for name in COUNTERS:
        if not cpu_buffers.has(name):
            continue
        column = _scalar(cpu_buffers, name)
        for ring, value in zip(rings, column, strict=True):
            if value is not None:
                ring.counters[name] = value
    reader, commit = (
        cpu_buffers.follow(name, "struct buffer_page") for name in ("reader_page", "commit_page")
    )
    head, first = cpu_buffers["head_page"], cpu_buffers["pages"]
    read = _scalar(reader, "read")
    of, cpu = cpu_buffers["buffer"], cpu_buffers["cpu"]
    owner, nodes, marked, broken = _walk_rings(kernel, rings, first)
    length = np.bincount(owner, minlength=len(rings))
    for row, ring in enumerate(rings):
        here = ring.instance.buffers[ring.buffer][0], ring.cpu
        if any(
            told is not None and told != real for told, real in zip((of[row], cpu[row]), here, strict=True)
        ):
            ring.damage = "what its address leads to is not the ring of this buffer and CPU"
            continue
        if not (reader.valid[row] and commit.valid[row]):
            ring.damage = "its reader page cannot be found"
            continue
        if not broken[row] and length[row] != (count := ring.counters.get("nr_pages", length[row])):
            broken[row] = f"its ring has {length[row]:,} sub-buffers, not the {count:,} that it should have"
        consumed = read[row]
        if consumed is None:
            ring.damage = "how much of its reader page was read before is not known"
        wanted = [int(reader.addresses[row])]
        if reader.addresses[row] != commit.addresses[row]:
            mine = owner == row
            wanted += _in_order(
                nodes[mine],
                marked[mine],
                int(head.values[row]),
                int(commit.addresses[row]),
                ring,
                broken[row],
            )
        held = StructArray(kernel, reader.type, np.array(wanted, dtype=np.uint64))
        pages = held.follow("page", "struct buffer_data_page")
        lost = int((~pages.valid).sum())
        if lost and not ring.damage:
            ring.damage = f"{lost:,} of its sub-buffers cannot be found: the dump lacks their addresses"
        ring.consumed = consumed or 0 if pages.valid[0] else 0
        ring.pages = pages.addresses[pages.valid]
        if ring.instance.range_start:
            # What this boot wrote into a sub-buffer is counted in it; a kernel that takes it over counts nothing.
            written = _scalar(held, "write").filled(0)[pages.valid]
            ring.untouched = (written & _WRITE_MASK) == 0


def _scalar(structs: StructArray, name: str) -> Column:
    """A counter, through local_t's and atomic_long_t's own structs."""
    found: Column | StructArray = structs[name]
    for inner in ("a.counter", "counter"):
        if not isinstance(found, StructArray):
            break
        if found.has(inner):
            found = found[inner]
    if isinstance(found, StructArray):
        raise KernlabError(f"{name} of {structs.type.c_name} is {found.type.c_name}, not a number")
    return found.int64


def _walk_rings(
    kernel: Kernel, rings: list[Ring], first: Column
) -> tuple[npt.NDArray[np.int64], U64, npt.NDArray[np.bool_], list[str]]:
    """All rings of sub-buffers one link a round.

    Returns owner int64[m], struct buffer_page uint64[m] in ring order, bool[m] whether the link to it was marked as the
    head's, and per ring why its walk ended early ('' where it came around).
    """
    pages = StructArray(kernel, "struct buffer_page", np.zeros(0, dtype=np.uint64))
    # container_of(): list is the first member in every kernel so far; its offset is asked for all the same.
    base = np.uint64(_list_offset(pages))
    most = kernel.budget.structs(kernel.page_size)
    start = (first & ~_MARKS).filled(0)
    count = np.array([min(ring.counters.get("nr_pages", 0), most) for ring in rings], dtype=np.int64)
    broken = [""] * len(rings)
    rows = np.flatnonzero(start)
    for row in np.setdiff1d(np.arange(len(rings)), rows).tolist():
        broken[row] = "its ring of sub-buffers cannot be found"
    current = start[rows]
    # Brent: each walk remembers one earlier node, moved up at every power of two; meeting it again is a cycle.
    landmark = current.copy()
    owners, nodes, marks = [], [], []
    length = 0
    while len(rows):
        following, read = kernel.words(current, what="")
        marked = (following & np.uint64(_MARKS)) != 0
        following &= ~np.uint64(_MARKS)
        good = read & (following != 0)
        for row in rows[~good].tolist():
            broken[row] = f"its ring of sub-buffers breaks off after {length:,}"
        owners.append(rows[good])
        nodes.append(following[good] - base)
        marks.append(marked[good])
        length += 1
        around = following == start[rows]
        # Damaged links may lead into a ring that never comes back to where it was entered.
        endless = good & ~around & ((length > count[rows]) | (following == landmark))
        for row in rows[endless].tolist():
            broken[row] = (
                f"its ring of sub-buffers does not close after the {count[row]:,} that it should have"
            )
        going = good & ~around & ~endless
        rows, current, landmark = rows[going], following[going], landmark[going]
        if length & (length - 1) == 0:
            landmark = current.copy()
    if not owners:
        empty = np.zeros(0, dtype=np.int64)
        return empty, np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool), broken
    owner, node, mark = np.concatenate(owners), np.concatenate(nodes), np.concatenate(marks)
    order = np.argsort(owner, kind="stable")
    return owner[order], node[order], mark[order], broken


def _list_offset(pages: StructArray) -> int:
    from kernlab.debuginfo.member_path import resolve

    return resolve(pages.type, "list").hops[0]


def _in_order(
    nodes: U64, marked: npt.NDArray[np.bool_], hint: int, commit: int, ring: Ring, broken: str
) -> list[int]:
    """The ring's sub-buffers from its head up to the commit page."""
    heads = np.flatnonzero(marked)
    if not len(heads):
        # The mark is moved in steps; a crash between them leaves the hint.
        heads = np.flatnonzero(nodes == np.uint64(hint))
    last = np.flatnonzero(nodes == np.uint64(commit))
    if broken:
        ring.damage = broken
    if not len(heads):
        ring.damage = ring.damage or "its head cannot be found"
        return [commit]
    turned = np.roll(nodes, -int(heads[0]))
    if not len(last):
        ring.damage = ring.damage or "its commit page is not in the ring"
        return [*turned.tolist()]
    end = (int(last[0]) - int(heads[0])) % len(nodes)
    return [int(node) for node in turned[: end + 1]]
