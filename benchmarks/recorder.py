"""What the recorder costs: loops in a guest with and without it, in pairs, for several sets of events.

    python benchmarks/recorder.py 6.1 6.12 sid [--pairs 5] [--only NAME …]

Nanoseconds are instructions: QEMU counts them (-icount), one each, whichever CPU runs them. So other work on the host
changes nothing, and the service's own work counts as if it stood in the loop's way. What hardware makes of it differs:
an event costs more instructions than time, a page's clearing is counted as 512 instructions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.script_guest import run_in_guest

from kernlab.lab.steps import Progress
from kernlab.recorder.service import DEFAULT_EVENTS

USUAL = ",".join(DEFAULT_EVENTS)
SETS = {
    "default": USUAL,
    "default and rss": f"{USUAL},rss",
    "default and batches": f"{USUAL},batches",
    "default and each change of rss": f"{USUAL},kmem/rss_stat",
    "default and every page": f"{USUAL},kmem/mm_page_alloc,kmem/mm_page_free",
    "marks only": "",
}
LOOPS = {"fork": 300, "fault": 150, "pipe": 6000, "copy": 500, "direct": 4000}
COUNTED = ("-icount", "shift=0,sleep=off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernels", nargs="+")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", action="append", choices=SETS)
    options = parser.parse_args()
    for kernel in options.kernels:
        report(kernel, measured(kernel, options.pairs, options.only or list(SETS)))


def measured(kernel: str, pairs: int, names: list[str]) -> list[dict[str, object]]:
    sets = " ".join(f"'{name}={SETS[name]}'" for name in names)
    loops = " ".join(f"{name}={turns}" for name, turns in LOOPS.items())
    script = f"python3 /host/boot/recorder_in_guest.py $out/found {pairs} {sets} -- {loops} || fail measured"
    inside = Path(__file__).with_name("recorder_in_guest.py")
    with tempfile.TemporaryDirectory(prefix="recorder-") as folder:
        out = run_in_guest(
            kernel,
            script,
            Path(folder),
            files={inside.name: inside},
            programs=("loops",),
            modules=("null_blk",),
            words=COUNTED,
            limit_seconds=3600,
            progress=Progress(),
        )
        return json.loads((out / "found").read_text())


def report(kernel: str, found: list[dict[str, object]]) -> None:
    print(f"\n{kernel}: median of the pairs' ratios, with / without (smallest to largest)\n")
    print(f"| events | {' | '.join(LOOPS)} | service, % of a CPU | events |")
    print(f"|---|{'---|' * len(LOOPS)}---|---|")
    for name in dict.fromkeys(str(each["name"]) for each in found):
        mine = [each for each in found if each["name"] == name]
        cells = []
        for loop in LOOPS:
            ratios = sorted(each["with"][loop] / each["without"][loop] - 1 for each in mine)
            cells.append(f"{statistics.median(ratios):+.1%} ({ratios[0]:+.1%} to {ratios[-1]:+.1%})")
        share = statistics.median(each["share"] for each in mine)
        events = round(statistics.median(each["events"] for each in mine))
        print(f"| {name} | {' | '.join(cells)} | {share:.1%} | {events:,} |")


if __name__ == "__main__":
    main()
