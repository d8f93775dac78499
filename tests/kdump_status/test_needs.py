"""How much a crash kernel needs, against boots of Debian's 6.1 in guests; and crashkernel= as the kernel reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kdump_status.status_trees import tree

from kernlab.kdump_status import crashkernel
from kernlab.kdump_status import machine as status_machine
from kernlab.kdump_status.needs import crash_memory, dump_size
from kernlab.kdump_status.root import Root
from kernlab.kdump_status.service import find

MIB = 1 << 20
GIB = 1 << 30

#: `status_guest.py needs` on 6.1.0-53-cloud-amd64: a recorded guest with the same initramfs, the largest crashkernel=
#: in MiB that failed to save a dump, and the smallest that did.
BOOTS = [("armed", 72, 80), ("large-initramfs", 128, 144)]


@pytest.mark.parametrize(("name", "failed", "saved"), BOOTS)
def test_the_need_is_what_boots_need(tmp_path: Path, name: str, failed: int, saved: int) -> None:
    need = crash_memory(status_machine.read(Root(tree(name, tmp_path)))).least
    assert failed * MIB < need < saved * 1.1 * MIB
    # What status calls too small (nine tenths of it) is so.
    assert need * 0.9 < saved * MIB


def test_parts_of_the_need(tmp_path: Path) -> None:
    machine = status_machine.read(Root(tree("armed", tmp_path)))
    need = crash_memory(machine)
    assert sum(need.parts.values()) == need.least
    # init_size of the image's boot header, as `file -k` or a debugger shows it: 0x3377000.
    assert need.parts["kernel"] == 0x3377000
    assert need.advised == 128 * MIB
    assert need.assumed == ()


def test_need_without_files_says_what_it_assumes(tmp_path: Path) -> None:
    need = crash_memory(status_machine.read(Root(tree("armed", tmp_path, {"/proc/iomem": None}, sizes={}))))
    assert "no initramfs of the crash kernel was found" in need.assumed


def test_facts_of_a_guest(tmp_path: Path) -> None:
    machine = status_machine.read(Root(tree("armed", tmp_path)))
    assert machine.release == "6.1.0-53-cloud-amd64"
    assert machine.crash_size == 192 * MIB
    assert machine.crash_regions == ((0x32000000, 0x3DFFFFFF),)
    assert machine.cpus == 2
    # 1 GiB less what the BIOS keeps.
    assert GIB - MIB < (machine.memory or 0) < GIB
    assert machine.makedumpfile == "1.7.2"
    assert machine.meminfo["MemTotal"] == 799776 * 1024
    assert machine.unread == {}


def test_dump_size_by_level(tmp_path: Path) -> None:
    machine = status_machine.read(Root(tree("armed", tmp_path)))
    sizes = [dump_size(machine, level) for level in (0, 1, 16, 31)]
    kept = [size.kept for size in sizes if size is not None]
    assert kept == sorted(kept, reverse=True)
    assert len(kept) == 4
    assert kept[0] == sum(machine.usage.values())
    assert kept[3] == machine.usage["KERN_DATA"]


def test_dump_size_counts_the_free_pages_that_cpus_keep(tmp_path: Path, dump_files: Any, opened: Any) -> None:
    """A real kernel's lists, and what of them was in its dump: 18.9 MiB more than a moment before they had held."""
    files = dump_files("debian-6.12")
    zoneinfo = "\n".join(files.truth.lines("zoneinfo")) + "\n"
    plain = status_machine.read(Root(tree("armed", tmp_path / "plain")))
    with_lists = status_machine.read(Root(tree("armed", tmp_path / "lists", {"/proc/zoneinfo": zoneinfo})))
    held = truth_pages(zoneinfo, "count") * 4096
    in_dump = int((opened("debian-6.12").pages["kind"] == "pcp").sum()) * 4096
    assert in_dump > 0
    for level, more in ((31, True), (16, True), (15, False), (0, False)):
        before, after = dump_size(plain, level), dump_size(with_lists, level)
        assert before is not None
        assert after is not None
        assert (after.kept > before.kept) is more
        if more:
            assert held + after.kept - before.kept >= in_dump


