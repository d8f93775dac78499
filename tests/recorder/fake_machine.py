"""A machine of plain files: tracefs with its instances, and a /proc with processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kernlab.recorder import service
from kernlab.recorder.service.machine import PAGE_KIB

EVENTS = ("sched/sched_switch", "kmem/rss_stat", "block/block_rq_issue", "printk/console")
STATS = (
    "entries: 120\noverrun: 30\ncommit overrun: 0\nbytes: 4096\noldest event ts:   100.500000\n"
    "now ts:   112.750000\ndropped events: 2\nread events: 0\n"
)


def put(path: Path, text: str | bytes) -> None:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def process(machine: service.Machine, pid: int, comm: bytes, *kib: int, start: int = 5000) -> None:
    """A process with KiB of anonymous, file and shared memory and of swap; without any it is a kernel thread."""
    folder = Path(machine.proc) / str(pid)
    stat = b"%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n" % (pid, comm, start)
    put(folder / "stat", stat)
    name = comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    status = b"Name:\t" + name + b"\nUmask:\t0022\nState:\tS (sleeping)\n"
    if kib:
        rows = ("RssAnon", "RssFile", "RssShmem", "VmSwap")
        status += b"".join(
            b"%s:\t%8d kB\n" % (row.encode(), size) for row, size in zip(rows, kib, strict=True)
        )
    put(folder / "status", status)
    pages = sum(kib[:3]) // PAGE_KIB
    put(folder / "statm", f"{pages * 2} {pages} 0 0 0 0 0\n" if kib else "0 0 0 0 0 0 0\n")


def instance_files(folder: Path, events: tuple[str, ...] = EVENTS) -> None:
    """What the kernel makes in the folder of a new instance."""
    for name in ("trace_marker", "events/enable"):
        put(folder / name, "")
    put(folder / "options/overwrite", "1")
    put(folder / "options/markers", "1")
    put(folder / "trace_clock", "[local] global counter\n")
    put(folder / "buffer_size_kb", "1408\n")
    put(folder / "tracing_on", "1\n")
    for event in events:
        put(folder / "events" / event / "enable", "0")
        put(folder / "events" / event / "filter", "none\n")
    for cpu in range(2):
        put(folder / f"per_cpu/cpu{cpu}/stats", STATS)
        put(folder / f"per_cpu/cpu{cpu}/buffer_size_kb", "256\n")


def fake_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, events: tuple[str, ...] = EVENTS
) -> service.Machine:
    """A machine in `folder`; making its instance makes the files in it, removing it takes them away."""
    machine = service.Machine(*(str(folder / name) for name in ("proc", "trace", "debug", "run", "dev")))
    Path(machine.tracefs, "instances").mkdir(parents=True)
    Path(machine.run).mkdir()
    put(Path(machine.proc) / "sys/kernel/random/boot_id", "0-1-2\n")
    put(Path(machine.proc) / "meminfo", "MemTotal:        4194304 kB\nMemFree:  100 kB\nSwapTotal: 8192 kB\n")
    put(
        Path(machine.proc) / "vmstat", "nr_free_pages 12345\nnr_zone_active_anon 9\nnr_shmem 17\npgfault 99\n"
    )
    put(Path(machine.proc) / "stat", "cpu 1 2 3\nprocs_running 3\nprocs_blocked 1\n")
    put(
        Path(machine.proc) / "zoneinfo",
        "  pagesets\n    cpu: 0\n              count:    40\n    cpu: 1\n              count: 2\n",
    )
    put(
        Path(machine.proc) / "pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=71\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    )
    mkdir, rmdir = os.mkdir, os.rmdir

    def make(path: str, *rest: Any, **more: Any) -> None:
        mkdir(path, *rest, **more)
        if path == machine.instance:
            instance_files(Path(path), events)

    def remove(path: str, **more: Any) -> None:
        if path == machine.instance:
            for root, folders, files in os.walk(path, topdown=False):
                for name in files:
                    os.unlink(os.path.join(root, name))
                for name in folders:
                    rmdir(os.path.join(root, name))
        rmdir(path, **more)

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(os, "rmdir", remove)
    return machine
