"""The command: `make fuzz`, or python -m fuzz."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz import cases, child, files, kinds, subjects
from fuzz.fork_server import serve
from fuzz.report import Report
from fuzz.subjects import Subject
from fuzz.verdicts import failures, undetectable

#: Seconds between lines that say how far it is.
PROGRESS = 60


def main(arguments: list[str] | None = None) -> int:
    """Run cases, print what they found; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("case", nargs="*", help="names of cases to run, instead of drawing some")
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many to draw")
    parser.add_argument("--seconds", type=float, help="stop drawing after so long")
    parser.add_argument("--seed", default=datetime.date.today().isoformat(), help="the date, unless told")
    parser.add_argument("--dumps", default=",".join(subjects.NAMES), help="short names, with commas")
    parser.add_argument("--kinds", default="", help="with commas; all, unless told")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, help="a file for the report with an example of each cause")
    given = parser.parse_args(arguments)
    cases.whole = bool(given.case)
    names = list(dict.fromkeys(map(kinds.dump_of, given.case))) or given.dumps.split(",")
    start = time.monotonic()
    opened: dict[str, Subject] = {name: subjects.load(name) for name in subjects.available(names)}
    print(
        f"fuzz: {', '.join(opened)} opened and every step done in {time.monotonic() - start:.0f} s",
        flush=True,
    )
    begin = time.monotonic()

    def drawn() -> Iterator[str]:
        chosen = given.kinds.split(",") if given.kinds else ()
        for name in given.case or kinds.draw(opened, given.seed, given.cases, chosen):
            if given.seconds and time.monotonic() - begin > given.seconds:
                return
            yield name

    report = Report()
    if not given.case:
        print(f"fuzz: seed {given.seed}", flush=True)
    # What was found so far is told when somebody stops it, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(opened, drawn(), given.workers, report, given.write)
    except KeyboardInterrupt:
        print("fuzz: stopped", flush=True)
    finally:
        files.remove_copies()
    spent = time.monotonic() - begin
    print(report.text(details=bool(given.case)))
    print(f"{spent:.0f} s, {spent / max(sum(report.cases.values()), 1):.3f} s a case")
    if given.write:
        given.write.write_text(report.text(details=True))
    return 1 if report.causes else 0


def _run(
    opened: dict[str, Subject], names: Iterator[str], workers: int, report: Report, write: Path | None
) -> None:
    last = time.monotonic()
    for result in serve(lambda name, slot, tell: child.run(opened, name, slot, tell), names, workers):
        rule = next((str(one["rule"]) for one in result.outcomes if "rule" in one), "none")
        for first in report.add(result, failures(result, rule), undetectable(result, rule)):
            print(f"fuzz: {first.what}: {first.cause}\n    make fuzz CASE='{first.case}'", flush=True)
        if time.monotonic() - last > PROGRESS:
            last = time.monotonic()
            print(f"fuzz: {report.line()}", flush=True)
            if write:
                write.write_text(report.text(details=True))


if __name__ == "__main__":
    sys.exit(main())
