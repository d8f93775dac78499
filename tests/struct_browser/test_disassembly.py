"""Code is disassembled as the machine's architecture says, or refused by the machine's name."""

from __future__ import annotations

import pytest
from support.overlay import Overlay

from kernlab.errors import KernlabError
from kernlab.memory.arch.x86_64 import X86_64


class NoInstructions(X86_64):
    machine = "vax"
    instructions = ()


def test_code_of_a_machine_that_nobody_disassembles_is_refused_by_its_name(opened):
    dump = Overlay(opened("debian-6.1")).dump()
    dump.kernel.arch = NoInstructions(5)
    with pytest.raises(KernlabError, match="kernlab does not disassemble code of vax"):
        dump.disassemble("schedule")
