"""Runs cases, each in a forked process that begins with all dumps opened; some of them at a time."""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fuzz import limits

#: A case that only waits uses no CPU time: after so many seconds by the clock it hangs, too.
WALL = 5 * limits.SECONDS

Run = Callable[[str, int, Callable[[str], None]], None]


@dataclass
class Result:
    """What came of a case: `outcomes` of its steps, in order, and how its process ended."""

    name: str
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""
    seconds: float = 0.0


@dataclass
class _Running:
    name: str
    pid: int
    slot: int
    start: float
    data: bytearray = field(default_factory=bytearray)


def serve(run: Run, names: Iterator[str], workers: int = 2) -> Iterator[Result]:
    """Each case's result as it comes, `workers` at a time; `run(name, slot, tell)` is called in the forked process."""
    gc.collect()
    gc.freeze()
    ready = selectors.DefaultSelector()
    slots = list(range(workers))
    running: dict[int, _Running] = {}
    names = iter(names)
    more = True
    try:
        while more or running:
            while more and slots:
                name = next(names, None)
                if name is None:
                    more = False
                    break
                slot = slots.pop(0)
                read, case = _fork(run, name, slot)
                running[read] = case
                ready.register(read, selectors.EVENT_READ)
            for key, _ in ready.select(timeout=1.0):
                read = int(key.fd)
                case = running[read]
                piece = os.read(read, 1 << 16)
                if piece:
                    case.data += piece
                    continue
                ready.unregister(read)
                os.close(read)
                del running[read]
                slots.append(case.slot)
                yield _result(case)
            for case in running.values():
                if time.monotonic() - case.start > WALL:
                    os.kill(case.pid, signal.SIGKILL)
    finally:
        for case in running.values():
            os.kill(case.pid, signal.SIGKILL)
            os.waitpid(case.pid, 0)


def _fork(run: Run, name: str, slot: int) -> tuple[int, _Running]:
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return read, _Running(name, pid, slot, time.monotonic())
    status = 1
    try:
        os.close(read)
        run(name, slot, lambda line: _write(write, line))
        status = 0
    except BaseException:
        trace = traceback.format_exc()
        _write(
            write, json.dumps({"step": "harness", "failed": "harness", "place": name, "trace": trace[-1500:]})
        )
    finally:
        os._exit(status)
    raise AssertionError


def _write(descriptor: int, line: str) -> None:
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def _result(case: _Running) -> Result:
    _, status = os.waitpid(case.pid, 0)
    result = Result(case.name, seconds=time.monotonic() - case.start)
    started = ""
    for line in case.data.decode("utf-8", "replace").splitlines():
        outcome = json.loads(line)
        if outcome.pop("started", False):
            started = outcome["step"]
        else:
            result.outcomes.append(outcome)
            started = ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        slow = result.seconds > WALL
        result.ended = "hang" if slow or number == signal.SIGXCPU else f"killed by signal {number}"
        result.outcomes.append({"step": started or "?", "failed": result.ended, "place": started or "?"})
    return result
