"""VMCOREINFO as kernels write it, and as damage leaves it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo

NOTE = b"""OSRELEASE=6.1.0-26-cloud-amd64
BUILD-ID=24a01be08c01fb2bd6cd4feed24e58c3c1adb6b6
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffff8fc1b7a0
OFFSET(page.flags)=0
OFFSET(uts_namespace.name)=4
SIZE(page)=64
LENGTH(zone.free_area)=11
NUMBER(phys_base)=-1610612736
NUMBER(KERNEL_IMAGE_SIZE)=1073741824
NUMBER(hex)=0x20
KERNELOFFSET=d200000
CRASHTIME=1700000000
"""


def test_what_a_kernel_says():
    info = Vmcoreinfo.parse(NOTE)
    assert info.release == "6.1.0-26-cloud-amd64"
    assert info.kerneloffset == 0xD200000
    assert info.symbol("init_uts_ns") == 0xFFFFFFFF8FC1B7A0
    assert (info.offset("page.flags"), info.offset("uts_namespace.name")) == (0, 4)
    assert (info.size("page"), info.length("zone.free_area")) == (64, 11)
    assert info.number("phys_base") == -1610612736
    assert info.number("hex") == 32
    assert info["PAGESIZE"] == "4096"
    assert len(info) == 13
    assert info.get("nothing") is None


@pytest.mark.parametrize("look_up", ["symbol", "offset", "size", "length", "number"])
def test_what_is_missing_is_none(look_up):
    assert getattr(Vmcoreinfo.parse(b""), look_up)("page") is None


@pytest.mark.parametrize("value", [b"", b"xyz", b"-1", b"1" * 17, b"f" * 5000, b"ffffffff 1", b"\xff\xfe"])
def test_symbols_that_are_no_addresses(value):
    assert Vmcoreinfo.parse(b"SYMBOL(a)=" + value).symbol("a") is None


def test_garbage_costs_only_its_own_lines():
    info = Vmcoreinfo.parse(
        b"\xff\xfe=1\nno equals sign\n=\nA=b=c\r\n  SIZE(page) = 64 \nSIZE(zone)=junk\n\0\0\0OSRELEASE=late"
    )
    assert info["A"] == "b=c"
    assert info.size("page") == 64
    assert info.size("zone") is None
    assert info.release is None  # what follows the end of the text is no part of it
    assert info["\\xff\\xfe"] == "1"


@given(st.binary(max_size=400))
def test_any_bytes_can_be_asked(raw):
    info = Vmcoreinfo.parse(b"SYMBOL(a)=" + raw)
    for key in ("symbol", "number", "offset", "size", "length"):
        value = getattr(info, key)("a")
        assert value is None or isinstance(value, int)
    assert all(isinstance(info[key], str) for key in info)
