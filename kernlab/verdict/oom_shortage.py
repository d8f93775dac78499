"""What there was too little of when the OOM killer was called: memory at all, or what one cgroup, zone or node has."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from kernlab.util.text import human_bytes
from kernlab.verdict.oom_report import OomReport, Zone

#: Zones from the lowest to the highest, as the kernel numbers them (include/linux/mmzone.h, enum zone_type).
_ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
#: This part of a zone may have been freed since memory was asked for: it is no sign that there was enough.
_SPARE = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Shortage:
    """`kind`: "memory" is the machine's, all of it. `subject`: what ran out, as people say it; `zones` are those that
    were asked, `others` those that had enough; `sure`: that the report's numbers bear it out."""

    kind: Literal["memory", "cgroup", "zone", "node", "blocks"]
    subject: str
    zones: tuple[Zone, ...] = ()
    others: tuple[Zone, ...] = ()
    sure: bool = True


def shortage(report: OomReport) -> Shortage:
    """What a report's numbers say, as the kernel reckons (mm/page_alloc.c, __zone_watermark_ok; constrained_alloc)."""
    if report.group or report.constraint == "CONSTRAINT_MEMCG":
        return Shortage("cgroup", report.group)
    highest = _highest(report)
    allowed = [zone for zone in report.zones if _place(zone) <= highest]
    above = [zone for zone in report.zones if _place(zone) > highest]
    nodes = _nodes(report)
    asked = [zone for zone in allowed if nodes is None or zone.node in nodes]
    reserve = min(highest, len(_ZONES) - 1)

    def enough(zone: Zone) -> bool:
        kept = zone.reserve[min(reserve, len(zone.reserve) - 1)] * report.page_size if zone.reserve else 0
        return zone.usable(highest == _place_of("Movable")) > zone.marks[2] + kept + _SPARE * zone.managed

    if asked and report.order > 0 and any(map(enough, asked)):
        wanted = report.page_size << report.order
        if all(zone.blocks for zone in asked) and not any(
            _blocks(zone, wanted) for zone in asked if enough(zone)
        ):
            lacking = tuple(zone for zone in asked if enough(zone))
            return Shortage("blocks", f"blocks of {human_bytes(wanted)}", lacking)
        return Shortage("memory", "memory", sure=False)
    if any(map(enough, asked)):
        # What was free had not been so when it was asked for, or another rule forbade it: only more than one node
        # makes that a question.
        full = sorted({zone.node for zone in asked} - {zone.node for zone in asked if enough(zone)})
        if nodes is None and full and len(full) < len({zone.node for zone in report.zones}):
            return _of_nodes(report, full, asked, [zone for zone in asked if enough(zone)], sure=False)
        return Shortage("memory", "memory", sure=False)
    spared = [zone for zone in allowed if zone not in asked and enough(zone)]
    if asked and spared and nodes is not None:
        return _of_nodes(report, sorted(nodes), asked, spared, sure=True)
    spared = [zone for zone in above if zone.usable(False) > zone.marks[2] + _SPARE * zone.managed]
    if asked and spared:
        name = _ZONES[highest]
        return Shortage("zone", f"zone {name}", tuple(asked), tuple(spared))
    return Shortage("memory", "memory")


def _of_nodes(
    report: OomReport, nodes: list[int], asked: list[Zone], spared: list[Zone], *, sure: bool
) -> Shortage:
    numbers = ", ".join(map(str, nodes[:8]))
    name = f"node {numbers}" if len(nodes) == 1 else f"nodes {numbers}"
    if report.cpuset and report.constraint == "CONSTRAINT_CPUSET":
        name += f" (the cpuset {report.cpuset})"
    return Shortage("node", name, tuple(zone for zone in asked if zone.node in nodes), tuple(spared), sure)


def _highest(report: OomReport) -> int:
    """The highest zone that the request may use (include/linux/gfp.h, gfp_zone)."""
    flags = report.flags
    if flags & {"GFP_DMA"}:
        return _place_of("DMA")
    if "GFP_DMA32" in flags:
        return _place_of("DMA32")
    if flags & {"GFP_HIGHUSER_MOVABLE", "GFP_MOVABLE"} or any("MOVABLE" in flag for flag in flags):
        return _place_of("Movable")
    return (
        _place_of("HighMem") if any("HIGH" in flag for flag in flags - {"GFP_HIGH"}) else _place_of("Normal")
    )


def _nodes(report: OomReport) -> set[int] | None:
    """The nodes that the request may use; None where all, or where the report does not say."""
    told = [_numbers(text) for text in (report.mems, report.nodes) if text]
    every = {zone.node for zone in report.zones}
    own = set.intersection(*told) if told else every
    return None if every <= own else own


def _numbers(text: str) -> set[int]:
    """A list of bits, such as 0-3,8 (lib/bitmap.c, bitmap_print_list)."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _place(zone: Zone) -> int:
    return _place_of(zone.name)


def _place_of(name: str) -> int:
    return _ZONES.index(name) if name in _ZONES else 2


def _blocks(zone: Zone, size: int) -> int:
    return sum(count for each, count in zone.blocks.items() if each >= size)
