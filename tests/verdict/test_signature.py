"""Signatures: what siblings share, and nothing of what is chance: threads, CPUs, disks, containers, releases."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from support.captures import captures, dumps_in
from verdict.cases import made_case

import kernlab
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.signature import signature

HUNG = (
    "[   50.000000] INFO: task sweep:195 blocked for more than 10 seconds.\n"
    "[   50.000001] Kernel panic - not syncing: hung_task: blocked tasks\n"
)
OOM = (
    "[   50.000000] a invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0\n"
    "[   50.000001] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled\n"
)
#: Who waits, with the function that took the lock, as three releases print its frames.
STACKS = {
    7: ("__schedule", "schedule", "__mutex_lock.constprop.0", "shop_pay.isra.0", "ksys_write"),
    8: ("__schedule", "schedule", "__mutex_lock", "shop_refund", "__x64_sys_write"),
    9: ("__schedule", "schedule_preempt_disabled", "mutex_lock", "shop_audit.cold", "vfs_write"),
}


def circle(order: tuple[int, ...]) -> str:
    """The signature of a deadlock of three, told from any of them."""
    case = made_case(
        HUNG,
        waits=[{"pid": pid, "comm": "till", "type": "mutex", "state": "D"} for pid in order],
        stacks=[
            {
                "pid": pid,
                "frame": place,
                "symbol": f"{name}+0x{place + 1:x}/0x40{' [shop]' if name.startswith('shop') else ''}",
                "reliable": True,
            }
            for pid in order
            for place, name in enumerate(STACKS[pid])
        ],
    )
    rows = tuple(range(len(order)))
    found = Finding("deadlock", "x", 0.97, (Evidence("waits", "x", rows),), "", pid=order[0], role="cause")
    return signature(case, [found])


def test_a_circle_has_no_first_thread() -> None:
    assert {circle(order) for order in permutations(STACKS)} == {
        "v1:deadlock:shop:shop_audit<shop_pay<shop_refund"
    }


def of_memory(finding: str, subject: str, **more: Any) -> str:
    found = Finding(finding, subject, 0.9, (Evidence("log", "x", (0,)),), "", role="cause", **more)
    return signature(made_case(OOM), [found])


@pytest.mark.parametrize(
    ("subject", "pid", "name"),
    [
        ("reporting (124)", 124, "reporting"),
        ("worker/3:1 (9)", 9, "worker"),
        ("sender-17 (9)", 9, "sender"),
        ("python3 (9)", 9, "python3"),
        ("two words: x<y (9)", 9, "two-words-x-y"),
        ("/system.slice/shop.service", None, "/system.slice/shop.service"),
        (f"/docker/{'0123456789ab' * 5}cdef", None, "/docker/*"),
        ("/kubepods/pod8a5bafe3-7f51-4c2e-9a0d-000000000001/x", None, "/kubepods/pod*/x"),
    ],
)
def test_a_name_has_nothing_that_is_chance(subject: str, pid: int | None, name: str) -> None:
    assert (
        of_memory("process took the memory", subject, pid=pid) == f"v1:process-took-the-memory:kernel:{name}"
    )


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("sda", "sd"),
        ("sdab3", "sd"),
        ("vdb", "vd"),
        ("nvme1n1p2", "nvme"),
        ("dm-0", "dm"),
        ("nullb0", "nullb"),
    ],
)
def test_a_disk_is_one_of_its_kind(device: str, name: str) -> None:
    assert of_memory("stuck I/O", device, device=device) == f"v1:stuck-i-o:kernel:{name}"


@pytest.mark.long
@pytest.mark.parametrize(
    "story", ["deadlock", "hung", "fault-null", "fault-use-after-free-checked", "fault-list", "leak-vmalloc"]
)
def test_one_story_is_signed_alike_on_all_kernels(story: str) -> None:
    signed = {}
    for folder in captures(f"{story}-*"):
        with kernlab.open(dumps_in(folder)[0]) as dump:
            signed[folder.name] = dump.signature
    if len(signed) < 2:
        pytest.skip(f"fewer than two captures of {story}: KERNLAB_LAB_CAPTURES")
    assert len(set(signed.values())) == 1, signed
