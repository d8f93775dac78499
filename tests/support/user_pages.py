"""Puts user pages into a dump that was saved without: the page tables are there, the frames come with the overlay."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.overlay import PAGE, Overlay


def mm_of(dump: Any, pid: int) -> int:
    tasks = dump.tasks
    return int(tasks.loc[tasks["pid"] == pid, "mm"].iloc[0])


def physical(dump: Any, pid: int, address: int) -> int:
    """Where a process's address lies by its page tables, walked here by hand."""
    kernel = dump.kernel
    table = dump.translate(dump.struct("mm_struct", mm_of(dump, pid))["pgd"].address_)
    shifts = [level.shift for level in kernel.arch.levels]
    for shift in shifts:
        entry = int.from_bytes(dump.read(table + (address >> shift) % 512 * 8, 8, physical=True), "little")
        assert entry & 1, f"nothing is mapped at {address:#x}"
        if shift == 12 or entry & 0x80:
            return (entry & 0xFFFFFFFFFF000 & ~((1 << shift) - 1)) | address % (1 << shift)
        table = entry & 0xFFFFFFFFFF000
    raise AssertionError


def put(overlay: Overlay, pid: int, address: int, data: bytes) -> None:
    """Write bytes at a process's address, page by page; the rest of their frames is zero."""
    done = 0
    while done < len(data):
        at = address + done
        size = min(len(data) - done, PAGE - at % PAGE)
        overlay.write(physical(overlay.below, pid, at), data[done : done + size], physical=True)
        done += size


@dataclass
class Core:
    """A core file, read by hand: segments (address, flags, bytes in the file, size), notes (name, type, desc)."""

    segments: list[tuple[int, int, bytes, int]]
    notes: list[tuple[str, int, bytes]]

    @classmethod
    def read(cls, path: Path) -> Core:
        data = path.read_bytes()
        assert data[:7] == b"\x7fELF\2\1\1"
        kind, machine = struct.unpack_from("<HH", data, 16)
        assert (kind, machine) == (4, 62)
        where, sections = struct.unpack_from("<QQ", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        if count == 0xFFFF:
            count = struct.unpack_from("<I", data, sections + 44)[0]
        segments, notes = [], []
        for number in range(count):
            kind, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from(
                "<IIQQQQQQ", data, where + number * size
            )
            content = data[offset : offset + in_file]
            assert len(content) == in_file
            if kind == 4:
                at = 0
                while at < len(content):
                    name_size, desc_size, note = struct.unpack_from("<III", content, at)
                    name = content[at + 12 : at + 12 + name_size].rstrip(b"\0").decode()
                    at += 12 + (name_size + 3) // 4 * 4
                    notes.append((name, note, content[at : at + desc_size]))
                    at += (desc_size + 3) // 4 * 4
            else:
                assert kind == 1
                segments.append((address, flags, content, in_memory))
        return cls(segments, notes)

    def at(self, address: int, size: int) -> bytes | None:
        """Bytes of memory, None where no segment has them."""
        for start, _, content, length in self.segments:
            if start <= address and address + size <= start + length:
                piece = content[address - start : address - start + size]
                return piece + bytes(size - len(piece))
        return None

    def registers(self, number: int) -> dict[str, int]:
        """Some registers of the thread of that number."""
        statuses = [desc for _, kind, desc in self.notes if kind == 1]
        words = np.frombuffer(statuses[number][112 : 112 + 27 * 8], "<u8").tolist()
        return {
            "pid": int.from_bytes(statuses[number][32:36], "little"),
            "ip": words[16],
            "sp": words[19],
            "fs_base": words[21],
            "orig_ax": words[15],
        }
