"""Build ids of the kernel and of its modules: what their debug files are found and told from others by."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.formats.notes import build_id_of, parse_notes
from kernlab.linux.kernel_modules import has_modules, loaded
from kernlab.walk.strings import c_strings

I64 = npt.NDArray[np.int64]

_HEXADECIMAL = re.compile(r"[0-9a-f]{16,128}")
#: No kernel has more bytes of notes; no module more sections of them.
_LARGEST_NOTES, _MOST_NOTES = 1 << 16, 16
_SECTION = ".note.gnu.build-id"


@fact
def kernel_build_id(kernel: Kernel) -> str:
    """The kernel's build id, hexadecimal, "" where it is not known: VMCOREINFO has it since Linux 5.9, memory always
    (include/asm-generic/vmlinux.lds.h, NOTES)."""
    told = kernel.vmcoreinfo.get("BUILD-ID", "").lower()
    if _HEXADECIMAL.fullmatch(told):
        return told
    start, stop = (kernel.symbols.get(f"__{end}_notes") for end in ("start", "stop"))
    if start is None or stop is None or not 0 < stop - start <= _LARGEST_NOTES:
        return ""
    try:
        return build_id_of(parse_notes(kernel.read(start, stop - start), 0))
    except KernlabError:
        return ""


@fact
def module_build_ids(kernel: Kernel) -> dict[str, str]:
    """Build ids of the loaded modules by name, of those that tell theirs: their notes as sysfs shows them
    (kernel/module/sysfs.c, add_notes_attrs)."""
    if not has_modules(kernel):
        return {}
    module = loaded(kernel)
    names = module["name"]
    found: dict[str, str] = {}
    # What lies behind the sysfs of a module that is leaving is no loss of a table's.
    with kernel.quiet():
        owner, notes = _notes(kernel, module)
        where, size, title = notes["private"], notes["size"], c_strings(kernel, notes["attr.name"].filled(0))
        usable = (title == _SECTION).true & where.true & (size <= _LARGEST_NOTES).true & names.valid[owner]
        for row in np.flatnonzero(usable).tolist():
            try:
                told = build_id_of(parse_notes(kernel.read(int(where.values[row]), int(size.values[row])), 0))
            except KernlabError:
                continue
            if told:
                found.setdefault(str(names.values[owner[row]]), told)
    return found


def _notes(kernel: Kernel, module: StructArray) -> tuple[I64, StructArray]:
    """The sections of notes that modules have: whose each is (row of `module`), and its struct bin_attribute."""
    attributes = module.follow("notes_attrs")
    kind = kernel.find_type("struct bin_attribute").strip()
    holder = kernel.find_type("struct module_notes_attrs").strip()
    assert isinstance(holder, StructType)
    if attributes.has("notes"):
        count = attributes["notes"]
        believed = count.where((count <= _MOST_NOTES).true).int64.filled(0)
        owner = np.repeat(np.arange(len(module)), believed)
        index = np.arange(len(owner)) - np.repeat(np.cumsum(believed) - believed, believed)
        first = attributes.addresses[owner] + np.uint64(holder.member("attrs").offset)
        return owner, StructArray(kernel, kind, first + index.astype(np.uint64) * np.uint64(kind.size))
    # Since Linux 6.14 a list that ends with NULL says where they are.
    listed = attributes.first("grp.bin_attrs", "grp.bin_attrs_new")
    owner = np.repeat(np.arange(len(module)), _MOST_NOTES)
    index = np.tile(np.arange(_MOST_NOTES, dtype=np.uint64), len(module))
    at, read = kernel.words(listed.filled(0)[owner] + index * np.uint64(8), what="")
    ended = np.logical_or.accumulate(((at == 0) | ~read).reshape(-1, _MOST_NOTES), axis=1).reshape(-1)
    return owner[~ended], StructArray(kernel, kind, at[~ended])
