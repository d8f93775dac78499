"""drgn, which reads the same dumps with other code and by the DWARF that the compiler wrote: an oracle."""

from __future__ import annotations

import lzma
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

FLATTENED = b"makedumpfile\0"


def vmlinux_of(release: str) -> Path:
    """The vmlinux that `make bench` fetches for drgn; without it the test is skipped, and says so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "kernlab-oracle" / f"vmlinux-{release}"
    if not found.is_file():
        pytest.skip(f"no vmlinux of {release} for drgn (python benchmarks/fetch_vmlinux.py {release})")
    return found


def drgn_program(vmcore: Path, release: str, folder: Path) -> Any:
    """A `drgn.Program` of a dump, which is unpacked into `folder` where it is compressed as a whole."""
    drgn = pytest.importorskip(
        "drgn", reason="drgn, the oracle, is not installed (pip install 'kernlab[oracle]')"
    )
    vmlinux = vmlinux_of(release)
    with vmcore.open("rb") as file:
        if file.read(len(FLATTENED)) == FLATTENED:
            pytest.skip("drgn does not read makedumpfile's flattened form")
    if vmcore.suffix == ".xz":
        plain = folder / "vmcore"
        with lzma.open(vmcore) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
        vmcore = plain
    program = drgn.Program()
    program.set_core_dump(str(vmcore))
    program.load_debug_info([str(vmlinux)])
    return program
