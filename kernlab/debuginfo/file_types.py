"""The types of one debug file: its BTF where it has any, else its DWARF by drgn, else by pahole.

Measured on Debian's vmlinux of 6.1 (590 MB of DWARF 5, two cores): the first type is there after 0.05 s from BTF, 0.4 s
from drgn, 7 s from pahole, which then is kept in the disk cache. Only drgn has the types of global variables.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError
from kernlab.debuginfo.drgn_types import DrgnTypes
from kernlab.debuginfo.types import Types
from kernlab.errors import CacheFullError, KernlabError, MissingDependencyError
from kernlab.util.cache import Writer, cached

#: No kernel's BTF has more bytes (today's are 4 to 8 MB), and pahole takes no longer than this, in seconds.
_LARGEST, _LONGEST = 256 << 20, 1800
#: With how pahole is called this changes.
_FORM = 1


def types_of_file(file: DebugFile, base: Btf | None = None) -> Types:
    """All types that a file describes; `base` is the kernel's own BTF, which a module's continues.

    Raises DebugInfoError for a file without types, MissingDependencyError where nothing installed reads DWARF,
    KernlabError for what is damaged.
    """
    # A module's BTF goes on where its kernel's ends, and means nothing without it.
    if base is not None or not file.is_relocatable:
        blob = file.section(".BTF")
        if len(blob):
            return Btf(bytes(blob[:_LARGEST]), base)
    if not file.has_types:
        raise DebugInfoError(f"{file.path} has neither BTF nor DWARF: it was stripped")
    if can_read_dwarf():
        return DrgnTypes(file)
    if shutil.which("pahole") is not None:
        return Btf(_by_pahole(file))
    raise MissingDependencyError(
        f"{file.path} has types as DWARF only, which drgn reads (pip install 'kernlab[dwarf]') or pahole (package "
        "pahole or dwarves)"
    )


def can_read_dwarf() -> bool:
    """Is drgn installed, which also knows the types of global variables?"""
    return importlib.util.find_spec("drgn") is not None


def _by_pahole(file: DebugFile) -> bytes:
    def fill(writer: Writer) -> dict[str, Any]:
        writer.write(_encoded(file))
        return {}

    try:
        stream, _ = cached(f"types by pahole {_FORM} {file.build_id} {file.identity}", fill)
    except CacheFullError:
        return _encoded(file)
    with stream:
        return stream.read(_LARGEST)


def _encoded(file: DebugFile) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kernlab-") as folder:
        made = Path(folder, "types.btf")
        # An absolute path never looks like an option.
        command = ["pahole", f"--btf_encode_detached={made}", str(file.path.absolute())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LONGEST)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernlabError(f"pahole did not read the types of {file.path}: {error}") from error
        if done.returncode or not made.is_file() or not made.stat().st_size:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise DebugInfoError(
                f"pahole finds no types in {file.path}: {said[-1] if said else f'it ended with {done.returncode}'}"
            )
        with made.open("rb") as stream:
            return stream.read(_LARGEST)
