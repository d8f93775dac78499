"""drgn's way to a dump, shared by its sides of the benchmarks."""

from __future__ import annotations

import sys

import drgn


def open_dump() -> drgn.Program:
    """The program of `python SCRIPT DUMP VMLINUX [--figures]`."""
    dump, vmlinux = sys.argv[1:3]
    prog = drgn.Program()
    prog.set_core_dump(dump)
    prog.load_debug_info([vmlinux])
    return prog


def figures_wanted() -> bool:
    return "--figures" in sys.argv[3:]
