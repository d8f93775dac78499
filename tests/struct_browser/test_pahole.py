"""Layouts against pahole(1) for every struct of each kernel, and against structs made for the test."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from kernlab.debuginfo.types import ArrayType, IntType, Member, PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.memory.arch.x86_64 import X86_64
from kernlab.struct_browser.pahole import layout

CHAR, SHORT, INT, LONG = (
    IntType(name, size, True) for name, size in (("char", 1), ("short", 2), ("int", 4), ("long", 8))
)


def struct(size, *members, name="probe", union=False):
    made = [Member(n, lambda k=kind: k, at, bits) for n, kind, at, bits in members]
    return StructType(name, size, union, lambda: made)


def laid_out(kind, cache_line=X86_64.cache_line):
    return layout(kind, cache_line)


def test_holes_and_padding():
    made = laid_out(struct(24, ("a", CHAR, 0, 0), ("b", LONG, 64, 0), ("c", SHORT, 128, 0)))
    assert made.holes == [(1, 7)]
    assert made.padding == 6
    assert made.members == 3
    assert [(line.kind, line.offset, line.size) for line in made.lines] == [
        ("member", 0, 1), ("hole", 1, 7), ("member", 8, 8), ("member", 16, 2), ("padding", 18, 6)
    ]  # fmt: skip
    assert "1 hole (7 bytes)" in made.summary()


def test_bits_that_a_bitfield_leaves_are_no_hole():
    made = laid_out(struct(8, ("a", INT, 0, 3), ("b", INT, 3, 5), ("c", INT, 32, 0)))
    assert made.holes == []
    assert made.bit_holes == 24
    assert [(line.offset, line.bit, line.bits) for line in made.lines if line.bits] == [(0, 0, 3), (0, 3, 5)]


def test_cache_lines():
    made = laid_out(
        struct(136, ("a", ArrayType(lambda: CHAR, 72), 0, 0), ("b", LONG, 576, 0), ("c", LONG, 1024, 0))
    )
    told = [line.text for line in made.lines if line.kind == "cacheline"]
    assert told == ["--- cache line 1 began 8 bytes ago ---", "--- cache line 2 begins ---"]
    assert made.cachelines == 3


def test_nameless_structs_are_spelt_out():
    inner = struct(16, ("x", CHAR, 0, 0), ("y", LONG, 64, 0), name="")
    made = laid_out(struct(24, ("a", LONG, 0, 0), ("", inner, 64, 0)))
    assert [line.text for line in made.lines] == [
        "long a;", "struct {", "char x;", "hole of 7 bytes", "long y;", "};"
    ]  # fmt: skip
    # pahole counts a hole for the struct that has it.
    assert made.holes == []
    assert [line.path for line in made.lines if line.kind == "member"] == ["a", "x", "y"]


def test_a_union_has_no_holes():
    made = laid_out(struct(8, ("a", CHAR, 0, 0), ("b", LONG, 0, 0), union=True))
    assert made.holes == []
    assert made.padding == 0


def test_cache_lines_are_the_machines():
    two = struct(192, ("a", ArrayType(lambda: LONG, 8), 0, 0), ("b", ArrayType(lambda: LONG, 16), 512, 0))
    lines = {
        size: [line.offset for line in laid_out(two, size).lines if line.kind == "cacheline"]
        for size in (64, 128)
    }
    assert lines == {64: [64], 128: []}
    assert [laid_out(two, size).cachelines for size in (64, 128)] == [3, 2]


def test_only_structs_have_layouts():
    with pytest.raises(KernlabError, match="not a struct or union"):
        laid_out(PointerType(lambda: INT))


def test_html_is_escaped_and_text_is_c(opened):
    dump = opened("debian-6.1")
    made = dump.layout("task_struct")
    assert str(made).startswith("struct task_struct {\n")
    assert "void (*" not in str(made) or "&" not in str(made)
    page = dump.layout("file_operations")._repr_html_()
    assert "int (*open)(struct inode *, struct file *);" in page
    assert laid_out(struct(1, ("<b>", CHAR, 0, 0)))._repr_html_().count("<b>") == 0


@pytest.mark.skipif(shutil.which("pahole") is None, reason="pahole is not installed (Debian package dwarves)")
def test_every_struct_as_pahole_has_it(dump, tmp_path):
    kernel = dump.kernel
    start, stop = kernel.symbol("__start_BTF"), kernel.symbol("__stop_BTF")
    file = tmp_path / "btf"
    file.write_bytes(kernel.read(start, stop - start))
    told = subprocess.run(["pahole", "--sizes", file], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in told.splitlines()]
    names = [row[0] for row in rows]
    compared, different = 0, []
    for name, size, holes, *_ in rows:
        kind = kernel.types.get(f"struct {name}")
        # Of structs that share a name pahole lists each, and we find one.
        if kind is None or names.count(name) > 1:
            continue
        compared += 1
        made = laid_out(kind)
        assert made.size == int(size), name
        if len(made.holes) != int(holes):
            different.append(name)
    assert compared > 5000
    # pahole counts the rest of a bitfield's unit by the largest unit around; that differs for a handful of structs.
    assert len(different) <= 5, different
