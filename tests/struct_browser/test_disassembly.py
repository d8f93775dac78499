"""Code is disassembled as the machine's architecture says, or refused by the machine's name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.overlay import Overlay

from kernlab.errors import KernlabError
from kernlab.memory.arch.x86_64 import X86_64
from kernlab.struct_browser.disassembly import _constant, _target, _with_pages


class NoInstructions(X86_64):
    machine = "vax"
    instructions = ()


def test_what_two_instructions_of_arm64_name_together():
    found = [
        (0, 4, "adrp", "x0, #0xffff800080012000"),
        (4, 4, "mov", "x1, x2"),
        (8, 4, "add", "x0, x0, #0x448"),
        (12, 4, "add", "x0, x0, #8"),
        (16, 4, "adrp", "x3, #0xffff800080012000"),
        (20, 4, "ldr", "x3, [x3]"),
        (24, 4, "add", "x4, x3, #8"),
    ]
    page = 0xFFFF800080012000
    told = [_target(*one) for one in found]
    assert _with_pages(found, told) == [page + 0x448, 0, page + 0x448, 0, page, 0, 0]


def test_capstone_s_names_of_before_and_since_version_6():
    old, new = (
        SimpleNamespace(CS_ARCH_ARM64=1, CS_ARCH_X86=3),
        SimpleNamespace(CS_ARCH_AARCH64=1, CS_ARCH_X86=3),
    )
    assert [_constant(one, "CS_ARCH_ARM64") for one in (old, new)] == [1, 1]
    assert [_constant(one, "CS_ARCH_X86") for one in (old, new)] == [3, 3]


def test_code_of_a_machine_that_nobody_disassembles_is_refused_by_its_name(opened):
    dump = Overlay(opened("debian-6.1")).dump()
    dump.kernel.arch = NoInstructions(5)
    with pytest.raises(KernlabError, match="kernlab does not disassemble code of vax"):
        dump.disassemble("schedule")
