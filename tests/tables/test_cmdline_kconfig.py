"""cmdline and kconfig: parameters as the kernel cuts them, and what it said of itself when it was started."""

from __future__ import annotations

import gzip
import re

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.heap import Heap
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.linux.command_line import parameters
from kernlab.linux.config import parsed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("  quiet\tro ", [("quiet", None), ("ro", None)]),
        ("a=1 a=2 a", [("a", "1"), ("a", "2"), ("a", None)]),
        ("a= b==c", [("a", ""), ("b", "=c")]),
        # Quotes around a value, around the whole, within a value, and one that does not end.
        ('dyndbg="file a.c +p" x', [("dyndbg", "file a.c +p"), ("x", None)]),
        ('"foo=bar baz" x', [("foo", "bar baz"), ("x", None)]),
        ('"foo bar" x', [("foo bar", None), ("x", None)]),
        ('a=b" c "d x', [("a", 'b" c "d'), ("x", None)]),
        ('a="b c', [("a", "b c")]),
        # The value's own quote ends it: the second pair stays inside.
        ('a="b"c" d" x', [("a", 'b"c" d'), ("x", None)]),
        # A "=" in the first place is no sign: equals is 0, which stands for none.
        ("=a b", [("=a", None), ("b", None)]),
        ("a\xa0b", [("a", None), ("b", None)]),
    ],
)  # fmt: skip
def test_parameters_are_cut_as_the_kernel_does(line, expected):
    found = parameters(line)
    assert [(one.name, one.value) for one in found] == expected
    assert not any(one.for_init for one in found)
    assert [line[one.start :].startswith(one.name) for one in found] == [True] * len(found)


