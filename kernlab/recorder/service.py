#!/usr/bin/env python3
"""The recorder's service: a tracefs instance that always holds the newest events, with marks of where memory is.

Runs as root on the machine that is recorded. One file of Python's standard library (3.9 or newer), which imports
nothing of kernlab: it may be copied. `run` records until SIGTERM and then takes all down, `stop` ends it or takes down
what a killed one left, `status` tells as JSON. What a mark looks like is documented at `Marks`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import gc
import glob
import json
import os
import re
import shutil
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

INSTANCE = "kernlab"
#: tracing_mark_write() of kernels before 6.8 cuts at TRACE_BUF_SIZE (1024).
LONGEST_MARK = 1000
SIGNALS = (signal.SIGTERM, signal.SIGINT)
FIGURES_SECONDS = 5.0
#: Exit statuses beside 0, and the unit's name, as the unit has them. systemd has words of its own for 2 to 7.
BROKE, REFUSED, LEFT = 1, 2, 8
UNIT = "kernlab-recorder.service"

#: Groups of events: SYSTEM/EVENT, or SYSTEM/EVENT if FILTER. A kernel that has not all of them records those it has.
GROUPS: dict[str, tuple[str, ...]] = {
    "sched": ("sched/sched_switch",),
    "tasks": (
        "task/task_newtask",
        "task/task_rename",
        "sched/sched_process_exec",
        "sched/sched_process_exit",
    ),
    "oom": (
        "oom/mark_victim",
        "oom/wake_reaper",
        "oom/start_task_reaping",
        "oom/finish_task_reaping",
        "oom/reclaim_retry_zone",
    ),
    "reclaim": (
        "vmscan/mm_vmscan_kswapd_wake",
        "vmscan/mm_vmscan_kswapd_sleep",
        "vmscan/mm_vmscan_direct_reclaim_begin",
        "vmscan/mm_vmscan_direct_reclaim_end",
        "vmscan/mm_vmscan_memcg_reclaim_begin",
        "vmscan/mm_vmscan_memcg_reclaim_end",
    ),
    "block": (
        "block/block_rq_issue",
        "block/block_rq_complete",
        "block/block_rq_requeue",
        "block/block_rq_error",
    ),
    "log": ("printk/console",),
    # Every page fault that maps a page (in 6.2 and newer; each 64th before) or every page: not in the default.
    "rss": ("kmem/rss_stat if !(size & 0x3f000)",),
    "batches": ("kmem/mm_page_alloc_zone_locked", "kmem/mm_page_pcpu_drain"),
    "large-pages": ("kmem/mm_page_alloc if order > 3", "kmem/mm_page_free if order > 3"),
}
DEFAULT_EVENTS = ("sched", "tasks", "oom", "reclaim", "block", "log")

#: Lines of /proc/vmstat that tell where memory is (pages; nr_kernel_stack in KiB), and the flows that explain it.
VMSTAT = frozenset(
    re.findall(
        rb"\S+",
        b"""
        nr_free_pages nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_mlock
        nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback nr_shmem nr_shmem_hugepages nr_file_hugepages
        nr_anon_transparent_hugepages nr_slab_reclaimable nr_slab_unreclaimable nr_page_table_pages
        nr_sec_page_table_pages nr_kernel_stack nr_shadow_call_stack nr_kernel_misc_reclaimable nr_swapcached
        nr_free_cma nr_bounce nr_zspages nr_hugetlb nr_iommu_pages nr_balloon_pages nr_gpu_active nr_gpu_reclaim
        nr_unaccepted nr_isolated_anon nr_isolated_file pgfault pgmajfault pswpin pswpout pgscan_kswapd pgscan_direct
        pgsteal_kswapd pgsteal_direct oom_kill
        """,
    )
)
#: Lines of /proc/meminfo (KiB) that vmstat has not, written in pages.
MEMINFO = {
    b"MemTotal": "mem_total",
    b"SwapTotal": "swap_total",
    b"SwapFree": "swap_free",
    b"Buffers": "buffers",
    b"Percpu": "percpu",
    b"VmallocUsed": "vmalloc_used",
    b"Hugetlb": "hugetlb",
}
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class RefusedError(Exception):
    """The recorder cannot run here: a sentence that says why, and what to do."""


@dataclass(frozen=True)
class Machine:
    """Where the machine's files are; tests name folders of their own."""

    proc: str = "/proc"
    tracefs: str = "/sys/kernel/tracing"
    debugfs: str = "/sys/kernel/debug"
    run: str = "/run/kernlab-recorder"
    dev: str = "/dev"

    @property
    def instance(self) -> str:
        """The folder of the recorder's instance."""
        return f"{self.tracefs}/instances/{INSTANCE}"

    @property
    def boot(self) -> str:
        """The kernel's name of this boot: state of another one means nothing."""
        return (_read(f"{self.proc}/sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip()


@dataclass(frozen=True)
class Settings:
    """What is recorded, and how much it may take."""

    interval_ms: int = 200
    size_kb: int = 0  # of each CPU's buffer; 0: 8 MiB, and of all no more than a 64th of memory
    events: tuple[str, ...] = DEFAULT_EVENTS
    disks: tuple[str, ...] = ()
    tasks: int = 24  # how many processes a mark tells of
    share: float = 2.0  # percent of one CPU that the service may use: marks come later where it needs more
    take: bool = False  # use an instance of this name that somebody else made
    keep_previous: str = ""  # folder for what the previous boot left in a buffer that was mapped at boot


def _say(sentence: str) -> None:
    """Tell the journal, or whoever started it."""
    print(f"kernlab recorder: {sentence}", file=sys.stderr, flush=True)


def _read(path: str) -> bytes | None:
    """A file as bytes, None where it is missing or cannot be read."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return b"".join(iter(lambda: stream.read(1 << 16), b""))
    except OSError:
        return None


def _text(path: str) -> str:
    return (_read(path) or b"").decode("utf-8", "replace").strip()


def _write(path: str, text: str) -> None:
    """Write to a file of tracefs in one piece; OSError as the kernel answers."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


# --- marks ---------------------------------------------------------------------------------------------------------


def escaped(comm: bytes) -> str:
    """A task's name for a mark: what is not printable ASCII, and space , ; %, as %XX."""
    return "".join(chr(c) if 0x20 < c < 0x7F and c not in b",;%" else f"%{c:02X}" for c in comm)


def mark_lines(kind: str, number: int, items: list[str], separator: str) -> list[bytes]:
    """`kernlab/1 KIND NUMBER item item …`, gone on in another line of the same number where one is full."""
    start = f"kernlab/1 {kind} {number} "
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(separator) + len(item) < LONGEST_MARK:
            lines[-1] += separator + item
        else:
            lines.append(start + item)
    return [line.encode("ascii") + b"\n" for line in lines]


class Memory:
    """Where memory is and how the machine is pressed: name=value, read anew each time."""

    def __init__(self, machine: Machine):
        self.proc = machine.proc
        # /proc/zoneinfo has a block for each CPU of each zone: with many CPUs it is told less often.
        self.zoneinfo_every = max(1, (os.cpu_count() or 1) // 8)

    def read(self, number: int) -> list[str]:
        """`nr_free_pages=123`, …: what this kernel has of it."""
        found = []
        for line in (_read(f"{self.proc}/vmstat") or b"").splitlines():
            name, _, value = line.partition(b" ")
            if name in VMSTAT:
                found.append(f"{name.decode()}={int(value)}")
        for line in (_read(f"{self.proc}/meminfo") or b"").splitlines():
            name, _, value = line.partition(b":")
            if name in MEMINFO:
                found.append(f"{MEMINFO[name]}={int(value.split()[0]) // PAGE_KIB}")
        if number % self.zoneinfo_every == 0 and (zones := _read(f"{self.proc}/zoneinfo")):
            found.append(f"pcp={sum(map(int, re.findall(rb'^ +count: +([0-9]+)', zones, re.MULTILINE)))}")
        for resource in ("cpu", "memory", "io"):
            for kind, total in re.findall(
                rb"^(some|full) .*total=([0-9]+)",
                _read(f"{self.proc}/pressure/{resource}") or b"",
                re.MULTILINE,
            ):
                found.append(f"psi.{resource}.{kind.decode()}={int(total)}")
        stat = _read(f"{self.proc}/stat") or b""
        for kind, count in re.findall(rb"^(procs_running|procs_blocked) ([0-9]+)", stat, re.MULTILINE):
            found.append(f"{kind.decode()}={int(count)}")
        return found


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
            words = (_read(f"{self.proc}/{pid}/statm") or b"").split()
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
        words = (_read(f"{self.proc}/{pid}/stat") or b"").rpartition(b")")[2].split()
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


class Marks:
    """Writes marks into the instance: each is one line of text or a few, all with the mark's number.

    kernlab/1 vmstat NUMBER nr_free_pages=123 … mem_total=131072 psi.cpu.some=… procs_running=… took_us=…
    kernlab/1 tasks NUMBER pid,start,anon,file,shmem,swap,comm;pid,…
    """

    def __init__(self, machine: Machine, most_tasks: int):
        self.memory, self.tasks = Memory(machine), Tasks(machine, most_tasks)
        self.number = self.failed = 0
        self.marker = os.open(f"{machine.instance}/trace_marker", os.O_WRONLY | os.O_CLOEXEC)

    def write(self) -> None:
        """Write the next mark; what the kernel does not take is counted."""
        self.number += 1
        begun = time.monotonic()
        values = self.memory.read(self.number)
        # Between what the values say and the mark's own time lies as long as reading them took.
        values.append(f"took_us={round((time.monotonic() - begun) * 1e6)}")
        self._put(mark_lines("vmstat", self.number, values, " "))
        self._put(mark_lines("tasks", self.number, self.tasks.read(), ";"))

    def _put(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                os.write(self.marker, line)
            except OSError:  # tracing was turned off
                self.failed += 1

    def close(self) -> None:
        """Close what is held open: an instance in use cannot be removed."""
        os.close(self.marker)
        self.tasks.close()


# --- blktrace ------------------------------------------------------------------------------------------------------


class Disk:
    """blktrace of one disk whose relay channels always hold the newest events.

    The kernel's channels refuse events once they are full. So the oldest are read, just ahead of need, and thrown away;
    an inode's size says how much was written. Where reading is not allowed (lockdown closes relay's files in debugfs),
    the trace begins anew when it is full, which loses what it held.
    """

    SETUP, START, STOP, TEARDOWN = 0xC0481273, 0x1274, 0x1275, 0x1276  # include/uapi/linux/fs.h
    FORMAT = struct.Struct("=32sH2xII4xQQI4x")  # struct blk_user_trace_setup
    ACTIONS = 0x10 | 0x20 | 0x40 | 0x80 | 0x400  # BLK_TC_QUEUE, _REQUEUE, _ISSUE, _COMPLETE, _NOTIFY
    BUFFER, BUFFERS = 64 << 10, 16
    SECONDS = 0.05 * max(1, (os.cpu_count() or 1) // 16)  # between looks at how full they are

    def __init__(self, machine: Machine, name: str):
        self.machine, self.name = machine, name.rpartition("/")[2]
        self.files: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.restarts = 0
        self.folder = f"{machine.debugfs}/block/{self.name}"
        self.awaited = f"{self.name} is not there; its trace begins when it comes."

    def start(self) -> None:
        """Begin to trace; OSError as the kernel answers (EBUSY: another blktrace has the disk)."""
        given = bytearray(self.FORMAT.pack(b"", self.ACTIONS, self.BUFFER, self.BUFFERS, 0, (1 << 64) - 1, 0))
        with self._device() as device:
            fcntl.ioctl(device, self.SETUP, given)
            folder = self.FORMAT.unpack(given)[0].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            self.folder = f"{self.machine.debugfs}/block/{folder}"
            fcntl.ioctl(device, self.START)
        for path in glob.glob(f"{glob.escape(self.folder)}/trace[0-9]*"):
            self.read[path] = self.written[path] = 0
            with contextlib.suppress(OSError):
                self.files[path] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def refresh(self) -> None:
        """Make room for what the next interval may bring; OSError where the disk is gone."""
        for path in self.read:
            written = os.stat(path).st_size
            grown, self.written[path] = written - self.written[path], written
            if path not in self.files:
                if written >= (self.BUFFERS - 1) * self.BUFFER:
                    self.restart()
                    return
                continue
            spare = min(max(2 * grown, 4 * self.BUFFER), self.BUFFERS // 2 * self.BUFFER)
            while written - self.read[path] > self.BUFFERS * self.BUFFER - spare:
                taken = len(os.read(self.files[path], self.BUFFER))
                if not taken:
                    break
                self.read[path] += taken

    def restart(self) -> None:
        """Let the trace begin anew."""
        self.stop()
        self.restarts += 1
        self.start()

    def stop(self) -> None:
        """Take the trace down."""
        for file in self.files.values():
            os.close(file)
        self.files, self.read, self.written = {}, {}, {}
        with contextlib.suppress(OSError), self._device() as device:
            for command in (self.STOP, self.TEARDOWN):
                with contextlib.suppress(OSError):
                    fcntl.ioctl(device, command)

    def figures(self) -> dict[str, Any]:
        """How it goes: how it is kept fresh, what the kernel dropped."""
        dropped = _text(f"{self.folder}/dropped")
        return {
            "kept_by": "reading" if self.files else "beginning anew",
            "written_bytes": sum(self.written.values()),
            "dropped": int(dropped) if dropped.isdigit() else None,
            "restarts": self.restarts,
        }

    @contextlib.contextmanager
    def _device(self) -> Any:
        device = os.open(f"{self.machine.dev}/{self.name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield device
        finally:
            os.close(device)


# --- the instance --------------------------------------------------------------------------------------------------


def wanted_events(events: tuple[str, ...]) -> list[tuple[str, str]]:
    """SYSTEM/EVENT and its filter ("" without) for groups and events; RefusedError for what is neither."""
    found: dict[str, str] = {}
    for spec in (each for name in events for each in GROUPS.get(name, (name,))):
        name, _, condition = spec.partition(" if ")
        if not re.fullmatch(r"\w+[/:]\w+", name):
            raise RefusedError(f"{spec!r} is neither SYSTEM/EVENT nor a group: {', '.join(GROUPS)}.")
        found[name.replace(":", "/")] = condition.strip()
    return list(found.items())


@dataclass
class State:
    """What the recorder changed, so that whoever comes next can undo it. Kept in a file before it is done."""

    machine: Machine
    known: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, machine: Machine) -> State:
        """What the last recorder of this boot left, or nothing."""
        try:
            known = json.loads(_read(f"{machine.run}/state.json") or b"{}")
        except ValueError:
            known = {}
        current = isinstance(known, dict) and known.get("boot") == machine.boot
        return cls(machine, known if current else {})

    def save(self, **changes: Any) -> None:
        """Add to what is known, and write it in one step."""
        self.known.update(changes, boot=self.machine.boot)
        write_json(f"{self.machine.run}/state.json", self.known)

    def forget(self) -> None:
        """Everything is as it was."""
        for name in ("state.json", "figures.json"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.machine.run}/{name}")


def _note(state: State, problem: str) -> None:
    """Tell of what goes on without: in the status, and at once."""
    state.save(problems=[*state.known.get("problems", []), problem])
    _say(problem)


def write_json(path: str, value: Any) -> None:
    """Replace a file in one step."""
    with open(f"{path}.new", "w") as stream:
        json.dump(value, stream)
    os.rename(f"{path}.new", path)


def mount(state: State, kind: str, path: str) -> None:
    """Mount tracefs or debugfs where it is not, and remember it; RefusedError."""
    if os.path.ismount(path):
        return  # it lacks what was looked for, and is not the recorder's to unmount
    before = state.known.get("mounts", [])
    state.save(mounts=[*before, path])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None):
        why = os.strerror(ctypes.get_errno())
        state.save(mounts=before)
        raise RefusedError(f"{kind} is not mounted at {path} and cannot be: {why}.")


_CLOSED = "tracefs does not let the recorder in: the kernel is locked down for confidentiality."


def set_up(state: State, settings: Settings) -> None:
    """Make the instance record, or take over the one that a killed recorder left; RefusedError where it cannot."""
    machine, base = state.machine, state.machine.instance
    events = wanted_events(settings.events)
    if _is_closed(machine):  # before any mount: 6.12 oopses where its empty tracefs is unmounted
        raise RefusedError(_CLOSED)
    if not os.path.isdir(f"{machine.tracefs}/instances"):
        mount(state, "tracefs", machine.tracefs)
    main = f"{machine.tracefs}/buffer_size_kb"
    unused = re.fullmatch(r"([0-9]+) \(expanded: ([0-9]+)\)", _text(main))
    try:
        if not os.path.isdir(base):
            state.save(created=True)
            os.mkdir(base)
        elif "created" not in state.known:
            mapped = os.path.exists(f"{base}/last_boot_info")
            if mapped and holds_previous_boot(machine):
                if settings.keep_previous:
                    _keep_previous(state, settings)
                # 6.12 empties it by itself only where the kernel lies elsewhere than in the previous boot.
                _write(f"{base}/trace", "")
            if not mapped and not settings.take:
                raise RefusedError(
                    f"{base} is there already, and no recorder of this boot made it. Remove it (rmdir), or take it "
                    "over with --take."
                )
            state.save(created=not mapped, tracing_on=_text(f"{base}/tracing_on"))
            if mapped:
                write_json(f"{machine.run}/mapped.json", machine.boot)  # from here on it is this boot's
        _fill(state, settings, events)
        # Older kernels (6.1, 5.10) note for all instances at once that sizes are as users want them. The main buffer,
        # still tiny, would then stay so for whoever traces next: it gets the size that its first use gives it.
        if unused and _text(main) == unused[1]:
            _write(main, unused[2])
    except OSError as error:
        if _is_closed(machine):
            raise RefusedError(_CLOSED) from error
        raise RefusedError(f"tracefs does not let the recorder in: {error}.") from error


def _is_closed(machine: Machine) -> bool:
    return "[confidentiality]" in _text(f"{os.path.dirname(machine.tracefs)}/security/lockdown")


def _fill(state: State, settings: Settings, events: list[tuple[str, str]]) -> None:
    base = state.machine.instance
    for name, value in (("options/overwrite", "1"), ("options/markers", "1")):
        with contextlib.suppress(FileNotFoundError):
            _write(f"{base}/{name}", value)
    if "[local]" not in _text(f"{base}/trace_clock"):  # writing it empties the buffer
        _write(f"{base}/trace_clock", "local")
    size = settings.size_kb or _size_kb(state.machine)
    while _text(f"{base}/buffer_size_kb") != str(size):
        try:
            _write(f"{base}/buffer_size_kb", str(size))
            break
        except OSError as error:
            if error.errno != errno.ENOMEM or size < 128:
                break  # a buffer that was mapped at boot keeps its size
            size //= 2
    wanted, missing = dict(events), []
    for name in state.known.get("events", []):  # of a recorder before, with other settings
        if name not in wanted:
            with contextlib.suppress(OSError):
                _write(f"{base}/events/{name}/enable", "0")
    state.save(events=list(wanted))
    for name, condition in events:
        try:
            _write(f"{base}/events/{name}/filter", condition or "0")
            _write(f"{base}/events/{name}/enable", "1")
        except OSError:
            missing.append(name)
    state.save(missing=missing, size_kb=_text(f"{base}/buffer_size_kb"))
    _write(f"{base}/tracing_on", "1")


def holds_previous_boot(machine: Machine) -> bool:
    """Does the instance hold what the previous boot recorded, and not yet this one's?"""
    info = _text(f"{machine.instance}/last_boot_info")
    used = _read(f"{machine.run}/mapped.json") == json.dumps(machine.boot).encode()
    if not info or info.startswith("# Current") or used:
        return False
    stats = [_text(path) for path in glob.glob(f"{machine.instance}/per_cpu/cpu[0-9]*/stats")]
    return any(re.search(r"^entries: +[1-9]", text, re.MULTILINE) for text in stats)


def _keep_previous(state: State, settings: Settings) -> None:
    try:
        copy_trace(state.machine, settings.keep_previous, settings.events)
    except OSError as error:
        _note(
            state, f"What the previous boot recorded could not be kept in {settings.keep_previous}: {error}."
        )


def copy_trace(machine: Machine, folder: str, events: tuple[str, ...] = ()) -> None:
    """Copy the instance's buffers, which empties them, and what decodes them, in tracefs' own layout; OSError."""
    base, new = machine.instance, f"{folder}.new"
    shutil.rmtree(new, ignore_errors=True)
    names = ["events/header_page", "events/header_event"]
    wanted = {name for name, _ in wanted_events((*GROUPS, *events))}
    names += [f"events/{name}/format" for name in sorted(wanted)]
    names += [path[len(base) + 1 :] for path in glob.glob(f"{base}/events/ftrace/*/format")]
    names += ["trace_clock", "last_boot_info"]
    for name in names:
        # Formats lie in every instance, headers in the main one only.
        content = _read(f"{base}/{name}") or _read(f"{machine.tracefs}/{name}")
        if content is not None:
            os.makedirs(os.path.dirname(f"{new}/{name}"), exist_ok=True)
            with open(f"{new}/{name}", "wb") as stream:
                stream.write(content)
    size = _text(f"{base}/buffer_subbuf_size_kb")
    for path in glob.glob(f"{base}/per_cpu/cpu[0-9]*"):
        target = f"{new}/{path[len(base) + 1 :]}"
        os.makedirs(target, exist_ok=True)
        raw = os.open(f"{path}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with open(f"{target}/trace_pipe_raw", "wb") as stream:
                while True:
                    try:
                        page = os.read(raw, int(size) << 10 if size.isdigit() else os.sysconf("SC_PAGE_SIZE"))
                    except BlockingIOError:
                        break
                    if not page:
                        break
                    stream.write(page)
        finally:
            os.close(raw)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(new, folder)


def _size_kb(machine: Machine) -> int:
    """8 MiB for each CPU, and no more than a 64th of memory for all."""
    found = re.search(rb"^MemTotal: +([0-9]+)", _read(f"{machine.proc}/meminfo") or b"", re.MULTILINE)
    total = int(found[1]) if found else 1 << 20
    return max(256, min(8192, total // 64 // (os.cpu_count() or 1)))


def take_down(state: State) -> list[str]:
    """Undo all that the state tells of; sentences on what could not be undone (then the state stays)."""
    machine, base, left = state.machine, state.machine.instance, []
    for name in state.known.get("disks", []):
        Disk(machine, name).stop()
    if "created" in state.known and os.path.isdir(base):
        with contextlib.suppress(OSError):
            _write(f"{base}/events/enable", "0")
        if state.known["created"]:
            try:
                os.rmdir(base)
            except OSError as error:
                left.append(f"{base} cannot be removed: {error.strerror} (is a reader of it still open?).")
        else:  # mapped at boot: it cannot be removed
            for name in state.known.get("events", []):
                with contextlib.suppress(OSError):
                    _write(f"{base}/events/{name}/filter", "0")
            with contextlib.suppress(OSError):
                _write(f"{base}/tracing_on", state.known.get("tracing_on") or "0")
    libc = ctypes.CDLL(None, use_errno=True)
    left += [
        f"{path} cannot be unmounted: {os.strerror(ctypes.get_errno())}."
        for path in reversed(state.known.get("mounts", []))
        if libc.umount2(path.encode(), 0) and ctypes.get_errno() != errno.EINVAL
    ]
    if not left:
        state.forget()
    return left


# --- the service ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def only_one(machine: Machine, tries: int = 1) -> Any:
    """Holds the lock of the running recorder, which the kernel frees with its process; RefusedError where one runs."""
    os.makedirs(machine.run, mode=0o755, exist_ok=True)
    with open(f"{machine.run}/lock", "a") as lock:
        while True:
            tries -= 1
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if tries <= 0:
                    pid = State.load(machine).known.get("pid")
                    raise RefusedError(
                        f"A recorder runs already{f' as process {pid}' if pid else ''}."
                    ) from error
            time.sleep(0.1)
        yield


def run(machine: Machine, settings: Settings, ready: int | None = None) -> list[str]:
    """Record until SIGTERM or SIGINT, then take everything down; sentences on what could not be."""
    with only_one(machine, tries=5):  # who asks for the status holds the lock for a moment
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        state = State.load(machine)
        for name in state.known.get("disks", []):
            Disk(machine, name).stop()
        state.save(pid=os.getpid(), disks=[], problems=[], settings=vars(settings), started=time.time())
        try:
            set_up(state, settings)
            marks = Marks(machine, settings.tasks)
            disks = _start_disks(state, settings)
        except (RefusedError, OSError):
            take_down(state)
            raise
        _be_dependable()
        _tell_ready(ready)
        try:
            _loop(state, settings, marks, disks)
        finally:
            marks.close()
            for disk in disks:
                disk.stop()
        return take_down(state)


def _start_disks(state: State, settings: Settings) -> list[Disk]:
    machine = state.machine
    if settings.disks and not os.path.isdir(f"{machine.debugfs}/block"):
        try:
            mount(state, "debugfs", machine.debugfs)
        except RefusedError as error:
            _note(state, str(error))
    disks: list[Disk] = []
    for name in settings.disks:
        disk = Disk(machine, name)
        if os.path.exists(f"{machine.dev}/{disk.name}"):
            _start_disk(state, disk, disks)
        else:  # at boot a driver may find its disks later
            _note(state, disk.awaited)
    return disks


def _start_disk(state: State, disk: Disk, disks: list[Disk]) -> None:
    """Trace it, too; why not is noted."""
    try:
        disk.start()
    except OSError as error:
        busy = "another blktrace has it" if error.errno == errno.EBUSY else error.strerror
        _note(state, f"{disk.name} is not traced by blktrace: {busy}.")
        return
    disks.append(disk)
    state.save(disks=[each.name for each in disks])


def _start_awaited(state: State, settings: Settings, disks: list[Disk]) -> None:
    for name in settings.disks:
        disk = Disk(state.machine, name)
        if disk.awaited in state.known["problems"] and os.path.exists(f"{state.machine.dev}/{disk.name}"):
            state.save(problems=[each for each in state.known["problems"] if each != disk.awaited])
            _start_disk(state, disk, disks)


def _tell_ready(fd: int | None) -> None:
    """Say that it records: to who started it, and to systemd (sd_notify(3))."""
    if fd is not None:
        os.write(fd, b"ready\n")
        os.close(fd)
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.connect("\0" + address[1:] if address.startswith("@") else address)
            stream.send(b"READY=1")


def _be_dependable() -> None:
    """Be neither swapped out, nor killed for memory, nor late, where the system lets it; have a name in traces."""
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "-999")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)  # not os.nice: the unit has set it already
    gc.freeze()
    libc = ctypes.CDLL(None)
    libc.mlockall(1 | 2 | 4)  # MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT
    libc.prctl(15, b"kernlab-record", 0, 0, 0)  # PR_SET_NAME


def _loop(state: State, settings: Settings, marks: Marks, disks: list[Disk]) -> None:
    interval, begun = settings.interval_ms / 1000, time.monotonic()
    told, longest, before = 0.0, 0.0, begun
    while True:
        now, used = time.monotonic(), time.process_time()
        longest, before = max(longest, now - before), now
        marks.write()
        if now >= told + FIGURES_SECONDS:
            told = now
            figures = {
                "marks": marks.number,
                "marks_refused": marks.failed,
                "longest_gap_seconds": round(longest, 3),
                "seconds": round(now - begun, 3),
                "cpu_seconds": round(time.process_time(), 3),
                "disks": {disk.name: disk.figures() for disk in disks},
            }
            with contextlib.suppress(OSError):
                write_json(f"{state.machine.run}/figures.json", figures)
            _start_awaited(state, settings, disks)
        # A mark that took long is followed by a longer pause: the service never takes more than its share.
        if _pause(state, disks, now + max(interval, (time.process_time() - used) * 100 / settings.share)):
            return


def _pause(state: State, disks: list[Disk], until: float) -> bool:
    """Wait for the next mark, and make room in the relay channels meanwhile; True where the service is to end."""
    while True:
        for disk in list(disks):
            try:
                disk.refresh()
            except OSError:
                disks.remove(disk)
                disk.stop()
                _note(state, f"{disk.name} is gone; its trace ended.")
        left = until - time.monotonic()
        # A burst fills what is kept free within a tenth of a second.
        slept = min(left, Disk.SECONDS) if disks else left
        if signal.sigtimedwait(SIGNALS, max(slept, 0.001)) is not None:
            return True
        if left <= slept:
            return False


def is_running(machine: Machine) -> bool:
    """Does a recorder hold the lock?"""
    try:
        with only_one(machine):
            return False
    except RefusedError:
        return True


def has_systemd() -> bool:
    """Is systemd what runs this machine (sd_booted(3))?"""
    return os.path.isdir("/run/systemd/system")


def stop_unit() -> None:
    """Let systemd end a recorder that is its own, or that it is about to start again."""
    import subprocess  # here only: the service keeps in memory what it has imported

    if has_systemd():
        # Where there is no such unit it fails, and nobody needs to know.
        with contextlib.suppress(OSError):
            subprocess.run(["systemctl", "stop", UNIT], check=False, capture_output=True)


def stop(machine: Machine, seconds: float = 30.0) -> list[str]:
    """End the recorder, or take down what a killed one left; sentences on what could not be undone."""
    deadline = time.monotonic() + seconds
    pid = State.load(machine).known.get("pid")
    if is_running(machine) and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while True:
        try:
            with only_one(machine):
                return take_down(State.load(machine))
        except RefusedError as error:
            if time.monotonic() > deadline:
                return [f"{error} It did not end within {seconds:.0f} seconds."]
        time.sleep(0.05)


def status(machine: Machine) -> dict[str, Any]:
    """What runs, how full its buffers are, how far back they reach, what was lost, and what it costs."""
    state = State.load(machine)
    found: dict[str, Any] = {"running": is_running(machine), **state.known, "cpus": {}}
    found.pop("boot", None)
    with contextlib.suppress(ValueError):
        found["figures"] = json.loads(_read(f"{machine.run}/figures.json") or b"{}")
    for path in sorted(
        glob.glob(f"{machine.instance}/per_cpu/cpu[0-9]*"), key=lambda path: (len(path), path)
    ):
        stats = dict(re.findall(r"^([\w ]+): +([0-9.]+)$", _text(f"{path}/stats"), re.MULTILINE))
        if "entries" not in stats:
            continue
        cpu: dict[str, Any] = {
            name.replace(" ", "_"): int(stats[name])
            for name in ("entries", "overrun", "bytes")
            if name in stats
        }
        cpu["lost"] = sum(int(stats.get(name, 0)) for name in ("commit overrun", "dropped events"))
        size = re.match(r"[0-9]+", _text(f"{path}/buffer_size_kb"))
        cpu["size_bytes"] = int(size[0]) << 10 if size else None
        with contextlib.suppress(KeyError, ValueError):
            cpu["reach_seconds"] = round(float(stats["now ts"]) - float(stats["oldest event ts"]), 3)
        found["cpus"][path.rpartition("cpu")[2]] = cpu
    return found


def arguments_of(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run` to a parser."""
    told = Settings()
    parser.add_argument(
        "--interval-ms", type=int, default=told.interval_ms, help="between marks (default: 200)"
    )
    parser.add_argument(
        "--size-kb", type=int, default=0, help="of each CPU's buffer (default: by memory, ≤ 8192)"
    )
    parser.add_argument(
        "--event",
        action="append",
        metavar="EVENT",
        help=f"a group ({', '.join(GROUPS)}), SYSTEM/EVENT, or 'SYSTEM/EVENT if FILTER'; several "
        f"(default: {' '.join(DEFAULT_EVENTS)})",
    )
    parser.add_argument("--disk", action="append", default=[], help="trace it by blktrace, too; several")
    parser.add_argument(
        "--tasks", type=int, default=told.tasks, help="processes that a mark tells of (default: 24)"
    )
    parser.add_argument(
        "--share", type=float, default=told.share, help="percent of one CPU for the service (default: 2)"
    )
    parser.add_argument(
        "--keep-previous",
        default="",
        metavar="FOLDER",
        help="keep what the previous boot left in a buffer mapped at boot",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--take", action="store_true", help="use an instance that somebody else made")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that parsed options name; RefusedError for what cannot be."""
    if not 10 <= options.interval_ms <= 60_000:
        raise RefusedError("--interval-ms takes 10 to 60000.")
    if not 0 < options.share <= 100 or not 0 <= options.tasks <= 500 or not 0 <= options.size_kb <= 1 << 22:
        raise RefusedError("--share takes up to 100, --tasks up to 500, --size-kb up to 4194304.")
    settings = Settings(
        options.interval_ms,
        options.size_kb,
        tuple(options.event or DEFAULT_EVENTS),
        tuple(options.disk),
        options.tasks,
        options.share,
        options.take,
        options.keep_previous,
    )
    wanted_events(settings.events)
    return settings


def main(argv: list[str] | None = None) -> int:
    """The command line of the copied file; 0 done, 1 it broke, 2 refused, 8 ended and something is left.

    Of these systemd starts it again after 1 only.
    """
    parser = argparse.ArgumentParser(prog="service.py", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    arguments_of(verbs.add_parser("run"))
    verbs.add_parser("stop")
    verbs.add_parser("status")
    options = parser.parse_args(argv)
    machine, left = Machine(), []
    try:
        if os.geteuid() != 0:
            raise RefusedError("The recorder needs root: tracefs is closed to others.")
        if options.verb == "run":
            left = run(machine, settings_of(options), options.ready_fd)
        elif options.verb == "stop":
            stop_unit()
            left = stop(machine)
        else:
            print(json.dumps(status(machine), indent=1))
    except (RefusedError, OSError) as error:
        _say(str(error))
        return REFUSED if isinstance(error, RefusedError) else BROKE
    for sentence in left:
        _say(sentence)
    return LEFT if left else 0


if __name__ == "__main__":
    sys.exit(main())
