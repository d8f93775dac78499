"""A `BlkTrace` in, the lines that blkparse 1.2.0 (Debian 12's) prints of it out, one for one.

Its order of records, its names, times and sizes are followed exactly, its quirks among them: records and messages
that carry a cgroup's id are left out, errors are printed unsigned, a process without a note is "(null)".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kernlab.traces.blktrace.names import MINOR_BITS, NOTE_MESSAGE, NOTIFY, PC, rwbs
from kernlab.traces.blktrace.records import I64
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.traces.blktrace.trace import BlkTrace

_LETTERS = dict(enumerate("?QMFGSRDCPU", 0)) | {11: "UT", 12: "I", 13: "X", 14: "B", 15: "A"}
# What blkparse knows of requests that are not a file system's: the others it calls bad and prints nothing.
_OF_PC = frozenset("QGSRDCI")
_MINOR = (1 << MINOR_BITS) - 1
_SECOND = 1_000_000_000


def lines(trace: BlkTrace) -> Iterator[str]:
    """The lines of `blkparse -q`, without line feeds."""
    rows = trace.rows
    order = _blkparse_order(trace)
    if not len(order):
        return
    genesis = int(rows["time"][order[0]])
    picked = rows[order]
    names = trace.processes
    letters: dict[tuple[int, bool], str] = {}
    values = zip(
        order.tolist(),
        picked["action"].tolist(),
        ((picked["time"] - np.uint64(genesis)).tolist()),
        *(picked[name].tolist() for name in ("device", "cpu", "sequence", "pid", "bytes", "sector", "error")),
        picked["pdu_len"].tolist(),
        strict=True,
    )
    for row, action, time, device, cpu, sequence, pid, size, sector, error, pdu_len in values:
        category = action >> 16
        stamp = f"{time // _SECOND:5d}.{time % _SECOND:09d}"
        if category & NOTIFY:
            if pdu_len:
                message = text.decode(trace.pdu(row), cut=True)
                start = f"{device >> 20:3d},{device & _MINOR:<3d} {cpu:2d}        0 {stamp}"
                yield f"{start} {0:5d}  m   N {message}"
            continue
        if not category:
            continue
        letter = _LETTERS.get(action & 0xFFFF, "?")
        if letter == "?" or (category & PC and letter not in _OF_PC):
            continue
        kind = letters.get((category, bool(size)))
        if kind is None:
            kind = letters[category, bool(size)] = rwbs(category, bool(size))
        pdu = trace.pdu(row) if pdu_len else b""
        if letter == "A":
            device = int.from_bytes(pdu[4:8], "big")
        sequence -= (sequence & 0x80000000) << 1
        head = (
            f"{device >> 20:3d},{device & _MINOR:<3d} {cpu:2d} {sequence:8d} {stamp} "
            f"{pid:5d} {letter:>2} {kind:>3} "
        )
        yield head + _rest(letter, category, sector, size, error, names.get(pid, "(null)"), pdu)


def _rest(letter: str, category: int, sector: int, size: int, error: int, name: str, pdu: bytes) -> str:
    """What follows the header, by kind of event (blkparse_fmt.c, process_default)."""
    sectors = size >> 9
    first = letter[0]
    if first in "RC":
        if category & PC:
            # Only issue, completion and insertion hand their command on to be printed.
            return (f"({_command(pdu)}) " if pdu and first == "C" else "") + f"[{error}]"
        return f"{sector} + {sectors} [{error}]" if sectors else f"{sector} [{error}]"
    if first in "DIQB" and category & PC:
        return f"{size} " + (f"({_command(pdu)}) " if pdu and first in "DI" else "") + f"[{name}]"
    if first in "DIQBMFGS":
        return f"{sector} + {sectors} [{name}]" if sectors else f"[{name}]"
    if first == "P":
        return f"[{name}]"
    number = int.from_bytes(pdu[:8], "big") & 0xFFFFFFFF
    if first == "U":
        return f"[{name}] {number}"
    if first == "X":
        return f"{sector} / {number} [{name}]"
    device = int.from_bytes(pdu[:4], "big")
    return f"{sector} + {sectors} <- ({device >> 20},{device & _MINOR}) {int.from_bytes(pdu[8:16], 'big')}"


def _command(pdu: bytes) -> str:
    """A command in hexadecimal; when only zeros are left, one of them and two dots."""
    used = pdu.rstrip(b"\0")
    return pdu.hex(" ") if len(used) == len(pdu) else (used + b"\0").hex(" ") + " .."


def as_text(trace: BlkTrace) -> str:
    """All lines, each with its line feed."""
    return "".join(line + "\n" for line in lines(trace))


def _blkparse_order(trace: BlkTrace) -> I64:
    """Rows in the order in which blkparse prints them.

    It merges the CPUs' files by the time at their heads; a file goes on until its time is greater than that of the
    next one, and is then put before others of the same time.
    """
    rows = trace.rows
    plain = (rows["action"] >> np.uint32(16)) & np.uint32(NOTIFY) == 0
    # A record with a cgroup's id takes part in the merge; it just prints nothing.
    wanted = plain | ((rows["action"] & np.uint32(0xFFFF)) == NOTE_MESSAGE)
    found = [part[wanted[part]] for part in trace.in_file_order()]
    heads = [(rows["time"][part].tolist(), part.tolist()) for part in found if len(part)]
    # Files by the time at their heads, ascending; the times beside them.
    queue: list[int] = []
    times: list[int] = []
    at = [0] * len(heads)

    def put(number: int) -> None:
        time = heads[number][0][at[number]]
        place = bisect_left(times, time, lo=1) if times and time >= times[0] else 0
        queue.insert(place, number)
        times.insert(place, time)

    for number in range(len(heads)):
        put(number)
    order: list[int] = []
    while queue:
        number = queue[0]
        stamps, records = heads[number]
        order.append(records[at[number]])
        at[number] += 1
        if at[number] == len(stamps):
            del queue[0], times[0]
            continue
        times[0] = stamps[at[number]]
        if len(queue) > 1 and times[0] > times[1]:
            del queue[0], times[0]
            put(number)
    return np.array(order, dtype=np.int64)
