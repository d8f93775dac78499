"""What is to be checked: a BTF file, a vmlinux, a dump or the running kernel in; its types and symbols out."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kernlab.compatibility.hollow import hollow_kernel, hollow_symbols
from kernlab.compatibility.record import Record, record
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.types import Types
from kernlab.errors import DumpFileError, DumpFormatError, KernlabError

#: Of the running kernel.
BTF, KALLSYMS = Path("/sys/kernel/btf/vmlinux"), Path("/proc/kallsyms")
#: No BTF, no list of symbols is larger.
_LARGEST = 256 << 20
_BTF_MAGIC, _ELF_MAGIC, _SECTION = b"\x9f\xeb", b"\x7fELF", ".BTF"
_KIND_NOTE = 4  # e_type: ET_CORE

#: What the registers in struct pt_regs are called, by machine: arch/*/include/asm/ptrace.h.
_REGISTERS = {
    "x86_64": ("r15", "orig_ax", "ss"),
    "aarch64": ("user_regs", "pstate", "syscallno"),
    "s390x": ("psw", "gprs", "orig_gpr2"),
    "ppc64le": ("gpr", "nip", "msr"),
    "riscv64": ("epc", "ra", "a7"),
    "loongarch64": ("csr_era", "csr_prmd"),
    "mips": ("cp0_epc", "cp0_status"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A kernel that tables are tried on. `like` is the recorded kernel whose symbols were assumed, '' where its own are
    known."""

    name: str
    types: Types
    machine: str
    symbols: SymbolTable
    release: str = ""
    like: str = ""
    module_types: Sequence[Types] = ()

    def kernel(self) -> Kernel:
        """A kernel of its own, without memory."""
        made = hollow_kernel(self.types, self.symbols, self.machine, self.release or "unknown", self.name)
        made.module_types = self.module_types
        # There are no modules in its memory to be looked at.
        made._has_modules = True
        return made

    def of_symbols(self, names: Sequence[str]) -> Subject:
        """The same kernel with other symbols."""
        return replace(self, symbols=_assumed(names, self.machine))


def _assumed(names: Sequence[str], machine: str) -> SymbolTable:
    return hollow_symbols(_framed(names), "D" * (len(names) + 2), machine)


def subject(
    path: str | os.PathLike[str] | None = None, symbols: str | os.PathLike[str] | None = None
) -> Subject:
    """What `path` holds: BTF, a vmlinux with BTF, or a dump; without one the running kernel.

    `symbols`: a System.map or a copy of /proc/kallsyms, for BTF alone. Raises KernlabError for what is none of these,
    for a kernel without BTF, and for a machine that kernlab does not read.
    """
    listed = None if symbols is None else _read(Path(symbols))
    if path is None:
        return _running(listed)
    file = Path(path)
    start = _read(file, 20)
    if start.startswith(_BTF_MAGIC) or start[:2] == _BTF_MAGIC[::-1]:
        return of_types(str(file), Btf(_read(file)), listed=listed)
    if start.startswith(_ELF_MAGIC) and start[16:18] != _KIND_NOTE.to_bytes(2, "little"):
        return _of_vmlinux(file, listed)
    return _of_dump(file)


def machine_of(types: Types) -> str:
    """The machine that a kernel's types are of, by its registers. Raises KernlabError where these tell none."""
    for machine, registers in _REGISTERS.items():
        if all(types.has_member("struct pt_regs", name) for name in registers):
            return machine
    raise KernlabError("the machine cannot be told: its struct pt_regs is of none that kernlab knows")


def of_types(
    name: str,
    types: Types,
    *,
    listed: bytes | None = None,
    release: str = "",
    module_types: Sequence[Types] = (),
) -> Subject:
    """A kernel of these types. Its symbols are those of a list, or else of the recorded kernel that is most like it."""
    machine = machine_of(types)
    if listed is not None:
        return Subject(name, types, machine, _symbols(listed, machine, name), release, "", module_types)
    known = record()
    nearest = most_like(types, known)
    names = [symbol for symbol, (has, _) in known.symbols.items() if has >> nearest & 1]
    table = _assumed(names, machine)
    return Subject(name, types, machine, table, release, known.kernels[nearest], module_types)


