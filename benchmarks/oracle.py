"""What drgn needs beside a dump: the vmlinux with DWARF that belongs to it, kept in a cache outside the
repository.

A dump comes in; a verified path, or the reason why there is none, goes out. kernlab itself needs none of it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

# VMCOREINFO lies uncompressed in the first part of a kdump or ELF file.
SEARCHED_BYTES = 16 << 20


class NoOracleError(Exception):
    """drgn or its vmlinux is not to be had; the message says which, and what to do."""


@dataclass(frozen=True)
class Identity:
    """Which kernel a dump is of, as its VMCOREINFO says."""

    release: str
    build_id: str


def identify(dump: Path) -> Identity:
    with dump.open("rb") as file:
        head = file.read(SEARCHED_BYTES)
    release = re.search(rb"OSRELEASE=([^\n]+)\n", head)
    build_id = re.search(rb"BUILD-ID=([0-9a-f]{40})\n", head)
    if not release or not build_id:
        raise NoOracleError(f"{dump} names no kernel release and build-id where a dump does")
    return Identity(release[1].decode(), build_id[1].decode())


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kernlab-oracle"


def cached_vmlinux(release: str) -> Path:
    return cache_folder() / f"vmlinux-{release}"


def build_id_of(vmlinux: Path) -> str:
    try:
        with vmlinux.open("rb") as file:
            for section in ELFFile(file).iter_sections("SHT_NOTE"):
                for note in section.iter_notes() if isinstance(section, NoteSection) else ():
                    # Xen's notes use the same number.
                    if note["n_name"] == "GNU" and note["n_type"] == "NT_GNU_BUILD_ID":
                        return str(note["n_desc"])
    except ELFError as error:
        raise NoOracleError(f"{vmlinux} is no ELF file: {error}") from error
    raise NoOracleError(f"{vmlinux} has no build-id")


def vmlinux_for(dump: Path) -> Path:
    """The vmlinux of a dump, from $KERNLAB_VMLINUX or the cache, its build-id checked; NoOracleError tells
    what is missing.
    """
    if importlib.util.find_spec("drgn") is None:
        raise NoOracleError("drgn is not installed: pip install '.[oracle]'")
    kernel = identify(dump)
    named = os.environ.get("KERNLAB_VMLINUX")
    vmlinux = Path(named) if named else cached_vmlinux(kernel.release)
    if not vmlinux.is_file():
        raise NoOracleError(
            f"there is no vmlinux of {kernel.release} in {vmlinux}: "
            f"python benchmarks/fetch_vmlinux.py {kernel.release}, or KERNLAB_VMLINUX=PATH"
        )
    found = build_id_of(vmlinux)
    if found != kernel.build_id:
        raise NoOracleError(f"{vmlinux} has build-id {found}, but {dump} was made by {kernel.build_id}")
    return vmlinux
