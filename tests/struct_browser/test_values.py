"""Single values as a kernel developer would write them."""

from __future__ import annotations

import pytest

from kernlab.debuginfo.types import (
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    IntType,
    Member,
    PointerType,
    StructType,
)
from kernlab.memory.arch.x86_64 import X86_64
from kernlab.struct_browser import values

CHAR = IntType("char", 1, True, is_char=True)
U8, INT, UINT, LONG, ULONG = (
    IntType(name, size, signed)
    for name, size, signed in (
        ("unsigned char", 1, False), ("int", 4, True), ("unsigned int", 4, False), ("long int", 8, True),
        ("long unsigned int", 8, False),
    )
)  # fmt: skip
BOOL = IntType("_Bool", 1, False, is_bool=True)


CPUS = StructType("cpumask", 8, False, lambda: [Member("bits", lambda: ArrayType(lambda: ULONG, 1), 0)])


class NoTypes:
    def get(self, name):
        return None


FIVE = X86_64(5)


def said(kind, value, owner=("", ""), size=None, arch=FIVE, **bits):
    raw = (
        value
        if isinstance(value, bytes)
        else (value % (1 << 8 * (size or kind.size))).to_bytes(size or kind.size, "little")
    )
    return values.scalar(NoTypes(), arch, kind, owner, raw, **bits)


def alias(name, kind):
    return AliasType(name, lambda: kind)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (INT, 7, "7"),
        (INT, -1, "-1"),
        (UINT, 4096, "4096 (0x1000)"),
        (ULONG, 0xFFFF888000000041, "0xffff888000000041"),
        (ULONG, 0xDEAD000000000100, "0xdead000000000100 (LIST_POISON1: was taken off its list)"),
        (LONG, -52044405776891519, f"{-52044405776891519 % 2**64:#018x}"),
        (BOOL, 1, "true"),
        (CHAR, ord("S"), "'S' (83)"),
        (CHAR, -1, "-1"),
        (PointerType(lambda: INT), 0, "NULL"),
        (PointerType(lambda: INT), -22, "ERR_PTR(-22)"),
        (PointerType(lambda: INT), 2**53 + 1, "0x0020000000000001"),
        (FloatType("double", 8), b"\0\0\0\0\0\0\xf8\x3f", "1.5"),
        (alias("dev_t", UINT), (254 << 20) | 3, "254:3"),
        (alias("umode_t", UINT), 0o100644, "-rw-r--r-- (0o100644)"),
        (alias("ktime_t", LONG), 1_500_000_000, "1.500 s (1500000000 ns)"),
        (alias("time64_t", LONG), 1_700_000_000, "2023-11-14 22:13:20 UTC (1700000000)"),
        (ArrayType(lambda: INT, 3), (1).to_bytes(4, "little") * 3, "[1, 1, 1]"),
        (ArrayType(lambda: CHAR, 8), b"kworker\0", '"kworker"'),
        (ArrayType(lambda: CHAR, 8), b"a\x1b[m\0xxx", '"a␛[m"'),
        (alias("cpumask_t", CPUS), 0b1101, "0,2-3"),
    ],
)  # fmt: skip
def test_values(kind, value, text):
    assert said(kind, value) == text


@pytest.mark.parametrize(
    ("depth", "value", "is_address"),
    [
        (4, 0xFFFF888012345600, True),
        (4, 0xFF11000012345600, False),
        (5, 0xFF11000012345600, True),
        (4, -5_000_000_000_000 % 2**64, False),
    ],
)
def test_an_address_in_a_signed_type_is_one_of_its_machines_kernel_half(depth, value, is_address):
    """rw_semaphore.owner and its kin: atomic_long_t that hold a task_struct's address."""
    text = said(LONG, value - 2**64, arch=X86_64(depth))
    assert text == (f"{value:#018x}" if is_address else str(value - 2**64))
    assert values.is_kernel_address(X86_64(depth), value) == (depth == 5 or value >> 47 == 0x1FFFF)


def test_enums_and_bits_of_enums():
    state = EnumType("state", 4, False, lambda: {"IDLE": 0, "BUSY": 1, "GONE": 2})
    assert said(state, 1) == "BUSY (1)"
    assert said(state, 3) == "BUSY | GONE (0x3)"
    assert said(state, 64) == "64"


def test_flags_by_name():
    assert said(UINT, 0x200040, ("struct task_struct", "flags")) == "PF_FORKNOEXEC | PF_KTHREAD (0x200040)"
    assert said(UINT, 0x40000001, ("struct task_struct", "flags")) == "1073741825 (0x40000001)"
    assert said(UINT, 1, ("struct task_struct", "__state")) == "TASK_INTERRUPTIBLE (0x1)"
    assert said(UINT, 0, ("struct task_struct", "__state")) == "TASK_RUNNING (0x0)"
    assert (
        said(ULONG, 0x80000003, ("struct vm_area_struct", "vm_flags"))
        == "VM_READ | VM_WRITE | VM_MERGEABLE (0x80000003)"
    )


def test_times():
    assert said(ULONG, 3_723_500_000_000, ("struct task_struct", "start_time")) == (
        "1 h 02 min 3.500 s after boot (3723500000000 ns)"
    )
    assert values.span(-1500) == "-0.002 ms"
    assert values.span(999) == "999 ns"


def test_bitfields():
    assert said(UINT, 0b10110000, size=1, bit_offset=4, bit_size=3) == "3"
    assert said(INT, 0b0111_0000, size=1, bit_offset=4, bit_size=3) == "-1"


def test_what_wraps_one_value_is_that_value():
    counter = StructType("", 4, False, lambda: [Member("counter", lambda: INT, 0)])
    assert said(alias("atomic_t", counter), 5) == "5"
    outer = StructType(
        "refcount_struct", 4, False, lambda: [Member("refs", lambda: alias("atomic_t", counter), 0)]
    )
    assert said(outer, -3) == "-3"
    two = StructType("two", 8, False, lambda: [Member("a", lambda: INT, 0), Member("b", lambda: INT, 32)])
    assert values.plain(two) is two


def test_long_things_are_cut():
    text = values.string(b"x" * 10_000)
    assert len(text) < 200
    assert "10,000 characters" in text
    assert said(ArrayType(lambda: U8, 100), bytes(100)).endswith(", …]")
    mask = values.bit_ranges(int("01" * 500, 2), False)
    assert mask.endswith("…")
