"""Signatures: what siblings share, and nothing of what is chance: threads, CPUs, disks, containers, releases."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captures import captures, dumps_in
from verdict.cases import made_case

import kernlab
from kernlab.verdict.alike import alike
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
        ("python3 (9)", 9, "python"),
        ("two words: x<y (9)", 9, "two-words-x-y"),
        ("nginx: worker (9)", 9, "nginx-worker"),
        ("kworker/u8:2+flush-259:0 (9)", 9, "kworker"),
        ("jbd2/sda1-8 (9)", 9, "jbd2/sd"),
        ("md127_raid1 (9)", 9, "md_raid"),
        ("kswapd1 (9)", 9, "kswapd"),
        ("sddm (9)", 9, "sddm"),
        ("0 (9)", 9, "*"),
        ("/system.slice/shop.service", None, "/system.slice/shop.service"),
        (f"/docker/{'0123456789ab' * 5}cdef", None, "/docker/*"),
        ("/kubepods/pod8a5bafe3-7f51-4c2e-9a0d-000000000001/x", None, "/kubepods/pod*/x"),
        # A finding of a cgroup may have the pid of whom its limit struck.
        (f"/docker/{'0123456789ab' * 5}cdef", 9, "/docker/*"),
        ("/user.slice/user-1000.slice/session-3.scope", None, "/user.slice/user-*.slice/session-*.scope"),
        (f"/system.slice/run-r{'a1' * 16}.scope", None, "/system.slice/run-r*.scope"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", None, "/machine.slice/machine-qemu-*-vm.scope"),
        ("/lxc/103", None, "/lxc/*"),
        ("/slurm/uid_1000/job_77/step_batch", None, "/slurm/uid_*/job_*/step_batch"),
        ("/system.slice/getty@tty1.service", None, "/system.slice/getty@tty1.service"),
        ("/kubepods.slice/pod8a5bafe3_7f51_4c2…", None, "/kubepods.slice/…"),
        ("/srv/deadbeef/facade", None, "/srv/deadbeef/facade"),
        ("1,234 processes batch-N of /system.slice/x", None, "processes-batch-N-of-/system.slice/x"),
        ("kmalloc-rnd-07-64", None, "kmalloc-64"),
        ("kmalloc-64(123:session.scope)", None, "kmalloc-64"),
        ("mutex 0xffff888003b5e018", None, "mutex-*"),
        ("10.0.0.3", None, "*"),
        ("shop-7d9c5b6f4x-x2x4z", None, "shop-*"),
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
        ("enp3s0f1", "enp"),
        ("veth1a2b3c4", "veth"),
        ("vethabcdef1", "veth"),
        ("br-abcdef012345", "br"),
        ("0000:03:00.0", "*.*"),
    ],
)
def test_a_disk_is_one_of_its_kind(device: str, name: str) -> None:
    assert of_memory("stuck I/O", device, device=device) == f"v1:stuck-i-o:kernel:{name}"


#: What is chance in a name, each of which an id of its own stands in for.
_HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
_UUID = st.uuids().map(str)
_NUMBER = st.integers(0, 10**6).map(str)
MADE = (
    ("/docker/{}/shop", _HEX),
    ("/kubepods.slice/kubepods-pod{}.slice", _UUID.map(lambda uuid: uuid.replace("-", "_"))),
    ("/kubepods/burstable/pod{}/shop", _UUID),
    ("/system.slice/docker-{}.scope", _HEX),
    ("/user.slice/user-{}.slice/shop.service", _NUMBER),
    ("/system.slice/run-u{}.scope", _NUMBER),
    ("shop/{}:1", _NUMBER),
    ("shop-{}", _NUMBER),
    ("lock 0x{}", _HEX.map(lambda digits: digits[:16])),
)


@given(st.sampled_from(MADE), st.data())
@settings(max_examples=60, deadline=None)
def test_another_id_is_the_same_and_another_name_another(made: tuple[str, Any], data: st.DataObject) -> None:
    pattern, ids = made
    pid = 9 if pattern.startswith("shop") else None

    def signed(name: str) -> str:
        subject = name if pid is None else f"{name} ({pid})"
        return alike(Finding("stuck I/O", subject, 0.9, (), "", pid=pid))

    one, other = (pattern.format(data.draw(ids)) for _ in range(2))
    assert signed(one) == signed(other)
    renamed = one
    for was, now in (
        ("shop", "till"),
        ("docker", "podman"),
        ("kubepods", "pods"),
        ("-u", "-made"),
        ("lock", "door"),
    ):
        renamed = renamed.replace(was, now)
    assert signed(renamed) != signed(one)


STORIES = (
    "deadlock-verdict",
    "hung-verdict",
    "fault-double-free",
    "fault-list",
    "fault-null",
    "fault-rcu",
    "fault-redzone",
    "fault-softirq-spin",
    "fault-softlock",
    "fault-stack",
    "fault-use-after-free-checked",
    "fault-workqueue",
    "leak-kmalloc",
    "leak-percpu",
    "leak-vmalloc",
    "memcg-panic",
    "stuck",
)


@pytest.mark.long
@pytest.mark.parametrize("story", STORIES)
def test_one_story_is_signed_alike_on_all_kernels(story: str) -> None:
    """On each release by the dump, and by the log that was saved with it.

    Where a disk is stuck, a log alone has but the thread that hung first, which is whoever was unlucky.
    """
    signed: dict[str, set[str]] = {"dump": set(), "log": set()}
    folders = captures(f"{story}-*")
    if len(folders) < 2:
        pytest.skip(f"fewer than two captures of {story}: KERNLAB_LAB_CAPTURES")
    for folder in folders:
        with kernlab.open(dumps_in(folder)[0]) as dump:
            signed["dump"].add(dump.signature)
        log = (folder / "vmcore-dmesg.txt").read_text("utf-8", "backslashreplace")
        signed["log"].add(story if story == "stuck" else kernlab.verdict.of_log(log).attrs["signature"])
    assert [len(each) for each in signed.values()] == [1, 1], signed
