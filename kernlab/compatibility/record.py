"""What is known of tables from real dumps, and no machine without memory shows; made by scripts/record_requests.py.

A table on real data goes where made-up data do not lead: into the records of the log, the blocks of a page cache. What
it asks for there was noted on dumps of some kernels, as was what made-up data lead to and real data do not.
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from kernlab.debuginfo.asking import Name

_FILE = "record.json.xz"
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9][0-9,.]*")


class Step(NamedTuple):
    """A name that was asked for: was it `there`, and does asking for it take no for an answer (`soft`)?"""

    name: Name
    there: bool
    soft: bool


class Run(NamedTuple):
    """What a table asked for on real data only, in order, after it had asked for `after`, which was there or not."""

    after: Name
    there: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """`kernels` are the recorded ones' releases; sets of them are numbers whose bits are their places there.

    For each table: `runs`, the `columns` that had values on a machine without memory, and `made_up`, the words in which
    it tells of made-up data. `answers` are the names that some of the kernels have and others have not; `symbols` all
    that were asked for: (kernels that have it, kernels that were asked). `can_lack` are names without which a table was
    made all the same.
    """

    kernels: tuple[str, ...]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    made_up: dict[str, frozenset[str]] = field(default_factory=dict)
    answers: dict[Name, int] = field(default_factory=dict)
    symbols: dict[str, tuple[int, int]] = field(default_factory=dict)
    can_lack: dict[str, frozenset[Name]] = field(default_factory=dict)


def words_of(sentence: str) -> str:
    """A sentence without its numbers and addresses, which are those of one machine."""
    return _NUMBERS.sub("#", sentence)


@cache
def record() -> Record:
    """The record that comes with kernlab."""
    packed = resources.files("kernlab.compatibility").joinpath(_FILE).read_bytes()
    return from_json(json.loads(lzma.decompress(packed)))


def from_json(plain: dict[str, Any]) -> Record:
    """A record of what `to_json` made of one."""
    names = [_name(text) for text in plain["names"]]

    def run(row: list[Any]) -> Run:
        after, there, *steps = row
        return Run(
            names[after], bool(there), tuple(Step(names[n >> 2], bool(n & 2), bool(n & 1)) for n in steps)
        )

    return Record(
        tuple(plain["kernels"]),
        {table: [run(row) for row in rows] for table, rows in plain["runs"].items()},
        {table: frozenset(columns) for table, columns in plain["columns"].items()},
        {table: frozenset(said) for table, said in plain["made_up"].items()},
        {names[int(number)]: kernels for number, kernels in plain["answers"].items()},
        {name: (has, asked) for name, (has, asked) in plain["symbols"].items()},
        {table: frozenset(names[n] for n in numbers) for table, numbers in plain["can_lack"].items()},
    )


def to_json(made: Record) -> dict[str, Any]:
    """Plain JSON values, in an order that does not depend on chance; names stand there once and go by number."""
    runs = [run for rows in made.runs.values() for run in rows]
    every = (
        {step.name for run in runs for step in run.steps} | {run.after for run in runs} | set(made.answers)
    )
    names = sorted(every.union(*made.can_lack.values()))
    number = {name: place for place, name in enumerate(names)}

    def row(run: Run) -> list[int]:
        steps = (number[step.name] << 2 | step.there << 1 | step.soft for step in run.steps)
        return [number[run.after], int(run.there), *steps]

    return {
        "kernels": list(made.kernels),
        "names": [" ".join(name) for name in names],
        "runs": {table: sorted(map(row, rows)) for table, rows in sorted(made.runs.items())},
        "columns": {table: sorted(columns) for table, columns in sorted(made.columns.items())},
        "made_up": {table: sorted(said) for table, said in sorted(made.made_up.items())},
        "answers": {str(number[name]): kernels for name, kernels in sorted(made.answers.items())},
        "symbols": {name: list(sets) for name, sets in sorted(made.symbols.items())},
        "can_lack": {
            table: sorted(number[name] for name in lacking)
            for table, lacking in sorted(made.can_lack.items())
        },
    }


def _name(text: str) -> Name:
    kind, _, name = text.partition(" ")
    return kind, name
