"""Disks, file systems, networks and the hardware itself."""

from __future__ import annotations

from kernlab.verdict.words.word import Word

_BEHIND = (
    "Look at the log for errors of [{device}|the disk], and at what stands behind it: its controller, cable, host or "
    "network."
)
_HARDWARE = (
    "Look at the machine's own error log (BMC, mcelog, rasdaemon), and test its memory: it is hardly the software.",
)
_UNWRITTEN = "What was on its way to [{device}|the disk] may not have been written."

WORDS = {
    "stuck I/O": Word(
        "[Disk {device}|Disk {subject}|A disk] does not answer",
        "[the disk {device}|the disk {subject}|a disk] did not answer any more, and everybody who needed it waited",
        (_BEHIND,),
        "the driver's own list shows the requests that did not come back",
        "A disk that is only very slow looks the same for a while.",
        _UNWRITTEN,
    ),
    "slow disk": Word(
        "[Disk {device}|Disk {subject}|A disk] is slow",
        "[the disk {device}|the disk {subject}|a disk] took very long",
        (_BEHIND,),
    ),
    "I/O error": Word(
        "[Disk {device}|Disk {subject}|A disk] reported errors",
        "[the disk {device}|the disk {subject}|a disk] could not read or write what was asked",
        (_BEHIND, "Make a copy of what is on it before anything else."),
        "the log says that the disk reported errors",
        lost=_UNWRITTEN,
    ),
    "file system error": Word(
        "The file system on [{device}|{subject}|a disk] is damaged",
        "the kernel found the file system on [{device}|{subject}|a disk] damaged",
        (
            "Check that file system before it is used again (fsck, xfs_repair, btrfs check).",
            _BEHIND,
        ),
        "the file system itself says that it found an error",
        "Whether the disk lost data, or the code wrote wrong data, the dump does not tell.",
        "Files on [{device}|{subject}|a disk] may be damaged.",
    ),
    "remounted read-only": Word(
        "The file system on [{device}|{subject}|a disk] was made read-only",
        "the file system on [{device}|{subject}|a disk] let nobody write any more, after an error",
        ("Check that file system before it is used again (fsck).", _BEHIND),
        lost="What programs wanted to write there since then is not written.",
    ),
    "file system frozen": Word(
        "The file system {subject} is frozen",
        "somebody froze the file system {subject}, as backups and snapshots do, and did not thaw it",
        (
            "Thaw it (fsfreeze -u), and look at what froze it: a backup, a snapshot, an agent of the hypervisor.",
        ),
        "the file system says that it is frozen, and threads wait to write to it",
        lost="What programs wanted to write there since then is not written.",
    ),
    "file server silent": Word(
        "The file server {subject} does not answer",
        "the file server {subject} did not answer any more, and everybody who needed its files waited",
        ("Look at the server {subject} and at the network to it.",),
        "the log says that the server did not respond, and never that it did again",
    ),
    "network queue stuck": Word(
        "The network device[ {device}| {subject}] does not send what it was given",
        "the network device[ {device}| {subject}] did not send what it was given any more",
        ("Look at the log for errors of [{device}|{subject}|it], its link and its driver.",),
        "packets lie in its queue, and the queue is stopped",
    ),
    "network stall": Word(
        "The network device[ {device}| {subject}] stopped sending",
        "the network device[ {device}| {subject}] did not send any more",
        ("Look at the log for errors of [{device}|{subject}|it], its link and its driver.",),
        "the kernel's watchdog says that nothing was sent",
    ),
    "hardware error": Word(
        "The hardware reported an error[: {what}]",
        "the processor, the memory or a device reported an error that software cannot repair",
        _HARDWARE,
        "the hardware itself reported it",
    ),
    "machine check": Word(
        "The hardware reported an error[: {what}]",
        "the processor or the memory reported an error of its own",
        _HARDWARE,
    ),
    "memory failure": Word(
        "Faulty memory", "pages of memory were found faulty, and taken out of use", _HARDWARE
    ),
    "corrected hardware error": Word(
        "The hardware repaired errors of its own",
        "the hardware reported errors that it could repair",
        _HARDWARE,
    ),
    "PCIe error": Word(
        "A device reported errors[: {device}|: {subject}]",
        "[the device {device}|the device {subject}|a device] reported errors on its bus (PCIe)",
        ("Look at that card, its slot and its firmware.",),
    ),
    "overheating": Word(
        "A processor ran too hot", "a processor ran too hot", ("Look at its fans and at the air around it.",)
    ),
}
