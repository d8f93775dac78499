"""Block requests on the axis: blktrace's channels, and ftrace's events where a disk has none, in; one table out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.replay.recording import Break, Recording
from kernlab.traces.clock.clocks import Clocks

if TYPE_CHECKING:
    from kernlab.traces.relay.view import Relay

I64 = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).min

#: blktrace stamps with ktime_get() (kernel/trace/blktrace.c).
_CLOCK = "mono"


def requests(
    kernel: Kernel, relay: Relay, recording: Recording, clocks: Clocks
) -> tuple[pd.DataFrame, list[Break]]:
    """One row per request that was issued, by start (NEVER where only the end is known): `start`, `end` int64 ns on the
    axis, device (its number), disk ("vda"), sector, bytes, rwbs, pid, comm, source; and where events are missing."""
    parts: list[pd.DataFrame] = []
    breaks: list[Break] = []
    for name in relay.block_traces:
        try:
            trace = relay.blktrace(name)
            found = trace.latencies().requests
            part = _of_blktrace(found, name, clocks)
        except KernlabError as error:
            kernel.lost(f"replay: the block trace {name} is left out: {error}")
            continue
        parts.append(part)
        breaks += _losses(trace.events.attrs.get("lost", []), name, clocks)
    told = {int(device) for part in parts for device in part["device"].unique()}
    of_events = _of_events(recording)
    parts.append(of_events[~of_events["device"].isin(told)])
    table = pd.concat(parts, ignore_index=True)
    when = np.where(table["start"] == NEVER, table["end"], table["start"])
    return table.iloc[np.argsort(when, kind="stable")].reset_index(drop=True), breaks


def _of_blktrace(found: pd.DataFrame, name: str, clocks: Clocks) -> pd.DataFrame:
    issued, completed = (
        found[column].to_numpy().astype("m8[ns]").view(np.int64) for column in ("issued", "completed")
    )
    # One that was merged travels in another, which is a row of its own.
    keep = (issued != NEVER) & found["merged"].isna().to_numpy()
    found = found[keep]
    start, end = (_axis(clocks, values[keep]) for values in (issued, completed))
    return pd.DataFrame(
        {
            "device": _numbers(found["device"]),
            "disk": name.rpartition("/")[0].rpartition("/")[2] or name,
            "sector": found["sector"].to_numpy().astype(np.uint64),
            "bytes": found["bytes"].to_numpy(),
            "rwbs": found["rwbs"].astype("str").to_numpy(dtype=object),
            "pid": found["pid"].to_numpy(),
            "comm": found["comm"].to_numpy(dtype=object),
            "start": start,
            "end": end,
            "source": f"blktrace {name}",
        }
    )


def _numbers(devices: pd.Series[str]) -> I64:
    """Devices as blktrace names them ("254:0") as the kernel numbers them (dev_t)."""
    found = devices.astype("category").cat
    parts = [str(name).partition(":") for name in found.categories]
    numbers = [int(major) << 20 | int(minor) for major, _, minor in parts]
    return np.array([*numbers, 0], dtype=np.int64)[found.codes.to_numpy()]


def name_of(device: int) -> str:
    """A device by its number: "254:0"."""
    return f"{device >> 20}:{device & 0xFFFFF}"


def _axis(clocks: Clocks, times: I64) -> I64:
    known = times != NEVER
    found = np.full(len(times), NEVER, dtype=np.int64)
    found[known] = clocks.to_axis(_CLOCK, times[known])[0]
    return found


def _losses(lost: list[dict[str, Any]], name: str, clocks: Clocks) -> list[Break]:
    """What a block trace says of its own losses, as breaks."""
    found = []
    for one in lost:
        since, until = one.get("since_ns"), one.get("until_ns")
        edges = [
            None if edge is None else int(_axis(clocks, np.array([int(edge)], dtype=np.int64))[0])
            for edge in (since, until)
        ]
        end = clocks.crash_ns if edges[1] is None else min(edges[1], clocks.crash_ns)
        count = one.get("events")
        how_many = f"{int(count):,} events are" if isinstance(count, int) else "events are"
        cpu = one.get("cpu")
        found.append(
            Break(
                edges[0],
                end,
                f"blktrace {name}",
                cpu if isinstance(cpu, int) else None,
                f"{how_many} missing",
            )
        )
    return found


def _of_events(recording: Recording) -> pd.DataFrame:
    """Requests of block_rq_issue and block_rq_complete: each issue with the completion that follows at its sector."""
    issue = recording.events("block_rq_issue", "dev", "sector", "bytes", "nr_sector", "rwbs", "comm")
    done = recording.events("block_rq_complete", "dev", "sector", "nr_sector", "rwbs")
    dev, sector, row, time = (
        np.concatenate([np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)])
        for a, b in (
            (issue.fields["dev"], done.fields["dev"]),
            (
                issue.fields["sector"].astype(np.uint64).view(np.int64),
                done.fields["sector"].astype(np.uint64).view(np.int64),
            ),
            (issue.row, done.row),
            (issue.time, done.time),
        )
    )
    ends = np.arange(len(dev)) >= len(issue)
    # A flush of the device has no sectors; it is answered by one that has none either.
    sized = np.concatenate([issue.fields["nr_sector"], done.fields["nr_sector"]]).astype(np.int64) > 0
    order = np.lexsort((row, sized, sector, dev))
    same = np.zeros(len(order), dtype=bool)
    if len(order):
        a, b = order[:-1], order[1:]
        same[:-1] = (dev[a] == dev[b]) & (sector[a] == sector[b]) & (sized[a] == sized[b])
    pair = same & ~ends[order] & np.append(ends[order][1:], False)[: len(order)]
    end = np.full(len(dev), NEVER, dtype=np.int64)
    rows = np.flatnonzero(pair)
    end[order[rows]] = time[order[rows + 1]]
    # One issued again before it came back was requeued: the last one counts.
    again = np.zeros(len(dev), dtype=bool)
    again[order[np.flatnonzero(same & ~ends[order] & ~np.append(ends[order][1:], False)[: len(order)])]] = (
        True
    )
    keep = np.flatnonzero(~again[: len(issue)])
    number = issue.fields["dev"].astype(np.int64)[keep]
    return pd.DataFrame(
        {
            "device": number,
            "disk": np.array([name_of(one) for one in number.tolist()], dtype=object),
            "sector": issue.fields["sector"][keep].astype(np.uint64),
            "bytes": issue.fields["bytes"][keep].astype(np.int64),
            "rwbs": np.asarray(issue.fields["rwbs"], dtype=object)[keep],
            "pid": issue.pid[keep],
            "comm": np.asarray(issue.fields["comm"], dtype=object)[keep],
            "start": issue.time[keep],
            "end": end[: len(issue)][keep],
            "source": recording.source,
        }
    )
