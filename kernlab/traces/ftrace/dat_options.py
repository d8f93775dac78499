"""Options of a trace.dat in, what they mean out: clocks, times, counters, the machine, guests.

Times are what trace-cmd makes of them (trace-input.c, timestamp_calc): a guest's are moved to its host's clock, cycles
are turned into nanoseconds, and offsets are added.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.dat_layout import Option
from kernlab.traces.ftrace.source import Machine
from kernlab.util.addresses import wrapped

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: Clocks that count nanoseconds, by tracefs' names (kernel/trace/trace.c, trace_clocks) and trace-cmd's.
IN_NS = frozenset(
    ("local", "global", "uptime", "perf", "mono", "mono_raw", "boot", "tai", "tsc2nsec", "mono_fast")
)

#: Of TIME_SHIFT: offsets between two samples are interpolated.
_INTERPOLATE = 1

#: What each line of per_cpu/cpuN/stats counts.
_COUNTERS = {
    "entries": "left",
    "overrun": "overrun",
    "commit overrun": "commit_overrun",
    "dropped events": "dropped_events",
    "read events": "read",
}

_MOST_SAMPLES = 1 << 20


@dataclass
class Shift:
    """How a guest's times become its host's, of one CPU: samples in the order of time."""

    time: I64
    offset: I64
    scaling: U64
    fraction: U64


@dataclass
class Options:
    """What a file says of itself besides its events."""

    clock_line: str = ""
    release: str = ""
    uname: str = ""
    version: str = ""
    trace_id: int | None = None
    #: Nanoseconds added to every time (OFFSET, DATE).
    offset: int = 0
    #: (mult, shift, offset) of cycles to nanoseconds.
    tsc2nsec: tuple[int, int, int] | None = None
    shifts: list[Shift] = field(default_factory=list)
    shift_flags: int = 0
    #: Guests by name: their trace's number, and the thread of the host that ran each of their CPUs.
    guests: dict[str, tuple[int, dict[int, int]]] = field(default_factory=dict)
    #: Counters by (instance, CPU).
    counters: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_options(found: list[tuple[int, bytes]], machine: Machine) -> Options:
    """The options; one that is damaged is told and left out."""
    options, stats = Options(), [""]
    for number, body in found:
        text = body.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        try:
            if number == Option.TRACECLOCK:
                options.clock_line = text.strip()
            elif number == Option.UNAME:
                options.uname = text
                options.release = _release(text)
            elif number == Option.VERSION:
                options.version = text.strip()
            elif number == Option.OFFSET:
                options.offset += int(text, 0)
            elif number == Option.DATE:
                # Microseconds between the trace's clock and the time of day.
                options.offset += int(text, 0) * 1000
            elif number == Option.TRACEID:
                (options.trace_id,) = struct.unpack_from(machine.mark + "Q", body)
            elif number == Option.TSC2NSEC:
                options.tsc2nsec = struct.unpack_from(machine.mark + "IIQ", body)
            elif number == Option.TIME_SHIFT:
                _shifts(options, body, machine)
            elif number == Option.GUEST:
                _guest(options, body, machine)
            elif number == Option.CPUSTAT:
                stats.append(text)
        except (struct.error, ValueError) as error:
            options.problems.append(f"option {number} is left out: {error}")
    _counters(options, "\n".join(stats))
    return options


def _release(uname: str) -> str:
    # "Linux 6.1.0-9-amd64 …" as the kernel has it, or with the machine's name in between, as uname(2) has it.
    words = uname.split()
    return next((word for word in words if re.match(r"\d+\.\d+", word)), "")


def clocks_of(line: str) -> tuple[list[str], int | None]:
    """The clocks of tracefs' file trace_clock, and the number of the one in brackets."""
    names = line.split()
    used = next((row for row, name in enumerate(names) if name.startswith("[")), None)
    return [name.strip("[]") for name in names], used


