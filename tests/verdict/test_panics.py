"""The panics that users meet: each end is named by its words, and accuses nobody who only ran then."""

from __future__ import annotations

import pandas as pd
import pytest
from verdict.cases import made_case, verdict_of

import kernlab
from kernlab.verdict.rules.asked import unfed_watchdog
from kernlab.verdict.rules.waiting import deadlocks
from kernlab.verdict.story import story

#: As most are: the thread that ran called panic(), or what called it.
_LOG = """\
[ 8990.000000] eth0: link up
[ 9000.000000] Kernel panic - not syncing: {words}
[ 9000.000001] CPU: 0 PID: 55 Comm: sshd Not tainted 6.1.0-test #1
[ 9000.000002] Call Trace:
[ 9000.000003]  <TASK>
[ 9000.000004]  panic+0x102/0x2d4
[ 9000.000005]  shop_close+0x10/0x20 [shop]
[ 9000.000006]  do_syscall_64+0x10/0x20
[ 9000.000007]  </TASK>
"""
#: What each is called, and its words, as the kernel's sources have them (panic, nmi_panic and mce_panic).
_PANICS = """
panic           | Attempted to kill the idle task!
panic           | Aiee, killing interrupt handler!
init died       | Attempted to kill init! exitcode=0x0000000b
no root         | VFS: Unable to mount root fs on unknown-block(0,0)
no root         | VFS: Unable to mount root fs on "UUID=1234" or unknown-block(0,0)
no root         | VFS: Unable to mount root fs via NFS, trying floppy.
no init         | No working init found.  Try passing init= option to kernel.
no init         | No init found.  Try passing init= option to kernel.
no init         | Requested init /bin/till failed (error -2).
out of bounds   | stack-protector: Kernel stack is corrupted in: shop_close+0x10/0x20 [shop]
stack overflow  | corrupted stack end detected inside scheduler
stack overflow  | kernel stack overflow
OOM             | Out of memory: system-wide panic_on_oom is enabled
OOM             | Out of memory: compulsory panic_on_oom is enabled
OOM             | Out of memory and no killable processes...
OOM             | System is deadlocked on memory
hung task       | hung_task: blocked tasks
soft lockup     | softlockup: hung tasks
hard lockup     | Hard LOCKUP
hard lockup     | Watchdog detected hard LOCKUP on cpu 3
RCU stall       | RCU Stall
workqueue stall | workqueue: 3 stalls exceeded threshold 1
panic           | kernel: panic_on_warn set ...
panic           | KASAN: panic_on_warn set ...
panic           | kernel: system warned too often (kernel.warn_limit is 100)
panic           | Oopsed too often (kernel.oops_limit is 10000)
panic           | panic_on_taint set ...
panic           | Fatal exception
panic           | Fatal exception in interrupt
panic           | Machine halted.
panic           | scheduling while atomic
panic           | CFI failure (target: shop_close+0x0/0x10)
hardware error  | Asynchronous SError Interrupt
panic           | Unhandled exception
NMI             | NMI: Not continuing
NMI             | An NMI occurred, but unable to determine source.
NMI             | 40: An NMI occurred. Depending on your system the reason for the NMI is logged in the resources:
hardware error  | NMI IOCK error: Not continuing
hardware error  | Fatal hardware error!
hardware error  | Fatal machine check
hardware error  | Fatal Machine check
hardware error  | Fatal local machine check
hardware error  | Fatal machine check on current CPU
hardware error  | Machine check from unknown source
hardware error  | Unrecoverable Machine check
hardware error  | Uncorrected hardware memory error in user-access at 1234000
hardware error  | UE memory read error on CPU_SrcID#0_MC#0 (channel:0 page:0x12 offset:0x0 grain:32)
hardware error  | Timeout: Not all CPUs entered broadcast exception handler
watchdog        | IPMI Watchdog: pre-timeout
watchdog        | pre-timeout
watchdog        | Watchdog pre-timeout
watchdog        | Watchdog pre-timeout IRQ
watchdog        | watchdog pretimeout event
watchdog        | Software Watchdog Timer expired
watchdog        | SBSA Generic Watchdog timeout
watchdog        | Watchdog Timeout
sysrq           | sysrq triggered crash
panic           | EXT4-fs (device sda1): panic forced after error
panic           | EXT2-fs: panic from previous error
panic           | FAT-fs (sda1): fs panic from previous error
panic           | BTRFS panic (device sda1): unexpected state (errno=-17 Object already exists)
panic           | OCFS2: (device sda1): panic forced after error
panic           | F2FS-fs (device sda1): panic forced after error
panic           | GFS2: fsid=shop:till.0: panic requested
panic           | *** ocfs2 is very sorry to be fencing this system by panicing ***
panic           | dm-verity device corrupted
panic           | audit: backlog limit exceeded
panic           | audit: out of memory in audit_log_start
panic           | DMAR hardware is malfunctioning
panic           | DMA: Memory would be corrupted
panic           | Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer
panic           | IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.
panic           | memblock_alloc_or_panic: Failed to allocate 4096 bytes align=0x40 nid=-1
panic           | alg: self-tests for cbc(aes) using cbc-aes-aesni failed in fips mode!
panic           | LBUG
panic           | Xen reported: page fault
panic           | shop: NMI received, giving up
panic           | shop: machine check of the till
panic           | shop: Out of memory
panic           | shop: hung_task: closed
panic           | shop: Attempted to kill init!
"""
PANICS = [tuple(part.strip() for part in line.split(" | ")) for line in _PANICS.strip().splitlines()]


