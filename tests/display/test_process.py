"""`dump.process`: a process of a dump without user pages, into which some are put; the lab's captures have all of them
(tests/lab/test_process_story.py)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.inert import inert_html, inert_text
from support.overlay import PAGE, Overlay
from support.user_pages import Core, mm_of, put

import kernlab

#: A process with five threads of the bundled dump, and one of its programs' functions that all map.
PID, THREADS = 124, [124, 130, 131, 132, 133]
ARGUMENTS = b"app\0--name=a word\0\0\xe4\0"
ENVIRONMENT = (
    b"HOME=/root\0EVIL=<script>alert(1)</script>\x1b[31m\0HOME=/second\0WITHOUT\0EMPTY=\0BYTES=\xff\xfe\0"
)


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


@pytest.fixture(scope="module")
def mm(below):
    return below.struct("mm_struct", mm_of(below, PID))


@pytest.fixture(scope="module")
def filled(below, mm):
    """The dump with arguments, an environment, a page of the stack and one of its program."""
    overlay = Overlay(below)
    # In the page of the stack where they are, which this dump has not.
    for name, start, data in (
        ("arg", mm.arg_start & -PAGE, ARGUMENTS),
        ("env", (mm.arg_start & -PAGE) + 256, ENVIRONMENT),
    ):
        overlay.set("struct mm_struct", mm.address_, f"{name}_start", start)
        overlay.set("struct mm_struct", mm.address_, f"{name}_end", start + len(data))
        put(overlay, PID, start, data)
    put(overlay, PID, mm.start_code, b"\x7fELF the program begin")
    with overlay.dump() as dump:
        yield dump


@pytest.fixture(scope="module")
def saved(filled, tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "core"
    return filled.process(PID).save_core(path), Core.read(path)


def test_which_process(below):
    process = below.process(PID)
    assert process.pid == PID
    assert process.mm == mm_of(below, PID)
    assert process.threads["pid"].tolist() == THREADS
    for same in (133, str(PID), process.address, hex(process.address)):
        assert below.process(same).address == process.address
    assert (process.maps["pid"] == PID).all()
    assert len(process.maps)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (4321, "no process 4321"),
        ("ap<0>", "did you mean|app<0>"),
        ("nobody at all", "no process is called"),
        (-1, "no process"),
    ],
)
def test_no_such_process(below, asked, told):
    with pytest.raises(kernlab.KernlabError, match=told):
        below.process(asked)


def test_a_name_of_several(below):
    with pytest.raises(kernlab.KernlabError, match="2 processes have the name 'init'"):
        below.process("init")


def test_without_user_pages(below, mm):
    process = below.process(PID)
    for ask in (lambda: process.cmdline, lambda: process.environ, lambda: process.read(mm.start_code, 4)):
        with pytest.raises(kernlab.PageExcluded, match="left out of the dump"):
            ask()


def test_a_kernel_thread(below, tmp_path):
    thread = below.process("kcompactd0")
    assert (thread.cmdline, thread.environ, thread.auxv) == ([], {}, {})
    with pytest.raises(kernlab.KernlabError, match="no memory of its own"):
        thread.save_core(tmp_path / "core")
    assert not list(tmp_path.iterdir())


def test_arguments(filled):
    assert filled.process(PID).cmdline == ["app", "--name=a word", "", "\\xe4"]


def test_environment(filled):
    process = filled.process(PID)
    assert process.environ == {
        "HOME": "/root",
        "EVIL": "<script>alert(1)</script>\x1b[31m",
        "WITHOUT": "",
        "EMPTY": "",
        "BYTES": "\\xff\\xfe",
    }
    assert ("HOME", "/second") in process.environment
    assert any("HOME stands there more than once" in problem for problem in process.problems)
    inert_text(repr(process))
    inert_html(process._repr_html_())


def test_auxiliary_vector(below, mm):
    auxv = below.process(PID).auxv
    assert auxv["AT_PAGESZ"] == PAGE
    assert auxv["AT_UID"] == 0
    assert mm.start_code <= auxv["AT_ENTRY"] < mm.end_code
    assert auxv["AT_SYSINFO_EHDR"] == below.maps.query("pid == @PID and path == '[vdso]'")["start"].iloc[0]


def test_reading(filled, mm):
    process = filled.process(PID)
    assert process.read(mm.start_code, 22) == b"\x7fELF the program begin"
    assert process.read(hex(mm.start_code + 1), 3) == b"ELF"
    assert process.read(mm.start_code, 0) == b""
    with pytest.raises(kernlab.FaultError, match="nothing is mapped at 0x1000"):
        process.read(0x1000, 1)
    with pytest.raises(kernlab.FaultError, match="not within"):
        process.read(0xFFFF_8880_0000_0000, 8)
    with pytest.raises(kernlab.KernlabError):
        process.read(mm.start_code, 1 << 60)
    # Where one page ends and the next is not here, it is the next that is missing.
    with pytest.raises(kernlab.PageExcluded) as caught:
        process.read(mm.start_code + PAGE - 8, 16)
    assert caught.value.address == mm.start_code + PAGE


def test_what_nobody_wrote_to_is_zeros(filled):
    """A thread's stack of 8 MiB, of which two pages are in the page tables."""
    usage = filled.process(PID).map_usage
    stack = usage[(usage["size_bytes"] == 8 << 20) & (usage["path"] == "")].iloc[0]
    assert 0 < stack["rss_bytes"] < stack["size_bytes"]
    assert filled.process(PID).read(int(stack["start"]), 3 * PAGE) == bytes(3 * PAGE)


