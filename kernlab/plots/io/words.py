"""What the plots of block traces say in words: titles' second lines, alternative texts, legends."""

from __future__ import annotations

from kernlab.escape import escape_plot
from kernlab.plots.io.requests import KINDS, Requests
from kernlab.plots.time_axis import moment, seconds
from kernlab.util.text import human_bytes

_LONGEST_NAME = 20
#: Letters of a second line, at the width of a notebook; what time is may go without saying.
_LONGEST_LINE = 105


def name(comm: str) -> str:
    """A process' name for a legend."""
    return escape_plot(comm, _LONGEST_NAME)


def counted(count: int, what: str) -> str:
    """A number of things: "1 request", "1,295 requests", "2 flushes"."""
    return f"{count:,} {what}" + ("" if count == 1 else "es" if what.endswith("sh") else "s")


def others(count: int) -> str:
    """What are not named."""
    return f"{count:,} other{'s' if count > 1 else ''}"


def and_others(count: int) -> str:
    """The end of a list of names."""
    return f" and {others(count)}" if count > 0 else ""


def below(requests: Requests, text: str) -> str:
    """A plot's second line: the device, what is drawn, whether something is missing."""
    since = f" from {seconds(requests.missing[0][0]):.3f} s on" if requests.missing else ""
    dropped = f"; some events were dropped{since}" if requests.dropped else ""
    told = f"{requests.device}: {text}{dropped}"
    time = f"; time {requests.time}"
    return told + time if len(told + time) <= _LONGEST_LINE else told


def unanswered(requests: Requests) -> str:
    """What a request without a completion is called: that may be among the events that are missing."""
    return "no completion seen" if requests.unsure.any() else "not completed"


def at_the_end(requests: Requests) -> str:
    """How many requests were never answered."""
    return f"{int(requests.pending.sum()):,} had not completed at the end{doubt(requests)}"


def doubt(requests: Requests) -> str:
    """How many of these may have been, by events that are missing."""
    unsure = int(requests.unsure.sum())
    if not unsure:
        return ""
    return (
        f" as far as the trace tells: of {unsure:,} the completion may be among the events that are missing from "
        f"{seconds(requests.missing[0][0]):.3f} s on"
    )


def span(requests: Requests) -> str:
    """The time that is drawn."""
    first, last = seconds(requests.first), seconds(requests.last)
    return f"from {moment(first, last - first)[:-2]} to {moment(last, last - first)} after boot"


def end(requests: Requests) -> str:
    """What ends at the right edge."""
    return "the window" if requests.cut else "the trace"


def by_kind(requests: Requests, *, in_bytes: bool = False) -> str:
    """What was completed, reads and writes told apart."""
    done = requests.ended
    parts = []
    for what, kind in enumerate(KINDS):
        rows = done & (requests.kind == what)
        if rows.any():
            parts.append(
                f"{human_bytes(int(requests.bytes[rows].sum()))} of {kind}"
                if in_bytes
                else f"{int(rows.sum()):,} {kind}"
            )
    return ", ".join(parts) or "none completed"
