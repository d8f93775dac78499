"""What a log says of ATA ports in, the disk that hangs at each out: errors name the port (ata1.00), people the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable

# drivers/scsi/hosts.c, scsi_add_host_with_dma: the port's host, with its driver.
_HOST = re.compile(r"scsi (?:host)?(?P<host>\d{1,5}) ?: (?P<driver>\S{1,32})$")
# drivers/ata/libata-core.c, ata_host_register: the ports of one controller, in the order of their hosts.
_PORT = re.compile(r"(?P<port>ata\d{1,5}): (?:[SP]ATA max |DUMMY)")
# drivers/scsi/sd.c: which disk lies at an address, host:channel:target:lun; drivers/ata/libata-scsi.c: the target is
# the device of the port.
_DISK = re.compile(r"sd (?P<host>\d{1,5}):0:(?P<target>\d{1,2}):0: \[(?P<disk>sd[a-z]{1,4})\] ")


def ata_disks(lines: Iterable[str]) -> dict[str, str]:
    """Disks by the name of a port's device: {"ata1.00": "sda"}.

    Hosts and ports are numbered each for themselves; of a controller both are told in one order. Where that is not
    clear, as when two controllers were found at once, a port has no disk here.
    """
    pairs: dict[str, str] = {}  # port by host
    disks: dict[tuple[str, str], str] = {}
    hosts: list[tuple[str, str]] = []
    ports: list[str] = []
    for line in lines:
        if host := _HOST.match(line):
            if ports:
                pairs |= _paired(hosts, ports)
                hosts, ports = [], []
            hosts.append((host["host"], host["driver"]))
        elif port := _PORT.match(line):
            ports.append(port["port"])
        elif disk := _DISK.match(line):
            disks[disk["host"], disk["target"]] = disk["disk"]
    pairs |= _paired(hosts, ports)
    return {
        f"{pairs[host]}.{int(target):02d}": disk for (host, target), disk in disks.items() if host in pairs
    }


def _paired(hosts: list[tuple[str, str]], ports: list[str]) -> dict[str, str]:
    if len(hosts) != len(ports) or len({driver for _, driver in hosts}) > 1:
        return {}
    return dict(zip((host for host, _ in hosts), ports, strict=True))
