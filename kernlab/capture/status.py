"""Would a crash of this machine leave a usable dump? `status("/")` reads the machine and gives a `Report`."""

from __future__ import annotations

import os

from kernlab.capture import status_checks, status_machine, status_saving
from kernlab.capture.status_report import Check, Report
from kernlab.capture.status_root import Root


def status(root: str | os.PathLike[str] = "/") -> Report:
    """Every check of the machine below `root`: the running one, or a recorded tree of /proc, /sys and /etc.

    Only reads; on the running machine `makedumpfile -v` and `--mem-usage` are run. Raises KernlabError where `root`
    is no folder. `report.armed`, `report.checks`, `report.text()` and `report.as_json()` say what was found.

        report = status()
        [check.remedy for check in report.checks if check.state == "fail"]
    """
    place = Root(root)
    machine = status_machine.read(place)
    found: list[Check | None]
    if machine.inside:
        found = [*status_checks.inside(machine), status_checks.iommu(machine), status_saving.target(machine)]
    else:
        not_inside = Check("inside", "crash kernel now", "ok", "no: the machine runs its own kernel", "no")
        found = [
            status_checks.reserved(machine),
            status_checks.loaded(machine),
            not_inside,
            status_checks.command_line(machine),
            status_checks.iommu(machine),
            status_checks.lockdown(machine),
            status_saving.service(machine),
            status_saving.target(machine),
            *status_saving.panics(machine),
        ]
    found.append(status_saving.makedumpfile(machine))
    return Report(
        machine.release, machine.inside, tuple(check for check in found if check is not None), machine.unread
    )
