"""Types of kernels that nobody here can boot: BTF of 4.18 and 4.19 of distributions, from ../shared/data/btf."""

from __future__ import annotations

import io
import tarfile
from functools import lru_cache
from pathlib import Path

import pytest

from kernlab.debuginfo.btf import Btf

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "btf"
#: By what a test calls them: RHEL 8.1 (arm64), openEuler's bclinux (x86-64), Kylin V10, two builds of one release line
#: (arm64), of which the newer one has xarrays.
NAMES = {
    "rhel-8.1": "4.18.0-147.5.1.el8_1.aarch64",
    "bclinux": "4.19.90-2107.6.0.0248.35.oe1.bclinux.x86_64",
    "kylin-24": "4.19.90-24.4.v2101.ky10.aarch64",
    "kylin-52": "4.19.90-52.22.v2207.ky10.aarch64",
}


@lru_cache
def types(name: str) -> Btf:
    """The types of one of NAMES; skips the test where they are not on this machine."""
    path = FOLDER / f"{NAMES[name]}.btf.tar.xz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as packed:
        inside = packed.extractfile(packed.getmembers()[0])
        assert inside is not None
        return Btf(inside.read())