def most_like(types: Types, known: Record) -> int:
    """The number of the recorded kernel that has and lacks most of what these types have and lack."""
    same = np.zeros(len(known.kernels), dtype=np.int64)
    for (kind, name), kernels in known.answers.items():
        has = holds(types, kind, name)
        same += [(kernels >> number & 1 == 1) == has for number in range(len(known.kernels))]
    # Of equals the older one: what a kernel is like from before its time it may be like for what it lacks.
    return int(same.argmax())


def holds(types: Types, kind: str, name: str) -> bool:
    """Do the types have a type, a member ("struct page.flags") or an enumerator?"""
    if kind == "type":
        return types.get(name) is not None
    if kind == "enumerator":
        return types.enumerator_or_none(name) is not None
    owner, _, member = name.rpartition(".")
    return types.has_member(owner, member)


def _running(listed: bytes | None) -> Subject:
    if not BTF.exists():
        raise KernlabError(
            f"the running kernel ({platform.release()}) has no {BTF}: it was built without CONFIG_DEBUG_INFO_BTF. "
            "Its dumps open with its vmlinux; name that: kernlab kernel-check VMLINUX"
        )
    types = Btf(_read(BTF))
    modules = []
    for path in sorted(BTF.parent.iterdir()):
        try:
            modules += [] if path.name == BTF.name else [Btf(_read(path), types)]
        except (KernlabError, OSError):
            # One that is just being unloaded; what it had is asked for by few.
            continue
    if listed is None:
        listed = _read(KALLSYMS) if os.access(KALLSYMS, os.R_OK) else None
    return of_types(
        "the running kernel", types, listed=listed or None, release=platform.release(), module_types=modules
    )


def _of_vmlinux(file: Path, listed: bytes | None) -> Subject:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            section: Any = elf.get_section_by_name(_SECTION)
            table: Any = elf.get_section_by_name(".symtab")
            blob = None if section is None else section.data()
            if listed is None and table is not None:
                listed = "\n".join(
                    f"0 D {symbol.name}" for symbol in table.iter_symbols() if symbol.name
                ).encode()
    except (ELFError, OSError) as error:
        raise DumpFormatError(f"{file}: an ELF file that cannot be read: {error}") from error
    if blob is None:
        raise KernlabError(
            f"{file}: an ELF file without a section {_SECTION}: this kernel was built without CONFIG_DEBUG_INFO_BTF. "
            f"pahole makes BTF of its DWARF: pahole --btf_encode_detached=kernel.btf {file}"
        )
    return of_types(str(file), Btf(blob), listed=listed)


def _of_dump(file: Path) -> Subject:
    from kernlab import dump as dumps

    with dumps.open(file) as dump:
        return of_kernel(dump.kernel)


def of_kernel(kernel: Kernel) -> Subject:
    """The kernel of a dump: its own types and symbols, its modules' too. Raises KernlabError where it has no types."""
    types = kernel.types
    kernel.with_modules()
    table = kernel.symbols
    own = hollow_symbols(_framed(table.names()), _letters(table), kernel.file.machine)
    return Subject(
        kernel.source,
        types,
        kernel.file.machine,
        own,
        kernel.vmcoreinfo.release or "",
        "",
        kernel.module_types,
    )


def _letters(table: SymbolTable) -> str:
    return f"T{table.types.tobytes().decode('latin-1')}T"


def _symbols(listed: bytes, machine: str, name: str) -> SymbolTable:
    """The symbols of a list of lines "address letter name" with or without "[module]" (System.map, /proc/kallsyms)."""
    lines = [line.split(None, 3) for line in listed.decode("utf-8", "replace").splitlines()]
    rows = [words for words in lines if len(words) >= 3 and len(words[1]) == 1]
    if not rows:
        raise KernlabError(
            f"no symbols are known of {name}: what should list them has no line 'address letter name'"
        )
    return hollow_symbols(
        _framed([words[2] for words in rows]), f"T{''.join(words[1] for words in rows)}T", machine
    )


def _framed(names: Sequence[str]) -> list[str]:
    """Between what the kernel's image begins and ends with."""
    return ["_text", *names, "_end"]


def _read(path: Path, most: int = _LARGEST) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise DumpFileError(error.errno, f"it cannot be read: {error.strerror}", str(path)) from error
