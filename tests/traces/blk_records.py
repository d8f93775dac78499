"""Makes blktrace records byte by byte (include/uapi/linux/blktrace_api.h): what tests decode. Shares no code with
kernlab.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

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


#: 8:0 and its neighbours, as small traces name them.
SDA, SDA1, SDB, DM = 8 << 20, (8 << 20) | 3, (8 << 20) | 16, (253 << 20) | 1


def note_of(pid: int, comm: str, *, time: int = 0, cpu: int = 0) -> Record:
    """A note of a process as kernels write it: of no device, and what else its header holds is 0 here."""
    return Record(0, NOTIFY, time=time, pid=pid, device=0, cpu=cpu, pdu=comm.encode().ljust(16, b"\0"))


def event(
    act: int, category: int, number: int, time: int, sector: int, size: int = 4096, **more: Any
) -> Record:
    """An event of sda by process 77, unless `more` says something else."""
    fields = {"pid": 77, "device": SDA} | more
    return Record(act, category, sequence=number, time=time, sector=sector, bytes=size, **fields)


def cases() -> dict[str, bytes]:
    """Small traces that each show one thing, by the names that they have in ../shared/data/traces/cases."""
    start = Record(1, NOTIFY, device=0, pdu=struct.pack("<II", 1, 1))
    read, write = READ | FS, WRITE | FS
    queue, barrier = read | QUEUE, WRITE | SYNC | FS
    merged = [start, note_of(77, "w")]
    for row in range(5):
        merged += [
            event(Q, queue, 1000 + row, 1000 * row, 8 * row),
            event(Q, queue, 5 + row, 1000 * row + 500, 8 * row, cpu=1),
        ]
    pairs = [start, note_of(77, "w")]
    for row in range(5):
        pairs += [
            event(D, read | ISSUE, 2 * row + 1, 1_000_000 * row, 8 * row),
            event(C, read | COMPLETE, 2 * row + 2, 1_000_000 * row + 300_000, 8 * row, pid=0),
        ]
    numbers = [1, 2, 3, 4, 5, 10, 11, 12]
    found = {
        "merged1.bin": merged,
        "dc.blktrace.0": pairs,
        "twodev.bin": [
            start,
            note_of(77, "w"),
            *(event(Q, queue, number, 1000 * (number - 1), 8 * (number - 1)) for number in numbers),
            event(Q, queue, 1, 99_000, 8, device=SDB),
        ],
        "hungflush.blktrace.0": [
            start,
            note_of(77, "jbd2/sda1-8"),
            event(Q, barrier | QUEUE, 1, 1_000_000, 64),
            event(G, barrier | QUEUE, 2, 1_001_000, 64),
            event(I, barrier | QUEUE, 3, 1_002_000, 64),
            event(D, barrier | ISSUE, 4, 1_010_000, 64),
            event(C, barrier | COMPLETE, 5, 1_500_000, 64, pid=0),
            event(D, FLUSH | SYNC | FS | ISSUE, 6, 2_000_000, 0, 0),
            event(P, FS | QUEUE, 7, 32_000_000_000, 0, 0, pid=78),
        ],
        "part.blktrace.0": [
            start,
            note_of(77, "w"),
            event(A, write | QUEUE, 1, 10, 2048, pdu=struct.pack(">IIQ", DM, SDA1, 4096)),
        ],
        "p0.blktrace.0": [
            Record(1, NOTIFY, time=10, device=0, pdu=struct.pack("<II", 1, 1)),
            note_of(0, "swapper/0", time=900),
            event(D, read | ISSUE, 1, 1000, 8, pid=0),
        ],
        "p0.blktrace.1": [
            note_of(0, "swapper/1", time=100, cpu=1),
            event(D, read | ISSUE, 1, 2000, 16, pid=0, cpu=1),
        ],
    }
    return {name: b"".join(record.pack() for record in records) for name, records in found.items()}
