"""Signals that were sent and not taken yet, each with who sent it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, nullable, table
from kernlab.linux.signals import FAULTS, code_name, pending_signals, signal_name
from kernlab.linux.tasks import find_tasks

_SIGCHLD, _NSIGCHLD = 17, 6
#: SI_TIMER and SI_SIGIO: a timer's number and a descriptor's state lie where others have their sender.
_NO_SENDER = (-2, -5)


@table(rows="struct sigqueue")
def queued_signals(kernel: Kernel) -> pd.DataFrame:
    """One row per signal that waits to be delivered, by pid, in the order in which they were sent.

    Columns: pid, tgid, comm (of the thread; of a signal for a whole process, of its leader), shared (it is for the
    whole process), number, signal (its name), code (what brought it: SI_USER for kill(), SI_TKILL, SI_KERNEL,
    SEGV_MAPERR …), from_pid, from_uid (who sent it, in the receiver's namespaces; missing where the kernel, a timer or
    SIGIO did), fault_address (of SIGSEGV and its kin, where the kernel sent them), address (of the struct sigqueue).
    SIGKILL and what found no room are pending without standing here: `signals` has them. Mirrors kernel/signal.c.

    >>> len(dump.queued_signals)
    0
    """
    task = find_tasks(kernel)
    task = task[np.lexsort((task.addresses, task["pid"].values, ~task["pid"].valid))]
    found = pending_signals(kernel, task)
    mine, entry = task[found.row], found.entry
    number, code = entry["info.si_signo"].int64, entry["info.si_code"].int64
    known = number.valid & code.valid
    # What a process sent has a code of at most 0, and CLD_* tell of a child (kernel/signal.c, siginfo_layout).
    child = (number.values == _SIGCHLD) & (code.values > 0) & (code.values <= _NSIGCHLD)
    sent = known & (((code.values <= 0) & ~np.isin(code.values, _NO_SENDER)) | child)
    fault = known & np.isin(number.values, FAULTS) & (code.values > 0) & (code.values < 0x80)
    where = entry["info._sifields._sigfault._addr"]
    names = [
        code_name(signal, why) if there else None
        for signal, why, there in zip(
            number.values.tolist(), code.values.tolist(), known.tolist(), strict=True
        )
    ]
    return frame(
        kernel,
        "queued_signals",
        pid=nullable(mine["pid"]),
        tgid=nullable(mine["tgid"]),
        comm=mine["comm"],
        shared=found.shared,
        number=nullable(number),
        signal=Column.texts([None if value is None else signal_name(value) for value in number]),
        code=Column.texts(names),
        from_pid=nullable(entry["info._sifields._kill._pid"].where(sent)),
        from_uid=nullable(entry["info._sifields._kill._uid"].where(sent)),
        fault_address=addresses(kernel, where.values, where.valid & fault),
        address=entry,
    )