def test_the_vdso_is_the_kernels(filled):
    """Its pages are part of the kernel's image, which every dump has."""
    vdso = filled.process(PID).auxv["AT_SYSINFO_EHDR"]
    assert filled.process(PID).read(vdso, 4) == b"\x7fELF"
    assert b"linux-vdso.so.1" in filled.process(PID).read(vdso, 2 * PAGE)


def test_core_has_every_thread(saved, filled):
    result, core = saved
    found = [core.registers(number) for number in range(5)]
    assert [one["pid"] for one in found] == THREADS
    maps = filled.process(PID).maps
    for one in found:
        code = maps[(maps["start"] <= one["ip"]) & (one["ip"] < maps["end"])]["perms"]
        stack = maps[(maps["start"] <= one["sp"]) & (one["sp"] < maps["end"])]["perms"]
        assert (code.tolist(), stack.tolist()) == (["r-xp"], ["rw-p"])
        assert one["orig_ax"] in (34, 35, 202, 230)  # pause, nanosleep, futex, clock_nanosleep
        # Each thread has thread-local memory of its own.
        assert one["fs_base"]
    assert len({one["fs_base"] for one in found}) == 5
    assert [kind for _, kind, _ in core.notes].count(2) == 5
    assert not result.problems


def test_core_tells_the_program(saved, filled):
    _, core = saved
    notes = {kind: desc for _, kind, desc in reversed(core.notes)}
    told = notes[3]
    assert told[40:56].rstrip(b"\0") == b"app<9>"
    assert told[56:].rstrip(b"\0") == b"app --name=a word  \xe4"
    pid, ppid = struct.unpack_from("<ii", told, 24)
    assert (pid, ppid) == (PID, filled.process(PID).threads["ppid"].iloc[0])
    words = struct.unpack(f"<{len(notes[6]) // 8}Q", notes[6])
    assert dict(zip(words[::2], words[1::2], strict=True))[9] == filled.process(PID).auxv["AT_ENTRY"]
    count, page = struct.unpack_from("<QQ", notes[0x46494C45])
    maps = filled.process(PID).maps
    mapped = maps[maps["inode"] != 0]
    assert (count, page) == (len(mapped), PAGE)
    ranges = [struct.unpack_from("<QQQ", notes[0x46494C45], 16 + 24 * row) for row in range(count)]
    assert [one[:2] for one in ranges] == list(zip(mapped["start"], mapped["end"], strict=True))
    assert [one[2] * PAGE for one in ranges] == mapped["offset_bytes"].tolist()
    names = notes[0x46494C45][16 + 24 * count :].split(b"\0")[:-1]
    assert [name.decode() for name in names] == mapped["path"].tolist()


