"""A relay file in, its buffer as it lies in the kernel's memory out: mapped as relay wants it, divided into slots."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kernlab.errors import KernlabError
from kernlab.traces.blktrace.headers import headers
from kernlab.traces.blktrace.records import U8, scan
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.traces.relay.layout import BufferCounters
from kernlab.traces.relay.records import Chunk

_PROT_READ, _MAP_SHARED = 1, 1
_MAP_FAILED = (1 << 8 * ctypes.sizeof(ctypes.c_void_p)) - 1

#: File systems whose files are a kernel's, whatever size they claim.
_OF_THE_KERNEL = ("debugfs", "proc", "relayfs", "sysfs")


class Mapped:
    """A whole relay buffer of the running kernel, mapped read-only; a copy of one on a disk is read.

    By mmap(2) itself: Python's mmap refuses more bytes than a file's size, and that of a relay file is another number
    (what was written to it so far). A file on a disk that somebody cuts would end the process that maps it.
    """

    def __init__(self, file: int, size: int, name: str):
        self._file, self._size, self._name = file, size, name
        self._address: int | None = None
        if not is_live(file):
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size < size:
                raise KernlabError(f"{name} has {found.st_size:,} bytes, not the {size:,} of such a buffer")
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        ]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, file, 0)
        if address is None or address == _MAP_FAILED:
            why = os.strerror(ctypes.get_errno())
            raise KernlabError(
                f"{name} cannot be mapped ({why}): its buffer is not of {size:,} bytes, or debugfs maps no files "
                'of this client. mode="read" works with all.'
            )
        self._libc, self._address = libc, address

    def snapshot(self) -> bytes:
        """The buffer's bytes as they are now. Raises KernlabError where the file lost some since it was opened."""
        if self._file < 0:
            raise KernlabError(f"{self._name} was closed; open it again")
        if self._address is not None:
            return ctypes.string_at(self._address, self._size)
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(0)
            data = stream.read(self._size)
        if len(data) < self._size:
            raise KernlabError(
                f"{self._name} has only {len(data):,} of its {self._size:,} bytes left: somebody cut it after it was "
                "opened"
            )
        return data

    def close(self) -> None:
        """Take the map away; the file is its opener's."""
        if self._address is not None:
            self._libc.munmap(self._address, self._size)
            self._address = None
        self._file = -1


def is_live(file: int) -> bool:
    """Is this open file a running kernel's, not one of a disk?"""
    device = os.fstat(file).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    for line in mounts:
        fields = line.split()
        if len(fields) > 4 and fields[2] == number and "-" in fields:
            return fields[fields.index("-") + 1] in _OF_THE_KERNEL
    return False


def slot_chunks(cpu: int, slots: Sequence[bytes], counters: BufferCounters | None) -> list[Chunk]:
    """The slots of one buffer as chunks: in produce order where `counters` tell it, else as they lie."""
    arrays = [np.frombuffer(slot, dtype=np.uint8) for slot in slots]
    if counters is None:
        return [Chunk(cpu, number, data, open_end=True) for number, data in enumerate(arrays) if data.any()]
    return [
        Chunk(
            cpu,
            piece.number,
            arrays[piece.slot][piece.begin : piece.end],
            piece.start - piece.begin,
            piece.stale,
        )
        for piece in counters.pieces()
    ]


def blktrace_of_slots(chunks: Sequence[Chunk], source: str) -> BlkTrace:
    """The records of mapped slots: in each those from its start on, as long as time goes up and the CPU stays.

    What follows in a slot is left of an earlier lap. Slots are put in the order of their first record's time.
    """
    found: dict[int, list[tuple[int, U8]]] = {}
    for chunk in chunks:
        lot = found.setdefault(chunk.cpu, [])
        if not chunk.open_end:
            lot.append((len(lot), chunk.data))
            continue
        first, end = _written(chunk.data, chunk.cpu)
        if end:
            lot.append((first, chunk.data[:end]))
    pairs = []
    for cpu, lot in found.items():
        lot.sort(key=lambda pair: pair[0])
        pairs.append((cpu, np.concatenate([data for _, data in lot]) if lot else np.zeros(0, dtype=np.uint8)))
    return BlkTrace.from_arrays(pairs, source)


def _written(data: U8, cpu: int) -> tuple[int, int]:
    """(time of the first record, where the last one ends) of a slot."""
    # `scan` sees over the end of its stretch, so it must be all there is.
    whole = np.ascontiguousarray(data)
    records = scan(whole, 0, len(whole))
    if not len(records.offsets) or records.offsets[0]:
        return 0, 0
    rows = headers(whole, records.offsets, records.version8, records.swapped)
    stops = records.offsets + records.header_sizes() + rows["pdu_len"].astype(np.int64)
    good = rows["cpu"] == cpu
    good[1:] &= (rows["time"][1:] >= rows["time"][:-1]) & (records.offsets[1:] == stops[:-1])
    count = len(good) if good.all() else int(np.argmin(good))
    return (int(rows["time"][0]), int(stops[count - 1])) if count else (0, 0)
