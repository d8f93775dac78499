"""The recorder's service: a tracefs instance that always holds the newest events, with marks of where memory is.

Runs as root on the machine that is recorded. `run` records until SIGTERM and then takes all down, `stop` ends it or
takes down what a killed one left, `status` tells as JSON.
"""

from __future__ import annotations

import argparse
import json
import os

from .control import status, stop
from .machine import Machine
from .options import arguments_of, settings_of
from .recording import run
from .systemd import BROKE, LEFT, REFUSED, stop_unit
from .telling import RefusedError, say


def main(argv: list[str] | None = None) -> int:
    """The command line of the service; 0 done, 1 it broke, 2 refused, 8 ended and something is left.

    Of these systemd starts it again after 1 only.
    """
    parser = argparse.ArgumentParser(prog="recorder.pyz", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    arguments_of(verbs.add_parser("run"))
    verbs.add_parser("stop")
    verbs.add_parser("status")
    options = parser.parse_args(argv)
    machine, left = Machine(), []
    try:
        if os.geteuid() != 0:
            raise RefusedError("The recorder needs root: tracefs is closed to others.")
        if options.verb == "run":
            left = run(machine, settings_of(options), options.ready_fd)
        elif options.verb == "stop":
            stop_unit()
            left = stop(machine)
        else:
            print(json.dumps(status(machine), indent=1))
    except (RefusedError, OSError) as error:
        say(str(error))
        return REFUSED if isinstance(error, RefusedError) else BROKE
    for sentence in left:
        say(sentence)
    return LEFT if left else 0
