"""What is to be checked: types and symbols out of BTF, a vmlinux, a dump or the running kernel; the rest is refused."""

from __future__ import annotations

import json
import struct

import pytest

import kernlab
from kernlab.commands.main import main
from kernlab.compatibility import judge, subjects
from kernlab.compatibility.hollow import hollow_kernel, hollow_symbols
from kernlab.compatibility.judge import Judged, judged
from kernlab.compatibility.subjects import machine_of, of_kernel, of_types, subject
from kernlab.debuginfo.btf import Btf
from kernlab.errors import KernlabError

FEW = ["tasks", "log", "kfence", "meminfo"]


@pytest.fixture(scope="module")
def dump(opened):
    return opened("panic")


@pytest.fixture(scope="module")
def blob(dump):
    start, stop = (dump.symbol(f"__{name}_BTF") for name in ("start", "stop"))
    return dump.read(start, stop - start)


@pytest.fixture(scope="module")
def files(dump, blob, tmp_path_factory):
    """A folder with the kernel's BTF, its System.map, and a vmlinux that holds both."""
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "vmlinux.btf").write_bytes(blob)
    table = dump.kernel.symbols
    letters = table.types.tobytes().decode("latin-1")
    lines = zip(table.addresses.tolist(), letters, table.names(), strict=True)
    (folder / "System.map").write_text("".join(f"{a:016x} {letter} {name}\n" for a, letter, name in lines))
    (folder / "vmlinux").write_bytes(elf({".BTF": blob}, ["init_task", "prb"]))
    (folder / "stripped").write_bytes(elf({}, ["init_task"]))
    return folder


