"""Interrupts, as /proc/interrupts lists them, and more of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import frame, nullable, spread, table
from kernlab.linux.devices.arch_interrupts import Line, arch_lines
from kernlab.linux.devices.cpu_lists import cpu_lists, online_cpus
from kernlab.linux.devices.functions import function_names
from kernlab.linux.devices.interrupts import Actions, actions, counts, descriptors, summed
from kernlab.linux.devices.processor_interrupts import own_descriptors
from kernlab.walk.bitmaps import bitmap_bits
from kernlab.walk.cpus import possible_cpus
from kernlab.walk.strings import c_strings

# include/linux/irq.h, IRQD_*: what state_use_accessors says, in words.
_LEVEL = 1 << 13
_STATES = ((1 << 16, "disabled"), (1 << 17, "masked"), (1 << 18, "in progress"))
_OF_ALL_CPUS = (1 << 16, 1 << 17)
# kernel/irq/internals.h, IRQS_*: it came while it could not be handled; and the kernel gave up on it.
_PENDING, _SPURIOUS_DISABLED = 0x200, 0x2
_INNER_STATE = "core_internal_state__do_not_mess_with_it"


@table(rows="struct irq_desc")
def irqs(kernel: Kernel) -> pd.DataFrame:
    """One row per interrupt, by number, and behind them the machine's own lines (NMI, LOC, RES …; IPI0 …
    and Err on arm64).

    name is how its line in /proc/interrupts begins, irq its number (missing of the machine's own). actions are the
    names of who asked for it, joined by ", " ('' where nobody did; of the machine's own the words of their line),
    handlers their functions (those of their threads where these do the work). chip, hwirq, flow (edge, fasteoi …), type
    (edge or level), affinity and effective_affinity (lists of CPUs). count is how often it came in all, cpu0 … how
    often on each CPU that is online. depth is how often it was disabled; state is in words (disabled, masked, in
    progress, pending), threaded whether a thread handles it. unhandled is how often nobody wanted it of late, spurious
    whether the kernel gave up on it for that.

    Mirrors kernel/irq/proc.c (show_interrupts), arch/x86/kernel/irq.c and arch/arm64/kernel/smp.c
    (arch_show_interrupts).

    >>> dump.irqs.query("count > 0")[["name", "actions", "chip", "flow", "type", "count"]].head(3)
      name actions     chip  flow  type  count
    0    0   timer  IO-APIC  edge  edge    101
    1    1   i8042  IO-APIC  edge  edge      9
    4    4   ttyS0  IO-APIC  edge  edge     26
    """
    number, found = descriptors(kernel)
    online, possible = online_cpus(kernel), possible_cpus(kernel)
    lines = arch_lines(kernel, online)
    if any(line.name.startswith("IPI") for line in lines):
        shown = ~np.isin(found.addresses, own_descriptors(kernel, possible))
        number, found = number[shown], found[shown]
    # Rows without a descriptor have NULL for one: all of its members are missing.
    own = np.zeros(len(lines), dtype=np.uint64)
    desc = StructArray(kernel, found.type, np.concatenate([found.addresses, own]))
    every = dict(zip(possible.tolist(), counts(kernel, desc, possible), strict=True))
    total = summed(list(every.values()), len(desc))
    acts = actions(kernel, desc)
    bits, inner = desc["irq_common_data.state_use_accessors"], desc[_INNER_STATE]
    level = bits.has(_LEVEL)
    irq = Column.ints([*number.tolist(), *(None for _ in lines)])
    asked = _joined(acts, len(desc), c_strings(kernel, acts.action["name"], 256).tolist())
    called = _joined(acts, len(desc), function_names(kernel, acts.functions()).tolist())
    return frame(
        kernel,
        "irqs",
        irq=nullable(irq),
        name=[*map(str, number.tolist()), *(line.name for line in lines)],
        actions=_ending(asked, [line.text for line in lines]),
        handlers=called,
        chip=c_strings(kernel, desc.follow("irq_data.chip")["name"], 256),
        hwirq=nullable(desc["irq_data.hwirq"].int64.where(desc["irq_data.domain"].true)),
        flow=c_strings(kernel, desc["name"], 64),
        type=Column.of(np.where(level.true, "level", "edge").astype(object), level.valid, "text"),
        affinity=cpu_lists(desc, "irq_common_data.affinity"),
        effective_affinity=cpu_lists(desc, "irq_common_data.effective_affinity"),
        count=nullable(_ending(total, [_total(line) for line in lines])),
        cpus=spread(
            (f"cpu{cpu}", nullable(_ending(every[cpu], [line.counts[at] for line in lines])))
            for at, cpu in enumerate(online.tolist())
            if cpu in every
        ),
        depth=nullable(desc["depth"].int64),
        state=_states(bits, inner, _enabled_on_cpus(desc)),
        threaded=nullable(_threaded(acts, len(desc))),
        unhandled=nullable(desc["irqs_unhandled"].int64),
        spurious=nullable(inner.has(_SPURIOUS_DISABLED)),
        address=desc,
    )


def _ending(column: Column, last: list[int | None] | list[str]) -> Column:
    """The column with other values in its last rows; None is missing."""
    values, valid = column.values.copy(), column.valid.copy()
    for row, value in enumerate(last, start=len(column) - len(last)):
        valid[row] = value is not None
        values[row] = values[row] if value is None else value
    return Column.of(values, valid, column.kind)


def _total(line: Line) -> int | None:
    return line.total if line.total is not None else line.counts.sum() if len(line.counts) else None


def _joined(acts: Actions, rows: int, words: list[str | None]) -> Column:
    """One word of each action, joined in each interrupt's row; missing where one of them is."""
    texts: list[str | None] = ["" if whole else None for whole in acts.whole.tolist()]
    for row, word in zip(acts.owner.tolist(), words, strict=True):
        before = texts[row]
        texts[row] = None if word is None or before is None else f"{before}, {word}" if before else word
    return Column.texts(texts)


def _enabled_on_cpus(desc: StructArray) -> npt.NDArray[np.bool_]:
    """Which interrupts some CPU enabled for itself: all CPUs' state says nothing of these (irq_percpu_enable)."""
    found = np.zeros(len(desc), dtype=bool)
    if not desc.has("percpu_enabled"):
        return found
    enabled = desc["percpu_enabled"]
    rows = np.flatnonzero(enabled.true)
    if len(rows):
        cpus = len(desc.kernel.percpu_offsets)
        found[rows[bitmap_bits(desc.kernel, enabled.values[rows], cpus)[0]]] = True
    return found


def _states(bits: Column, inner: Column, on_cpus: npt.NDArray[np.bool_]) -> Column:
    """What holds for each interrupt, in words joined by ", "."""
    known = bits.valid & inner.valid
    words = [(bits.has(bit).true & ~(on_cpus & (bit in _OF_ALL_CPUS)), word) for bit, word in _STATES]
    words.append((inner.has(_PENDING).true, "pending"))
    texts = [
        ", ".join(word for mask, word in words if mask[row]) if there else None
        for row, there in enumerate(known.tolist())
    ]
    return Column.texts(texts)


def _threaded(acts: Actions, rows: int) -> Column:
    """Has any action of each interrupt a thread? With PREEMPT_RT or threadirqs nearly all have."""
    thread = acts.action["thread"]
    some = np.zeros(rows, dtype=bool)
    some[acts.owner[thread.true]] = True
    known = acts.whole.copy()
    known[acts.owner[~thread.valid]] = False
    return Column.of(some, known)
