"""`kernlab relay record`: save a relay channel of the running kernel to files."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from kernlab.escape import escape_terminal
from kernlab.util import text


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `relay` and its verbs; each sets `run`, which takes the parsed arguments and returns a status."""
    relay: argparse.ArgumentParser = subparsers.add_parser(
        "relay", help="record relay channels of this machine", description=__doc__
    )
    verbs = relay.add_subparsers(dest="verb", required=True, metavar="VERB")
    recorder = verbs.add_parser(
        "record",
        help="save a channel of the running kernel until interrupted",
        description="Save a relay channel of the running kernel with its metadata, until Ctrl-C. Reading takes the "
        "bytes out of the kernel: what another reader (blktrace) was to get, it gets no more.",
    )
    recorder.add_argument(
        "path",
        nargs="+",
        metavar="FILE",
        help="per-CPU files or a pattern: '/sys/kernel/debug/block/vda/trace*'",
    )
    recorder.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="where to write; made if absent"
    )
    recorder.add_argument("-t", "--seconds", type=float, help="stop after this long")
    recorder.set_defaults(run=_record)
    return relay


def _record(options: argparse.Namespace) -> int:
    from kernlab.traces.relay.paths import find_files
    from kernlab.traces.relay.record import record

    stopped: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(number)

    # As Ctrl-C does, kill(1) and a closed terminal end a recording that is complete and described.
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGHUP)}
    paths = options.path[0] if len(options.path) == 1 else options.path
    try:
        done = record(
            find_files(paths), Path(options.output), seconds=options.seconds, stop=lambda: bool(stopped)
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    total = sum(entry["bytes"] for entry in done["files"])
    name = escape_terminal(done["name"])
    dropped = f", {done['dropped']:,} events dropped by the kernel" if done["dropped"] else ""
    print(
        f"{name}: {text.human_bytes(total)} of {len(done['files'])} CPUs saved in "
        f"{escape_terminal(options.output)} (ended by {done['ended_by']}{dropped})",
        file=sys.stderr,
    )
    return 0
