"""The line of a log that names what the machine died of: as kernels word it, and on 560 logs of real crashes."""

from __future__ import annotations

import re
import tarfile

import pandas as pd
import pytest
from conftest import DUMPS

from kernlab.tables.system import info
from kernlab.tables.system.last_report import last_report
from kernlab.tables.system.last_words import panic_message

CUT = "------------[ cut here ]------------"
END = "---[ end trace 0000000000000000 ]---"
LIST = "list_del corruption. prev->next should be ffff888100000010, but was dead000000000100. (prev=ffff888100000020)"
DEREFERENCE = "BUG: kernel NULL pointer dereference, address: 0000000000000010"
PANIC = "Kernel panic - not syncing: "


def said(*lines: str | None) -> str | None:
    return panic_message(pd.Series(["boot", *lines, "end"], dtype="str"))


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        # A trap has its cause before it.
        (
            [
                DEREFERENCE,
                "#PF: supervisor write access in kernel mode",
                "PGD 0 P4D 0",
                "Oops: Oops: 0002 [#1] SMP",
            ],
            0,
        ),
        ([CUT, "kernel BUG at mm/slub.c:431!", "invalid opcode: 0000 [#1] PREEMPT SMP PTI"], 1),
        ([LIST, CUT, "kernel BUG at lib/list_debug.c:59!", "Oops: invalid opcode: 0000 [#1] SMP"], 0),
        (
            [
                "Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP",
                "KASAN: maybe",
            ],
            0,
        ),
        (["Oops: 0000 [#1]"], 0),
        (["divide_error: 0000 [#1] SMP"], 0),
        (
            [
                "Unable to handle kernel paging request at virtual address 1",
                *["ESR"] * 12,
                "Internal error: Oops: 4 [#1]",
            ],
            0,
        ),
        # A panic has its own reason, or follows from what stands above.
        (["BUG: unable to handle page fault", END, f"{PANIC}Out of memory: compulsory", f"{PANIC}2nd"], 2),
        ([DEREFERENCE, "Oops: 0000 [#1]", END, "RIP: f", f"{PANIC}Fatal exception in interrupt"], 0),
        ([CUT, "WARNING: CPU: 1 PID: 2 at a.c:3 f+0x0/0x0", END, f"{PANIC}panic_on_warn set ..."], 1),
        (["PANIC: double fault, error_code: 0x0", f"{PANIC}Machine halted."], 0),
        ([f"{PANIC}Fatal exception"], 0),
        ([DEREFERENCE, "Oops: 0000 [#1]", END, f"{PANIC}Attempted to kill init! exitcode=0x0000000b"], 0),
        (
            [
                DEREFERENCE,
                "Oops: 0000 [#1]",
                END,
                *["later"] * 300,
                f"{PANIC}Attempted to kill init! exitcode=0x00000100",
            ],
            -1,
        ),
        # What the machine outlived is not what it died of.
        ([CUT, "WARNING: old", END, "sysrq: Trigger a crash"], 3),
        (
            [
                DEREFERENCE,
                "Oops: 0000 [#1]",
                END,
                "list_add corruption. next->prev",
                "BUG: unable to handle page",
                "Oops: 0 [#2]",
            ],
            4,
        ),
        (
            [
                CUT,
                "kernel BUG at a.c:1!",
                "invalid opcode: 0000 [#1] SMP",
                END,
                CUT,
                "kernel BUG at b.c:2!",
                "invalid opcode: 0000 [#2] SMP",
            ],
            5,
        ),
        # What breaks while a report is printed belongs to it.
        (
            [
                DEREFERENCE,
                "Oops: 0000 [#1]",
                "Call Trace:",
                "BUG: unable to handle page fault",
                "Oops: 0000 [#2]",
            ],
            0,
        ),
    ],
)
def test_the_first_line_of_the_last_report(lines, cause):
    assert said(*lines) == lines[cause]


def test_without_a_cause_there_is_none():
    assert said(None, "a BUG: in the middle") is None
    assert said(CUT, "WARNING: CPU: 1 PID: 2 at a.c:3 f+0x0/0x0", END) is None
    assert panic_message(pd.Series([], dtype="str")) is None


def test_only_the_first_line_of_a_record_counts():
    assert (
        said("BUG: unable to handle page fault\nfor address", "Oops: 0002 [#1]")
        == "BUG: unable to handle page fault"
    )


# What syzkaller calls a crash, and how its line may read. A kernel whose log breaks off says less.
KINDS = {
    "kernel BUG": r"kernel BUG at |usercopy: |.*dumped because: |(?:skbuff: )?skb_(?:over|under)_panic",
    "BUG: corrupted list": r"list_(?:add|del)|kernel BUG at lib/list_debug",
    "BUG: bad usercopy": r"usercopy: ",
    "BUG: unable to handle kernel paging request": r".*(?:paging request|page fault for address)",
    "BUG: unable to handle kernel NULL pointer dereference": r".*NULL pointer dereference",
    "general protection fault": r".*general protection fault",
    "divide error": r"divide.error",
    "stack segment fault": r"stack segment",
    "PANIC: double fault": r"PANIC: double fault",
    "BUG: stack guard page": r"BUG: .*stack guard page",
    "BUG: Bad page": r"BUG: Bad page",
    "KASAN: ": r".*KASAN",
    "Internal error": r"Internal error",
    "Unhandled fault": r"Unhandled fault",
    "kernel panic: ": re.escape(PANIC),
}
# A console's lines may begin with its prompt.
PREFIX = re.compile(r"(?:syzkaller login: |<\d+>)?\s*(?:\[\s*\d+\.\d+\]\s*)?(?:\[\s*[TC]\d+\]\s*)?(?:<\d+>)?")


def test_logs_of_real_crashes_give_the_line_that_their_title_is_made_of():
    archive = DUMPS.parent / "data" / "oops.tar.xz"
    if not archive.is_file():
        pytest.skip(f"the logs of real crashes are not on this machine: expected in {archive}")
    logs, missed = 0, []
    with tarfile.open(archive, "r:xz") as files:
        for member in filter(tarfile.TarInfo.isfile, files):
            head, _, body = (
                files.extractfile(member).read().decode("utf-8", "backslashreplace").partition("\n\n")
            )
            title = re.search(r"^TITLE: (.*)", head, re.MULTILINE)
            kind = next((kind for kind in KINDS if title and title[1].startswith(kind)), None)
            if kind is None:
                continue
            texts = pd.Series(
                [PREFIX.sub("", line, count=1).strip("\r") for line in body.split("\n")], dtype="str"
            )
            logs += 1
            if not re.match(KINDS[kind], panic_message(texts) or ""):
                missed.append((title[1], panic_message(texts)))
    # Of the rest two are cut in the middle of their line, and one machine died of something else afterwards.
    assert len(missed) <= 3, missed


def test_what_a_program_wrote_into_the_log_is_not_what_the_machine_died_of(opened, monkeypatch):
    """/dev/kmsg takes any words, but none for the kernel's own."""
    dump = opened("oops")
    log = dump.log.copy()
    fake = log.iloc[[-1]].assign(text=f"{PANIC}the disk is fine", facility=1)
    early = fake.assign(timestamp=log["timestamp"].iloc[9])
    more = pd.concat([log.iloc[:10], early, log.iloc[10:], fake], ignore_index=True)
    more.attrs = log.attrs
    first, end = last_report(log)
    assert last_report(more) == (first + 1, end + 2)
    monkeypatch.setattr(info, "log", lambda kernel: more)
    assert info._last_words(dump.kernel) == dump.info["panic_message"]
