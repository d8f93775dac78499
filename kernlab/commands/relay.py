"""`kernlab relay record`: save a relay channel of the running kernel to files."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from kernlab.commands import help_pages
from kernlab.commands.options import Quiet
from kernlab.commands.telling import note

app = help_pages.group("Record relay channels of this machine.")


@help_pages.verb(
    app, "record", examples="kernlab relay record '/sys/kernel/debug/block/vda/trace*' -o trace -t 10"
)
def record(
    path: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="per-CPU files or a pattern: '/sys/kernel/debug/block/vda/trace*'",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="where to write; made if absent")
    ],
    seconds: Annotated[
        float | None, typer.Option("-t", "--seconds", metavar="SECONDS", help="stop after this long")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Save a relay channel of the running kernel with its metadata, until Ctrl-C.

    Reading takes the bytes out of the kernel: what another reader (blktrace) was to get, it gets no more.
    """
    from kernlab.traces.relay import record as recording
    from kernlab.traces.relay.paths import find_files
    from kernlab.util import text

    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)

    # As Ctrl-C does, kill(1) and a closed terminal end a recording that is complete and described.
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        done = recording.record(
            find_files(path[0] if len(path) == 1 else path),
            output,
            seconds=seconds,
            stop=lambda: bool(stopped),
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    total = sum(entry["bytes"] for entry in done["files"])
    dropped = f", {done['dropped']:,} events dropped by the kernel" if done["dropped"] else ""
    note(
        f"{done['name']}: {text.human_bytes(total)} of {len(done['files'])} CPUs saved in {output} "
        f"(ended by {done['ended_by']}{dropped})"
    )
    return 0
