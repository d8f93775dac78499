"""`kernlab recorder`: the flight recorder of this machine, started, told about, stopped, installed, read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from kernlab.commands import completing, help_pages
from kernlab.commands.options import OUTPUT, form_of
from kernlab.commands.telling import note
from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal

if TYPE_CHECKING:
    from kernlab.recorder import service

#: Exit statuses of `status` and `stop`: it runs (all is as it was), it does not (something is left).
YES, NO = 0, 1

_RECORDED = "What is recorded"
_FORMS = {"text": (".txt",), "json": (".json",)}

app = help_pages.group(
    "Keep the last seconds of this machine for the dump: events, and where memory is.\n\n"
    "No kernel module; docs/recorder.md says what it does and what it costs."
)

# The options of `start` and `install`: the service's own (kernlab/recorder/service/options.py), which stands alone
# and knows no typer. A test compares the two.
IntervalMs = Annotated[
    int, typer.Option("--interval-ms", metavar="MS", rich_help_panel=_RECORDED, help="between marks")
]
SizeKb = Annotated[
    int,
    typer.Option(
        "--size-kb",
        metavar="KB",
        rich_help_panel=_RECORDED,
        show_default=False,
        help="of each CPU's buffer (default: by memory, ≤ 8192)",
    ),
]
Event = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="EVENT",
        rich_help_panel=_RECORDED,
        help="a group (sched, tasks, oom, …), SYSTEM/EVENT, or 'SYSTEM/EVENT if FILTER'; several (docs/recorder.md)",
    ),
]
Disk = Annotated[
    list[str] | None,
    typer.Option(
        "--disk", metavar="DISK", rich_help_panel=_RECORDED, help="trace it by blktrace, too; several"
    ),
]
Tasks = Annotated[
    int,
    typer.Option("--tasks", metavar="N", rich_help_panel=_RECORDED, help="processes that a mark tells of"),
]
Share = Annotated[
    float,
    typer.Option("--share", metavar="PERCENT", rich_help_panel=_RECORDED, help="of one CPU, for the service"),
]
KeepPrevious = Annotated[
    str,
    typer.Option(
        "--keep-previous",
        metavar="FOLDER",
        rich_help_panel=_RECORDED,
        show_default=False,
        help="keep what the previous boot left in a buffer mapped at boot",
    ),
]
Take = Annotated[
    bool,
    typer.Option("--take", rich_help_panel=_RECORDED, help="use an instance that somebody else made"),
]
Root = Annotated[Path, typer.Option("--root", metavar="DIR", help="of an image (default: this machine)")]


def _settings(**options: object) -> service.Settings:
    from kernlab.recorder import service

    try:
        return service.settings_of(SimpleNamespace(**options))  # type: ignore[arg-type]
    except service.RefusedError as error:
        raise KernlabError(str(error)) from error


@help_pages.verb(
    app,
    "start",
    examples="kernlab recorder start\nkernlab recorder start --event sched --event 'kmem/rss_stat' --disk sda",
)
def start(
    interval_ms: IntervalMs = 200,
    size_kb: SizeKb = 0,
    event: Event = None,
    disk: Disk = None,
    tasks: Tasks = 24,
    share: Share = 2.0,
    keep_previous: KeepPrevious = "",
    take: Take = False,
) -> int:
    """Record until `stop` or the next boot."""
    from kernlab.recorder import service
    from kernlab.recorder.start import need_root, start, words_of

    settings = _settings(
        interval_ms=interval_ms,
        size_kb=size_kb,
        event=event,
        disk=disk or [],
        tasks=tasks,
        share=share,
        keep_previous=keep_previous,
        take=take,
    )
    need_root()
    pid = start(words_of(settings))
    told = service.status(service.Machine())
    note(f"The recorder runs as process {pid}; `kernlab recorder status` tells how it goes.")
    for problem in told.get("problems", []):
        print(f"kernlab: warning: {escape_terminal(problem)}", file=sys.stderr)
    if told.get("missing"):
        note(f"This kernel has no {', '.join(told['missing'])}.")
    return YES


@help_pages.verb(app, "status", epilog="Exit status: 0 a recorder runs, 1 none does, 2 an error.")
def status(
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="text (default), or json: everything",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> int:
    """Say what is recorded, how far back, and what it costs."""
    from kernlab.recorder import service
    from kernlab.recorder.report import text
    from kernlab.recorder.start import need_root

    chosen = form_of("json" if json_ else form, None, _FORMS)
    need_root()
    told = service.status(service.Machine())
    print(json.dumps(told, indent=1) if chosen == "json" else escape_terminal(text(told), lines=True))
    return YES if told["running"] else NO


@help_pages.verb(app, "stop", epilog="Exit status: 0 all is as it was, 1 something is left, 2 an error.")
def stop() -> int:
    """Stop, leave tracefs as it was, and say what could not be undone."""
    from kernlab.recorder import service
    from kernlab.recorder.start import need_root

    need_root()
    service.stop_unit()
    left = service.stop(service.Machine())
    for sentence in left:
        print(f"kernlab: {escape_terminal(sentence)}", file=sys.stderr)
    return NO if left else YES


@help_pages.verb(
    app,
    "install",
    examples="kernlab recorder install --now\nkernlab recorder install --boot-map --boot-map-mib 32",
)
def install(
    now: Annotated[
        bool, typer.Option("--now", help="start it at once, too; one that runs begins anew")
    ] = False,
    root: Root = Path("/"),
    boot_map: Annotated[
        bool,
        typer.Option(
            "--boot-map",
            help="print the kernel's parameters with which the buffer outlives a warm reboot (kernels from 6.12 on)",
        ),
    ] = False,
    boot_map_mib: Annotated[
        int | None,
        typer.Option(
            "--boot-map-mib", metavar="MIB", min=1, help="the same, with as much memory (default: by memory)"
        ),
    ] = None,
    boot_map_grub: Annotated[
        bool, typer.Option("--boot-map-grub", help="write them for update-grub, too (Debian's GRUB)")
    ] = False,
    interval_ms: IntervalMs = 200,
    size_kb: SizeKb = 0,
    event: Event = None,
    disk: Disk = None,
    tasks: Tasks = 24,
    share: Share = 2.0,
    keep_previous: KeepPrevious = "",
    take: Take = False,
) -> int:
    """Record from every boot on (systemd); print the files written, and the kernel's parameters where asked for.

    Writes the service (one file, Python 3.9 or newer) and a systemd unit onto this machine.
    """
    from kernlab.recorder import boot_map as mapping
    from kernlab.recorder.install import install
    from kernlab.recorder.previous import KEPT
    from kernlab.recorder.start import need_root, words_of

    settings = _settings(
        interval_ms=interval_ms,
        size_kb=size_kb,
        event=event,
        disk=disk or [],
        tasks=tasks,
        share=share,
        keep_previous=keep_previous,
        take=take,
    )
    mapped = boot_map or boot_map_mib is not None or boot_map_grub
    if mapped and not settings.keep_previous:
        settings = replace(settings, keep_previous=str(KEPT))
    if root == Path("/"):
        need_root()
    for path in install(words_of(settings), root, now):
        print(path)
    if not mapped:
        return YES
    size = boot_map_mib or mapping.default_mib()
    if mapping.supported() is False:
        note("The running kernel cannot map a buffer at boot (it came in 6.12).")
    if boot_map_grub:
        print(mapping.write_grub(size, root / mapping.GRUB.relative_to("/")))
        note("Run update-grub, and boot anew.")
    else:
        note("Add to the kernel's command line:")
        print(mapping.parameters(size))
    return YES


@help_pages.verb(app, "uninstall", epilog="Exit status: 0 all is as it was, 1 something is left, 2 an error.")
def uninstall(root: Root = Path("/")) -> int:
    """Stop, and take away what install wrote; print the files that went."""
    from kernlab.recorder import boot_map
    from kernlab.recorder.install import uninstall
    from kernlab.recorder.start import need_root

    if root == Path("/"):
        need_root()
    grub = root / boot_map.GRUB.relative_to("/")
    removed, left = uninstall(root)
    if grub.exists():
        grub.unlink()
        removed.append(grub)
        note("Run update-grub: the kernel's parameters go with the next boot.")
    for path in removed:
        print(path)
    for sentence in left:
        print(f"kernlab: {escape_terminal(sentence)}", file=sys.stderr)
    return NO if left else YES


@help_pages.verb(app, "read", examples="kernlab recorder read -o previous-boot.dat")
def read_previous(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="file to write")] = Path(
        "previous-boot.dat"
    ),
    text: Annotated[
        bool, typer.Option("--text", help="as the kernel would print it, not as a trace.dat")
    ] = False,
) -> int:
    """Save what the previous boot recorded, after a warm reboot, as a trace.dat for kernlab.ftrace.open and trace-cmd.

    It needs the parameters that `kernlab recorder install --boot-map` prints.
    """
    from kernlab.recorder.previous import save
    from kernlab.recorder.start import need_root

    need_root()
    note(save(output, as_text=text))
    return YES