@pytest.mark.parametrize(("finding", "words"), PANICS, ids=[words[:40] for _, words in PANICS])
def test_a_panic_is_named_by_its_words(finding: str, words: str) -> None:
    """A log alone has nothing else; the first row is sure, and no other says more than the panic."""
    table = kernlab.verdict.of_log(_LOG.format(words=words))
    first, rest = table.iloc[0], table.iloc[1:]
    assert (first["finding"], first["confidence"] >= 0.8) == (finding, True)
    assert rest["finding"].tolist() in ([], ["panic"])
    ends = table[table["role"] == "end"].iloc[0]
    if ends["finding"] == "panic":
        # Words that say why, and the thread that called panic().
        assert words.startswith(ends["subject"].removesuffix("…"))
        assert ends["pid"] == 55
    if finding in ("hardware error", "NMI", "watchdog", "OOM"):
        assert pd.isna(ends["pid"])
        assert pd.isna(ends["module"])
        assert "sshd" not in ends["subject"]
        assert "shop" not in story(table)


@pytest.mark.parametrize(
    ("words", "device"),
    [
        ("EXT4-fs (device sda1): panic forced after error", "sda1"),
        ("FAT-fs (sda1): fs panic from previous error", "sda1"),
        ("BTRFS panic (device dm-3): unexpected state", "dm-3"),
        ("EXT2-fs: panic from previous error", None),
        ("shop: (none): closed", None),
    ],
)
def test_the_device_that_a_file_system_panicked_for(words: str, device: str | None) -> None:
    """It is where to look, and whose siblings this machine's end has."""
    named = kernlab.verdict.of_log(_LOG.format(words=words))["device"].iloc[0]
    assert named == device or (device is None and pd.isna(named))


def test_an_nmi_whose_reason_the_kernel_said_is_the_hardwares() -> None:
    """Without that line it may have been sent."""
    said = "[ 8999.900000] NMI: IOCK error (debug interrupt?) for reason 71 on CPU 0.\n"
    log = _LOG.format(words="NMI: Not continuing")
    assert kernlab.verdict.of_log(log)["finding"].iloc[0] == "NMI"
    assert kernlab.verdict.of_log(said + log)["finding"].iloc[0] == "hardware error"


@pytest.mark.parametrize(
    ("before", "words", "device", "subject"),
    [
        (
            'VFS: Cannot open root device "sda9" or unknown-block(0,0): error -6',
            "unknown-block(0,0)",
            "sda9",
            "sda9",
        ),
        ("Kernel command line: ro root=/dev/sda1 quiet", "unknown-block(8,1)", "/dev/sda1", "/dev/sda1"),
        ("Initramfs unpacking failed: invalid magic", "unknown-block(0,0)", None, "unknown-block(0,0)"),
        ("eth0: link up", '"LABEL=shop" or unknown-block(0,0)', "LABEL=shop", "LABEL=shop"),
    ],
)
def test_which_root_file_system_was_not_found(
    before: str, words: str, device: str | None, subject: str
) -> None:
    """By whatever names it; that nothing does is not said of a log that may have lost the line."""
    log = (
        f"[    1.000000] {before}\n"
        f"[    1.100000] Kernel panic - not syncing: VFS: Unable to mount root fs on {words}\n"
    )
    first = kernlab.verdict.of_log(log).iloc[0]
    assert (first["finding"], first["subject"]) == ("no root", subject)
    assert first["device"] == device or (device is None and pd.isna(first["device"]))
    assert ("Initramfs" in before) == any("Initramfs" in one["says"] for one in first["evidence"])


def test_what_a_watchdog_that_was_not_fed_found_hung_is_why() -> None:
    """As of an end that somebody asked for: a circle of locks that had hung for long, and not one that is young."""
    panic = "[ 9000.000000] Kernel panic - not syncing: Software Watchdog Timer expired\n"
    for seconds, first in ((600, "deadlock"), (5, "watchdog")):
        waits = [
            {
                "pid": pid,
                "comm": f"order-{pid}",
                "state": "D",
                "type": "mutex",
                "name": f"lock_{pid}",
                "holder_pid": 11 - pid,
                "holder_comm": f"order-{11 - pid}",
                "since": pd.Timedelta(seconds, "s"),
                "note": "",
            }
            for pid in (5, 6)
        ]
        found = verdict_of(made_case(panic, waits=waits, hung_after=120), deadlocks, unfed_watchdog)
        assert found[0].finding == first
        assert {each.finding for each in found} == {"deadlock", "watchdog"}