def test_core_has_what_is_here_and_lists_the_rest(saved, filled, mm):
    result, core = saved
    assert core.at(mm.start_code, 22) == b"\x7fELF the program begin"
    assert core.at(mm.start_code + PAGE, 1) is None
    assert core.at((mm.arg_start & -PAGE) + 256, len(ENVIRONMENT)) == ENVIRONMENT
    maps = filled.process(PID).maps
    there = sum(size for _, _, _, size in core.segments)
    assert there == result.memory_bytes + result.zero_bytes
    assert there + result.missing_bytes == maps["size_bytes"].sum()
    missing = result.missing
    assert set(missing["reason"]) == {"left out of the dump", "a device's memory"}
    assert mm.start_code + PAGE in missing["start"].tolist()
    # Zeros of a stack take no room.
    assert result.file_bytes < 1 << 20 < result.zero_bytes
    assert (result.path.stat().st_mode & 0o777) == 0o600
    inert_html(result._repr_html_())
    assert "missing" in repr(result)


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_reads_it(saved, mm):
    result, core = saved
    command = [
        "gdb",
        "-q",
        "-batch",
        "-nx",
        "-iex",
        "set auto-load no",
        "-iex",
        "set debuginfod enabled off",
        "-c",
        str(result.path),
    ]
    for ask in (
        f"x/s {(mm.arg_start & -PAGE) + 256:#x}",
        "info threads",
        "p/x $rip",
        f"x/b {mm.start_code + PAGE:#x}",
    ):
        command += ["-ex", ask]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert '"HOME=/root"' in told.stdout
    assert f"{core.registers(0)['ip']:#x}" in told.stdout
    for thread in THREADS:
        assert f"LWP {thread}" in told.stdout
    assert f"Cannot access memory at address {mm.start_code + PAGE:#x}" in told.stdout + told.stderr


def test_half_a_core_is_none(filled, tmp_path, monkeypatch):
    target = tmp_path / "core"
    target.write_bytes(b"what was there")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kernlab.formats.elf_core.CoreWriter.finish", full)
    with pytest.raises(OSError, match="core"):
        filled.process(PID).save_core(target)
    assert target.read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["core"]


@pytest.mark.parametrize("member", ["pgd", "mm_mt.ma_root", "exe_file", "env_end"])
def test_damage_is_told(below, mm, tmp_path, member):
    overlay = Overlay(below)
    overlay.set("struct mm_struct", mm.address_, member, 0xFFFF_8880_DEAD_B000)
    with overlay.dump() as dump:
        process = dump.process(PID)
        with pytest.raises(kernlab.KernlabError):
            process.environ  # noqa: B018
        saved = process.save_core(tmp_path / "core")
        assert Core.read(tmp_path / "core").notes
        if member == "pgd":
            assert any("not known" in reason for reason in saved.missing["reason"])


def test_an_area_without_an_end_is_no_hang(below, tmp_path, monkeypatch):
    # Less than the 32 TiB that are looked at, which take some seconds.
    for module in ("user_memory", "process_core"):
        monkeypatch.setattr(f"kernlab.linux.{module}.LARGEST", 1 << 38)
    overlay = Overlay(below)
    last = below.process(PID).maps.iloc[-2]
    overlay.set("struct vm_area_struct", int(last["address"]), "vm_end", (1 << 55) - (1 << 20))
    with overlay.dump() as dump:
        saved = dump.process(PID).save_core(tmp_path / "core")
        assert any("must be damaged" in problem for problem in saved.problems)
        assert saved.missing["size_bytes"].max() > 1 << 54
        assert saved.file_bytes < 1 << 20


def test_a_redacted_dump_has_none_of_it(dump_files, mm, tmp_path):
    with kernlab.open(dump_files("debian-6.1").vmcore, redact="share") as dump:
        process = dump.process(PID)
        with pytest.raises(kernlab.PageExcluded):
            process.read(mm.start_code, 4)
        with pytest.raises(kernlab.PageExcluded):
            process.environ  # noqa: B018
        saved = process.save_core(tmp_path / "core")
        core = Core.read(tmp_path / "core")
        general = [desc[112 : 112 + 15 * 8] for _, kind, desc in core.notes if kind == 1]
        assert general == [bytes(120)] * 5
        assert saved.memory_bytes <= 2 * PAGE  # the vDSO
        for address in dump.memory_by_file["address"].head(20).tolist():
            assert "here" not in set(dump.file(int(address)).pages["state"])


def test_many_segments(tmp_path):
    """More than 65,534 of them: the first section says how many (PN_XNUM)."""
    import numpy as np

    from kernlab.formats.elf_core import CoreWriter

    with open(tmp_path / "core", "wb") as stream:
        writer = CoreWriter(stream, b"", 16)
        for number in range(66_000):
            writer.pages(0x1000 + number * 64, 4, np.full((1, 16), number % 251, dtype=np.uint8))
        writer.zeros(0x1000 + 66_000 * 64, 4, 1 << 30)
        writer.finish()
    core = Core.read(Path(tmp_path / "core"))
    assert len(core.segments) == 66_001
    assert core.segments[65_999] == (0x1000 + 65_999 * 64, 4, bytes([65_999 % 251]) * 16, 16)
    assert core.segments[-1][3] == 1 << 34