def _counters(options: Options, text: str) -> None:
    instance, here = "", None
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        value = value.strip()
        if key == "Buffer":
            instance = value
        elif key == "CPU" and value.isdecimal() and len(value) < 6:
            here = options.counters.setdefault((instance, int(value)), {})
        elif here is not None and key in _COUNTERS and value.isdecimal() and len(value) < 19:
            here[_COUNTERS[key]] = int(value)


def _shifts(options: Options, body: bytes, machine: Machine) -> None:
    mark = machine.mark
    _, options.shift_flags, cpus = struct.unpack_from(mark + "QII", body)
    at, counts, parts = 16, [], []
    for _ in range(cpus):
        (count,) = struct.unpack_from(mark + "I", body, at)
        if count > min(_MOST_SAMPLES, len(body) // 24):
            raise ValueError(f"it claims {count:,} samples of a clock")
        at += 4
        counts.append(count)
        parts.append(
            [
                np.frombuffer(body, f"{mark}{kind}8", count, at + 8 * count * row)
                for row, kind in enumerate("iiu")
            ]
        )
        at += 24 * count
    for count, (time, offset, scaling) in zip(counts, parts, strict=True):
        fraction = np.zeros(count, dtype=np.uint64)
        if at + 8 * count <= len(body):
            fraction = np.frombuffer(body, f"{mark}u8", count, at).astype(np.uint64)
            at += 8 * count
        distinct, first = np.unique(time.astype(np.int64), return_index=True)
        scale = scaling.astype(np.uint64)[first]
        options.shifts.append(Shift(distinct, offset.astype(np.int64)[first], scale, fraction[first]))


def _guest(options: Options, body: bytes, machine: Machine) -> None:
    name, _, rest = body.partition(b"\0")
    number, cpus = struct.unpack_from(machine.mark + "QI", rest)
    if cpus > len(rest) // 8:
        raise ValueError(f"it claims {cpus:,} CPUs of a guest")
    pairs = dict(struct.iter_unpack(machine.mark + "II", rest[12 : 12 + 8 * cpus]))
    options.guests[name.decode("utf-8", "backslashreplace")] = number, pairs


def adjusted(options: Options, cpu: I64, time: U64) -> U64:
    """Times as trace-cmd shows them; `cpu` is each event's."""
    if options.shifts:
        time = time.copy()
        for number, shift in enumerate(options.shifts):
            rows = np.flatnonzero(cpu == number)
            time[rows] = _on_host(shift, options.shift_flags, time[rows])
    if options.tsc2nsec is not None and options.tsc2nsec[0]:
        mult, places, _ = options.tsc2nsec
        time = _scaled(time, mult, places)
    return time + wrapped(options.offset) if options.offset else time


def _on_host(shift: Shift, flags: int, time: U64) -> U64:
    count = len(shift.time)
    if not count:
        return time
    if count == 1:
        return time + shift.offset[:1].view(np.uint64)
    at = np.searchsorted(shift.time, time.view(np.int64), side="right") - 1
    at = np.clip(at, 0, count - 2)
    low, offset = shift.time[at], shift.offset[at]
    if flags & _INTERPOLATE:
        delta = shift.time[at + 1] - low
        product = (time.view(np.int64) - low) * (shift.offset[at + 1] - offset)
        # C divides towards zero.
        summed = product + delta // 2
        offset = offset + np.sign(summed) * (np.abs(summed) // delta)
    scaled = (time * shift.scaling[at]) >> np.minimum(shift.fraction[at], np.uint64(63))
    return scaled + offset.view(np.uint64)


def _scaled(time: U64, mult: int, places: int) -> U64:
    """mul_u64_u32_shr: (time * mult) >> shift without losing what is above 64 bits."""
    places = min(places, 63)
    high, low = time >> np.uint64(32), time & np.uint64(0xFFFF_FFFF)
    factor, down = np.uint64(mult), np.uint64(places)
    result = (low * factor) >> down
    above = high * factor
    return result + (above << np.uint64(32 - places) if places <= 32 else above >> np.uint64(places - 32))
