"""Timers that are pending or running, of the wheels and of hrtimers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, nullable, table
from kernlab.errors import KernlabError, TypesLostError
from kernlab.linux.devices.functions import function_names
from kernlab.linux.devices.timer_owners import tasks_of, works_of
from kernlab.linux.devices.timers import Timers, hrtimers, wheel_timers

_KINDS: tuple[tuple[str, Callable[[Kernel], Timers]], ...] = (("wheel", wheel_timers), ("hrtimer", hrtimers))


@table
def timers(kernel: Kernel) -> pd.DataFrame:
    """One row per timer, by CPU, the wheels before the hrtimers, soonest first within each base.

    kind is wheel or hrtimer, base the wheel's or the clock's name. expires is how long after the crash it is due
    (timedelta, as of the last tick; negative: it is late; missing: never), due the same as the timer has it: jiffies
    in the wheel, ns of its clock of an hrtimer. slack is by how much it may come sooner, to spare a wakeup (hrtimers
    only). running: its function was being called when the machine died. pid and comm are of the task that it wakes or
    sends a signal to, work is the function of the delayed work that it queues.

    Mirrors kernel/time/timer.c, hrtimer.c and timer_list.c.

    >>> dump.timers.query("kind == 'hrtimer'")[["cpu", "base", "function", "expires", "comm"]]
        cpu       base           function                   expires   comm
    11    0  monotonic   tick_sched_timer 0 days 00:00:00.004911846    NaN
    12    0  monotonic  watchdog_timer_fn 0 days 00:00:03.212576540    NaN
    30    1  monotonic   tick_sched_timer 0 days 00:00:00.004911846    NaN
    31    1  monotonic  watchdog_timer_fn 0 days 00:00:03.376576540    NaN
    32    1  monotonic     hrtimer_wakeup 0 days 00:15:16.483359180  sleep
    >>> dump.timers.dropna(subset="work")[["cpu", "base", "work", "expires"]].head(3)
       cpu      base                        work                expires
    1    0  standard  wb_update_bandwidth_workfn 0 days 00:00:00.132000
    2    0  standard           kfree_rcu_monitor 0 days 00:00:01.520000
    5    0  standard            ima_keys_handler 0 days 00:03:34.124000
    """
    found: list[tuple[str, Timers]] = []
    why: list[str] = []
    for kind, find in _KINDS:
        try:
            found.append((kind, find(kernel)))
        except TypesLostError:
            raise
        except KernlabError as error:
            why.append(f"timers of the kind {kind}: {error}")
    if not found:
        raise KernlabError(f"no timer can be found: {'; '.join(why)}")
    kernel.lost(*why)
    cpu = np.concatenate([part.cpu for _, part in found])
    base = np.concatenate([part.base for _, part in found])
    left = _together([part.left for _, part in found])
    due = _together([part.due for _, part in found])
    which = np.repeat(np.arange(len(found)), [len(part.timer) for _, part in found])
    order = np.lexsort((due.filled(0), left.filled(np.iinfo(np.int64).max), _rank(base), which, cpu))
    task = StructArray(
        kernel, "struct task_struct", np.concatenate([tasks_of(kernel, part.timer) for _, part in found])
    )
    address = np.concatenate([part.timer.addresses for _, part in found])[order]
    return frame(
        kernel,
        "timers",
        cpu=cpu[order],
        kind=[found[one][0] for one in which[order].tolist()],
        base=base[order].tolist(),
        function=_together([function_names(kernel, part.timer["function"]) for _, part in found])[order],
        expires=left[order].timedelta,
        due=nullable(due[order]),
        slack=_together([_slack(kind, part.timer) for kind, part in found])[order].timedelta,
        running=np.concatenate([part.running for _, part in found])[order],
        pid=nullable(task["pid"][order]),
        comm=task["comm"][order],
        work=_together([_work(kernel, kind, part.timer) for kind, part in found])[order],
        address=addresses(kernel, address),
    )


def _together(columns: list[Column]) -> Column:
    """Columns of one kind, one behind the other."""
    return Column(
        np.concatenate([column.values for column in columns]),
        np.concatenate([column.valid for column in columns]),
        columns[0].kind,
    )


def _rank(base: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
    """Bases in the order in which they were met: the kernel's."""
    names = list(dict.fromkeys(base.tolist()))
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[name] for name in base.tolist()], dtype=np.intp)


def _slack(kind: str, timer: StructArray) -> Column:
    if kind != "hrtimer":
        return Column.missing(len(timer), "int")
    return (timer["node.expires"] - timer["_softexpires"]).int64


def _work(kernel: Kernel, kind: str, timer: StructArray) -> Column:
    if kind != "wheel":
        return Column.missing(len(timer))
    return function_names(kernel, works_of(kernel, timer)["work.func"])
