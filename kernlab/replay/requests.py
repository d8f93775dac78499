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
    """One row per request that was issued, by start; and where events are missing.

    `start`, `end` (NEVER: it never came back) int64 ns on the axis, device (its number), disk ("vda"), sector, bytes,
    rwbs, pid, comm, source.
    """
    parts: list[pd.DataFrame] = []
    breaks: list[Break] = []
    before = _of_events(recording)
    for name in relay.block_traces:
        try:
            events = relay.blktrace(name).events
            part = _of_blktrace(events, name, clocks)
            whole = _whole_from(events, relay.channels, name, clocks)
        except KernlabError as error:
            kernel.lost(f"replay: the block trace {name} is left out: {error}")
            continue
        same = before["device"].isin(part["device"].unique()).to_numpy(dtype=bool)
        earlier = (before["start"].to_numpy(dtype=np.int64) < whole) & same
        # The CPU whose stream begins later may have seen its end, which was read and is gone.
        start, end = (part[column].to_numpy(dtype=np.int64) for column in ("start", "end"))
        torn = (start < whole) & ((end == NEVER) | earlier.any())
        if not earlier.any() and torn.any():
            lost = f"{int(torn.sum()):,} requests of the block trace {name} are left out"
            kernel.lost(f"replay: {lost}: they may have ended in what was read and is gone")
        parts.append(part[~torn])
        before = before.assign(disk=before["disk"].mask(same, _disk(name)))[~same | earlier]
        breaks += _losses(events.attrs.get("lost", []), name, clocks)
    parts.append(before)
    table = pd.concat(parts, ignore_index=True)
    return table.iloc[np.argsort(table["start"].to_numpy(), kind="stable")].reset_index(drop=True), breaks


def _of_blktrace(events: pd.DataFrame, name: str, clocks: Clocks) -> pd.DataFrame:
    """Requests of D and C. What was queued (Q) is another matter: a bio may be split into many of them, or merged."""
    issue, done = (events[events["action"] == action] for action in ("D", "C"))
    time = [
        _axis(clocks, part["timestamp"].to_numpy().astype("m8[ns]").view(np.int64)) for part in (issue, done)
    ]
    keep, end = _answers(
        (_numbers(issue["device"]), _numbers(done["device"])),
        (issue["sector"].to_numpy(dtype=np.uint64), done["sector"].to_numpy(dtype=np.uint64)),
        (issue["bytes"].to_numpy() > 0, done["bytes"].to_numpy() > 0),
        (np.flatnonzero(events["action"] == "D"), np.flatnonzero(events["action"] == "C")),
        (time[0], time[1]),
    )
    issue = issue.iloc[keep]
    return pd.DataFrame(
        {
            "device": _numbers(issue["device"]),
            "disk": _disk(name),
            "sector": issue["sector"].to_numpy(dtype=np.uint64),
            "bytes": issue["bytes"].to_numpy(dtype=np.int64),
            "rwbs": issue["rwbs"].astype("str").to_numpy(dtype=object),
            "pid": issue["pid"].to_numpy(),
            "comm": issue["comm"].to_numpy(dtype=object),
            "start": time[0][keep],
            "end": end,
            "source": f"blktrace:{name}",
        }
    )


def _disk(name: str) -> str:
    """The disk of a channel by the folder that it is in: "vda" of "vda/trace"."""
    return name.rpartition("/")[0].rpartition("/")[2] or name


def _whole_from(events: pd.DataFrame, channels: pd.DataFrame, name: str, clocks: Clocks) -> int:
    """From when on every CPU's stream is there (ns on the axis): of each that was read, what was read is gone."""
    mine = channels[channels["name"] == name]
    was_read = (mine["consumed"].fillna(0) > 0) | (mine["read_bytes"].fillna(0) > 0)
    first = events[events["bytes"] > 0].groupby("cpu")["timestamp"].min()
    begins = first.reindex(mine.loc[was_read, "cpu"].astype("int64"))
    if begins.empty:
        return NEVER
    if begins.isna().any():
        return clocks.crash_ns
    return int(_axis(clocks, begins.to_numpy().astype("m8[ns]").view(np.int64)).max())


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
                f"blktrace:{name}",
                cpu if isinstance(cpu, int) else None,
                f"{how_many} missing",
            )
        )
    return found


def _of_events(recording: Recording) -> pd.DataFrame:
    """Requests of block_rq_issue and block_rq_complete."""
    issue = recording.events("block_rq_issue", "dev", "sector", "bytes", "nr_sector", "rwbs", "comm")
    done = recording.events("block_rq_complete", "dev", "sector", "nr_sector", "rwbs")
    keep, end = _answers(
        (issue.fields["dev"].astype(np.int64), done.fields["dev"].astype(np.int64)),
        (issue.fields["sector"].astype(np.uint64), done.fields["sector"].astype(np.uint64)),
        (issue.fields["nr_sector"].astype(np.int64) > 0, done.fields["nr_sector"].astype(np.int64) > 0),
        (issue.row, done.row),
        (issue.time, done.time),
    )
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
            "end": end,
            "source": recording.source,
        }
    )


Both = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def _answers(device: Both, sector: Both, has_bytes: Both, row: Both, time: Both) -> tuple[I64, I64]:
    """Of what was issued and what was completed, each a pair of columns: the indices of the requests, and their ends
    (NEVER without one). A request ends with the completion that follows next at its sector."""
    issued = len(device[0])
    dev, number = (np.concatenate(both).astype(np.int64) for both in (device, row))
    place = np.concatenate(sector).astype(np.uint64).view(np.int64)
    # A flush of the device has no bytes; it is answered by one that has none either.
    sized = np.concatenate(has_bytes).astype(bool)
    ends = np.arange(len(dev)) >= issued
    order = np.lexsort((number, sized, place, dev))
    a, b = order[:-1], order[1:]
    same = (dev[a] == dev[b]) & (place[a] == place[b]) & (sized[a] == sized[b]) & ~ends[a]
    end = np.full(issued, NEVER, dtype=np.int64)
    answered = same & ends[b]
    end[a[answered]] = np.concatenate(time).astype(np.int64)[b[answered]]
    # One issued again before it came back was requeued: the last one counts.
    again = np.zeros(issued, dtype=bool)
    again[a[same & ~ends[b]]] = True
    keep = np.flatnonzero(~again)
    return keep, end[keep]
