"""Would a crash of this machine leave a usable dump? `status("/")` reads the machine and gives a `Report`."""

from __future__ import annotations

import os

from kernlab.kdump_status import checks, saving
from kernlab.kdump_status import machine as status_machine
from kernlab.kdump_status.report import Check, Report
from kernlab.kdump_status.root import Root


def status(root: str | os.PathLike[str] = "/") -> Report:
    """Every check of the machine below `root`: the running one, or a recorded tree of /proc, /sys and /etc.

    Only reads; on the running machine `makedumpfile -v` and `--mem-usage` are run. Raises KernlabError where `root`
    is not a folder. `report.armed`, `report.checks`, `report.text()` and `report.as_json()` say what was found.

        report = status()
        [check.remedy for check in report.checks if check.state == "fail"]
    """
    place = Root(root)
    machine = status_machine.read(place)
    found: list[Check | None]
    if machine.inside:
        found = [*checks.inside(machine), checks.iommu(machine), saving.target(machine)]
    else:
        not_inside = Check("inside", "crash kernel now", "ok", "no: the machine runs its own kernel", "no")
        found = [
            checks.reserved(machine),
            checks.loaded(machine),
            not_inside,
            checks.command_line(machine),
            checks.iommu(machine),
            checks.lockdown(machine),
            saving.service(machine),
            saving.target(machine),
            *saving.panics(machine),
        ]
    found += [saving.makedumpfile(machine), saving.types(machine)]
    return Report(
        machine.release, machine.inside, tuple(check for check in found if check is not None), machine.unread
    )
