"""What a task's own functions tell of its wait."""

from __future__ import annotations

import pytest

from kernlab.linux.locks.told import _told


@pytest.mark.parametrize(
    "name", ["sys_pause", "__x64_sys_pause", "__do_sys_pause", "__se_sys_pause", "__arm64_sys_pause"]
)
def test_a_system_call_is_known_by_each_of_its_names(name):
    assert _told(1, ["schedule", name, "do_syscall_64"]) == ("signal", "a signal")


def test_another_function_of_a_like_name_is_none():
    assert _told(1, ["schedule", "my__do_sys_pause", "do_syscall_64"]) is None
