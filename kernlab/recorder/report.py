"""What a recorder does, as text: the service's status in, lines for a terminal out."""

from __future__ import annotations

import time
from typing import Any

from kernlab.util.text import human_bytes


def text(status: dict[str, Any], now: float | None = None) -> str:
    """Lines on what runs, how full the buffers are, how far back they reach, what was lost, and what it costs."""
    if not status.get("created", status.get("tracing_on")) and not status["cpus"]:
        return "No recorder runs, and none left anything."
    lines = [_head(status, time.time() if now is None else now)]
    lines += _buffers(status["cpus"])
    figures = status.get("figures") or {}
    if figures.get("seconds"):
        share = figures["cpu_seconds"] / figures["seconds"]
        lines.append(
            f"Marks: {figures['marks']:,}, {figures['marks_refused']:,} refused by the kernel, "
            f"longest gap {figures['longest_gap_seconds']:.2f} s; the service took {share:.1%} of one CPU."
        )
    for name, disk in (figures.get("disks") or {}).items():
        dropped = "not known" if disk["dropped"] is None else f"{disk['dropped']:,}"
        restarts = f", begun anew {disk['restarts']:,} times" if disk["restarts"] else ""
        lines.append(
            f"blktrace of {name}: kept fresh by {disk['kept_by']}{restarts}; events dropped: {dropped}."
        )
    if status.get("missing"):
        lines.append(f"This kernel has no {', '.join(status['missing'])}.")
    return "\n".join([*lines, *status.get("problems", [])])


def _head(status: dict[str, Any], now: float) -> str:
    if not status["running"]:
        return (
            "The recorder was killed: events are still recorded, marks are not. "
            "`kernlab recorder start` goes on, `kernlab recorder stop` takes it down."
        )
    settings = status.get("settings", {})
    minutes = (now - status.get("started", now)) / 60
    return (
        f"The recorder runs as process {status.get('pid')} for {minutes:,.0f} minutes: "
        f"{len(status.get('events', []))} events, a mark each {settings.get('interval_ms')} ms."
    )


def _buffers(cpus: dict[str, dict[str, Any]]) -> list[str]:
    """One line for all CPUs: as far as the shortest of them reaches, all do."""
    if not cpus:
        return []
    sized = [cpu for cpu in cpus.values() if cpu["size_bytes"]]
    lines = []
    if sized:
        used = sum(min(cpu["bytes"], cpu["size_bytes"]) for cpu in sized)
        size = sum(cpu["size_bytes"] for cpu in sized)
        lines.append(
            f"Buffers: {human_bytes(used)} of {human_bytes(size)} on {len(cpus)} CPUs, "
            f"{sum(cpu['overrun'] for cpu in cpus.values()):,} events overwritten by newer ones."
        )
    reaches = {name: cpu["reach_seconds"] for name, cpu in cpus.items() if "reach_seconds" in cpu}
    if reaches:
        shortest = min(reaches, key=lambda name: reaches[name])
        lines.append(
            f"They reach back {reaches[shortest]:,.1f} s (CPU {shortest}) to {max(reaches.values()):,.1f} s."
        )
    lost = sum(cpu["lost"] for cpu in cpus.values())
    if lost:
        lines.append(f"{lost:,} events were lost while they were written.")
    return lines
