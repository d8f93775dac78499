"""Signatures are the same over releases, builds and CPUs, and for stacks of a dump."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oops import logs
from support.captures import captures

from kernlab.oops import parse, signature, stack_signature
from kernlab.oops.frames import Frame
from kernlab.oops.functions import normal, telling


def of(log: str) -> str:
    return str(parse(log)["signature"][0])


def test_two_releases_and_two_cpus_give_one_signature():
    old, new = of(logs.NULL_OLD), of(logs.NULL_WRITE)
    # 4.9 had no proc_reg_write in its stack, and called the system call by another name.
    assert signature(old, coarse=True) == signature(new, coarse=True) == "v1:null-dereference:shop:shop_total"
    assert of(logs.NULL_WRITE.replace("CPU: 3", "CPU: 0")) == new
    assert of(re.sub(r"\+0x\w+/0x\w+", "+0x99/0x100", logs.NULL_WRITE)) == new
    assert of(logs.NULL_WRITE.replace("shop_total.isra.0", "shop_total.constprop.7")) == new


def test_a_coarse_one_is_how_a_fine_one_begins():
    for log, *_ in logs.ALL.values():
        report = parse(log).iloc[0]
        fine, coarse = signature(report), signature(report, coarse=True)
        assert fine.startswith(coarse)
        assert re.fullmatch(r"v1:[a-z-]+:[\w-]+:[\w<]+", fine), fine


def test_a_stack_of_a_dump_has_the_signature_of_its_log():
    frames = [
        ("__schedule", None),
        ("schedule", ""),
        ("__mutex_lock.constprop.0", None),
        ("shop_order", "shop"),
    ]
    dump = stack_signature("hung task", [*frames, ("shop_write", "shop"), ("vfs_write", None)])
    assert dump == of(logs.HUNG)
    assert stack_signature("hung task", parse(logs.HUNG)["frames"][0]) == of(logs.HUNG)
    assert stack_signature("hung task", frames, coarse=True) == "v1:hung-task:shop:shop_order"
    assert stack_signature("I/O error", []) == "v1:i-o-error:kernel:-"


#: What releases, builds and machines make of the same report, as (pattern, what it becomes).
CHANGES: dict[str, tuple[str, Callable[[Callable[[int, int], int]], str]]] = {
    "offsets": (r"\+0x\w+/0x\w+", lambda draw: f"+0x{draw(1, 0xFFF):x}/0x{draw(0x1000, 0xFFFF):x}"),
    "CPUs": (r"(?<=CPU[:#])( ?)\d+", lambda draw: f" {draw(0, 4095)}"),
    "pids": (r"(?<=PID: )\d+|(?<=by task )\d+", lambda draw: str(draw(1, 10**6))),
    "addresses": (r"\bffff[0-9a-f]{12}\b", lambda draw: f"ffff{draw(0, (1 << 48) - 1):012x}"),
    "builds": (r"(?<=\[shop)(?=\])", lambda draw: f" {draw(0, (1 << 128) - 1):032x}"),
    "releases": (r"\b\d+\.\d+\.\d+(?:-test|-56-test)?(?= #)", lambda draw: f"{draw(4, 9)}.{draw(0, 30)}.1-a"),
    "clones": (
        r"(?<=shop_)(\w+)(?:\.\w+\.\d)?(?=\+0x)",
        lambda draw: (
            r"\1" + (".constprop.7", ".isra.0", ".cold", ".part.3.isra.1", ".llvm.77", "")[draw(0, 5)]
        ),
    ),
    "seconds": (r"(?<=stuck for )\d+(?=s)|(?<=more than )\d+(?= seconds)", lambda draw: str(draw(1, 9999))),
}


@given(st.sampled_from(sorted(logs.ALL)), st.sets(st.sampled_from(sorted(CHANGES)), min_size=1), st.data())
@settings(max_examples=50, deadline=None)
def test_what_differs_by_chance_is_not_in_a_signature(name, changes, data):
    log, _, _, function, module = logs.ALL[name]
    signed = of(log)
    changed = log
    for each in sorted(changes):
        pattern, become = CHANGES[each]
        new = become(lambda low, high: data.draw(st.integers(low, high)))
        changed = re.sub(pattern, new, changed)
    assert of(changed) == signed
    # Another function, and another module, is another trouble.
    assert of(re.sub(rf"\b{function}\b", "some_other_function", changed)) != signed
    assert of(changed.replace(f"[{module}", "[other")) != signed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("foo.cold", "foo"),
        ("__x64_sys_read.isra.0", "sys_read"),
        ("foo.part.0.isra.12", "foo"),
        ("foo.llvm.1234567890", "foo"),
        ("kmalloc_noprof", "kmalloc"),
        ("__ia32_compat_sys_ioctl", "sys_ioctl"),
        ("__arm64_sys_read", "sys_read"),
        ("compat_SyS_mount", "sys_mount"),
        ("synchronize_rcu_expedited", "synchronize_rcu"),
        ("my_sys_read", "my_sys_read"),
        ("bpf_prog_6deef7357e7b4530_shop_filter", "bpf_prog_shop_filter"),
        ("bpf_prog_6deef7357e7b4530", "bpf_prog"),
        ("bpf_trampoline_6442536467_0", "bpf_trampoline"),
        ("bpf_prog_run", "bpf_prog_run"),
    ],
)
def test_names_of_all_releases(name, expected):
    assert normal(name) == expected


def test_where_all_is_boilerplate_something_is_told():
    assert [frame.name for frame in telling([Frame("panic"), Frame("mutex_lock")])] == ["mutex_lock"]
    assert [frame.name for frame in telling([Frame("panic")])] == ["panic"]
    assert telling([]) == []


@pytest.mark.parametrize(
    ("story", "kind", "expected"),
    [
        ("fault-null", "null dereference", "v1:null-dereference:kernlab_mill:stone_weigh"),
        ("fault-list", "list corruption", "v1:list-corruption:kernlab_mill:queue_leave"),
        (
            "fault-use-after-free-checked",
            "general protection",
            "v1:general-protection:kernlab_mill:job_finish",
        ),
        ("fault-redzone", "panic", "v1:panic:kernlab_mill:job_label"),
        ("readonly", "file system error", "v1:file-system-error:kernel:htree_dirblock_to_tree"),
    ],
)
def test_logs_of_one_story_on_all_kernels_have_one_coarse_signature(story, kind, expected):
    told = [path for folder in captures(f"{story}-*") if (path := folder / "vmcore-dmesg.txt").is_file()]
    if len(told) < 2:
        pytest.skip(f"fewer than two logs of {story}: KERNLAB_LAB_CAPTURES")
    for path in told:
        reports = parse(path.read_text("utf-8", "backslashreplace"))
        first = reports[reports["kind"] == kind].iloc[0]
        assert signature(first, coarse=True) == expected, path.parent.name
