"""The machine's largest processes: /proc in, the words of a mark out."""

from __future__ import annotations

import os
import re
import time

from .files import read_bytes
from .machine import PAGE_KIB, Machine


def escaped(comm: bytes) -> str:
    """A task's name for a mark: what is not printable ASCII, and space , ; %, as %XX."""
    return "".join(chr(c) if 0x20 < c < 0x7F and c not in b",;%" else f"%{c:02X}" for c in comm)


def memory_of(status: bytes) -> tuple[list[int], bytes] | None:
    """Pages of anon, file, shmem and swap, and the name, of /proc/PID/status; None for what has no memory."""
    at = status.find(b"\nRssAnon:")
    swap = status.find(b"\nVmSwap:", at)
    if at < 0 or swap < 0:
        return None
    words = status[at : at + 100].split(None, 8)  # RssAnon: 1 kB RssFile: 1 kB RssShmem: 1
    kib = (words[1], words[4], words[7], status[swap + 8 : swap + 40].split(None, 1)[0])
    name = status[6 : status.index(b"\n")]
    if b"\\" in name:
        name = re.sub(rb"\\(n|\\)", _unescaped, name)
    return [int(size) // PAGE_KIB for size in kib], name


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"\n" if match[1] == b"n" else match[1]


class Tasks:
    """The largest processes: a few are held open and read for each mark, the others are looked at in turn."""

    SLICE = 128  # of /proc looked at for each mark
    SECONDS = 1.0  # that a round takes at least
    FORGET = 60  # rounds after which what had no memory is looked at again

    def __init__(self, machine: Machine, most: int):
        self.proc, self.most = machine.proc, most
        self.held: dict[int, tuple[int, int]] = {}  # pid: status' descriptor, start in ticks
        self.sizes: dict[int, int] = {}  # pid: pages, of those held
        self.without: set[int] = set()  # kernel threads
        self.waiting: list[int] = []
        self.rounds, self.next_round = 0, 0.0

    def read(self) -> list[str]:
        """pid,start,anon,file,shmem,swap,comm of the largest, in pages, the largest first."""
        if not self.most:
            return []
        self._look()
        rows = []
        for pid, (status, start) in list(self.held.items()):
            try:
                raw = os.pread(status, 1 << 16, 0)  # its line of groups may be long
            except OSError:
                raw = b""  # it ended
            found = memory_of(raw)
            if found is None:  # ended, or a zombie
                self._release(pid)
                continue
            pages, comm = found
            self.sizes[pid] = sum(pages)
            rows.append((self.sizes[pid], f"{pid},{start},{','.join(map(str, pages))},{escaped(comm)}"))
        for pid in sorted(self.sizes, key=lambda pid: self.sizes[pid])[: max(len(self.held) - self.most, 0)]:
            self._release(pid)
        rows.sort(key=lambda row: -row[0])
        return [row for _, row in rows[: self.most]]

    def _look(self) -> None:
        """Look at the next of /proc, and hold what is larger than the smallest held."""
        if not self.waiting:
            if time.monotonic() < self.next_round:
                return
            self.next_round = time.monotonic() + self.SECONDS
            self.rounds += 1
            if self.rounds % self.FORGET == 0:
                self.without.clear()
            self.waiting = [int(name) for name in os.listdir(self.proc) if name.isdigit()]
        least = min(self.sizes.values()) if len(self.sizes) >= self.most else 0
        for pid in self.waiting[-self.SLICE :]:
            if pid in self.held or pid in self.without:
                continue
            words = (read_bytes(f"{self.proc}/{pid}/statm") or b"").split()
            if len(words) > 1 and words[0] == b"0":
                self.without.add(pid)
            elif len(words) > 1 and int(words[1]) > least:
                self._hold(pid, int(words[1]))
        del self.waiting[-self.SLICE :]

    def _hold(self, pid: int, pages: int) -> None:
        try:
            status = os.open(f"{self.proc}/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        words = (read_bytes(f"{self.proc}/{pid}/stat") or b"").rpartition(b")")[2].split()
        if len(words) < 20:
            os.close(status)
            return
        self.held[pid], self.sizes[pid] = (status, int(words[19])), pages

    def _release(self, pid: int) -> None:
        os.close(self.held.pop(pid)[0])
        self.sizes.pop(pid, None)

    def close(self) -> None:
        """Let go of every process."""
        for pid in list(self.held):
            self._release(pid)