def elf(sections, symbols):
    """An executable with these sections and symbols, for x86-64."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in symbols)
    at, rows = 1, [bytes(24)]
    for name in symbols:
        rows.append(struct.pack("<IBBHQQ", at, 0x11, 0, 1, 0xFFFFFFFF81000000, 8))
        at += len(name) + 1
    every = {"": b"", **sections, ".strtab": strings, ".symtab": b"".join(rows), ".shstrtab": b""}
    names = b"".join(name.encode() + b"\0" for name in every)
    every[".shstrtab"] = names
    body, headers = b"", b""
    for name, data in every.items():
        kind = {"": 0, ".strtab": 3, ".shstrtab": 3, ".symtab": 2}.get(name, 1)
        link = list(every).index(".strtab") if name == ".symtab" else 0
        place = names.index(name.encode() + b"\0") if name else 0
        size = 24 if name == ".symtab" else 0
        headers += struct.pack("<IIQQQQIIQQ", place, kind, 0, 0, 64 + len(body), len(data), link, 1, 1, size)
        body += data
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(every), len(every) - 1
    )
    return head + body + headers


def test_btf_and_symbols_say_what_the_dump_says(dump, files):
    told = judged(of_kernel(dump.kernel), FEW)
    assert judged(subject(files / "vmlinux.btf", files / "System.map"), FEW) == told


def test_without_symbols_those_of_the_kernel_most_like_it_are_assumed(files):
    one = subject(files / "vmlinux.btf")
    assert one.like.startswith("5.10.")
    assert one.machine == "x86_64"
    assert "prb" in one.symbols
    assert "vmap_nodes" not in one.symbols  # of 6.9
    assert [row.state for row in judged(one, ["tasks", "log"])] == ["reads", "reads"]


def test_a_vmlinux_has_both(files):
    one = subject(files / "vmlinux")
    assert one.like == ""
    assert one.symbols.names() == ["_text", "init_task", "prb", "_end"]
    assert one.types.has_member("struct task_struct", "comm")


def test_a_symbol_that_is_not_there_is_told_in_the_tables_words(files):
    (row,) = judged(subject(files / "vmlinux"), ["runqueues"])
    assert row.state == "cannot"
    assert "has no symbol 'runqueues'" in row.reason


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("stripped", None, "without CONFIG_DEBUG_INFO_BTF"),
        ("text", b"no kernel at all", "not a"),
        ("cut.btf", b"\x9f\xeb\1\0", "less than its header"),
        ("big.btf", b"\xeb\x9f\1\0" + bytes(40), "big-endian"),
        ("none", None, "No such file|cannot be read"),
    ],
)
def test_what_is_none_is_refused(files, name, text, said):
    if text is not None:
        (files / name).write_bytes(text)
    with pytest.raises(KernlabError, match=said):
        subject(files / name)


def test_a_list_without_symbols_is_refused(files):
    (files / "empty.map").write_text("nothing\n")
    with pytest.raises(KernlabError, match="address letter name"):
        subject(files / "vmlinux.btf", files / "empty.map")


def test_another_machine_is_refused_by_name(dump, blob, monkeypatch):
    types = Btf(blob)
    monkeypatch.setattr(
        Btf,
        "has_member",
        lambda self, owner, name: owner == "struct pt_regs" and name in ("psw", "gprs", "orig_gpr2"),
    )
    assert machine_of(types) == "s390x"
    with pytest.raises(KernlabError, match=r"s390x machine; kernlab reads dumps of .*x86_64"):
        of_types("a kernel", types)


def test_the_running_kernel(files, monkeypatch, tmp_path):
    monkeypatch.setattr(subjects, "BTF", tmp_path / "vmlinux")
    with pytest.raises(KernlabError, match="CONFIG_DEBUG_INFO_BTF"):
        subject()
    (tmp_path / "vmlinux").write_bytes((files / "vmlinux.btf").read_bytes())
    (tmp_path / "a_module").write_bytes(b"torn")
    monkeypatch.setattr(subjects, "KALLSYMS", files / "System.map")
    one = subject()
    assert (one.like, one.machine, list(one.module_types)) == ("", "x86_64", [])
    assert "init_task" in one.symbols


def test_the_table_and_the_command_say_the_same(files, monkeypatch, capsys):
    rows = [
        Judged("tasks", "reads"),
        Judged("pages", "cannot", (), "struct mem_section of this kernel has no member 'usage'"),
        Judged("memory", "cannot", (), "struct mem_section of this kernel has no member 'usage'"),
        Judged("rcu", "reads without", tuple("abcdefgh")),
        Judged("log", "reads", untried=("struct prb.x\x1b[2J",)),
    ]
    monkeypatch.setattr(judge, "judged", lambda one, tables=None: rows)
    monkeypatch.setattr("kernlab.compatibility.check.judged", lambda one, tables=None: rows)
    path = str(files / "vmlinux.btf")
    found = kernlab.kernel_check(path)
    assert found["state"].tolist() == [row.state for row in rows]
    assert found["without"].tolist()[3] == list("abcdefgh")
    assert len(found.attrs["problems"]) == 1

    assert main(["kernel-check", path, "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in told["tables"]] == found["state"].tolist()
    assert told["verdict"] == "3 of 5 tables read, 1 without some of it, 2 cannot"
    assert told["problems"] == found.attrs["problems"]

    assert main(["kernel-check", path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:2] == ["pages", "cannot"]
    assert ["memory", "cannot", "for", "the", "same", "as", "pages"] in [line.split() for line in lines]
    assert any("without a, b, c, d, e, f and 2 more" in line for line in lines)
    assert not any("\x1b" in line for line in lines)
    assert not any(line.startswith("tasks") for line in lines)
    rows[:] = rows[:1]
    assert main(["kernel-check", path, "--all"]) == 0
    assert "tasks  reads" in capsys.readouterr().out


def test_nothing_of_a_kernel_without_memory_takes_more_than_there_is(blob):
    kernel = hollow_kernel(Btf(blob), hollow_symbols(["_text", "_end"], "TT", "x86_64"), "x86_64")
    with pytest.raises(KernlabError, match="refused"):
        kernel.gather([0] * 4096, 4096)
    with pytest.raises(KernlabError, match="refused"):
        kernel.read(0, 1 << 30)
