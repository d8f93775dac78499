"""Makes blktrace records byte by byte (include/uapi/linux/blktrace_api.h): what tests decode. Shares no code with
kernlab.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Q, M, F, G, S, R, D, C, P, U, UT, I, X, B, A = range(1, 16)  # noqa: E741 - blkparse's letters
READ, WRITE, FLUSH, SYNC, QUEUE, REQUEUE, ISSUE, COMPLETE = (1 << bit for bit in range(8))
FS, PC, NOTIFY, AHEAD, META, DISCARD, DRV_DATA, FUA = (1 << bit for bit in range(8, 16))
CGROUP = 0x100


@dataclass(frozen=True)
class Record:
    act: int
    category: int
    time: int = 0
    sequence: int = 0
    sector: int = 0
    bytes: int = 0
    pid: int = 0
    device: int = (8 << 20) | 16
    cpu: int = 0
    error: int = 0
    pdu: bytes = b""

    def pack(self, *, big: bool = False, version: int = 7) -> bytes:
        order = ">" if big else "<"
        magic = 0x65617400 | version
        action = self.act | self.category << 16
        error = self.error & 0xFFFF
        if version == 7:
            head = struct.pack(
                order + "IIQQIIIIIHH", magic, self.sequence, self.time, self.sector, self.bytes, action & 0xFFFFFFFF,
                self.pid, self.device, self.cpu, error, len(self.pdu),
            )  # fmt: skip
        else:
            head = struct.pack(
                order + "IIQQIIQIIHH12x", magic, self.sequence, self.time, self.sector, self.bytes, self.pid, action,
                self.device, self.cpu, error, len(self.pdu),
            )  # fmt: skip
        assert len(head) == {7: 48, 8: 64}[version]
        return head + self.pdu


def process(pid: int, comm: str, *, time: int = 0) -> Record:
    return Record(0, NOTIFY, time=time, pid=pid, pdu=comm.encode().ljust(16, b"\0"))


def wall_clock(seconds: int, nanoseconds: int, *, time: int = 0, big: bool = False) -> Record:
    return Record(1, NOTIFY, time=time, pdu=struct.pack((">" if big else "<") + "II", seconds, nanoseconds))


def message(text: str, *, time: int, cgroup: int | None = None, big: bool = False) -> Record:
    prefix = b"" if cgroup is None else struct.pack((">" if big else "<") + "Q", cgroup)
    return Record(2 | (CGROUP if prefix else 0), NOTIFY, time=time, pdu=prefix + text.encode())


def remap(time: int, sector: int, size: int, device: int, old: int, old_sector: int, **more: int) -> Record:
    pdu = struct.pack(">IIQ", old, device, old_sector)
    return Record(A, WRITE | QUEUE, time=time, sector=sector, bytes=size, device=device, pdu=pdu, **more)
