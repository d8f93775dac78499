"""Disks that do not answer, file systems that are damaged, network queues that stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from verdict.cases import found_by, made_case, verdict_of

import kernlab
from kernlab.verdict.ata_disks import ata_disks
from kernlab.verdict.case import Case
from kernlab.verdict.disk_timeouts import late_by_log
from kernlab.verdict.rules.ends import last_report
from kernlab.verdict.rules.filesystems import (
    damaged_file_systems,
    failed_requests,
    frozen_file_systems,
    silent_servers,
)
from kernlab.verdict.rules.holders import kept_locks, locks_of_nobody
from kernlab.verdict.rules.network import stuck_queues
from kernlab.verdict.rules.storage import late_disks, stuck_requests, suspended_volumes

DISKS = (last_report, stuck_requests, suspended_volumes, kept_locks, locks_of_nobody)
HUNG = """\
[  500.000000] INFO: task sync:12 blocked for more than 120 seconds.
[  500.000001] task:sync            state:D stack:0     pid:12    tgid:12    ppid:1      flags:0x00000002
[  500.000002] Call Trace:
[  500.000004]  schedule+0x27/0xc0
[  500.000005]  folio_wait_writeback+0x2b/0x80
[  500.000007] Kernel panic - not syncing: hung_task: blocked tasks
"""


def request(disk: str, seconds: float, op: str = "READ", **more: object) -> dict[str, object]:
    """A request that a driver has."""
    return {
        "disk": disk, "partition": disk, "state": "driver", "op": op, "age": f"{seconds}s", "driver_age": f"{seconds}s",
    } | more  # fmt: skip


def sleeper(pid: int, seconds: float, kind: str = "request", **more: object) -> dict[str, object]:
    """A thread that sleeps for a disk."""
    row = {
        "pid": pid,
        "comm": f"reader-{pid}",
        "state": "D",
        "type": kind,
        "since": f"{seconds}s",
        "note": "",
    }
    return row | more


def test_a_disk_that_is_only_busy_is_nothing(sample: Callable[[str], Case]) -> None:
    """Each disk of the sample `io` has requests, none of them old."""
    case = sample("io")
    assert (case.inflight["state"] == "driver").any()
    assert not found_by(case, stuck_requests, suspended_volumes, kept_locks, locks_of_nobody)


def test_a_disk_that_does_not_answer_is_the_cause() -> None:
    """Who waits for it, and for them, is evidence; a lock that such a thread has is no cause of its own."""
    waits = [
        sleeper(11, 300, name="request 3 of sda"),
        sleeper(12, 290, "folio", name="page 0 of /shop/day.log"),
        sleeper(
            13,
            280,
            "mutex",
            name="shop_lock",
            object=0xFFFF888000001000,
            holder_pid=11,
            holder_comm="reader-11",
        ),
    ]
    requests = [request("sda", 300, pid=11, path="/shop/catalog.db"), request("sda", 290, "WRITE")]
    found = verdict_of(made_case(HUNG, waits=waits, inflight=requests), *DISKS)
    assert [(each.finding, each.subject, each.role) for each in found] == [
        ("stuck I/O", "sda", "cause"),
        ("hung task", "a thread that could not go on", "end"),
    ]
    assert (found[0].device, found[0].since, found[0].against) == ("sda", 300.0, ())
    assert found[0].confidence >= 0.9
    says = [one.says for one in found[0].evidence]
    assert says[0] == "a read, the oldest of 2 requests, is out to sda for 5 min 0 s"
    assert "they are of /shop/catalog.db" in says
    assert any("1 more waits for these" in one for one in says)


def test_of_stacked_disks_the_lowest_one_is_told() -> None:
    """A volume and a loop device wait for the disk below them, of whose partition and file they are made."""
    disks = [{"name": "sda"}, {"name": "sda1", "parent": "sda"}, {"name": "dm-0"}, {"name": "loop0"}]
    volumes = [
        {"disk": "dm-0", "kind": "dm", "name": "vg-shop", "state": "active", "members": "sda1"},
        {"disk": "loop0", "kind": "loop", "state": "bound", "path": "/shop/image"},
    ]
    mounts = [{"type": "ext4", "name": "dm-0", "mount": "/shop", "device": "/dev/dm-0"},
              {"type": "ext4", "name": "vda", "mount": "/", "device": "/dev/vda"}]  # fmt: skip
    requests = [request("loop0", 299), request("dm-0", 298), request("sda", 300), request("sdb", 0.1)]
    case = made_case(inflight=requests, disks=disks, volumes=volumes, filesystems=mounts)
    (found,) = found_by(case, stuck_requests)
    assert found.subject == "sda"
    assert any("vg-shop (dm-0), loop0 lie on it" in one.says for one in found.evidence)


@pytest.mark.parametrize(
    "rows", [[request("sda", 20)], [request("sda", 900, "DISCARD")], [request("sda", 5)] * 40]
)
def test_what_takes_its_time_is_not_stuck(rows: list[dict[str, object]]) -> None:
    """Younger than a driver's patience, or an operation that may take minutes."""
    assert not found_by(made_case(inflight=rows), stuck_requests)