def test_behind_two_dashes_all_is_for_init():
    found = parameters('a -- b c="d e" --')
    assert [(one.name, one.value, one.for_init) for one in found] == [
        ("a", None, False), ("b", None, True), ("c", "d e", True), ("--", None, True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12", "debian-7.2", "server"])
def test_unknown_is_what_the_kernel_said_it_does_not_know(opened, dump_files, name):
    """Since 5.14 the log has what was passed to user space; /proc/cmdline is the line itself."""
    dump, found = opened(name), opened(name).cmdline
    line = dump_files(name).truth.text("cmdline").split()
    whole = found["parameter"] + ("=" + found["value"]).fillna("")
    assert whole.tolist() == line
    said = dump.log["text"].str.extract(r'Unknown kernel command line parameters "(.*)", will be passed')[0]
    passed = " ".join(said.dropna()).split()
    assert sorted(whole[found["kind"] == "init"]) == sorted(passed)
    assert found.loc[found["kind"] == "init", "known"].eq(False).all()
    assert found.loc[found["kind"] == "kernel", "known"].all()
    assert (name == "server") == (len(passed) == 0)


def test_the_kernel_before_it_said_so(opened):
    found = opened("debian-5.10").cmdline.set_index("parameter")
    # In 5.10 nothing registers crashkernel, which is parsed on its own: init has it in its environment.
    assert found.index[found["kind"] == "init"].tolist() == ["crashkernel", "mdf"]
    assert found.loc["mdf", "value"] == "-c,-d,31"


def test_modules_take_what_has_a_point(opened):
    """Other words in the line's place: of parts of the kernel, of a module that is loaded, of one that is not."""
    dump = opened("debian-6.1")
    line = b'printk.time=1 null_blk.gb=2 null_blk.nothing=2 floppy.x=1 printk.devkmsg="on off" sysctl.vm.x=3 -- sh'
    heap = Heap(dump)
    place = heap.alloc(256)
    heap.put(place, line + b"\0")
    for name in ("saved_command_line", "static_command_line"):
        heap.overlay.word(dump.symbol(name), place)
    with heap.dump() as changed:
        found = changed.cmdline
    assert found["parameter"].tolist()[:3] == ["printk.time", "null_blk.gb", "null_blk.nothing"]
    assert found["kind"].tolist() == ["module"] * 5 + ["kernel", "init"]
    known = [None if pd.isna(value) else bool(value) for value in found["known"]]
    # printk.devkmsg is taken by a function of its own (__setup), which is in no list that stays.
    assert known == [True, True, False, None, None, True, False]
    assert found["value"].tolist()[4] == "on off"


def test_a_line_that_is_lost(opened):
    dump = opened("debian-6.1")
    gone = Overlay(dump).word(dump.symbol("saved_command_line"), 0xDEAD0000).dump()
    found = gone.cmdline
    assert len(found) == 0
    assert [p for p in found.attrs["problems"] if "command line" in p]
    assert found.dtypes.astype(str).to_dict() == dump.cmdline.dtypes.astype(str).to_dict()


CONFIG = """\
#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_CC_VERSION_TEXT="gcc (Debian \\"12\\") 12.2.0"
CONFIG_SMP=y
CONFIG_EXT4_FS=m
# CONFIG_KASAN is not set
CONFIG_HZ=250
CONFIG_PHYSICAL_START=0x1000000
CONFIG_LOCALVERSION=""
"""
OPTIONS = [
    ("CONFIG_CC_VERSION_TEXT", 'gcc (Debian "12") 12.2.0'), ("CONFIG_SMP", "y"), ("CONFIG_EXT4_FS", "m"),
    ("CONFIG_KASAN", "n"), ("CONFIG_HZ", "250"), ("CONFIG_PHYSICAL_START", "0x1000000"), ("CONFIG_LOCALVERSION", ""),
]  # fmt: skip


def carrying(dump, data: bytes, *, mark_first: bool = False, end: bool = True):
    """The dump with a configuration in its memory, as kernels since 5.1 lay it out, or before (`mark_first`)."""
    heap = Heap(dump)
    place = heap.alloc(len(data) + 64)
    start = b"IKCFG_ST"
    heap.put(place, start + data + b"IKCFG_ED")
    changed = heap.dump()
    names = {"kernel_config_data": place + (0 if mark_first else len(start))}
    if end:
        names["kernel_config_data_end"] = place + len(start) + len(data)
    table, original = changed.kernel.symbols, SymbolTable.get
    table.get = lambda name: names.get(name) or original(table, name)  # type: ignore[method-assign]
    return changed


@pytest.mark.parametrize("layout", [{}, {"mark_first": True, "end": False}])
def test_the_configuration_is_read_where_the_kernel_carries_it(opened, layout):
    with carrying(opened("debian-6.1"), gzip.compress(CONFIG.encode()), **layout) as dump:
        found = dump.kconfig
        assert list(zip(found["name"], found["value"], strict=True)) == OPTIONS
        assert not [p for p in found.attrs["problems"] if "configuration" in p]


@pytest.mark.parametrize(
    "data",
    [b"no gzip at all", gzip.compress(CONFIG.encode())[:-12], gzip.compress(CONFIG.encode())[:20] + b"\xff" * 90],
)  # fmt: skip
def test_a_configuration_that_is_damaged(opened, data):
    with carrying(opened("debian-6.1"), data) as dump:
        found = dump.kconfig
        assert len(found) == 0
        assert [p for p in found.attrs["problems"] if "configuration is damaged" in p]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-7.2"])
def test_debian_carries_none(opened, name):
    found = opened(name).kconfig
    assert len(found) == 0
    assert [p for p in found.attrs["problems"] if "CONFIG_IKCONFIG" in p]


@pytest.mark.parametrize(
    "folder", captures("*ikconfig*") or [None], ids=lambda folder: folder and folder.name
)
def test_a_kernel_that_carries_it(folder):
    if folder is None:
        pytest.skip("KERNLAB_LAB_CAPTURES names no capture of a kernel with CONFIG_IKCONFIG")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        found = dump.kconfig.set_index("name")["value"]
        text = gzip.decompress(Truth(folder / "truth.tar.xz").files["config.gz"]).decode()
        assert found.to_dict() == parsed(text)
        lines = re.findall(r"^CONFIG_\w+=|^# CONFIG_\w+ is not set", text, re.MULTILINE)
        assert len(found) == len(lines) > 1000
