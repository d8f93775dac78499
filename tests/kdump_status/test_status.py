"""`capture status` on recorded guests: armed, unarmed, too small, in the crash kernel; and what else can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kdump_status.status_trees import tree

from kernlab.errors import KernlabError
from kernlab.kdump_status.report import Check, Report
from kernlab.kdump_status.root import Root
from kernlab.kdump_status.status import status

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def check(report: Report, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def fails(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.state == "fail"}


def test_an_armed_guest_is_armed(tmp_path: Path) -> None:
    report = status(tree("armed", tmp_path))
    assert report.armed
    assert not report.inside
    assert fails(report) == set()
    assert check(report, "crashkernel").found == "192.0 MiB reserved by crashkernel=192M"
    assert check(report, "loaded").state == "ok"
    # The command line that kdump-config gave to kexec.
    assert "nr_cpus=1 irqpoll" in check(report, "crash_cmdline").found
    assert check(report, "crash_cmdline").state == "ok"
    assert check(report, "target").state == "ok"
    assert "122.1 MiB" in check(report, "target").wanted
    assert "makedumpfile --mem-usage" in check(report, "target").wanted
    # Debian's 1.7.2 says of itself that it knows kernels up to 6.0; it loses nothing of 6.1.
    assert check(report, "makedumpfile").state == "note"
    assert report.verdict.startswith("armed")


def test_a_guest_without_crash_memory_is_not(tmp_path: Path) -> None:
    report = status(tree("unarmed", tmp_path))
    assert not report.armed
    assert fails(report) == {"crashkernel", "loaded"}
    assert "no crashkernel=" in check(report, "crashkernel").found
    assert "crashkernel=128M" in check(report, "crashkernel").remedy
    assert check(report, "loaded").remedy == "reserve crash memory first"


def test_a_guest_whose_crash_memory_is_too_small_to_load_is_not(tmp_path: Path) -> None:
    report = status(tree("too-small", tmp_path))
    assert fails(report) == {"crashkernel", "loaded"}
    assert "56.0 MiB reserved" in check(report, "crashkernel").found
    assert "too small" in check(report, "crashkernel").found


def test_a_crash_kernel_that_loads_but_would_fail_is_told(tmp_path: Path) -> None:
    # This guest's kernel said "loaded"; after its crash the crash kernel ran out of memory.
    report = status(tree("loaded-too-small", tmp_path))
    assert check(report, "loaded").state == "ok"
    assert fails(report) == {"crashkernel"}
    assert not report.armed


def test_a_large_initramfs_with_enough_memory_is_armed(tmp_path: Path) -> None:
    assert status(tree("large-initramfs", tmp_path)).armed


def test_the_crash_kernel_itself(tmp_path: Path) -> None:
    report = status(tree("inside", tmp_path))
    assert report.inside
    assert not report.armed
    assert "871.7 MiB" in check(report, "inside").found
    assert "reset_devices" in check(report, "crash_cmdline").found
    assert check(report, "target").state == "note"
    assert {"crashkernel", "service", "kernel.panic_on_oops"}.isdisjoint(
        check.name for check in report.checks
    )


def test_a_crash_kernel_without_a_vmcore_can_save_nothing(tmp_path: Path) -> None:
    report = status(tree("inside", tmp_path, sizes={}))
    assert report.inside
    assert check(report, "inside").state == "fail"


def test_lockdown_is_in_the_way_of_loading(tmp_path: Path) -> None:
    # kexec_load was refused in this guest ("Kernel is locked down from command line").
    report = status(tree("lockdown", tmp_path))
    assert fails(report) == {"loaded"}
    assert check(report, "lockdown").state == "warn"
    assert 'KDUMP_KEXEC_ARGS="-s"' in check(report, "lockdown").remedy


def test_lockdown_is_no_matter_once_the_kernel_is_loaded(tmp_path: Path) -> None:
    locked = "none [integrity] confidentiality\n"
    report = status(
        tree("armed", tmp_path, {"/sys/kernel/security/lockdown": locked, SECURE_BOOT: b"\x06\0\0\0\x01"})
    )
    assert report.armed
    assert check(report, "lockdown").found == "lockdown integrity, Secure Boot on"


def test_an_iommu_in_use_is_seen(tmp_path: Path) -> None:
    report = status(tree("iommu", tmp_path))
    assert report.armed
    assert check(report, "iommu").found == "1 in use (dmar0), intel_iommu=on"
    assert check(report, "iommu").state == "ok"


def test_an_iommu_that_the_crash_kernel_turns_off_is_warned_of(tmp_path: Path) -> None:
    command = "/sbin/kexec -p --command-line='reset_devices nr_cpus=1 irqpoll intel_iommu=off' /boot/vmlinuz"
    report = status(tree("iommu", tmp_path, {"/var/crash/kexec_cmd": command}))
    assert check(report, "iommu").state == "warn"
    assert "intel_iommu=off" in check(report, "iommu").remedy


@pytest.mark.parametrize(
    ("cmdline", "words"),
    [
        ("crashkernel=auto", "auto is known to"),
        ("crashkernel=2G-4G:256M", "gives a machine with 1023.5 MiB nothing"),
        ("crashkernel=512M@16M", "asks for 512.0 MiB"),
        ("crashkernel=64M,low", "reserves nothing without"),
    ],
)
def test_why_nothing_is_reserved(tmp_path: Path, cmdline: str, words: str) -> None:
    report = status(tree("unarmed", tmp_path, {"/proc/cmdline": f"console=ttyS0 {cmdline}\n"}))
    assert "none reserved" in check(report, "crashkernel").found
    assert words in check(report, "crashkernel").found


def test_a_kernel_without_crash_dumps(tmp_path: Path) -> None:
    gone = {"/sys/kernel/kexec_crash_size": None, "/sys/kernel/kexec_crash_loaded": None}
    report = status(tree("unarmed", tmp_path, gone))
    assert "CONFIG_CRASH_DUMP" in check(report, "crashkernel").remedy


def test_the_newer_folder_of_sys_is_read(tmp_path: Path) -> None:
    moved = {
        "/sys/kernel/kexec_crash_size": None,
        "/sys/kernel/kexec_crash_loaded": None,
        "/sys/kernel/kexec/crash_size": "201326592\n",
        "/sys/kernel/kexec/crash_loaded": "1\n",
    }
    assert status(tree("armed", tmp_path, moved)).armed


def test_kexec_load_disabled_needs_a_reboot(tmp_path: Path) -> None:
    changes = {"/sys/kernel/kexec_crash_loaded": "0\n", "/proc/sys/kernel/kexec_load_disabled": "1\n"}
    report = status(tree("armed", tmp_path, changes))
    assert fails(report) == {"loaded"}
    assert check(report, "loaded").remedy.startswith("reboot")


def test_a_service_that_is_switched_off(tmp_path: Path) -> None:
    changes = {"/etc/default/kdump-tools": "USE_KDUMP=0\n", "/sys/kernel/kexec_crash_loaded": "0\n"}
    report = status(tree("armed", tmp_path, changes))
    assert {"service", "loaded"} <= fails(report)
    assert "USE_KDUMP" in check(report, "service").found


def test_no_service_at_all(tmp_path: Path) -> None:
    report = status(tree("unarmed", tmp_path, {"/etc/default/kdump-tools": None}))
    assert "service" in fails(report)
    # A crash kernel that somebody loaded by hand may do what it should: that is not known.
    other = tmp_path / "other"
    report = status(tree("armed", other, {"/etc/default/kdump-tools": None}))
    assert check(report, "service").state == "warn"


def test_a_service_that_does_not_start_at_boot(tmp_path: Path) -> None:
    wants = "/etc/systemd/system/multi-user.target.wants/"
    off = status(tree("armed", tmp_path / "off", {f"{wants}cron.service": ""}))
    assert check(off, "service").state == "warn"
    on = status(tree("armed", tmp_path / "on", {f"{wants}kdump-tools.service": ""}))
    assert check(on, "service").state == "ok"


@pytest.mark.parametrize(("free", "state"), [(132 << 20, "ok"), (60 << 20, "warn"), (20 << 20, "fail")])
def test_room_for_the_dump(tmp_path: Path, free: int, state: str) -> None:
    report = status(tree("armed", tmp_path, free={"/var/crash": free}))
    assert check(report, "target").state == state
    assert report.armed == (state != "fail")


def test_room_is_judged_by_meminfo_where_makedumpfile_does_not_run(tmp_path: Path) -> None:
    report = status(tree("armed", tmp_path, programs={}))
    assert "/proc/meminfo" in check(report, "target").wanted
    assert check(report, "makedumpfile").state == "warn"


def test_a_remote_target_is_not_looked_at(tmp_path: Path) -> None:
    given = 'USE_KDUMP=1\nSSH="kdump@collector"\n'
    report = status(tree("armed", tmp_path, {"/etc/default/kdump-tools": given}))
    assert check(report, "target").state == "note"
    assert "SSH kdump@collector" in check(report, "target").found


@pytest.mark.parametrize(
    ("version", "release", "state", "level"),
    [
        ("1.7.2", "5.10.0-30-amd64", "ok", ""),
        ("1.7.2", "6.1.0-53-amd64", "note", ""),
        ("1.7.2", "6.12.30-amd64", "warn", "-d 23"),
        ("1.7.5", "6.10.1", "warn", "-d 23"),
        ("1.7.6", "6.11.2", "ok", ""),
        ("1.7.6", "6.12.0", "warn", "-d 23"),
        ("1.7.7", "6.12.0", "ok", ""),
        ("1.7.9", "7.0.3", "ok", ""),
        ("1.7.9", "7.2.13-cloud-amd64", "warn", "-d 23"),
        ("1.8.0", "7.2.13-cloud-amd64", "note", ""),
    ],
)
def test_a_makedumpfile_older_than_the_kernel(
    tmp_path: Path, version: str, release: str, state: str, level: str
) -> None:
    programs = {"makedumpfile -v": f"makedumpfile: version {version} (released on some day)\n"}
    report = status(
        tree("armed", tmp_path, {"/proc/sys/kernel/osrelease": f"{release}\n"}, programs=programs)
    )
    assert check(report, "makedumpfile").state == state
    assert level in check(report, "makedumpfile").remedy


def test_a_level_that_keeps_user_data_loses_no_kernel_pages(tmp_path: Path) -> None:
    programs = {"makedumpfile -v": "makedumpfile: version 1.7.2\n"}
    changes: dict[str, Any] = {
        "/proc/sys/kernel/osrelease": "6.12.30\n",
        "/etc/default/kdump-tools": 'USE_KDUMP=1\nMAKEDUMP_ARGS="-c -d 23"\n',
    }
    assert check(status(tree("armed", tmp_path, changes, programs=programs)), "makedumpfile").state == "note"


def test_sysctls_that_lead_to_a_dump(tmp_path: Path) -> None:
    changes = {
        "/proc/sys/kernel/panic_on_oops": "1\n",
        "/proc/sys/kernel/sysrq": "1\n",
        "/proc/sys/kernel/hung_task_panic": "1\n",
        "/proc/sys/kernel/panic": "0\n",
        "/proc/sys/kernel/panic_on_warn": "1\n",
        "/sys/module/kernel/parameters/crash_kexec_post_notifiers": "Y\n",
    }
    report = status(tree("armed", tmp_path, changes))
    states = {check.name: check.state for check in report.checks}
    assert (
        states["kernel.panic_on_oops"] == states["kernel.sysrq"] == states["kernel.hung_task_panic"] == "ok"
    )
    assert states["kernel.panic"] == states["kernel.panic_on_warn"] == "note"
    assert states["crash_kexec_post_notifiers"] == "note"
    assert check(report, "kernel.panic_on_warn").remedy == "sysctl -w kernel.panic_on_warn=0"
    # 438, Debian's: without the bit for dumps.
    before = status(tree("armed", tmp_path / "before"))
    assert check(before, "kernel.sysrq").remedy == "sysctl -w kernel.sysrq=446"
    assert check(before, "kernel.panic_on_oops").state == "warn"


def test_a_crash_command_line_that_lacks_words(tmp_path: Path) -> None:
    command = "/sbin/kexec -p --command-line='console=ttyS0' /boot/vmlinuz"
    report = status(tree("armed", tmp_path, {"/var/crash/kexec_cmd": command}))
    assert check(report, "crash_cmdline").state == "warn"
    assert "reset_devices nr_cpus=1 irqpoll" in check(report, "crash_cmdline").remedy


def test_text_has_found_wanted_and_remedy_and_fits(tmp_path: Path) -> None:
    text = status(tree("unarmed", tmp_path)).text(width=90)
    assert "NOT armed: 2 things are in the way" in text
    assert "FAIL  crash memory" in text
    assert "remedy: reserve crash memory first" in text
    assert max(map(len, text.splitlines())) <= 90


def test_text_escapes_what_the_machine_says(tmp_path: Path) -> None:
    wild = {
        "/proc/cmdline": "crashkernel=\x1b[31mred\n",
        "/proc/sys/kernel/osrelease": "6.1\x1b]0;title\x07\n",
    }
    text = status(tree("unarmed", tmp_path, wild)).text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u241b[31mred" in text


def test_json_has_every_check(tmp_path: Path) -> None:
    report = status(tree("armed", tmp_path))
    held = report.as_json()
    assert held["armed"] is True
    assert held["schema"] == 1
    assert [entry["name"] for entry in held["checks"]] == [check.name for check in report.checks]
    assert all(set(e) == {"name", "title", "state", "found", "wanted", "remedy"} for e in held["checks"])


def test_an_empty_folder_is_told_apart_from_a_machine(tmp_path: Path) -> None:
    report = status(tmp_path)
    assert not report.armed
    with pytest.raises(KernlabError, match="is not a directory"):
        status(tmp_path / "nowhere")


def test_links_do_not_lead_out_of_a_recorded_tree(tmp_path: Path) -> None:
    place = tree("armed", tmp_path / "tree", {"/proc/cmdline": None})
    (tmp_path / "outside").write_text("crashkernel=999M")
    (place / "proc/cmdline").symlink_to("../../outside")
    report = status(place)
    assert "999M" not in check(report, "crashkernel").found


def test_whether_the_kernel_has_types_is_said_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree("armed", tmp_path)
    assert "types" not in {check.name for check in status(root).checks}
    btf = root / "sys/kernel/btf/vmlinux"
    btf.parent.mkdir(parents=True)
    btf.write_bytes(b"")
    assert check(status(root), "types").state == "ok"
    btf.unlink()
    monkeypatch.setattr(Root, "__init__", _as_if_it_ran)
    found = check(status(root), "types")
    assert found.state == "warn"
    assert "vmlinux with debug information" in found.remedy


def _as_if_it_ran(self: Root, path: Path) -> None:
    self.path, self.live, self.unread, self.recorded = Path(path), True, {}, {}
