"""`kernlab capture status`: arguments in, a report printed, whether the machine is armed as the exit status."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import Any

#: Exit statuses: armed; not armed (or a crash kernel, after a crash). 2 is an error, as everywhere in kernlab.
ARMED, NOT_ARMED = 0, 1


def add_parser(commands: Any) -> None:
    """Add `capture status` to the subparsers of `kernlab`."""
    about = "is this machine ready to leave a dump?"
    group = commands.add_parser("capture", help=about, description=about)
    members = group.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    parser = members.add_parser(
        "status",
        help="would a crash of this machine leave a usable dump?",
        description="Looks at crash memory, the loaded crash kernel, the kdump service, room for the dump and what "
        "ends in a panic, and says what to do where something is in the way. Changes nothing.",
        epilog="Exit status: 0 armed, 1 not armed, 2 an error. As root it can see more.",
    )
    parser.add_argument(
        "--json", action="store_true", help="every check with found, wanted and remedy, as JSON"
    )
    parser.add_argument(
        "--root",
        default="/",
        metavar="DIR",
        help="a folder that holds another machine's proc/, sys/ and etc/ (default: this machine)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 0 when armed, 1 when not."""
    from kernlab.kdump_status.status import status

    report = status(arguments.root)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=1))
    else:
        tty = sys.stdout.isatty()
        colour = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        print(report.text(width=min(shutil.get_terminal_size((100, 24)).columns, 120), colour=colour))
    return ARMED if report.armed else NOT_ARMED
