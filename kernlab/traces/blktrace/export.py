"""A `BlkTrace` in, the bytes of each CPU's file out: what `blktrace` would have written."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kernlab.escape import show_controls
from kernlab.traces.blktrace.headers import headers
from kernlab.traces.blktrace.records import I64, U8, Scan
from kernlab.util.files import write_whole

if TYPE_CHECKING:
    from kernlab.traces.blktrace.trace import BlkTrace


def stops(data: U8, found: Scan) -> I64:
    """Where each record of a scan ends."""
    rows = headers(data, found.offsets, found.version8, found.swapped)
    ends: I64 = found.offsets + found.header_sizes() + rows["pdu_len"].astype(np.int64)
    return ends


def bytes_by_cpu(trace: BlkTrace) -> dict[int, bytes]:
    """The whole records of each CPU, as they were recorded; a stream that several CPUs wrote is taken apart."""
    found: dict[int, list[bytes]] = {}
    for number, (stream, scan) in enumerate(zip(trace.streams, trace.scans, strict=True)):
        found.setdefault(stream.cpu, [])
        if not len(scan.offsets):
            continue
        ends = stops(trace.data, scan)
        if trace.is_of_one_cpu(number):
            found[stream.cpu].append(_joined(trace.data, scan.offsets, ends))
            continue
        rows = headers(trace.data, scan.offsets, scan.version8, scan.swapped)
        cpus = trace.cpus_of(rows["cpu"], stream)
        for cpu in np.unique(cpus).tolist():
            mine = cpus == cpu
            found.setdefault(cpu, []).append(_joined(trace.data, scan.offsets[mine], ends[mine]))
    return {cpu: b"".join(parts) for cpu, parts in found.items()}


def _joined(data: U8, starts: I64, ends: I64) -> bytes:
    if starts[0] + int((ends - starts).sum()) == ends[-1]:
        return data[int(starts[0]) : int(ends[-1])].tobytes()
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return b"".join(data[start:stop].tobytes() for start, stop in pairs)


def export(trace: BlkTrace, folder: str | PathLike[str], device: str) -> list[Path]:
    """Write `<device>.blktrace.<cpu>` files into `folder`; see `BlkTrace.export`."""
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    whole = bytes_by_cpu(trace)
    base = show_controls(device).replace("/", "!")
    return [
        write_whole(where / f"{base}.blktrace.{cpu}", whole.get(cpu, b""))
        for cpu in range(max(whole, default=-1) + 1)
    ]
