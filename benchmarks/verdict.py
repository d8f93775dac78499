"""The verdict of dumps: seconds of the tables that rules look at, each once, and of the rules beyond these.

    python benchmarks/verdict.py VMCORE … [--most 5]

drgn has no peer for it. Exit status 1 where the rules take more than `--most` seconds beyond the tables of a dump.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import kernlab
from kernlab.errors import KernlabError
from kernlab.tables.suspects.evidence import Evidence as Memory
from kernlab.util import losses
from kernlab.verdict.case import Case
from kernlab.verdict.registry import rules
from kernlab.verdict.signature import signature
from kernlab.verdict.weigh import weigh

SHOWN = 8
Kind = TypeVar("Kind")


class Clock:
    """Seconds by name, of each what it took itself, without what it asked for in between."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = [0.0]

    def run(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function on the clock."""
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            return function(*given)
        finally:
            took = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inner.pop()
            self._inner[-1] += took


def timed(kind: type[Kind], clock: Clock) -> type[Kind]:
    """`Case`, or what it asks of memory, whose tables are built on a clock."""
    tables = {
        name: one
        for each in reversed(kind.__mro__)
        for name, one in vars(each).items()
        if isinstance(one, cached_property)
    }

    def on_clock(name: str, one: cached_property[Any]) -> cached_property[Any]:
        return cached_property(lambda case: clock.run(f"table {name}", one.func, case))

    made = type("Timed", (kind,), {})
    for name, one in tables.items():
        own = on_clock(name, one)
        own.__set_name__(made, name)
        setattr(made, name, own)
    return made


def measure(path: str) -> dict[str, float]:
    """Seconds by name: `table …`, `rule …`, weigh, signature."""
    clock = Clock()
    with kernlab.open(path) as dump, losses.scope("verdict"):
        case = timed(Case, clock)(dump.kernel)
        vars(case)["memory"] = timed(Memory, clock)(dump.kernel)
        found = []
        for rule in rules():
            name = f"rule {rule.__module__.rpartition('.')[2]}.{rule.__name__}"
            try:
                # Most are generators: what they do is done as the list is made.
                found += clock.run(name, lambda rule=rule: list(rule(case)))
            except KernlabError as error:
                print(f"{name}: {error}", file=sys.stderr)
        found = clock.run("weigh", weigh, case, found)
        clock.run("signature", signature, case, found)
    return clock.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dumps", nargs="+", metavar="VMCORE")
    parser.add_argument(
        "--most", type=float, default=5.0, help="seconds that rules may take beyond the tables"
    )
    wanted = parser.parse_args()
    slow = False
    for path in wanted.dumps:
        seconds = measure(path)
        tables = {name: took for name, took in seconds.items() if name.startswith("table ")}
        beyond = {name: took for name, took in seconds.items() if name not in tables}
        slow = slow or sum(beyond.values()) > wanted.most
        print(f"{path}: tables {sum(tables.values()):.2f} s, beyond them {sum(beyond.values()):.2f} s")
        for part in (tables, beyond):
            for name, took in sorted(part.items(), key=lambda each: -each[1])[:SHOWN]:
                print(f"  {name:<40} {took:6.2f}")
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