def truth_pages(zoneinfo: str, word: str) -> int:
    return sum(int(line.split()[1]) for line in zoneinfo.splitlines() if line.strip().startswith(f"{word}:"))


@pytest.mark.parametrize(
    ("cmdline", "memory", "size"),
    [
        ("crashkernel=192M", GIB, 192 * MIB),
        ("crashkernel=64M crashkernel=0x8000000", GIB, 128 * MIB),
        ("crashkernel=256m@16M", GIB, 256 * MIB),
        ("crashkernel=384M-:128M", GIB, 128 * MIB),
        ("crashkernel=384M-:128M", 256 * MIB, 0),
        ("crashkernel=2G-64G:256M,64G-:512M", 8 * GIB, 256 * MIB),
        ("crashkernel=2G-64G:256M,64G-:512M", 64 * GIB, 512 * MIB),
        # Firmware took some: rounded up to 128 MiB it is 2 GiB still.
        ("crashkernel=2G-64G:256M,64G-:512M", 2 * GIB - 3 * MIB, 256 * MIB),
        ("crashkernel=512M,high crashkernel=128M,low", GIB, 512 * MIB),
        ("quiet", GIB, None),
        ("crashkernel=auto", GIB, None),
        ("crashkernel=1G-512M:64M", GIB, None),
        ("crashkernel=512M-", GIB, None),
    ],
)
def test_crashkernel_as_the_kernel_reads_it(cmdline: str, memory: int, size: int | None) -> None:
    assert crashkernel.parse(cmdline, memory).size == size


@pytest.mark.parametrize(
    "word", ["", "x", "-", ":", "1G", "0x", "09M", "1-2", "1-2:", "1-:1,", "1-:1@", "@", ",high"]
)
def test_no_crashkernel_word_is_an_exception(word: str) -> None:
    crashkernel.parse(f"crashkernel={word}", GIB)
    crashkernel.parse(f"crashkernel={word}", None)


def test_fedoras_service(tmp_path: Path) -> None:
    (tmp_path / "etc/sysconfig").mkdir(parents=True)
    (tmp_path / "etc/kdump.conf").write_text(
        "# a comment\npath /dumps\next4 /dev/vdb1\ncore_collector makedumpfile -l --message-level 7 -d 31 # why\n"
    )
    (tmp_path / "etc/sysconfig/kdump").write_text(
        'KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1 reset_devices"\n'
    )
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text("/dev/vdb1 /mnt/crash ext4 rw 0 0\n")
    service = find(Root(tmp_path), "6.12.0-1.fc42")
    assert service is not None
    assert (service.name, service.target, service.dump_level) == ("kdump", "/mnt/crash/dumps", 31)
    assert service.compresses
    assert service.cmdline == "irqpoll nr_cpus=1 reset_devices"


def test_suses_service(tmp_path: Path) -> None:
    (tmp_path / "etc/sysconfig").mkdir(parents=True)
    (tmp_path / "etc/sysconfig/kdump").write_text(
        'KDUMP_SAVEDIR="file:///var/crash"\nKDUMP_DUMPLEVEL="15"\nKDUMP_DUMPFORMAT="lzo"\n'
    )
    service = find(Root(tmp_path), "6.4.0")
    assert service is not None
    assert (service.target, service.dump_level, service.compresses) == ("/var/crash", 15, True)


def test_a_shell_script_in_a_configuration_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/kdump-tools").write_text(
        f'USE_KDUMP=1\nKDUMP_COREDIR="$(touch {tmp_path}/ran)"\nMAKEDUMP_ARGS="-c -d 1 -d 31"\n'
    )
    service = find(Root(tmp_path), "6.1")
    assert service is not None
    assert not (tmp_path / "ran").exists()
    assert service.dump_level == 31
