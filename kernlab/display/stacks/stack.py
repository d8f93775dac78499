"""`dump.stack(176)`, `dump.stack(cpu=0)`: one thread's stack, printed as the kernel prints a call trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.dataframes.moments import in_a_window, is_inside
from kernlab.display.stacks.html import stack_html
from kernlab.display.stacks.parts import Frame, frames_of
from kernlab.display.stacks.text import STATES, call_trace
from kernlab.errors import KernlabError
from kernlab.linux.source_lines import source_problems
from kernlab.linux.stacks.unwind import unwound
from kernlab.linux.whatis.threads import say_thread
from kernlab.util.text import few, nearest

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.tables.processes.stacks import Stacks

#: No pid is larger (include/linux/threads.h, PID_MAX_LIMIT): what is, is the address of a task_struct.
_MOST_PIDS = 1 << 22
#: Instructions that are shown before a call and after it.
_BEFORE, _AFTER = 8, 4
#: Bytes behind an address that hold those after it.
_BEHIND = 48
#: Bytes of a function that are looked through to find where its instructions begin.
_MOST_CODE = 1 << 14
_NEAR = 3


class OpenStack:
    """`dump.stack(…)`: one thread's stack."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(self, pid: Any = None, *, cpu: int | None = None) -> Stack:
        """The stack of one thread, printed as the kernel prints a call trace; in a notebook each frame opens.

        pid: a thread's id, its name where no other has it, or its task_struct (an address, a struct); cpu: the thread
        that ran on that CPU when the machine died. The result's `frames` are its rows of `dump.stacks`.
        Raises KernlabError where there is no such thread, or more than one.

        >>> dump.stack("kcompactd0")
        PID: 33 Comm: kcompactd0 State: S (sleeping) CPU: 1 Task: 0xff4719e3813320c0
        Call Trace:
         <TASK>
         __schedule+0x34d/0xa00
         schedule+0x5a/0xd0
         schedule_timeout+0x94/0x150
         kcompactd+0x3cf/0x420
         kthread+0xda/0x100
         ret_from_fork+0x22/0x30
         </TASK>
        """
        if (pid is None) == (cpu is None):
            raise KernlabError("name a thread or a CPU: dump.stack(176), dump.stack(cpu=0)")
        tasks = self._dump.tasks
        found = self._on_cpu(tasks, cpu) if cpu is not None else self._thread(tasks, pid)
        return Stack(self._dump, found)

    def of_panic(self) -> Stack:
        """The stack of the thread that panicked. Raises KernlabError where the dump does not tell which one did.

        >>> dump.stack.of_panic().frames["comm"].iloc[0]
        'init'
        """
        info = self._dump.info
        pid, cpu = info.get("panic_pid"), info.get("panic_cpu")
        # Every CPU's idle thread has pid 0.
        if pid is not None and not pd.isna(pid) and pid != 0:
            return self(int(pid))
        if cpu is not None and not pd.isna(cpu):
            return self(cpu=int(cpu))
        raise KernlabError("the dump does not tell which thread panicked; name a CPU: dump.stack(cpu=0)")

    def _on_cpu(self, tasks: pd.DataFrame, cpu: int) -> pd.Series[Any]:
        stacks = self._dump.stacks
        ran = stacks.loc[(stacks["cpu"] == cpu).fillna(False), "task"]
        running = tasks[tasks["on_cpu"].fillna(False)]
        found = (
            tasks[tasks["address"].isin(ran)] if len(ran) else running[(running["cpu"] == cpu).fillna(False)]
        )
        if len(found):
            return _only(found, f"CPU {cpu}")
        known = sorted({int(one) for one in running["cpu"].dropna()})
        raise KernlabError(
            f"nothing is known to have run on CPU {cpu} when the machine died; it is known of "
            f"{'CPU ' + few([str(one) for one in known]) if known else 'no CPU'}"
        )

    def _thread(self, tasks: pd.DataFrame, pid: Any) -> pd.Series[Any]:
        if isinstance(pid, str) and pid[:2].lower() != "0x" and not pid.isdecimal():
            found = tasks[(tasks["comm"] == pid).fillna(False)]
            if len(found):
                return _only(found, f"the name {pid!r}")
            raise KernlabError(f"no thread is called {pid!r}{nearest(pid, set(tasks['comm'].dropna()))}")
        number = int(pid) if isinstance(pid, str) and pid.isdecimal() else self._dump.kernel.address(pid)
        if number >= _MOST_PIDS:
            found = tasks[(tasks["address"] == number).fillna(False)]
            if len(found):
                return found.iloc[0]
            raise KernlabError(f"there is no task_struct at {number:#018x}; dump.tasks lists all")
        found = tasks[(tasks["pid"] == number).fillna(False)]
        if len(found):
            return _only(found, f"pid {number}")
        known = tasks[tasks["pid"].notna() & (tasks["pid"] != 0)]
        away = (known["pid"].astype("int64") - number).abs().to_numpy()
        near = known.iloc[np.argsort(away, kind="stable")[:_NEAR]].sort_values("pid")
        raise KernlabError(f"there is no thread {number}; the nearest are {few(_names(near))}")


