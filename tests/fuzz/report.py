"""Counts of what was found, by kind and by cause."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict

from fuzz.fork_server import Result
from fuzz.verdicts import Failure

#: The slowest steps that are shown.
SLOWEST = 8
#: Cases of one cause that are named.
LISTED = 20


class Report:
    """Adds results up, and says what they come to."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.failed: dict[str, set[str]] = defaultdict(set)
        self.causes: dict[tuple[str, str], list[Failure]] = defaultdict(list)
        self.undetectable: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.peak = (0, "")
        self.slowest: list[tuple[float, str, str]] = []
        self.steps = 0

    def add(self, result: Result, failures: list[Failure], undetectable: bool) -> list[Failure]:
        """Count a result in; returns those of its failures that are the first of their cause."""
        kind = result.name.split(":")[0]
        self.cases[kind] += 1
        self.undetectable[kind] += undetectable
        self.told[kind] += any(outcome.get("told") for outcome in result.outcomes)
        first = [failure for failure in failures if (failure.what, failure.cause) not in self.causes]
        for failure in failures:
            self.failed[kind].add(result.name)
            self.causes[failure.what, failure.cause].append(failure)
        for outcome in result.outcomes:
            self.steps += 1
            self.peak = max(self.peak, (outcome.get("peak", 0), result.name))
            slow = (outcome.get("seconds", 0.0), outcome["step"], result.name)
            (heapq.heappush if len(self.slowest) < SLOWEST else heapq.heappushpop)(self.slowest, slow)
        return first

    def line(self) -> str:
        """In one line."""
        whats: Counter[str] = Counter()
        for (what, _), found in self.causes.items():
            whats[what] += len({failure.case for failure in found})
        counts = ", ".join(f"{count:,} {what}" for what, count in sorted(whats.items())) or "no failure"
        return f"{sum(self.cases.values()):,} cases, {self.steps:,} steps: {counts}"

    def text(self, *, details: bool = False) -> str:
        """The whole report."""
        lines = [self.line()]
        for kind, count in sorted(self.cases.items()):
            lines.append(
                f"  {kind:8} {count:6,} cases: {len(self.failed[kind]):,} failed, {self.told[kind]:,} told, "
                f"{self.undetectable[kind]:,} changed something that no reader could know"
            )
        lines.append(f"peak memory beyond the start: {self.peak[0] / 2**20:,.0f} MiB ({self.peak[1]})")
        lines.append("slowest steps:")
        lines += [
            f"  {seconds:7.2f} s  {step}: {name}"
            for seconds, step, name in sorted(self.slowest, reverse=True)
        ]
        for (what, cause), found in sorted(self.causes.items(), key=lambda item: (item[0][0], -len(item[1]))):
            names = dict.fromkeys(failure.case for failure in found)
            lines.append(f"{what}: {cause}: {len(names):,} cases")
            lines += [f"    make fuzz CASE='{name}'" for name in list(names)[: LISTED if details else 1]]
            if details:
                lines += [f"    {line}" for line in found[0].detail.splitlines()]
        return "\n".join(lines)
