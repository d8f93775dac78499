"""Names of containers in paths of cgroups; the kernel's arithmetic of CPU times and averages, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.linux.containers.cgroups import in_tree
from kernlab.linux.containers.container_names import container_name
from kernlab.linux.containers.cpu_stat import adjusted
from kernlab.linux.containers.pressure import DECAYS, faded, load

ID = "0123456789abcdef" * 4
POD = "kubepods-burstable-pod1f2e3d4c_aaaa_bbbb_cccc_0123456789ab.slice"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/system.slice/docker-{ID}.scope", "docker:0123456789ab"),
        (f"/system.slice/docker-{ID}.scope/init.scope", "docker:0123456789ab"),
        (f"/docker/{ID}", "docker:0123456789ab"),
        (f"/docker/{ID} (deleted)", "docker:0123456789ab"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman:0123456789ab"),
        (f"/libpod_parent/libpod-{ID}", "podman:0123456789ab"),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
            "podman:0123456789ab",
        ),
        (f"/kubepods.slice/kubepods-burstable.slice/{POD}/crio-{ID}.scope", "crio:0123456789ab"),
        (f"/kubepods.slice/{POD}/cri-containerd-{ID}.scope", "containerd:0123456789ab"),
        (f"/kubepods/besteffort/pod1f2e3d4c-aaaa-bbbb-cccc-0123456789ab/{ID}", "kubernetes:0123456789ab"),
        # A container in a container is the inner one.
        (f"/kubepods/pod1f2e3d4c-aaaa/{ID}/docker/{ID[::-1]}", "docker:fedcba987654"),
        (f"/ecs/tasks/{ID}", "ecs:0123456789ab"),
        (f"/default/{ID}", "container:0123456789ab"),
        ("/lxc/mail", "lxc:mail"),
        ("/lxc.payload.mail/system.slice/cron.service", "lxc:mail"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", "machine:qemu-1-web"),
        ("/machine.slice/systemd-nspawn@box.service/payload", "machine:box"),
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.socket", "user@1000.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/system.slice/dev-disk\\x2dby.swap", "dev-disk-by.swap"),
        ("/init.scope", "init.scope"),
        # What is no container's: its monitor, short hexadecimal names, slices alone.
        (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope"),
        ("/system.slice/docker-0a1b.service", "docker-0a1b.service"),
        ("/lxc.monitor.mail", None),
        ("/docker/0123456789ab", None),
        ("/system.slice", None),
        ("/", None),
        ("", None),
    ],
)
def test_name_of_a_path(path: str, expected: str | None) -> None:
    found = container_name(path)
    assert (found and found[0]) == expected
    if found:
        assert found[1] == (":" in found[0])


@given(st.text(max_size=80))
def test_any_path_has_a_name_or_none(path: str) -> None:
    found = container_name(path)
    assert found is None or found[0]


def slowly(usage: int, user: int, system: int, shown_user: int, shown_system: int) -> tuple[int, int]:
    """kernel/sched/cputime.c, cputime_adjust, line by line: (user, system)."""
    if shown_system + shown_user >= usage:
        return shown_user, shown_system
    if system == 0:
        stime, utime = 0, usage
    elif user == 0:
        stime = usage
    else:
        stime = system * usage // (system + user)
    stime = max(stime, shown_system)
    utime = usage - stime
    if utime < shown_user:
        utime = shown_user
        stime = usage - utime
    return utime, stime


TIME = st.integers(0, 1 << 55)


@given(st.lists(st.tuples(TIME, TIME, TIME, TIME, TIME), min_size=1, max_size=5))
def test_user_and_system_time_are_adjusted_as_the_kernel_does(rows: list[tuple[int, ...]]) -> None:
    numbers = np.array(rows, dtype=np.int64)
    found = adjusted(numbers[:, :3], numbers[:, 3], numbers[:, 4])
    assert [tuple(row) for row in found[:, 1:].tolist()] == [slowly(*row) for row in rows]
    assert found[:, 0].tolist() == numbers[:, 0].tolist()


@pytest.mark.parametrize(("decay", "seconds"), list(zip(DECAYS, (10, 60, 300), strict=True)))
def test_averages_fade_as_they_are_called(decay: int, seconds: int) -> None:
    """A period is 2 s: after n of them e^(-2n/seconds) is left."""
    for periods in (1, 5, 30):
        left = int(faded(np.array([2048 * 100]), decay, np.array([periods]))[0]) / 2048
        # The kernel's numbers have 11 bits behind the point, and lose some of them each period.
        assert left == pytest.approx(100 * math.exp(-2 * periods / seconds), abs=0.05 * periods + 0.1)
    # What goes on at 40 % comes to 40 %.
    average = np.array([0])
    for _ in range(20 * seconds):
        average = load(average, decay, np.array([40 * 2048]))
    assert average[0] / 2048 == pytest.approx(40, abs=0.6)


@given(st.lists(st.integers(0, 20), max_size=30))
def test_a_tree_is_in_the_order_of_one_who_walks_it(above: list[int]) -> None:
    """Each row behind the one above it, all below it together, the least number first; roots as they come."""
    # Row 0 is a root; each other hangs on one before it, or is a root itself.
    parent = [-1] + [-1 if up % 7 == 6 else up % (row + 1) for row, up in enumerate(above)]
    level = [0] * len(parent)
    for row, up in enumerate(parent):
        level[row] = 0 if up < 0 else level[up] + 1
    number = [(row * 7919) % 31 for row in range(len(parent))]
    expected: list[int] = []

    def walk(row: int) -> None:
        expected.append(row)
        for child in sorted(
            (each for each in range(len(parent)) if parent[each] == row), key=number.__getitem__
        ):
            walk(child)

    for row, up in enumerate(parent):
        if up < 0:
            walk(row)
    found = in_tree(np.array(parent), np.array(level), np.array(number, dtype=np.uint64))
    assert found.tolist() == expected