class Stack:
    """One thread's stack when the machine died; made by `dump.stack`."""

    def __init__(self, dump: Dump, task: pd.Series[Any]):
        self._dump, self._task = dump, task

    @property
    def frames(self) -> Stacks:
        """Its rows of `dump.stacks`."""
        table = self._dump.stacks
        found: Stacks = table[table["task"] == self._task["address"]]
        return found

    @property
    def problems(self) -> list[str]:
        """Why it ends early, and why source lines are missing; [] where nothing is."""
        return [*self._end, *source_problems(self._dump.kernel)]

    @property
    def _end(self) -> list[str]:
        why = unwound(self._dump.kernel).why.get(self._row)
        if why:
            reliable = self.frames["reliable"]
            if len(reliable) and not reliable.iloc[-1]:
                return [f"frames with a question mark are guesses: {why}"]
            return [f"{'the stack ends here' if len(reliable) else 'there is no frame'}: {why}"]
        return [] if len(self.frames) else ["no frame of it is known"]

    @cached_property
    def _frames(self) -> list[Frame]:
        return frames_of(self._dump.kernel, self.frames, self._row)

    @property
    def _row(self) -> int:
        """Which of `find_tasks` it is, -1 for none."""
        tasks = unwound(self._dump.kernel).task.addresses
        row = np.flatnonzero(tasks == np.uint64(int(self._task["address"])))
        return int(row[0]) if len(row) else -1

    @property
    def _name(self) -> str:
        return say_thread(_said(self._task["comm"]), _said(self._task["pid"]))

    @property
    def _state(self) -> str:
        state = _said(self._task["state"])
        return f"{state} ({STATES[state]})" if state in STATES else state

    def __repr__(self) -> str:
        return self.text()

    def text(self, *, registers: bool = True) -> str:
        """What a terminal shows; without `registers` only where what was interrupted was."""
        task = self._task
        running = " (running)" if _is_true(task["on_cpu"]) else ""
        head = (
            f"PID: {_said(task['pid'])} Comm: {_said(task['comm'])} State: {self._state} CPU: {_said(task['cpu'])}"
            f"{running} Task: {int(task['address']):#018x}"
        )
        return self._at_once(lambda: call_trace(head, self._frames, self.problems, whole=registers))

    def _at_once(self, make: Callable[[], str]) -> str:
        """What `make` makes; of a running machine by memory as it is at one moment, as its tables are."""
        kernel = self._dump.kernel
        if not kernel.changes or is_inside(kernel):
            return make()
        return str(in_a_window(kernel, "stack", "", make, __name__))

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, *, opened: bool = True) -> str:
        """What a notebook shows; without `opened` the frames are lines only."""
        task = self._task
        cpu = (
            f"running on CPU {_said(task['cpu'])}"
            if _is_true(task["on_cpu"])
            else f"last on CPU {_said(task['cpu'])}"
        )
        facts = (f"state {self._state}", cpu, f"task_struct {int(task['address']):#018x}")
        instructions = self._instructions if opened else None
        return self._at_once(lambda: stack_html(self._name, facts, self._frames, self.problems, instructions))

    def _instructions(self, address: int, symbol: str) -> pd.DataFrame:
        """The instructions around an address in a function, whose beginning tells where they begin."""
        offset = _offset(symbol)
        if offset is None:
            raise KernlabError("no symbol covers it: its instructions cannot be told from its bytes")
        if offset > _MOST_CODE:
            raise KernlabError(
                f"it lies far within its function: %dis {symbol.split('+')[0]} shows all of that"
            )
        code = self._dump.disassemble(address - offset, offset + _BEHIND)
        at = int(np.searchsorted(code["address"].to_numpy(dtype=np.uint64), np.uint64(address)))
        return code.iloc[max(at - _BEFORE, 0) : at + _AFTER].reset_index(drop=True)


def _offset(symbol: str) -> int | None:
    """How far into its function `name+0x1f/0x80 [module]` is."""
    _, plus, rest = symbol.rpartition("+0x")
    text = rest.partition("/")[0]
    try:
        return int(text, 16) if plus else None
    except ValueError:
        return None


def _is_true(value: Any) -> bool:
    return value is not pd.NA and bool(value)


def _said(value: Any) -> str:
    return "?" if pd.isna(value) else str(value)


def _names(tasks: pd.DataFrame) -> list[str]:
    return [
        say_thread(_said(comm), _said(pid)) for comm, pid in zip(tasks["comm"], tasks["pid"], strict=True)
    ]


def _only(found: pd.DataFrame, what: str) -> pd.Series[Any]:
    """The one thread that was found. Raises KernlabError where there are more, saying how to tell them apart."""
    if len(found) == 1:
        return found.iloc[0]
    each = [
        f"{name}{'' if pd.isna(cpu) else f' of CPU {cpu}'}: dump.stack({int(address):#x})"
        for name, cpu, address in zip(_names(found), found["cpu"], found["address"], strict=True)
    ]
    raise KernlabError(f"{len(found):,} threads have {what}: {few(each, _NEAR)}")