def test_a_disk_that_still_gets_requests_may_be_slow() -> None:
    """That speaks against it, and it is less sure."""
    (found,) = found_by(made_case(inflight=[request("sda", 40), request("sda", 1)]), stuck_requests)
    assert found.confidence < 0.5
    assert "it may be slow" in found.against[0]
    (found,) = found_by(made_case(inflight=[request("sda", 400), request("sda", 1)]), stuck_requests)
    assert found.confidence == 0.8
    assert "it may be slow" in found.against[0]


def test_a_suspended_volume() -> None:
    """It keeps what it is asked for; nobody says who suspended it."""
    kept = [{"disk": "dm-0", "partition": "dm-0", "state": "suspended", "op": "WRITE", "pid": 12}]
    volumes = [{"disk": "dm-0", "kind": "dm", "name": "vg-shop", "state": "suspended"}]
    case = made_case(HUNG, inflight=kept, volumes=volumes, waits=[sleeper(12, 300)])
    found = verdict_of(case, *DISKS)
    assert next((each.finding, each.subject, each.role) for each in found) == (
        "stuck I/O",
        "vg-shop (dm-0)",
        "cause",
    )
    active = [dict(volumes[0], state="active")]
    assert not found_by(made_case(inflight=kept, volumes=active, waits=[sleeper(12, 300)]), suspended_volumes)
    # Somebody takes a snapshot: that takes a moment.
    assert not found_by(made_case(inflight=kept, volumes=volumes, waits=[sleeper(12, 3)]), suspended_volumes)


READ_ONLY = """\
[   20.000000] I/O error, dev sda, sector 16906 op 0x0:(READ) flags 0x3000 phys_seg 1 prio class 2
[   20.100000] EXT4-fs error (device sda1): htree_dirblock_to_tree:1109: inode #2049: block 8453: comm ls: bad entry
[   20.200000] EXT4-fs (sda1): Remounting filesystem read-only
[   30.000000] sysrq: Trigger a crash
[   30.000001] Kernel panic - not syncing: sysrq triggered crash
"""


def test_a_file_system_that_went_read_only() -> None:
    """One row for the file system, with where it is mounted and what failed below; the end is another thing."""
    mounts = [{"type": "ext4", "name": "sda1", "mount": "/shop", "device": "/dev/sda1"}]
    disks = [{"name": "sda"}, {"name": "sda1", "parent": "sda"}]
    case = made_case(READ_ONLY, filesystems=mounts, disks=disks)
    found = verdict_of(case, damaged_file_systems, failed_requests)
    assert [(each.finding, each.role) for each in found] == [
        ("file system error", "beside"), ("I/O error", "beside"),
    ]  # fmt: skip
    damaged = found[0]
    assert (damaged.subject, damaged.device, round(damaged.since or 0)) == (
        "sda1, mounted at /shop",
        "sda1",
        10,
    )
    says = [one.says for one in damaged.evidence]
    assert "/shop takes no writes since" in says
    assert any("failed a request" in one for one in says)


def test_a_log_alone_tells_of_file_systems_and_networks() -> None:
    """What stands in the log needs no table; without the panic's device no end is explained."""
    table = kernlab.verdict.of_log(READ_ONLY)
    assert table["finding"].tolist()[:2] == ["sysrq", "file system error"]
    assert table["role"].tolist()[:2] == ["end", "beside"]


