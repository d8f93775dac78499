"""Symbols and types of real kernels, against the guest's own kallsyms, VMCOREINFO, bpftool and drgn."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from support.drgn_oracle import drgn_program
from support.seed import SEED

from kernlab.debuginfo.kallsyms.read import read_kallsyms
from kernlab.debuginfo.types import EnumType, IntType, StructType
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo

#: Structs of many shapes: bitfields, nameless members in nameless members, unions, flexible arrays, alignment.
STRUCTS = [
    "task_struct",
    "mm_struct",
    "vm_area_struct",
    "page",
    "slab",
    "kmem_cache",
    "list_head",
    "file",
    "inode",
    "dentry",
    "super_block",
    "module",
    "sk_buff",
    "sock",
    "tcp_sock",
    "net_device",
    "request_queue",
    "bio",
    "gendisk",
    "pglist_data",
    "zone",
    "cred",
    "signal_struct",
    "sighand_struct",
    "printk_info",
    "printk_ringbuffer",
    "uts_namespace",
    "nsproxy",
    "pid",
    "rq",
    "cfs_rq",
    "sched_entity",
    "rb_node",
    "xarray",
    "xa_node",
    "maple_node",
    "trace_event_call",
    "ring_buffer_per_cpu",
    "rchan",
    "rchan_buf",
    "blk_trace",
    "path",
    "mount",
    "vfsmount",
    "iphdr",
    "tcphdr",
    "radix_tree_node",
]


@pytest.fixture(scope="module")
def kernel(opened):
    """`kernel("debian-6.1")`: what tables are built from."""
    return lambda files: opened(files.name).kernel


def own_symbols(table):
    """(address, letter, name) of the kernel's own symbols, in kallsyms' order."""
    rows = zip(table.addresses.tolist(), map(chr, table.types), table.names(), table.modules(), strict=True)
    return [row[:3] for row in rows if row[3] == ""]


def told(files):
    """The same as the guest's /proc/kallsyms has it (read by root, so addresses are real)."""
    symbols = files.truth.kallsyms()
    mine = symbols[symbols["module"] == ""]
    return list(zip(mine["address"].tolist(), mine["type"], mine["name"], strict=True))


def test_every_symbol_letter_and_address(any_dump, kernel):
    # The damaged dump, too: makedumpfile's mistake costs slab pages, not the image.
    assert own_symbols(kernel(any_dump).symbols) == told(any_dump)


def test_tables_found_by_shape_are_the_same(any_dump, kernel):
    it = kernel(any_dump)
    silent = Vmcoreinfo({key: value for key, value in it.vmcoreinfo.items() if "kallsyms" not in key})
    assert own_symbols(read_kallsyms(it.memory, silent)) == told(any_dump)


def test_vmcoreinfo_knew_where_the_tables_are(whole_dump, kernel):
    assert (kernel(whole_dump).vmcoreinfo.symbol("kallsyms_names") is None) == (
        whole_dump.name == "debian-5.10"
    )


def test_the_stack_trace_that_the_kernel_printed(any_dump, kernel):
    """%pS in the log of the panic, against ours: the size tells where each symbol ends."""
    symbols = kernel(any_dump).symbols
    printed = set()
    for record in any_dump.log:
        printed |= set(
            re.findall(r"(?<![\w.?])([A-Za-z_][\w.]*)\+(0x[0-9a-f]+)/(0x[0-9a-f]+)(?! ?\[)", record.text)
        )
    # A call that never returns may be a function's last instruction: %pB then prints the address behind it.
    unique = [
        (name, int(at, 16), size)
        for name, at, size in sorted(printed)
        if len(symbols.all(name)) == 1 and int(at, 16) < int(size, 16)
    ]
    assert len(unique) >= 5
    addresses = np.array([symbols.address(name) + at for name, at, _ in unique], dtype=np.uint64)
    assert symbols.symbolize(addresses) == [f"{name}+{at:#x}/{size}" for name, at, size in unique]


def test_offsets_and_sizes_of_vmcoreinfo(any_dump, kernel):
    it = kernel(any_dump)
    types, checked = it.types, 0
    for key, value in it.vmcoreinfo.items():
        word, _, name = key.rstrip(")").partition("(")
        struct_name, _, member = name.partition(".")
        found = types.get(struct_name)
        if word not in ("OFFSET", "SIZE", "LENGTH") or found is None:
            continue
        if word == "SIZE" and not member:
            assert found.size == int(value), key
        elif word == "OFFSET":
            assert found.strip().member(member).offset == int(value), key
        elif word == "LENGTH" and member:
            assert found.strip().member(member).type.strip().count == int(value), key
        else:
            continue
        checked += 1
    # Of the 60 to 70 lines, each names a struct that BTF has.
    assert checked >= 55


