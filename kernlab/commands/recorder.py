"""`kernlab recorder`: the flight recorder of this machine, started, told about, stopped, installed, read."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal
from kernlab.recorder import service

#: Exit statuses of `status` and `stop`: it runs (all is as it was), it does not (something is left).
YES, NO = 0, 1


def add_parser(subparsers: Any) -> None:
    """Add `recorder` and its verbs to the subparsers of `kernlab`."""
    about = "keep the last seconds of this machine for the dump: events, and where memory is"
    group = subparsers.add_parser(
        "recorder", help=about, description=f"{about}. No module; docs/recorder.md."
    )
    verbs = group.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    started = verbs.add_parser("start", help="record until `stop` or the next boot")
    service.arguments_of(started)
    started.set_defaults(run=start)
    status = verbs.add_parser("status", help="what is recorded, how far back, what it costs")
    status.add_argument("--json", action="store_true", help="everything, as JSON")
    status.set_defaults(run=tell)
    stopped = verbs.add_parser("stop", help="stop, and leave tracefs as it was")
    stopped.set_defaults(run=stop)
    _add_install(verbs)
    removed = verbs.add_parser("uninstall", help="stop, and take away what install wrote")
    removed.add_argument("--root", type=Path, default=Path("/"), help="of an image (default: this machine)")
    removed.set_defaults(run=uninstall)
    read = verbs.add_parser(
        "read",
        help="what the previous boot recorded, after a warm reboot",
        description="Saves what the previous boot recorded as a trace.dat, for kernlab.ftrace.open and trace-cmd. It "
        "needs the parameters that `kernlab recorder install --boot-map` prints.",
    )
    read.add_argument("-o", "--output", type=Path, default=Path("previous-boot.dat"), help="file to write")
    read.add_argument("--text", action="store_true", help="as the kernel would print it, not as a trace.dat")
    read.set_defaults(run=read_previous)


def _add_install(verbs: Any) -> None:
    installed = verbs.add_parser(
        "install",
        help="record from every boot on (systemd)",
        description="Writes the service (one file, Python 3.9 or newer) and a systemd unit onto this machine.",
    )
    service.arguments_of(installed)
    installed.add_argument(
        "--now", action="store_true", help="start it at once, too; one that runs begins anew"
    )
    installed.add_argument("--root", type=Path, default=Path("/"), help="of an image (default: this machine)")
    installed.add_argument(
        "--boot-map",
        nargs="?",
        type=int,
        const=0,
        metavar="MIB",
        help="print the kernel's parameters with which the buffer outlives a warm reboot (kernels from 6.12 on)",
    )
    installed.add_argument(
        "--boot-map-grub", action="store_true", help="write them for update-grub, too (Debian's GRUB)"
    )
    installed.set_defaults(run=install)


def _settings(options: argparse.Namespace) -> service.Settings:
    try:
        return service.settings_of(options)
    except service.RefusedError as error:
        raise KernlabError(str(error)) from error


def start(options: argparse.Namespace) -> int:
    """Start the service; its process id to stderr."""
    from kernlab.recorder.start import need_root, start, words_of

    settings = _settings(options)
    need_root()
    pid = start(words_of(settings))
    told = service.status(service.Machine())
    print(
        f"The recorder runs as process {pid}; `kernlab recorder status` tells how it goes.", file=sys.stderr
    )
    for problem in told.get("problems", []):
        print(f"kernlab: warning: {escape_terminal(problem)}", file=sys.stderr)
    if told.get("missing"):
        print(f"This kernel has no {escape_terminal(', '.join(told['missing']))}.", file=sys.stderr)
    return YES


def tell(options: argparse.Namespace) -> int:
    """Print what runs; 0 where a recorder does."""
    from kernlab.recorder.report import text
    from kernlab.recorder.start import need_root

    need_root()
    told = service.status(service.Machine())
    print(json.dumps(told, indent=1) if options.json else escape_terminal(text(told), lines=True))
    return YES if told["running"] else NO


def stop(options: argparse.Namespace) -> int:
    """Stop, and say what could not be undone."""
    from kernlab.recorder.start import need_root

    need_root()
    service.stop_unit()
    left = service.stop(service.Machine())
    for sentence in left:
        print(f"kernlab: {escape_terminal(sentence)}", file=sys.stderr)
    return NO if left else YES


def install(options: argparse.Namespace) -> int:
    """Install; the files written to stdout, the kernel's parameters where they were asked for."""
    from kernlab.recorder import boot_map
    from kernlab.recorder.install import install
    from kernlab.recorder.previous import KEPT
    from kernlab.recorder.start import need_root, words_of

    settings = _settings(options)
    mapped = options.boot_map is not None or options.boot_map_grub
    if mapped and not settings.keep_previous:
        settings = replace(settings, keep_previous=str(KEPT))
    if options.root == Path("/"):
        need_root()
    for path in install(words_of(settings), options.root, options.now):
        print(path)
    if not mapped:
        return YES
    size = options.boot_map or boot_map.default_mib()
    if boot_map.supported() is False:
        print("The running kernel cannot map a buffer at boot (it came in 6.12).", file=sys.stderr)
    if options.boot_map_grub:
        print(boot_map.write_grub(size, options.root / boot_map.GRUB.relative_to("/")))
        print("Run update-grub, and boot anew.", file=sys.stderr)
    else:
        print("Add to the kernel's command line:", file=sys.stderr)
        print(boot_map.parameters(size))
    return YES


def uninstall(options: argparse.Namespace) -> int:
    """Take away what install wrote; the files to stdout."""
    from kernlab.recorder import boot_map
    from kernlab.recorder.install import uninstall
    from kernlab.recorder.start import need_root

    if options.root == Path("/"):
        need_root()
    grub = options.root / boot_map.GRUB.relative_to("/")
    removed, left = uninstall(options.root)
    if grub.exists():
        grub.unlink()
        removed.append(grub)
        print("Run update-grub: the kernel's parameters go with the next boot.", file=sys.stderr)
    for path in removed:
        print(path)
    for sentence in left:
        print(f"kernlab: {escape_terminal(sentence)}", file=sys.stderr)
    return NO if left else YES


def read_previous(options: argparse.Namespace) -> int:
    """Save what the previous boot recorded; where to stderr."""
    from kernlab.recorder.previous import save
    from kernlab.recorder.start import need_root

    need_root()
    print(escape_terminal(save(options.output, as_text=options.text)), file=sys.stderr)
    return YES
