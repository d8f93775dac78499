"""Write kernlab/compatibility/record.json.xz: what tables ask for on dumps, and on their kernels without memory.

    python -m scripts.record_requests [FOLDER …]

Folders each hold a vmcore; without any those of ../shared/dumps that are whole, and the samples. Run it after a change
of what a table asks for: tests/configurations/test_options.py fails until the record is that of the code.
"""

from __future__ import annotations

import json
import lzma
import sys
from dataclasses import dataclass
from pathlib import Path

import kernlab
from kernlab.compatibility import record as records
from kernlab.compatibility.record import Record, Run, Step, words_of
from kernlab.compatibility.subjects import of_kernel
from kernlab.compatibility.trial import Trial, trial, tried
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.asking import Name
from kernlab.dump import Dump

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "kernlab" / "compatibility" / "record.json.xz"
#: Kernels without a list of symbols are taken to have those of a dump of this machine.
MACHINE = "x86_64"
DUMPS = (
    *(
        ROOT.parent / "shared" / "dumps" / name
        for name in ("debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2")
    ),
    *sorted(path.parent for path in (ROOT / "samples").glob("*/truth.tar.xz")),
)


@dataclass(frozen=True)
class Recorded:
    """The trials of one kernel: on its dump, and without memory."""

    release: str
    machine: str
    real: dict[str, Trial]
    hollow: dict[str, Trial]


def recorded(folder: Path) -> Recorded:
    """Try every table on a dump, each on a kernel of its own, and all on its kernel without memory."""
    path = next(
        one for one in sorted(folder.iterdir()) if one.name.startswith("vmcore") and one.suffix != ".txt"
    )
    with kernlab.open(path) as dump:
        kernel, symbols = dump.kernel, dump.kernel.symbols

        def anew() -> Dump:
            return Dump(Kernel(kernel.memory, symbols, kernel.vmcoreinfo, types=kernel.types))

        real = {name: trial(anew(), name) for name in tried()}
        subject = of_kernel(kernel)
    hollow = Dump(subject.kernel())
    return Recorded(subject.release, subject.machine, real, {name: trial(hollow, name) for name in tried()})


def made(kernels: list[Recorded]) -> Record:
    """The record of some kernels."""
    # Symbols of one machine say nothing of another's.
    alike = [one for one in kernels if one.machine == MACHINE]
    answers = _answers(alike)
    every = (1 << len(alike)) - 1
    can_lack = {name: _can_lack(name, kernels) for name in tried()}
    return Record(
        tuple(one.release for one in alike),
        {name: rows for name in tried() if (rows := _runs(name, kernels))},
        {name: _columns(name, kernels) for name in tried()},
        {name: said for name in tried() if (said := _made_up(name, kernels))},
        {
            name: has
            for name, (has, asked) in answers.items()
            if name[0] != "symbol" and asked == every and has not in (0, every) and "{…}" not in name[1]
        },
        {name[1]: sets for name, sets in answers.items() if name[0] == "symbol"},
        can_lack,
    )


def _answers(kernels: list[Recorded]) -> dict[Name, tuple[int, int]]:
    """Of each name the kernels that have it, and those that were asked for it, as bits."""
    found: dict[Name, tuple[int, int]] = {}
    for number, kernel in enumerate(kernels):
        for one in (*kernel.real.values(), *kernel.hollow.values()):
            for name, there in one.notes.found.items():
                has, asked = found.get(name, (0, 0))
                found[name] = has | there << number, asked | 1 << number
    return found


def _runs(table: str, kernels: list[Recorded]) -> list[Run]:
    """What a table asked for on dumps, and no table on their kernels without memory."""
    found: dict[Run, None] = {}
    for kernel in kernels:
        hollow = set().union(*(one.notes.found for one in kernel.hollow.values()))
        notes = kernel.real[table].notes
        after: tuple[Name, bool] | None = None
        steps: list[Step] = []
        for name, there in notes.found.items():
            if name in hollow:
                if after is not None and steps:
                    found[Run(*after, tuple(steps))] = None
                after, steps = (name, there), []
            elif "{…}" not in name[1]:
                steps.append(Step(name, there, name in notes.soft))
        if after is not None and steps:
            found[Run(*after, tuple(steps))] = None
    return list(found)


def _can_lack(table: str, kernels: list[Recorded]) -> frozenset[Name]:
    """Names that a dump's kernel lacked, and the table was made all the same."""
    made_without = (kernel.real[table] for kernel in kernels if kernel.real[table].error is None)
    return frozenset(name for one in made_without for name, there in one.notes.found.items() if not there)


def _columns(table: str, kernels: list[Recorded]) -> frozenset[str]:
    """Columns that had values both on a dump and without memory of a kernel, and on no dump only."""
    filled, unsure = set[str](), set[str]()
    for kernel in kernels:
        real, hollow = kernel.real[table].columns, kernel.hollow[table].columns
        filled |= {name for name, there in hollow.items() if there and name in real}
        unsure |= {name for name, there in real.items() if there and not hollow.get(name)}
    return frozenset(filled - unsure)


def _made_up(table: str, kernels: list[Recorded]) -> frozenset[str]:
    """What a table told of a kernel without memory, and not of its dump."""
    said: set[str] = set()
    for kernel in kernels:
        real, hollow = kernel.real[table], kernel.hollow[table]
        true = {words_of(problem) for problem in real.problems}
        said |= {words_of(problem) for problem in hollow.problems} - true
        if hollow.error is not None and (real.error is None or str(real.error) != str(hollow.error)):
            said.add(words_of(str(hollow.error)))
    return frozenset(said)


def main(folders: list[str]) -> int:
    """Write the record; says what it holds, and what a table says without memory that its dump does not bear out."""
    kernels = [recorded(Path(folder)) for folder in folders or map(str, DUMPS)]
    for kernel in kernels:
        for name, one in kernel.hollow.items():
            if one.error is not None and kernel.real[name].error is None:
                print(f"{kernel.release}: {name} fails without memory only: {one.error!r}")
    record = made(kernels)
    text = json.dumps(records.to_json(record), ensure_ascii=False, separators=(",", ":"))
    TARGET.write_bytes(lzma.compress(text.encode(), preset=9))
    runs = sum(map(len, record.runs.values()))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes; {runs:,} runs of names that no made-up data lead to")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
