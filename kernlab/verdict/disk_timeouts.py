"""What drivers say of disks that did not answer in time: the lines of a log in, by disk or controller out."""

from __future__ import annotations

import re

from kernlab.verdict.case import Case
from kernlab.verdict.reported import kernel_text

#: Lines that are kept of each disk, and disks.
_MOST_LINES, _MOST_DISKS = 100, 1000
_DISK = r"(?:\[(?P<disk>\w{1,32})\] )?(?:tag#\d{1,10} )?"
_LATE = (
    # drivers/nvme/host/pci.c, nvme_timeout; of a controller, not of a disk.
    re.compile(
        r"nvme (?P<controller>nvme\d{1,5}): I/O (?:tag )?\d{1,10} (?:\([0-9a-f]{1,8}\) )?(?:opcode 0x[0-9a-f]+ )?"
        r"(?:\([^)]{1,40}\) )?QID \d{1,5} timeout, (?!completion polled)"
    ),
    # drivers/scsi/scsi_lib.c, scsi_complete; scsi_error.c, scsi_eh_offline_sdevs; scsi_logging.c, scsi_print_result.
    re.compile(
        rf"(?:sd|scsi) (?P<address>\d+:\d+:\d+:\d+): {_DISK}(?:timing out command, waited \d+s"
        r"|FAILED Result: hostbyte=DID_TIME_OUT|Device offlined - not ready after error recovery"
        r"|rejecting I/O to offline device)"
    ),
    # drivers/message/fusion, drivers/scsi/mpt3sas, hpsa, smartpqi, qla2xxx, lpfc: each in its own words.
    re.compile(
        rf"(?:sd|scsi) (?P<address>\d+:\d+:\d+:\d+): {_DISK}"
        r"(?:attempting (?:task|target|device|host|bus|lun) (?:abort|reset)|task abort: FAILED)",
        re.IGNORECASE,
    ),
    # drivers/ata/libata-eh.c, ata_eh_link_report: nothing is wrong with the link, but a command took too long.
    re.compile(r"(?P<ata>ata\d{1,5}\.\d\d): (?:exception Emask 0x0 .{0,80}action 0x6 frozen|qc timeout )"),
)  # fmt: skip
#: drivers/scsi/sd.c: which disk lies at an address.
_NAMED = re.compile(r"sd (?P<address>\d+:\d+:\d+:\d+): \[(?P<disk>\w{1,32})\] ")
_WORDS = (
    r"timeout,|timing out command|DID_TIME_OUT|offlined|offline device|attempting |task abort|action 0x6 frozen|"
    r"qc timeout "
)


def late_by_log(case: Case) -> dict[str, list[tuple[int, str]]]:
    """The lines that say that a disk did not answer in time, each with its label in the log, by the disk's name; of
    nvme by the controller's (`nvme0`)."""
    text = kernel_text(case)
    said = text.index[text.str.contains(_WORDS, regex=True, case=False)].tolist()
    if not said:
        return {}
    names: dict[str, str] = {}
    for record in text[text.str.startswith("sd ")]:
        if found := _NAMED.match(record):
            names[found["address"]] = found["disk"]
    late: dict[str, list[tuple[int, str]]] = {}
    for label in said:
        for line in str(text[label]).splitlines():
            found = next((one for each in _LATE if (one := each.match(line))), None)
            if found is None:
                continue
            parts = found.groupdict()
            disk = parts.get("controller") or parts.get("disk") or names.get(parts.get("address") or "")
            disk = disk or case.ata_disks.get(parts.get("ata") or "")
            if disk and (disk in late or len(late) < _MOST_DISKS):
                late.setdefault(disk, []).append((int(label), line))
    return {disk: lines[-_MOST_LINES:] for disk, lines in late.items()}


def is_of(disk: str, name: str) -> bool:
    """Is a disk (`nvme0n1`, `nvme0c1n1`, `sda`) what a driver calls by a name (`nvme0`, `sda`)?"""
    return disk == name or re.fullmatch(rf"{re.escape(name)}(?:c\d+)?n\d+", disk) is not None
