"""Architectures by the name of their machine; a new one is a module here and a line in `ARCHITECTURES`."""

from __future__ import annotations

from kernlab.errors import DumpFormatError
from kernlab.formats.base import DumpFile
from kernlab.memory.arch.arm64 import Arm64
from kernlab.memory.arch.base import Architecture, Facts, Layout, Level, Region
from kernlab.memory.arch.x86_64 import X86_64

#: What kernlab can translate the addresses of, by `DumpFile.machine`.
ARCHITECTURES: dict[str, type[Architecture]] = {kind.machine: kind for kind in (X86_64, Arm64)}


def architecture(file: DumpFile, facts: Facts) -> Architecture:
    """The architecture of a dump, by its machine's name and its VMCOREINFO. Raises DumpFormatError for an unknown."""
    machine = file.machine
    # An image of nothing but memory does not say it; only arm64's kernels have this.
    if not file.names_machine and facts.number("kimage_voffset") is not None:
        machine = Arm64.machine
    kind = ARCHITECTURES.get(machine)
    if kind is None:
        raise DumpFormatError(
            f"{file.path}: a dump of a {machine} machine; kernlab translates addresses of "
            f"{', '.join(sorted(ARCHITECTURES))} only so far."
        )
    return kind.of(facts)


__all__ = ["ARCHITECTURES", "Architecture", "Facts", "Layout", "Level", "Region", "architecture"]
