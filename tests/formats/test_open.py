"""One machine's memory in every format: the same tables from each, and what damage does to them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zstandard
from formats.conftest import TABLES
from formats.make_dump import KINDS, PAGE, flatten
from formats.reading import write
from support.plain import plain
from support.seed import every_fourth

import kernlab
from kernlab.errors import KernlabError, KernlabWarning, MissingPiecesWarning

#: Every format by name: the memory in, the files out.
FORMATS: dict[str, Callable[..., list[bytes]]] = {
    **{f"kdump-{kind}": lambda small, kind=kind: [small.kdump(kind)] for kind in KINDS},
    "kdump-zlib (flattened)": lambda small: [flatten(small.kdump(), step=65536)],
    "kdump-lzo (flattened)": lambda small: [flatten(small.kdump("lzo", qemu=True, dump_level=1), step=4096)],
    "kdump-snappy (flattened)": lambda small: [flatten(small.kdump("snappy", qemu=True, vmcoreinfo=None))],
    "kdump-zlib (split, 3 pieces)": lambda small: small.split(3)[::-1],
    "kdump-zstd (split, 2 pieces)": lambda small: small.split(2, "zstd"),
    "elf": lambda small: [small.elf()],
    "elf (flattened)": lambda small: [flatten(small.elf(), step=1 << 20)],
    "kdump-lzo (xz)": lambda small: [lzma.compress(small.kdump("lzo"), preset=0)],
    "elf (gzip)": lambda small: [gzip.compress(small.elf(None), 1)],
    "kdump-raw (flattened, zstd)": lambda small: [
        zstandard.ZstdCompressor(level=1).compress(flatten(small.kdump("raw"), step=1 << 20))
    ],
    "lime": lambda small: [small.lime()],
    "avml": lambda small: [small.avml()],
    "lime (zstd)": lambda small: [zstandard.ZstdCompressor(level=1).compress(small.lime())],
    "avml (gzip)": lambda small: [gzip.compress(small.avml(), 1)],
    "kdump-snappy (split, 2 pieces, bzip2)": lambda small: [
        bz2.compress(piece, 1) for piece in small.split(2, "snappy")
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def files(small) -> Callable[[str], list[bytes]]:
    """`files("elf")`: the files of a format, made once."""
    made: dict[str, list[bytes]] = {}

    def make(name: str) -> list[bytes]:
        if name not in made:
            made[name] = FORMATS[name](small)
        return made[name]

    return make


def written(folder: Path, contents: list[bytes]) -> list[Path]:
    return [write(folder, data, f"vmcore.{number}") for number, data in enumerate(contents)]


def assert_same(dump: kernlab.dump.Dump, sample: kernlab.dump.Dump) -> None:
    for name in TABLES:
        table, expected = getattr(dump, name), getattr(sample, name)
        assert table.attrs["problems"] == []
        pd.testing.assert_frame_equal(plain(table), plain(expected))


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_tables(tmp_path, files, opened, name):
    paths = written(tmp_path, files(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with kernlab.open(paths if len(paths) > 1 else paths[0]) as dump:
            assert dump.info["format"] == name
            assert dump.info["file"] == str(paths[0])
            assert dump.info["machine"] == "x86_64"
            assert dump.info["release"] == opened("debian-6.1").info["release"]
            assert repr(dump).startswith(f"<kernlab.Dump {paths[0]}: Linux")
            assert_same(dump, opened("debian-6.1"))
            # Those that the fixture left out, and nothing else.
            assert len(dump.problems) == 2
            assert all("frames are absent, which no dump level leaves out" in text for text in dump.problems)


@pytest.mark.parametrize("name", ["kdump-zlib", "elf", "lime"])
def test_a_whole_memory_lacks_nothing(tmp_path, real, opened, name):
    (path,) = written(tmp_path, FORMATS[name](real))
    with kernlab.open(path) as dump:
        assert_same(dump, opened("debian-6.1"))
        assert dump.problems == []


@pytest.mark.parametrize("how", [list, tuple, iter, lambda paths: [str(path) for path in paths]])
def test_pieces_in_any_container(tmp_path, files, opened, how):
    with kernlab.open(how(written(tmp_path, files("kdump-zlib (split, 3 pieces)")))) as dump:
        assert len(dump.tasks) == len(opened("debian-6.1").tasks)


def test_vmcoreinfo_from_a_file(tmp_path, small, opened):
    (path,) = written(tmp_path, [small.kdump(qemu=True, vmcoreinfo=None)])
    (tmp_path / "info").write_bytes(small.vmcoreinfo)
    for given in (small.vmcoreinfo, tmp_path / "info"):
        with kernlab.open(path, vmcoreinfo=given) as dump:
            assert_same(dump, opened("debian-6.1"))


class TestMakedumpfile:
    """What the tool itself makes of the sample."""

    @pytest.fixture
    def run(self, tmp_path, dump_files) -> Callable[..., bytes]:
        tool = shutil.which("makedumpfile")
        if tool is None:
            pytest.skip("makedumpfile is not installed (Debian's package of that name)")

        def run(*arguments: str) -> bytes:
            core = dump_files("debian-6.1").vmcore
            where = arguments.index("VMCORE")
            command = [tool, *arguments[:where], str(core), *arguments[where + 1 :]]
            done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=120, check=False)
            if done.returncode:
                pytest.skip(f"this makedumpfile does not read the sample: {done.stderr.decode()[-200:]}")
            return done.stdout

        return run

    def test_flattened(self, tmp_path, run, opened):
        (tmp_path / "flat").write_bytes(run("-F", "-c", "-d", "31", "VMCORE"))
        with kernlab.open(tmp_path / "flat") as dump:
            assert dump.info["format"] == "kdump-zlib (flattened)"
            assert_same(dump, opened("debian-6.1"))

    @pytest.mark.parametrize(("flag", "kind"), [("-c", "zlib"), ("-l", "lzo")])
    def test_split(self, tmp_path, run, opened, flag, kind):
        # Blocks of 64 MiB: of this small machine the usual ones of 1 GiB would all go into the first piece.
        run("--splitblock-size", "65536", "--split", flag, "-d", "31", "VMCORE", "one", "two", "three")
        paths = [tmp_path / name for name in ("two", "three", "one")]
        with kernlab.open(paths) as dump:
            assert dump.info["format"] == f"kdump-{kind} (split, 3 pieces)"
            assert_same(dump, opened("debian-6.1"))
        with (
            pytest.warns(MissingPiecesWarning),
            pytest.raises(KernlabError, match="one piece of a split dump"),
        ):
            kernlab.open(paths[1])

    @pytest.mark.parametrize(("flags", "kind"), [(["-l"], "lzo"), ([], "raw")])
    def test_other_compression(self, tmp_path, run, opened, flags, kind):
        run(*flags, "-d", "31", "VMCORE", "new")
        with kernlab.open(tmp_path / "new") as dump:
            assert dump.info["format"] == f"kdump-{kind}"
            assert_same(dump, opened("debian-6.1"))


#: Where damage is done, as (first, last) byte of the file, or of its first piece.
PLACES = {
    "header": (0, PAGE),
    "sub-header": (PAGE, 2 * PAGE),
    "headers and all after them": (0, 30_000),
    "the first 100,000 bytes behind the header": (2 * PAGE, 100_000),
    "bitmaps": (2 * PAGE, 12 * PAGE),
    "page data": (500_000, 1_000_000),
    "the end": (-500_000, None),
}
DAMAGED = [
    "kdump-zlib",
    "kdump-zstd",
    "kdump-zlib (flattened)",
    "kdump-zlib (split, 3 pieces)",
    "elf",
    "elf (flattened)",
    "kdump-lzo (xz)",
    "elf (gzip)",
    "lime",
    "avml",
]


def read_what_is_left(paths: list[Path], *, harmless: bool = False) -> str:
    """Open it and build the tables: "refused" in words that name a file, "partial" with problems, or "whole"."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Only kernlab's own warnings may be given.
        warnings.simplefilter("ignore", KernlabWarning)
        try:
            dump = kernlab.open(paths if len(paths) > 1 else paths[0])
        except KernlabError as error:
            text = str(error)
            assert any(str(path) in text for path in paths)
            assert len(text) > 40
            return "refused"
        with dump:
            tables = {}
            for name in ("info", *TABLES):
                try:
                    tables[name] = getattr(dump, name)
                except KernlabError as error:
                    assert len(str(error)) > 20  # noqa: PT017 - as above
                    assert dump.problems
            problems = dump.problems
            for table in tables.values():
                for problem in dump.kernel.problems:
                    assert problem in problems
                assert isinstance(table.attrs["problems"], list)
    if not problems:
        return "whole"
    return "partial"