def test_a_btrfs_that_went_read_only() -> None:
    """Its lines name the device in another way, and end with another sentence."""
    log = (
        "[   10.0] BTRFS: error (device dm-1: state A) in __btrfs_free_extent:3092: errno=-5 IO failure\n"
        "[   10.1] BTRFS info (device dm-1: state EA): forced readonly\n"
        "[   10.2] BTRFS info (device dm-2): using crc32c\n"
    )
    (found,) = found_by(Case(None, log), damaged_file_systems)
    assert (found.finding, found.device) == ("file system error", "dm-1")
    assert any("takes no writes since" in one.says for one in found.evidence)


def test_a_file_system_that_panics_is_the_cause() -> None:
    """errors=panic: the panic's line names the device."""
    log = (
        "[   20.1] EXT4-fs error (device vda): ext4_lookup:1109: inode #2049: comm ls: bad entry\n"
        "[   20.2] Kernel panic - not syncing: EXT4-fs (device vda): panic forced after error\n"
    )
    found = verdict_of(made_case(log), last_report, damaged_file_systems)
    assert [(each.finding, each.role) for each in found] == [("file system error", "cause"), ("panic", "end")]


WATCHDOG = (
    "[  100.0] NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out",
    "[  100.0] e1000e 0000:00:1f.6 eth0: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5388 ms",
)


@pytest.mark.parametrize("line", WATCHDOG)
def test_the_watchdog_of_networks(line: str) -> None:
    """Both forms of its line name device and driver."""
    device = {
        "name": "eth0",
        "up": True,
        "carrier": True,
        "tx_queues": 4,
        "tx_stopped": 1,
        "queued_packets": 900,
    }
    case = made_case(f"{line}\n[  110.0] sysrq: Trigger a crash\n", netdevs=[device])
    (found,) = found_by(case, stuck_queues)
    assert (found.finding, found.device, found.module, found.against) == (
        "network queue stuck",
        "eth0",
        "e1000e",
        (),
    )
    assert found.since == pytest.approx(10)
    moved = made_case(line, netdevs=[device | {"tx_stopped": 0}])
    (outlived,) = found_by(moved, stuck_queues)
    assert "had gone on" in outlived.against[0]
    assert outlived.confidence < 0.5
    (alone,) = kernlab.verdict.of_log(line).query("finding == 'network queue stuck'").to_dict("records")
    assert alone["module"] == "e1000e"


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        ({}, 1),
        ({"carrier": False}, 0),
        ({"tx_stopped": 0}, 0),
        ({"last_tx": "3s"}, 0),
        ({"queued_packets": 0}, 0),
    ],
)
def test_a_stopped_queue_without_a_word(changed: dict[str, object], number: int) -> None:
    """Stopped for long with packets in it, on a device that could send."""
    device = {"name": "eth0", "driver": "ice", "up": True, "carrier": True, "tx_queues": 4, "tx_stopped": 1,
              "queued_packets": 900, "queued_bytes": 90_000, "last_tx": "60s"}  # fmt: skip
    found = found_by(made_case(netdevs=[device | changed]), stuck_queues)
    assert [each.subject for each in found] == ["eth0"] * number
    assert all(each.confidence < 0.8 and each.against for each in found)


def test_a_file_system_that_was_not_thawed() -> None:
    """Those who wait for its own lock wait for it; another percpu_rwsem, and another file system, are not told."""
    address = 0xFFFF_8881_0000_0000
    mounts = [{"type": "xfs", "name": "dm-1", "mount": "/shop", "device": "/dev/dm-1", "frozen": "complete",
               "address": address},
              {"type": "ext4", "name": "vda", "mount": "/", "device": "/dev/vda", "frozen": "no",
               "address": address + 8192}]  # fmt: skip
    writer = sleeper(
        12, 300, "percpu_rwsem", object=address + 0x200, note="a percpu_rw_semaphore does not say"
    )
    found = verdict_of(made_case(HUNG, filesystems=mounts, waits=[writer]), frozen_file_systems, *DISKS)
    assert [(each.finding, each.subject, each.role) for each in found] == [
        ("file system frozen", "/shop", "cause"),
        ("hung task", "a thread that could not go on", "end"),
    ]
    both = made_case(
        filesystems=[mounts[0], mounts[1] | {"frozen": "complete"}],
        waits=[writer, writer | {"pid": 13, "object": address + 8192 + 0x200}],
    )
    assert [each.subject for each in found_by(both, frozen_file_systems)] == ["/shop", "/"]
    below = made_case(filesystems=mounts, waits=[writer | {"object": address - 8}])
    assert not found_by(below, frozen_file_systems)
    other = writer | {"object": address + 8192 + 0x200}
    assert not found_by(made_case(filesystems=mounts, waits=[other]), frozen_file_systems)
    young = writer | {"since": "2s"}
    assert not found_by(made_case(filesystems=mounts, waits=[young]), frozen_file_systems)


