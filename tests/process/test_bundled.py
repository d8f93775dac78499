"""A dump with user pages: what one process held, by what the program that ran there is known to hold.

vmcore.xz is of the lab's story `process` on 6.12, and has no more page frames than these tests read (make.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.holder_truth import page, pages
from support.user_pages import Core

import kernlab
from kernlab.linux.page_cache import PageState
from kernlab.linux.user_memory import Pages

PAGE = 4096
LEDGER = 10  # the seed of what was swapped out (programs/holder.c)


@pytest.fixture(scope="module")
def dump():
    bundled = Path(__file__).with_name("vmcore.xz")
    if not bundled.is_file():
        pytest.skip(f"no {bundled.name} beside this file: a release has no dumps")
    with kernlab.open(bundled) as opened:
        yield opened


@pytest.fixture(scope="module")
def process(dump):
    return dump.process("holder")


@pytest.fixture(scope="module")
def saved(process, tmp_path_factory):
    return process.save_core(tmp_path_factory.mktemp("core") / "core")


@pytest.fixture(scope="module")
def told(dump, saved):
    """What gdb says of the core, with the program as the dump's page cache has it."""
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    program = saved.path.with_name("holder")
    dump.file("/bin/holder").save(program)
    command = ["gdb", "-q", "-batch", "-nx", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off"]
    for one in (
        *("thread apply all bt", "frame function main", "print stock", "print greeting", "print answers"),
        *("print/x (long)ledger", "print/x *(long *)(ledger + 8 * 4096)@2", "info sharedlibrary"),
        *("thread 5", "print/x $r12", "print/x $r13", "frame 0"),
    ):
        command += ["-ex", one]
    command += [str(program), str(saved.path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    return done.stdout


def test_arguments_and_environment(process):
    assert process.cmdline == ["holder", "keep", "11", "a word and another", ""]
    assert process.environ["TREES"] == "apple=3 pear=4"
    assert process.environ["LEFT"] == ""
    assert next(iter(process.environ)) == "SHLVL"
    assert process.auxv["AT_PHENT"] == 56
    assert process.threads["comm"].tolist() == ["holder", "worker-1", "worker-2", "worker-3", "wheel"]


def test_gdb_prints_mains_frame(told):
    assert re.search(r"#\d+ .* main \(argc=5, argv=0x[0-9a-f]+\) at .*holder.c", told)
    assert 'apples = 17, pears = 42, label = "harvest-2026"' in told
    assert re.search(r"count_stock \(.*depth=0\).*\n.*depth=1\).*\n.*depth=2\).*\n.* main \(", told)


def test_gdb_prints_all_threads(told):
    assert len(re.findall(r"^Thread \d+ \(", told, re.MULTILINE)) == 5
    for worker in (1, 2, 3):
        assert re.search(
            rf"rest \(worker={worker}, weight={worker}\.5\).*\n.* weigh \(worker={worker}\)", told
        )
    assert re.search(r"turn \(rounds=3\).*\n.* wheel \(", told)


def test_gdb_prints_variables_and_registers(told):
    assert '"the orchard is closed for the winter"' in told
    assert "{2, 3, 5, 7, 11}" in told
    # A thread that ran in user mode when the machine died, by the note of its CPU.
    assert "0x1122334455667788" in told
    assert "0x99aabbccddeeff00" in told


def test_gdb_reads_what_was_swapped_out(told):
    assert f"{int.from_bytes(page(LEDGER, 8)[:8], 'little'):#x}" in told


def test_swapped_pages_on_zram(process):
    """Pages of each kind that the program wrote, compressed with lz4 on one disk and zstd on the other."""
    memory = process.memory
    area = max(
        memory.areas, key=lambda area: int((memory.pages(area, area.start, area.end).state == 6).sum())
    )
    found = memory.pages(area, area.start, area.end)
    away = np.flatnonzero(found.state == PageState.SWAPPED)
    disks = found.where[away] >> np.uint64(58)
    assert len(np.unique(disks)) == 2
    # Text stands in every eighth page, with the page's number in it.
    first = None
    kinds, count = set(), 0
    for disk in (0, 1):
        some = away[disks == disk][:160]
        data, state = memory.fetch(Pages(found.address[some], found.state[some], found.where[some]))
        assert set(state.tolist()) <= {PageState.HERE, PageState.ZERO}
        for address, row in zip(found.address[some].tolist(), data, strict=True):
            text = re.match(rb"0010 page (\d{8})", row.tobytes())
            if text and first is None:
                first = address - int(text[1]) * PAGE
        for address, row in zip(found.address[some].tolist(), data, strict=True):
            number = (address - first) // PAGE
            assert row.tobytes() == page(LEDGER, number), number
            kinds.add(number % 8)
            count += 1
    assert (kinds, count) == (set(range(8)), 320)
    assert [disk.algorithms for disk in memory.swapped._zram.values()][:2] == [["lz4"], ["zstd"]]


def test_files(dump):
    assert dump.file("/home/catalog").read() == pages(2, 32)
    program = dump.file("/bin/holder").read()
    assert program[:4] == b"\x7fELF"
    assert b"the orchard is closed for the winter" in program
    holes = dump.file("/home/sparse").holes
    assert holes["offset_bytes"].tolist()[0] == 4 * PAGE


def test_core_of_what_is_here(saved, process):
    core = Core.read(saved.path)
    stack = int(process._mm["start_stack"].values[0])
    assert core.at(stack & -PAGE, PAGE) == process.read(stack & -PAGE, PAGE)
    assert set(saved.missing["reason"]) <= {
        "left out of the dump",
        "in no memory that the dump knows of",
        "a device's memory",
        "swapped out",
    }
    assert any("thread" in problem and "vector registers" in problem for problem in saved.problems)
    general = [core.registers(number) for number in range(5)]
    assert len({one["fs_base"] for one in general}) == 5
