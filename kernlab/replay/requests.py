"""Block requests on the axis: blktrace's channels, and ftrace's events where a disk has none, in; one table out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.replay.recording import Break, Recording
from kernlab.traces.blktrace.issues import Issued, by_issue, kinds_by_letters, of_events
from kernlab.traces.blktrace.match import C, D, R
from kernlab.traces.clock.clocks import Clocks

if TYPE_CHECKING:
    from kernlab.traces.relay.view import Relay

I64 = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).min

#: What a request without a place has for its sector.
_NOWHERE = np.uint64(0xFFFFFFFFFFFFFFFF)

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
    found = of_events(events)
    issue = events.iloc[found.issue]
    time = _axis(clocks, events["timestamp"].to_numpy().astype("m8[ns]").view(np.int64))
    return pd.DataFrame(
        {
            "device": _numbers(issue["device"]),
            "disk": _disk(name),
            "sector": issue["sector"].to_numpy(dtype=np.uint64),
            "bytes": issue["bytes"].to_numpy(dtype=np.int64),
            "rwbs": issue["rwbs"].astype("str").to_numpy(dtype=object),
            "pid": issue["pid"].to_numpy(),
            "comm": issue["comm"].to_numpy(dtype=object),
            "start": time[found.issue],
            "end": _ends(found, time),
            "source": f"blktrace:{name}",
        }
    )


def _ends(found: Issued, time: I64) -> I64:
    """When each came back, NEVER where it did not."""
    ends: I64 = np.append(time, NEVER)[found.end]
    return ends


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
    steps = [
        (D, issue),
        (C, recording.events("block_rq_complete", "dev", "sector", "nr_sector", "rwbs")),
        (R, recording.events("block_rq_requeue", "dev", "sector", "nr_sector", "rwbs")),
    ]
    order = np.argsort(np.concatenate([part.row for _, part in steps]), kind="stable")

    def together(field: str, dtype: Any) -> npt.NDArray[Any]:
        # Each by itself: numpy makes floats of int64 and uint64 together.
        return np.concatenate([np.asarray(part.fields[field]).astype(dtype) for _, part in steps])[order]

    sector = together("sector", np.uint64)
    # A flush has no place: the issue says 0 (blk_rq_trace_sector), the completion what the request holds.
    sector[sector == _NOWHERE] = 0
    found = by_issue(
        np.repeat([act for act, _ in steps], [len(part) for _, part in steps])[order],
        together("dev", np.int64),
        sector,
        together("nr_sector", np.int64) * 512,
        kinds_by_letters(pd.Series(together("rwbs", object), dtype=object)),
    )
    time = np.concatenate([part.time for _, part in steps])[order]
    keep = order[found.issue]
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
            "end": _ends(found, time),
            "source": recording.source,
        }
    )