class TestDamage:
    @pytest.mark.parametrize(("percent", "name"), every_fourth([1, 10, 50, 90, 99], DAMAGED))
    def test_cut(self, tmp_path, files, name, percent):
        contents = list(files(name))
        contents[-1] = contents[-1][: len(contents[-1]) * percent // 100]
        assert read_what_is_left(written(tmp_path, contents)) in ("refused", "partial")

    @pytest.mark.parametrize(("filler", "place", "name"), every_fourth(["zeros", "random"], PLACES, DAMAGED))
    def test_overwritten(self, tmp_path, files, name, place, filler):
        contents = list(files(name))
        data = bytearray(contents[0])
        start, end, _ = slice(*PLACES[place]).indices(len(data))
        size = end - start
        data[start:end] = bytes(size) if filler == "zeros" else np.random.default_rng(5).bytes(size)
        contents[0] = bytes(data)
        outcome = read_what_is_left(written(tmp_path, contents))
        # Pages of an ELF dump or a LiME image carry no sums: what is wrong with them only what they mean can tell.
        assert outcome in (
            ("refused", "partial", "whole") if name.startswith(("elf", "lime")) else ("refused", "partial")
        )


@pytest.mark.parametrize("name", ["kdump-zlib", "kdump-zlib (flattened)", "elf", "kdump-lzo (xz)"])
def test_cut_at_99_percent_has_its_tasks(tmp_path, files, opened, name):
    """Little is lost, so little is missing: most of what the whole one has is there, and right."""
    (data,) = files(name)
    paths = written(tmp_path, [data[: len(data) * 99 // 100]])
    with pytest.warns(KernlabWarning):
        dump = kernlab.open(paths[0])
    with dump:
        tasks, expected = dump.tasks, opened("debian-6.1").tasks
        assert len(tasks) >= 0.5 * len(expected)
        merged = plain(tasks).merge(plain(expected)[["address", "comm", "pid"]], on="address")
        known = merged["comm_x"].notna()
        assert (merged["comm_x"] == merged["comm_y"])[known].all()
        assert dump.problems