SERVER = "[  300.0] nfs: server files1 not responding, still trying\n"
NFS = """\
[  500.0] INFO: task reader-12:12 blocked for more than 120 seconds.
[  500.0] Call Trace:
[  500.0]  schedule+0x27/0xc0
[  500.0]  rpc_wait_bit_killable+0x12/0x40 [sunrpc]
[  500.1] Kernel panic - not syncing: hung_task: blocked tasks
"""


def test_a_file_server_that_does_not_answer() -> None:
    """The cause where those who hang wait for an answer; told beside where they do not; nothing once it is back."""
    stack = [{"pid": 12, "frame": at, "symbol": f"{name}+0x1/0x2", "kind": "task", "reliable": True}
             for at, name in enumerate(("schedule", "rpc_wait_bit_killable", "nfs_wait_on_request"))]  # fmt: skip
    case = made_case(SERVER + NFS, waits=[sleeper(12, 200, "bit")], stacks=stack)
    first, end = verdict_of(case, silent_servers, *DISKS)
    assert (first.finding, first.subject, first.role) == ("file server silent", "files1", "cause")
    assert first.since == pytest.approx(200.1)
    assert end.pid is None
    alone = verdict_of(made_case(SERVER + NFS, waits=[sleeper(12, 200, "bit")]), silent_servers, *DISKS)
    assert [(each.finding, each.role) for each in alone] == [
        ("hung task", "end"),
        ("file server silent", "beside"),
    ]
    back = SERVER + "[  310.0] nfs: server files1 OK\n" + NFS
    assert not found_by(made_case(back, waits=[sleeper(12, 200, "bit")], stacks=stack), silent_servers)


def test_who_waits_behind_a_file_server_is_its_victim() -> None:
    """A thread that has a lock and waits for the server keeps nobody: the server does."""
    stack = [
        {"pid": 12, "frame": 0, "symbol": "rpc_wait_bit_killable+0x1/0x2", "kind": "task", "reliable": True}
    ]
    behind = [
        sleeper(pid, 250, "rwsem_write", object=0xFFFF888000001000, holder_pid=12, holder_comm="reader-12")
        for pid in range(20, 1020)
    ]
    case = made_case(SERVER + NFS, waits=[sleeper(12, 300, "bit"), *behind], stacks=stack)
    found = verdict_of(case, silent_servers, *DISKS)
    assert [each.finding for each in found] == ["file server silent", "hung task"]
    assert "reader-12 (12) waits for an answer, and 1,000 more wait for that one" in [
        one.says for one in found[0].evidence
    ]
    unsaid = verdict_of(made_case(NFS, waits=[sleeper(12, 300, "bit"), *behind], stacks=stack), *DISKS)
    assert unsaid[0].finding == "lock not released"


@pytest.mark.parametrize(
    "line",
    [
        "[ 9.0] CIFS: VFS: \\\\files2 has not responded in 180 seconds. Reconnecting...",
        "[ 9.0] nfs: server files2 not responding, timed out",
    ],
)
def test_a_server_that_was_given_up_may_be_back(line: str) -> None:
    """No line tells that it is: where nobody waits for it, its silence is a hint."""
    log = line + "\n[900.0] sysrq: Trigger a crash\n"
    (found,) = found_by(made_case(log), silent_servers)
    assert (found.subject, found.confidence) == ("files2", 0.45)
    assert found.against


