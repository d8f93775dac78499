"""Events in, lines of tracefs' trace file out (kernel/trace/trace_output.c, trace_print_context)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def lines(
    comms: Sequence[str],
    pid: I64,
    cpu: I64,
    marks: Sequence[str],
    time: npt.NDArray[np.uint64],
    kind: I64,
    said: Sequence[str | None],
    names: Mapping[int, tuple[str, str]],
) -> Iterator[str]:
    """One line an event: who ran, where, its latency marks, when (rounded to microseconds, as trace_print_time does),
    and what the event says. `names` has (name, system) of each kind; a kind that is none of them shows its number.
    """
    micro = (time + np.uint64(500)) // np.uint64(1000)
    rows = zip(comms, pid.tolist(), cpu.tolist(), marks, micro.tolist(), kind.tolist(), said, strict=True)
    for comm, number, where, mark, at, event, text in rows:
        name, system = names.get(event, ("", ""))
        # Of its own events, and of system calls, ftrace prints no names.
        body = text if system in ("ftrace", "syscalls") and text else f"{name}: {text or ''}"
        if not name:
            body = f"Unknown type {event}"
        yield f"{comm:>16}-{number:<7} [{where:03}] {mark} {at // 10**6:5}.{at % 10**6:06}: {body}"
