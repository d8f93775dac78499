"""Pressure and run queues over time: the recorder's marks in, shares of time that something waited out.

A dump without marks has the kernel's own averages of the last 10, 60 and 300 seconds (kernel/sched/psi.c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.replay.marks import Marks, gaps
from kernlab.walk.cpus import percpu, possible_cpus

I64 = npt.NDArray[np.int64]

RESOURCES = (
    ("cpu", "some"),
    ("cpu", "full"),
    ("memory", "some"),
    ("memory", "full"),
    ("io", "some"),
    ("io", "full"),
)
#: include/linux/psi_types.h, enum psi_states.
_STATES = {
    ("io", "some"): "PSI_IO_SOME",
    ("io", "full"): "PSI_IO_FULL",
    ("memory", "some"): "PSI_MEM_SOME",
    ("memory", "full"): "PSI_MEM_FULL",
    ("cpu", "some"): "PSI_CPU_SOME",
    ("cpu", "full"): "PSI_CPU_FULL",
}
#: psi_group.avg: percent in fixed point (FSHIFT), over these seconds.
_PERCENT = 100 << 11
_SECONDS = (10, 60, 300)


@dataclass(frozen=True, slots=True)
class Pressure:
    """One share each: `time` ns on the axis, `window` ns that it is over, `which` an index into RESOURCES."""

    time: I64
    window: I64
    which: I64
    share: npt.NDArray[np.float64]


def pressure(kernel: Kernel, marks: Marks, time: I64, crash: int) -> Pressure:
    """Shares between one mark and the next; without marks the kernel's averages, as of the crash."""
    found: list[tuple[I64, I64, int, npt.NDArray[np.float64]]] = []
    step = np.diff(time)
    good = step > 0
    good[gaps(marks.number) - 1] = False
    for which, (resource, kind) in enumerate(RESOURCES):
        value, known = marks.counter(f"psi.{resource}.{kind}")
        rows = np.flatnonzero(good & known[1:] & known[:-1] & (np.diff(value) >= 0))
        share = np.diff(value)[rows] * 1_000 / np.maximum(step[rows], 1)
        found.append((time[rows + 1], step[rows], which, share.clip(0, 1)))
    if not sum(len(part[0]) for part in found):
        found = _averages(kernel, crash)
    parts = [
        (at, window, np.full(len(at), which, dtype=np.int64), share) for at, window, which, share in found
    ]
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Pressure(none, none, none, np.zeros(0))
    at, window, number, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((number, at))
    return Pressure(at[order], window[order], number[order], share[order])


def _averages(kernel: Kernel, crash: int) -> list[tuple[I64, I64, int, npt.NDArray[np.float64]]]:
    if "psi_system" not in kernel.symbols or kernel.types.get("struct psi_group") is None:
        return []
    # Two dimensions, which some type information tells as one: by their place.
    first = kernel.symbol("psi_system") + resolve(kernel.find_type("struct psi_group"), "avg[0]").hops[-1]
    found: list[tuple[I64, I64, int, npt.NDArray[np.float64]]] = []
    for which, key in enumerate(RESOURCES):
        state = kernel.types.enumerator_or_none(_STATES[key])
        if state is None:
            continue
        begin = first + 8 * len(_SECONDS) * state
        where = np.uint64(begin) + np.arange(len(_SECONDS), dtype=np.uint64) * np.uint64(8)
        words, read = kernel.words(where, what="averages of pressure")
        values = words.tolist()
        rows = [row for row, value in enumerate(values) if read[row] and value <= _PERCENT]
        window = np.array([_SECONDS[row] * 10**9 for row in rows], dtype=np.int64)
        share = np.array([values[row] / _PERCENT for row in rows], dtype=np.float64)
        found.append((np.full(len(rows), crash, dtype=np.int64), window, which, share))
    return found


def at_crash(kernel: Kernel) -> list[tuple[int, int]]:
    """(cpu, threads that ran or could have) of each CPU when the machine died (rq.nr_running)."""
    numbers = possible_cpus(kernel)
    try:
        queues = StructArray(kernel, "struct rq", percpu(kernel, kernel.symbol("runqueues"), numbers))
        counts = queues["nr_running"].tolist()
    except KernlabError:
        return []
    return [(int(cpu), int(count)) for cpu, count in zip(numbers, counts, strict=True) if count is not None]
