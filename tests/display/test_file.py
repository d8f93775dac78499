"""`dump.file`: files of the bundled dump, whose page cache is left out, and some pages of it put back."""

from __future__ import annotations

import pandas as pd
import pytest
from support.inert import inert_html, inert_text
from support.overlay import PAGE, Overlay

import kernlab
from kernlab.commands import main
from kernlab.linux.lookup import find_inode

PATH = "/bin/busybox"


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


@pytest.fixture(scope="module")
def filled(below):
    """The dump with pages 0, 1, 5 and the last of busybox."""
    overlay = Overlay(below)
    pages = below.file(PATH).pages.set_index("index")["pfn"]
    for number in (0, 1, 5, pages.index[-1]):
        overlay.write(int(pages[number]) * PAGE, bytes([number % 251 + 1]) * PAGE, physical=True)
    with overlay.dump() as dump:
        yield dump


def test_by_path_inode_and_address(below):
    file = below.file(PATH)
    row = below.memory_by_file.query("path == @PATH").iloc[0]
    assert (file.inode, file.size_bytes) == (int(row["address"]), row["size_bytes"])
    assert len(file.pages) * PAGE == row["bytes"]
    assert file.pages["index"].tolist() == list(range(len(file.pages)))
    mapping = int(row["mapping"])
    opened = int(below.struct("mm_struct", below.process(1).mm)["exe_file"].address_)
    struct = below.struct("inode", file.inode)
    for same in ("/bin/../bin/./busybox", row["address"], hex(file.inode), mapping, opened, struct):
        assert below.file(same).inode == file.inode
    assert below.file(opened).path == PATH
    # Links of busybox lead to it.
    assert below.file("/bin/sh").inode == file.inode


def test_every_cached_file_is_found_by_its_path(below):
    table = below.memory_by_file
    path = table["path"]
    named = table[
        (table["kind"] != "block device") & path.str.startswith("/") & ~path.str.endswith("(deleted)")
    ]
    chosen = named.drop_duplicates("path").iloc[::40]
    assert len(chosen) > 20
    below_mounts = named[named["path"].str.startswith(("/tmp/", "/mnt/"))]
    assert len(below_mounts)
    chosen = pd.concat([chosen, below_mounts.head(5)])
    for row in chosen.itertuples():
        assert find_inode(below.kernel, row.path).addresses.tolist() == [int(row.address)], row.path


def test_pages_are_those_of_the_table(below):
    """Page structs by dump.pages, which looks at all of them, against those of the file's tree."""
    file = below.file(PATH)
    mapping = below.memory_by_file.query("path == @PATH")["mapping"].iloc[0]
    pages = below.pages
    theirs = pages.loc[(pages["mapping"] == mapping).fillna(False), "pfn"]
    assert set(file.pages["pfn"]) == set(theirs)


def test_pages_of_a_huge_page_each_have_a_struct(server):
    """And below /dev lie files, too."""
    pages = server.file("/dev/hugepages/file2m").pages
    assert len(pages) == 512
    size = server.kernel.find_type("struct page").size
    assert set(pages["address"].astype("uint64") - pages["pfn"] * size) == {server.kernel.vmemmap}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("/bin/nope", "/bin has no 'nope'"),
        ("/nope/x", "/ has no 'nope'"),
        ("/bin", "/bin is a directory"),
        ("bin/busybox", "begins at the root"),
        (4_000_000_000, "nothing in the page cache has the inode"),
        (0xFFFF_FFFF_8000_0000, "no struct inode"),
        ("<b>\x1b[31m", "begins at the root"),
    ],
)
def test_what_is_not_there(below, asked, told):
    with pytest.raises(kernlab.KernlabError, match=told) as caught:
        below.file(asked)
    inert_text(str(caught.value))


def test_without_page_cache(below, tmp_path):
    file = below.file(PATH)
    with pytest.raises(kernlab.PageExcluded, match="byte 0 of /bin/busybox is left out of the dump"):
        file.read()
    assert file.read(size=0) == b""
    assert file.read(file.size_bytes) == b""
    assert file.read(5, 3, fill=b"?") == b"???"
    saved = file.save(tmp_path / "busybox")
    assert (saved.written_bytes, saved.missing_bytes) == (0, file.size_bytes)
    assert (tmp_path / "busybox").stat().st_size == file.size_bytes


def test_reading(filled):
    file = filled.file(PATH)
    assert file.read(0, 10) == b"\1" * 10
    assert file.read(PAGE - 2, 4) == b"\1\1\2\2"
    with pytest.raises(kernlab.PageExcluded, match="byte 8,192"):
        file.read(0, 3 * PAGE)
    assert file.read(2 * PAGE - 1, 3, fill=b"\0") == b"\2\0\0"
    last = file.size_bytes // PAGE
    assert file.read(last * PAGE, 10 * PAGE) == bytes([last % 251 + 1]) * (file.size_bytes % PAGE)
    whole = file.read(fill=b"?")
    assert len(whole) == file.size_bytes
    assert whole[5 * PAGE] == 6
    for wrong in ({"offset": -1}, {"size": -1}, {"fill": b"ab"}):
        with pytest.raises(kernlab.KernlabError):
            file.read(**wrong)


def test_holes(filled):
    file = filled.file(PATH)
    last = file.size_bytes // PAGE
    assert file.holes[["offset_bytes", "size_bytes"]].values.tolist() == [
        [2 * PAGE, 3 * PAGE],
        [6 * PAGE, (last - 6) * PAGE],
    ]
    assert set(file.holes["reason"]) == {"left out of the dump"}
    assert (file.pages["state"] == "here").sum() == 4
    inert_html(file._repr_html_())


def test_saving(filled, tmp_path):
    target = tmp_path / "busybox"
    saved = filled.file(PATH).save(target)
    assert target.read_bytes() == filled.file(PATH).read(fill=b"\0")
    assert saved.written_bytes + saved.missing_bytes == target.stat().st_size
    assert target.stat().st_blocks * 512 < 100_000
    assert target.stat().st_mode & 0o777 == 0o600
    inert_html(saved._repr_html_())


def test_damage_is_told(below):
    file = below.file(PATH)
    overlay = Overlay(below)
    pages = file.pages
    # One entry of its tree leads to a page of another file, and one node is lost.
    overlay.set("struct page", int(pages["address"].iloc[3]), "mapping", 0xFFFF_8880_DEAD_B000)
    with overlay.dump() as dump:
        damaged = dump.file(file.inode)
        assert 3 not in damaged.pages["index"].tolist()
        assert any("lead to no page of it" in problem for problem in damaged.problems)
    overlay = Overlay(below)
    root = int(below.struct("inode", file.inode)["i_data.i_pages.xa_head"]) & ~3
    overlay.exclude(root)
    with overlay.dump() as dump:
        damaged = dump.file(file.inode)
        assert damaged.problems
        with pytest.raises(kernlab.PageExcluded, match="not known"):
            damaged.read(0, 1)


def test_from_a_shell(dump_files, tmp_path, capsys):
    vmcore = str(dump_files("debian-6.1").vmcore)
    assert main.main(["file", vmcore, PATH, "-o", str(tmp_path / "out")]) == 0
    assert "missing  1.9 MiB" in capsys.readouterr().out
    assert main.main(["file", vmcore, PATH]) == 2
    told = capsys.readouterr()
    assert (told.out, "left out of the dump" in told.err) == ("", True)
    assert main.main(["core", vmcore, "124", "-o", str(tmp_path / "core")]) == 0
    assert (tmp_path / "core").read_bytes()[:4] == b"\x7fELF"
    assert "5 threads" not in capsys.readouterr().err
