"""The story `process`: every byte that the guest's program held is known, and read back from its dump, by gdb, too.

KERNLAB_LAB_CAPTURES names folders with captures (process-6.12, …); without any, these tests skip.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.captures import captures, dumps_in
from support.holder_truth import pages
from support.truth import Truth

import kernlab
from kernlab.linux.page_cache import PageState

pytestmark = pytest.mark.long
PAGE = 4096
#: What is in memory by its seed (programs/holder.c).
SEEDS = {"heap": 1, "catalog": 2, "tally": 6, "barn": 8, "wide": 9, "ledger": 10}
FILES = {
    "/home/catalog": (2, 32),
    "/home/letters": (3, 300),
    "/home/forgotten (deleted)": (4, 40),
    "/tmp/tally": (6, 256),
    "/memfd:scratch (deleted)": (7, 8),
}
FOLDERS = captures("process-*")


@pytest.fixture(
    scope="module", params=FOLDERS or [None], ids=lambda folder: folder.name if folder else "none"
)
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("no capture of the story process: KERNLAB_LAB_CAPTURES names folders of them")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def dump(folder: Path) -> Iterator[Any]:
    with kernlab.open(dumps_in(folder)[0]) as opened:
        yield opened


@pytest.fixture(scope="module")
def truth(folder: Path) -> Truth:
    return Truth(folder / "truth.tar.xz")


@pytest.fixture(scope="module")
def pieces(truth: Truth) -> dict[str, tuple[int, int]]:
    """What is where: (address, bytes) by name."""
    lines = [json.loads(line) for line in truth.text("held.jsonl").splitlines()]
    return {one["name"]: (one["address"], one["bytes"]) for one in lines}


@pytest.fixture(scope="module")
def process(dump: Any) -> Any:
    return dump.process("holder")


def swapped_can_be_read(dump: Any) -> bool:
    """Types of zram and zsmalloc came with BTF of modules, in 5.11."""
    return dump.kernel.type_anywhere("struct zram") is not None


def test_arguments_and_environment(process: Any, truth: Truth) -> None:
    told = {name: truth.files[f"p/{process.pid}/{name}"].split(b"\0")[:-1] for name in ("cmdline", "environ")}
    assert process.cmdline == [part.decode() for part in told["cmdline"]]
    assert process.cmdline[3:] == ["a word and another", ""]
    assert [f"{name}={value}" for name, value in process.environment] == [
        part.decode() for part in told["environ"]
    ]
    assert process.environ["TREES"] == "apple=3 pear=4"


@pytest.mark.parametrize("name", SEEDS)
def test_memory(dump: Any, process: Any, pieces: dict[str, tuple[int, int]], name: str) -> None:
    address, size = pieces[name]
    if name == "ledger" and not swapped_can_be_read(dump):
        with pytest.raises(kernlab.PageExcluded, match=r"swapped out .*zram is not known"):
            process.read(address, size)
        return
    assert process.read(address, size) == pages(SEEDS[name], size // PAGE)


def test_some_of_it_was_swapped_out(process: Any, pieces: dict[str, tuple[int, int]]) -> None:
    address, size = pieces["ledger"]
    found = process.memory.locate(np.arange(address, address + size, PAGE, dtype=np.uint64))
    assert (found.state == PageState.SWAPPED).sum() > 1000
    usage = process.map_usage
    assert (found.state == PageState.SWAPPED).sum() * PAGE <= usage["swap_bytes"].sum()


def test_what_was_never_touched(process: Any, pieces: dict[str, tuple[int, int]]) -> None:
    address, size = pieces["untouched"]
    assert process.read(address, size) == bytes(size)


@pytest.mark.parametrize("path", FILES)
def test_files(dump: Any, path: str, tmp_path: Path) -> None:
    file = dump.file(path)
    if (file._file.cache.state == PageState.SWAPPED).any() and not swapped_can_be_read(dump):
        pytest.skip("this kernel's types do not tell how zram keeps pages")
    seed, count = FILES[path]
    assert file.read() == pages(seed, count)
    assert not len(file.holes)
    file.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == pages(seed, count)


def test_a_file_of_huge_pages(dump: Any) -> None:
    assert dump.file("/huge/barn").read() == bytes(2 << 20) + pages(8, 512)


def test_a_file_with_a_hole(dump: Any) -> None:
    """Whether what is not cached is a hole of the file or on the disk only, nobody can tell."""
    file = dump.file("/home/sparse")
    assert file.size_bytes == 50 * PAGE + 7
    assert file.read(0, 4 * PAGE) == pages(5, 4)
    with pytest.raises(kernlab.PageExcluded, match="not in the page cache"):
        file.read(4 * PAGE, 1)
    assert file.read(50 * PAGE, 100) == b"the end"


def test_a_deleted_file_by_its_descriptor(dump: Any, process: Any) -> None:
    files = process.files
    row = files[files["path"] == "/home/forgotten (deleted)"].iloc[0]
    assert dump.file(int(row["address"])).read() == pages(4, 40)


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_opens_its_core(
    dump: Any, process: Any, pieces: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    """With the program as it is in the dump's page cache: all threads' stacks, variables, registers."""
    dump.file("/bin/holder").save(tmp_path / "holder")
    saved = process.save_core(tmp_path / "core")
    if swapped_can_be_read(dump):
        assert set(saved.missing["reason"]) <= {"a device's memory"}
    ask = [
        *("thread apply all bt", "frame function main", "print stock", "print greeting", "print answers"),
        *("print ledger_pages", "print/x (long)ledger", "print/x *(long *)wide@4"),
    ]
    command = ["gdb", "-q", "-batch", "-nx", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off"]
    for one in ask:
        command += ["-ex", one]
    command += [str(tmp_path / "holder"), str(tmp_path / "core")]
    told = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=120, check=False
    ).stdout
    for worker in (1, 2, 3):
        assert re.search(
            rf"rest \(worker={worker}, weight={worker}\.5\).*\n.* weigh \(worker={worker}\)", told
        )
    assert re.search(r"turn \(rounds=3\).*\n.* wheel \(", told)
    assert re.search(r"count_stock \(.*depth=0\).*\n.*depth=1\).*\n.*depth=2\).*\n.* main \(argc=5", told)
    assert 'apples = 17, pears = 42, label = "harvest-2026"' in told
    assert '"the orchard is closed for the winter"' in told
    assert "{2, 3, 5, 7, 11}" in told
    assert f"{pieces['ledger'][0]:#x}" in told
    assert len(re.findall(r"^Thread \d+ \(", told, re.MULTILINE)) == 5


def test_registers_of_a_program_that_ran(dump: Any, process: Any, tmp_path: Path) -> None:
    """One thread turned in a loop in user mode, with known registers (programs/holder.c, turn)."""
    from support.user_pages import Core

    process.save_core(tmp_path / "core")
    core = Core.read(tmp_path / "core")
    statuses = [desc for _, kind, desc in core.notes if kind == 1]
    words = [np.frombuffer(desc[112 : 112 + 27 * 8], "<u8").tolist() for desc in statuses]
    assert any(one[3:1:-1] == [0x1122334455667788, 0x99AABBCCDDEEFF00] for one in words)
    assert len(words) == 5


def test_redacted_it_has_none_of_it(folder: Path, pieces: dict[str, tuple[int, int]]) -> None:
    """Neither what is in memory nor what zram has compressed, though before v6.12 its pages have no type."""
    with kernlab.open(dumps_in(folder)[0], redact="share") as redacted:
        process = redacted.process("holder")
        address, size = pieces["ledger"]
        rows, state = process.memory.read_partial(address, size)
        known = np.isin(state, (PageState.HERE, PageState.ZERO))
        # Pages of one word all over have no compressed bytes: the word is in zram's own table.
        words = rows.view("<u8").reshape(-1, PAGE // 8)[known]
        assert (words == words[:, :1]).all()
        assert known.mean() < 0.3
