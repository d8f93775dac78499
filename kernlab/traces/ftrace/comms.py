"""Names of the tasks that a trace recorded: pids in, comms out.

As kernel/trace/trace.c has it (trace_find_cmdline, since 6.12 in trace_sched_switch.c): the names that were saved
when a task was switched to; beyond that, the tasks that lived when the machine died.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.struct import Struct
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.linux.tasks import find_tasks
from kernlab.util import text

#: What the trace file calls each CPU's idle task.
IDLE = "<idle>"

#: saved_cmdlines_size can be set to PID_MAX_LIMIT at most.
_MOST_SAVED = 1 << 22


class Comms:
    """`names(pids)`, of names by pid that are known: `saved` with the trace, `living` beyond."""

    def __init__(self, saved: Mapping[int, str]):
        self._given = dict(saved)

    @property
    def _saved(self) -> dict[int, str]:
        return self._given

    @property
    def _living(self) -> dict[int, str]:
        return {}

    def names(self, pids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Per pid the index of its name, -1 where none is known, and the names: for `frames.lookup`."""
        distinct, inverse = np.unique(pids, return_inverse=True)
        known: list[str] = []
        code = np.full(len(distinct), -1, dtype=np.int64)
        for row, pid in enumerate(distinct.tolist()):
            name = IDLE if pid == 0 else self._saved.get(pid)
            if name is None:
                name = self._living.get(pid)
            if name is not None:
                code[row] = len(known)
                known.append(name)
        return code[inverse], known

    def saved(self) -> dict[int, str]:
        """The names that the kernel saved, and those of living tasks for the rest: pid to name."""
        return self._living | self._saved


class KernelComms(Comms):
    """Those of a dump; tables are read when first asked for."""

    def __init__(self, kernel: Kernel):
        self._kernel = kernel

    @cached_property
    def _saved(self) -> dict[int, str]:
        kernel = self._kernel
        pointer = kernel.symbols.get("savedcmd")
        if pointer is None or kernel.types.get("struct saved_cmdlines_buffer") is None:
            return {}
        try:
            address = int.from_bytes(kernel.read(pointer, 8), "little")
            # Nothing was traced yet.
            if not address:
                return {}
            held = Struct(kernel, kernel.find_type("struct saved_cmdlines_buffer"), address)
            count = int(held["cmdline_num"])
            if not 0 < count <= _MOST_SAVED:
                raise KernlabError(f"it claims {count:,} names")
            pids = np.frombuffer(kernel.read(int(held["map_cmdline_to_pid"]), 4 * count), dtype="<u4")
            # Linux commit 44dc5c41b5b1 ("tracing: Fix wasted memory in saved_cmdlines logic") (in v6.8, backported)
            # made the names the end of the struct; before, they are pointed to.
            names = held["saved_cmdlines"]
            where = int(names) if not isinstance(names, str) else address + self._offset()
            # Each name has TASK_COMM_LEN bytes, as a task's own.
            width = resolve(kernel.find_type("struct task_struct"), "comm").type.size
            rows = np.frombuffer(kernel.read(where, width * count), dtype=np.uint8).reshape(count, width)
        except KernlabError as error:
            kernel.lost(f"the names of tasks that ftrace saved cannot be read: {error}")
            return {}
        # A slot that no task used yet has the pid -1 (NO_CMDLINE_MAP).
        used = np.flatnonzero((pids != 0xFFFFFFFF) & (pids != 0))
        comms = text.decode_rows(rows[used])
        return dict(zip(pids[used].tolist(), comms.tolist(), strict=True))

    def _offset(self) -> int:
        return resolve(self._kernel.find_type("struct saved_cmdlines_buffer"), "saved_cmdlines").hops[0]

    @cached_property
    def _living(self) -> dict[int, str]:
        try:
            tasks = find_tasks(self._kernel)
            pid, comm = tasks["pid"], tasks["comm"].text
        except KernlabError as error:
            self._kernel.lost(f"the names of living tasks cannot be read: {error}")
            return {}
        good = pid.true & comm.valid
        return dict(zip(pid.values[good].tolist(), comm.values[good].tolist(), strict=True))