def test_enumerators_and_percpu_variables(whole_dump, kernel):
    types = kernel(whole_dump).types
    assert types.enumerator("PIDTYPE_PID") == 0
    assert types.enumerator("PERF_EVENT_STATE_OFF") == -1
    assert types.enumerator("BPF_F_INDEX_MASK") == 0xFFFFFFFF
    runqueues = types.variable("runqueues")
    assert (
        (runqueues.strip() is types.find("struct rq"))
        if whole_dump.name != "debian-5.10"
        else runqueues is None
    )
    for name in (
        "unsigned long",
        "unsigned char",
        "short",
        "long long",
        "u64",
        "pid_t",
        "struct page *",
        "char [16]",
    ):
        assert types.get(name) is not None, name


def blob_of(it):
    start, stop = it.symbols.address("__start_BTF"), it.symbols.address("__stop_BTF")
    return it.memory.read(start, stop - start)


def test_every_type_as_bpftool_reads_it(whole_dump, kernel, tmp_path):
    bpftool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("bpftool, the oracle, is not installed (apt-get install bpftool)")
    it = kernel(whole_dump)
    path = tmp_path / "btf"
    path.write_bytes(blob_of(it))
    output = subprocess.run(
        [bpftool, "-j", "btf", "dump", "file", path], capture_output=True, check=True
    ).stdout
    said = json.loads(output)["types"]
    assert len(said) == len(it.types)
    # 5.10's BTF does not tell signed enums apart; test_btf.py says what kernlab makes of them.
    signs = whole_dump.name != "debian-5.10"
    for entry in said[SEED % 4 :: 4]:  # the others with the next seeds
        ours = as_bpftool(it.types.by_id(entry["id"]), signs)
        if ours is not None:
            assert ours == wanted(entry, signs), entry["id"]


def plain(name):
    return "" if name == "(anon)" else name


def wanted(entry, signs):
    """bpftool's entry in the form of `as_bpftool`; it prints values of unsigned enums from 2^31 on as if negative."""
    name = plain(entry.get("name", "(anon)"))
    if entry["kind"] in ("STRUCT", "UNION"):
        members = [
            (plain(member["name"]), member["type_id"], member["bits_offset"], member.get("bitfield_size", 0))
            for member in entry["members"]
        ]
        return entry["kind"], name, entry["size"], members
    if entry["kind"] in ("ENUM", "ENUM64"):
        bits = 64 if entry["kind"] == "ENUM64" else 32
        values = {value["name"]: value["val"] % (1 << bits) for value in entry["values"]}
        return "ENUM", name, entry["size"], values, signs and entry["encoding"] == "SIGNED"
    return "INT", name, entry["size"], entry["encoding"]


def as_bpftool(kind, signs):
    if isinstance(kind, StructType):
        members = [
            (member.name, member._type._number, member.bit_offset, member.bit_size) for member in kind.members
        ]
        return "UNION" if kind.is_union else "STRUCT", kind.name, kind.size, members
    if isinstance(kind, EnumType):
        bits = 64 if any(value >> 32 not in (0, -1) for value in kind.enumerators.values()) else 32
        values = {name: value % (1 << bits) for name, value in kind.enumerators.items()}
        return "ENUM", kind.name, kind.size, values, signs and kind.signed
    if isinstance(kind, IntType):
        encoding = "BOOL" if kind.is_bool else "SIGNED" if kind.signed else "(none)"
        return "INT", kind.name, kind.size, encoding
    return None


def test_structs_as_drgn_reads_them_from_dwarf(whole_dump, kernel, tmp_path):
    """Types that a compiler wrote (DWARF) and that pahole made of them (BTF) are two sources."""
    it = kernel(whole_dump)
    program = drgn_program(whole_dump.vmcore, it.vmcoreinfo.release, tmp_path)
    import drgn

    compared = 0
    for name in STRUCTS:
        try:
            theirs = program.type(f"struct {name}")
        except LookupError:
            continue
        ours = it.types.find(f"struct {name}")
        assert ours.size == theirs.size, name
        for member in ours.member_names():
            found, other = ours.member(member), theirs.member(member)
            assert found.bit_offset == other.bit_offset, (name, member)
            assert found.bit_size == (other.bit_field_size or 0), (name, member)
            if other.type.kind != drgn.TypeKind.FUNCTION and found.type.size != 0:
                assert found.type.size == drgn.sizeof(other.type), (name, member)
            compared += 1
    assert compared > 1500
