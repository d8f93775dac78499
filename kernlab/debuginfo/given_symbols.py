"""Symbols from a file beside the dump (System.map, kallsyms' text, a vmlinux, an ISF), placed where this boot has them.

A kernel without CONFIG_KALLSYMS_ALL names its functions only, and a damaged dump may have lost its table. KASLR moved
the image as a whole: by how far, and whether the file is of this build, tell the symbols that the dump knows itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.symbols import MoreSymbols, SymbolTable
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError
from kernlab.memory.arch import Architecture

U64 = npt.NDArray[np.uint64]

#: A line of System.map or /proc/kallsyms: address, letter, name; a module's has its name behind.
_LINE = re.compile(rb"^([0-9a-f]{1,16}) ([A-Za-z?]) ([^\s]+)[ ]*$", re.MULTILINE)
#: What is no symbol of the kernel's own table (scripts/mksysmap), and what has no place (nm's letters).
_NONE_OF_ITS_OWN = ("$", ".L", "__crc_", "__ksymtab_", "__kstrtab")
_NO_PLACE = b"UuvVwN"
#: SYMBOL()s that are no symbols' addresses but what a pointer holds (kernel/crash_core.c, mem_section).
_POINTERS = frozenset(("mem_section",))
#: So many of the functions that both name must lie alike; a few names are of several functions.
_LEAST, _MOST_ASKED = 0.97, 20_000


@dataclass(frozen=True, slots=True)
class GivenSymbols:
    """Symbols of a file as the kernel was linked: names, addresses uint64[n], kallsyms' letters uint8[n] or None.

    `build_id` is the file's, where it has one.
    """

    path: str
    names: list[str]
    addresses: U64
    letters: npt.NDArray[np.uint8] | None
    build_id: str = ""


def parse_system_map(text: bytes, path: str) -> GivenSymbols:
    """System.map, or what /proc/kallsyms showed. Raises KernlabError for what is neither, or has no addresses."""
    rows = [row for row in _LINE.findall(text) if row[1] not in _NO_PLACE]
    named = [row[2].decode("utf-8", "backslashreplace") for row in rows]
    kept = [at for at, name in enumerate(named) if not name.startswith(_NONE_OF_ITS_OWN)]
    addresses = np.array([int(rows[at][0], 16) for at in kept], dtype=np.uint64)
    if not len(kept):
        raise KernlabError(f"{path} is no System.map: no line of it has an address, a letter and a name")
    if not addresses.any():
        raise KernlabError(f"{path}: all addresses are 0, as who may not see them reads /proc/kallsyms")
    letters = np.frombuffer(b"".join(rows[at][1] for at in kept), dtype=np.uint8)
    return GivenSymbols(path, [named[at] for at in kept], addresses, letters)


def with_given(
    table: SymbolTable | None,
    given: GivenSymbols,
    info: Vmcoreinfo,
    arch: Architecture,
    *,
    any_build: bool = False,
    doubts: list[str],
) -> SymbolTable:
    """The dump's own table (None: it has none) with what a file names beside; unchanged where it has variables already.

    `doubts` is told what was taken. Raises KernlabError for a file of another build, unless `any_build`.
    """
    shift, alike, asked = _shift(table, given, info, arch)
    if asked and alike < _LEAST * asked:
        told = (
            f"{given.path} is of another build: of {asked:,} symbols that both it and the dump name, {alike:,} lie "
            "where it says"
        )
        if not any_build:
            raise KernlabError(
                f"{told}. The System.map or vmlinux of exactly {info.release or 'that kernel'} is the right one; "
                "any_build=True (--any-build) takes this one all the same"
            )
        doubts.append(f"{told}: it was used because that was asked for, and addresses may be wrong")
    elif not asked and not any_build:
        raise KernlabError(
            f"nothing tells whether {given.path} is of this kernel: the dump and it name no symbol in common; "
            "any_build=True (--any-build) takes it all the same"
        )
    if table is not None and not table.functions_only:
        return table
    known = set(table.names()) if table is not None else set()
    rows = np.array([at for at, name in enumerate(given.names) if name not in known], dtype=np.int64)
    rows = rows[np.argsort(given.addresses[rows], kind="stable")]
    where = given.addresses[rows]
    moved = np.where(arch.is_kernel(where), where + np.uint64(shift), where)
    names = [given.names[at] for at in rows.tolist()]
    letters = _letters(given)[rows]
    if table is None:
        doubts.append(
            f"the dump's own symbol table cannot be read: {len(names):,} symbols are those of {given.path}"
        )
        nothing = np.zeros(0, dtype=np.int64)
        table = SymbolTable(b"\0", nothing, moved[:0], letters[:0], arch.kernel_start)
    return table.with_own(MoreSymbols("", names, moved, letters))


def _shift(
    table: SymbolTable | None, given: GivenSymbols, info: Vmcoreinfo, arch: Architecture
) -> tuple[int, int, int]:
    """How far this boot moved the image, by most symbols; how many say so, and how many were asked."""
    first: dict[str, int] = {}
    for name, address in zip(given.names, given.addresses.tolist(), strict=True):
        first.setdefault(name, address)
    here: dict[str, int] = {}
    if table is not None:
        names = table.names()
        step = max(len(names) // _MOST_ASKED, 1)
        here = {names[at]: int(table.addresses[at]) for at in range(0, len(names), step)}
    for key in info:
        name = key.removeprefix("SYMBOL(").removesuffix(")")
        if key.startswith("SYMBOL(") and name not in _POINTERS and (told := info.symbol(name)) is not None:
            here.setdefault(name, told)
    both = [(address, first[name]) for name, address in here.items() if name in first]
    pairs = np.array(both, dtype=np.uint64).reshape(-1, 2)
    pairs = pairs[arch.is_kernel(pairs[:, 0]) & arch.is_kernel(pairs[:, 1])]
    if not len(pairs):
        return info.kerneloffset or 0, 0, 0
    shifts, votes = np.unique(pairs[:, 0] - pairs[:, 1], return_counts=True)
    return int(shifts[np.argmax(votes)]), int(votes.max()), len(pairs)


def _letters(given: GivenSymbols) -> npt.NDArray[np.uint8]:
    if given.letters is not None:
        return given.letters
    first = dict(zip(given.names, given.addresses.tolist(), strict=True))
    start, end = first.get("_stext", 0), first.get("_etext", 0)
    is_code = (given.addresses >= np.uint64(start)) & (given.addresses < np.uint64(end))
    return np.where(is_code, np.uint8(ord("t")), np.uint8(ord("d")))