@pytest.mark.parametrize(
    ("disk", "line"),
    [
        ("nvme0n1", "nvme nvme0: I/O 12 QID 3 timeout, aborting"),
        ("nvme0n1", "nvme nvme0: I/O tag 12 (000c) opcode 0x2 (Read) QID 3 timeout, reset controller"),
        ("sda", "sd 2:0:0:0: [sda] tag#7 timing out command, waited 180s"),
        (
            "sda",
            "sd 2:0:0:0: [sda] tag#7 FAILED Result: hostbyte=DID_TIME_OUT driverbyte=DRIVER_OK cmd_age=190s",
        ),
        ("sda", "sd 2:0:0:0: attempting task abort!scmd(0x00000000f1a3c1d5), outstanding for 30516 ms"),
        ("sda", "sd 2:0:0:0: task abort: FAILED scmd(0x00000000f1a3c1d5)"),
    ],
)
def test_what_a_driver_said_bears_out_that_its_disk_is_stuck(disk: str, line: str) -> None:
    """Of the same disk, and since the oldest request; without a dump it is a hint."""
    begun = "[    1.0] sd 2:0:0:0: [sda] Attached SCSI disk\n"
    end = "[  900.0] sysrq: Trigger a crash\n"
    log = f"{begun}[  700.0] {line}\n{end}"
    (found,) = found_by(made_case(log, inflight=[request(disk, 300)]), stuck_requests)
    assert (found.confidence, found.evidence[-1].table, found.evidence[-1].rows) == (0.95, "log", (1,))
    for other in (
        made_case(log, inflight=[request("sdb", 300)]),
        made_case(f"{begun}[  500.0] {line}\n{end}", inflight=[request(disk, 300)]),
        made_case(f"{begun}[  700.0] nvme nvme0: I/O 1 QID 3 timeout, completion polled\n{end}",
                  inflight=[request(disk, 300)]),
    ):  # fmt: skip
        assert [each.confidence for each in found_by(other, stuck_requests)] == [0.8]
    alone = f"{begun}[  400.0] {line}\n{HUNG}"
    (hint,) = found_by(Case(None, alone), late_disks)
    assert (hint.device, hint.confidence, hint.explains) == (
        disk.removesuffix("n1"), 0.45, frozenset({"hung task"}),
    )  # fmt: skip
    assert not found_by(Case(None, begun + HUNG), late_disks)
    # A dump tells which requests are out.
    assert not found_by(made_case(alone), late_disks)


@pytest.mark.parametrize(
    "line",
    [
        "critical target error, dev sda, sector 8 op 0x3:(DISCARD) flags 0x0 phys_seg 1 prio class 2",
        "I/O error, dev sr0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
        "blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0",
    ],
)
def test_what_a_drive_need_not_do_is_no_failure(line: str) -> None:
    log = f"[    9.0] {line}\n[  900.0] sysrq: Trigger a crash\n"
    assert all(each.confidence < 0.5 for each in verdict_of(made_case(log), failed_requests))
    assert found_by(made_case(log), failed_requests)
    real = (
        "[    9.5] critical medium error, dev sda, sector 8 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2\n"
    )
    assert found_by(made_case(real + log), failed_requests)[0].confidence == 0.9


def test_of_many_that_wait_for_many_servers_the_reported_ones_are_told() -> None:
    """A thousand wait, of which the kernel called one hung: it is among the evidence. Which server it waits for is not
    known where several are silent, and that is said."""
    pids = [*range(100, 1099), 12]
    waits = [sleeper(pid, 300, "bit") for pid in pids]
    stack = [{"pid": pid, "frame": 0, "symbol": "rpc_wait_bit_killable+0x1/0x2", "kind": "task", "reliable": True}
             for pid in pids]  # fmt: skip
    found = verdict_of(made_case(SERVER + NFS, waits=waits, stacks=stack), silent_servers, *DISKS)
    assert [(each.finding, each.role, each.confidence) for each in found] == [
        ("file server silent", "cause", 0.95), ("hung task", "end", 0.97),
    ]  # fmt: skip
    assert len(found[0].evidence[1].rows) == 100
    assert found[0].evidence[1].rows[-1] == len(pids) - 1
    assert found[0].evidence[1].says == "1,000 threads wait for an answer"
    two = SERVER + SERVER.replace("files1", "files2") + NFS
    for each in found_by(made_case(two, waits=waits, stacks=stack), silent_servers):
        assert each.confidence < 0.8
        assert each.against == ("2 servers are silent: who waits for which is not known.",)


def test_of_many_devices_those_that_matter_are_told() -> None:
    """A log may name thousands: the one that the panic is of is told, then those of the most errors."""
    error = (
        "[   20.0] EXT4-fs error (device {}): ext4_find_entry:1455: inode #2: reading directory lblock 0\n"
    )
    stuck = "[   20.0] NETDEV WATCHDOG: {} (ice): transmit queue 3 timed out\n"
    panic = "[   20.2] Kernel panic - not syncing: EXT4-fs (device vda): panic forced after error\n"
    for line, rule in ((error, damaged_file_systems), (stuck, stuck_queues)):
        many = "".join(line.format(f"x{number}") for number in range(60))
        case = Case(None, many + line.format("x59") + line.format("vda") + panic)
        found = found_by(case, rule)
        told = [each.device for each in found]
        assert all("panic" in each.explains for each in found if each.device == "vda")
        assert not any(each.explains for each in found if each.device != "vda")
        assert "x59" in told
        assert len(told) == 20
        assert ("vda" in told) == (rule is damaged_file_systems)


ATA = """\
[    1.000001] scsi host0: ahci
[    1.000002] scsi host1: ahci
[    1.000003] ata1: SATA max UDMA/133 abar m2048@0xfebf0000 port 0xfebf0100 irq 24
[    1.000004] ata2: DUMMY
[    1.000005] scsi host2: ata_piix
[    1.000006] scsi host3: ata_piix
[    1.000007] ata3: PATA max MWDMA2 cmd 0x1f0 ctl 0x3f6 bmdma 0xc040 irq 14
[    1.000008] ata4: PATA max MWDMA2 cmd 0x170 ctl 0x376 bmdma 0xc048 irq 15
[    1.100000] scsi host4: usb-storage 1-1:1.0
[    1.200000] sd 0:0:0:0: [sda] 1953525168 512-byte logical blocks: (1.00 TB/932 GiB)
[    1.200001] sd 2:0:1:0: [sdb] 1953525168 512-byte logical blocks: (1.00 TB/932 GiB)
[    1.200002] sd 4:0:0:0: [sdc] 1953525168 512-byte logical blocks: (1.00 TB/932 GiB)
[   50.000000] ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen
[   50.000001] ata1.00: failed command: READ DMA EXT
[   50.000002] ata1.00: cmd 25/00:08:00:00:00/00:00:00:00:00/e0 tag 0 dma 4096 in
[   50.000003]          res 40/00:00:00:00:00/00:00:00:00:00/00 Emask 0x4 (timeout)
[   51.000000] ata9.00: failed command: WRITE DMA
[   52.000000] I/O error, dev sda, sector 16906 op 0x0:(READ) flags 0x3000 phys_seg 1 prio class 2
"""


def test_an_error_of_an_ata_port_is_of_the_disk_that_hangs_at_it() -> None:
    """Ports and hosts are numbered each for themselves: of one controller they are told in the same order."""
    assert ata_disks(line[15:] for line in ATA.splitlines()) == {"ata1.00": "sda", "ata3.01": "sdb"}
    found = {each.device: each for each in verdict_of(made_case(ATA), failed_requests)}
    assert set(found) == {"sda", "ata9.00"}
    assert found["sda"].evidence[0].says == "ata1.00: failed command: READ DMA EXT"
    assert found["sda"].evidence[1].says == "2 such errors"


def test_ports_that_cannot_be_told_apart_have_no_disk() -> None:
    """Two controllers that were found at once: the numbers of their hosts are mixed."""
    mixed = ATA.replace("scsi host1: ahci", "scsi host1: sata_sil24").splitlines()
    assert ata_disks(line[15:] for line in mixed) == {"ata3.01": "sdb"}


def test_a_command_that_an_ata_disk_did_not_end_in_time_is_told_of_the_disk() -> None:
    assert list(late_by_log(made_case(ATA))) == ["sda"]
    link = ATA.replace("Emask 0x0 SAct", "Emask 0x10 SAct")  # a cable that was pulled is no slow disk
    assert late_by_log(made_case(link)) == {}
