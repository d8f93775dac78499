"""The loaded modules' symbols and types, put into the `Kernel` when something is first looked up there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.symbols import MoreSymbols
from kernlab.debuginfo.types import StructType, Types
from kernlab.errors import KernlabError
from kernlab.linux.made_symbols import made_symbols
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings, never_empty

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: No module has more symbols, or more bytes of BTF.
_MOST_SYMBOLS, _LARGEST_BTF = 1 << 22, 256 << 20
#: Symbols of several modules are read together, about so many at a time.
_AT_ONCE = 1 << 18
#: A symbol's name is shorter (KSYM_NAME_LEN is 512 since v6.1).
_LONGEST_NAME = 512
#: Kinds of memory that a module has (include/linux/module.h, enum mod_mem_type) are seven; which of them are code, and
#: what there was before them.
_MOST_KINDS = 64
_CODE_KINDS = ("MOD_TEXT", "MOD_INIT_TEXT")
_LAYOUTS = ("core_layout", "init_layout")

# include/linux/module.h, enum module_state: not on /proc/modules until it is formed.
UNFORMED = 3
_UNDEFINED = 0  # SHN_UNDEF
_CASE = ord("a") - ord("A")


def has_modules(kernel: Kernel) -> bool:
    """Can this kernel load modules (CONFIG_MODULES)? Raises SymbolNotFoundError where that is not known."""
    return kernel.find_symbol("modules") is not None


@fact
def loaded(kernel: Kernel) -> StructArray:
    """The modules on the kernel's list that are formed, newest first, as /proc/modules shows them.

    Raises KernlabError for a kernel that has no modules (`has_modules`).
    """
    head = kernel.symbol("modules")
    _, module = list_entries(
        kernel,
        [head],
        "struct module",
        "list",
        what="the list of modules",
    )
    state = module["state"]
    formed: StructArray = module[(state != UNFORMED).filled(True)]
    return formed


def load(kernel: Kernel) -> None:
    """Extend the kernel's symbols and types by those of its modules, and symbols by those of code made at run time.

    What cannot be had the dump itself lacks, whoever asked first.
    """
    with kernel.scope("modules") as k:
        parts = made_symbols(kernel)
        if has_modules(kernel):
            module = loaded(kernel)
            parts = [*module_symbols(kernel, module), *parts]
            kernel.module_types = module_types(kernel)
    kernel.symbols = kernel.symbols.extended(parts)
    kernel.dump_lost(*k.losses)


def module_symbols(kernel: Kernel, module: StructArray) -> list[MoreSymbols]:
    """Each module's own symbol table (kernel/module/kallsyms.c, module_get_kallsym).

    Sizes are those of symbols that end with the memory that they lie in, and not where another begins
    (find_kallsyms_symbol).
    """
    rows, tables = _tables(kernel, module)
    exported = _exported(kernel, module[rows])
    before = np.cumsum(tables.count) - tables.count
    batches = np.flatnonzero(np.diff(before // _AT_ONCE, prepend=-1)).tolist()
    found: list[MoreSymbols] = []
    for first, last in itertools.pairwise([*batches, len(rows)]):
        found += _read_symbols(kernel, tables.part(first, last), exported)
    start, end = _ranges([*_memory(kernel, module), *_memory(kernel, module, code=True)])
    return [replace(part, sizes=_to_the_end(part.addresses, start, end)) for part in found]


def _to_the_end(addresses: U64, start: U64, end: U64) -> U64:
    """Bytes from each symbol of a module to the end of its memory, where no other symbol begins before; else 0.

    start and end uint64[m]: the stretches of memory, of which some lie within others.
    """
    order = np.argsort(end, kind="stable")
    start, end = start[order], end[order]
    distinct, which = np.unique(addresses, return_inverse=True)
    # The first that ends behind an address is the innermost that can hold it.
    at = np.searchsorted(end, distinct, side="right")
    inside = at < len(end)
    inside[inside] = start[at[inside]] <= distinct[inside]
    last = end[np.where(inside, at, 0)] if len(end) else distinct
    inside[:-1] &= distinct[1:] > last[:-1]
    sizes: U64 = np.where(inside, last - distinct, np.uint64(0))[which]
    return sizes


@dataclass(frozen=True, slots=True)
class _Tables:
    """Symbol tables of modules: each one's number, whose it is, how many symbols it has, and where its arrays lie:
    entries, strings, letters (0 where these stand in the entries)."""

    number: I64
    names: npt.NDArray[Any]
    count: I64
    symtab: U64
    strtab: U64
    typetab: U64

    def part(self, first: int, last: int) -> _Tables:
        part = slice(first, last)
        return _Tables(
            self.number[part],
            self.names[part],
            self.count[part],
            self.symtab[part],
            self.strtab[part],
            self.typetab[part],
        )


def _tables(kernel: Kernel, module: StructArray) -> tuple[I64, _Tables]:
    """The tables that there are to read, each once, and the rows of their modules; what cannot be one is told."""
    names = module["name"].text.values
    table = module.follow("kallsyms")
    count, symtab, strtab = table["num_symtab"], table["symtab"], table["strtab"]
    # Linux commit 1c7651f43777 ("kallsyms: store type information in its own array") (in v5.2).
    typetab = table["typetab"] if table.has("typetab") else Column.of(np.zeros(len(table), dtype=np.uint64))
    there = count.valid & symtab.valid & strtab.valid & typetab.valid
    _tell_modules(kernel, names[~there], "a symbol table lies on pages that the dump lacks")
    number = count.int64.values
    sane = there & (number >= 0) & (number <= _MOST_SYMBOLS)
    _tell_modules(
        kernel, names[there & ~sane], f"more than {_MOST_SYMBOLS:,} of them are claimed; they were not read"
    )
    rows = np.flatnonzero(sane & (number > 0))
    # Every module has a table of its own: what shows another's again is a copy of its struct.
    rows, copies = _each_once(rows, symtab.values[rows])
    _tell_modules(kernel, names[copies], "a symbol table is another module's, with which it stands")
    entry = kernel.find_type("Elf64_Sym").strip()
    believed = kernel.budget.counts(number[rows], entry.size, "the modules' symbols")
    rows, number = rows[believed > 0], believed[believed > 0]
    arrays = (column.values[rows].astype(np.uint64) for column in (symtab, strtab, typetab))
    return rows, _Tables(np.arange(len(rows)), names[rows], number, *arrays)


def _each_once(rows: I64, tables: U64) -> tuple[I64, I64]:
    """The rows that name each table first, ascending, and the others."""
    _, first = np.unique(tables, return_index=True)
    is_first = np.zeros(len(rows), dtype=bool)
    is_first[first] = True
    return rows[is_first], rows[~is_first]


def _tell_modules(kernel: Kernel, names: npt.NDArray[Any], why: str) -> None:
    if len(names):
        more = f" and {len(names) - 1:,} more modules" if len(names) > 1 else ""
        kernel.lost(f"the symbols of module {str(names[0])!r}{more}: {why}")


def _read_symbols(kernel: Kernel, tables: _Tables, exported: set[tuple[int, int, str]]) -> list[MoreSymbols]:
    """The symbols of some modules, all of which are read together."""
    entry = kernel.find_type("Elf64_Sym").strip()
    owner = np.repeat(np.arange(len(tables.count)), tables.count)
    index = (np.arange(len(owner)) - np.repeat(np.cumsum(tables.count) - tables.count, tables.count)).astype(
        np.uint64
    )
    # What cannot be read is told below, by the module's name.
    with kernel.quiet():
        symbols = StructArray(kernel, entry, tables.symtab[owner] + index * np.uint64(entry.size))
        symbols = symbols.prefetch("st_name", "st_shndx", "st_value")
        offset, section, value = symbols["st_name"], symbols["st_shndx"], symbols["st_value"]
        if (tables.typetab != 0).any():
            letters, lettered = kernel.words(tables.typetab[owner] + index, 1)
        else:
            letters, lettered = _letters_within(symbols)
        there = offset.valid & value.valid & lettered
        used = np.flatnonzero(there & (section != _UNDEFINED).true)
        text = c_strings(
            kernel, tables.strtab[owner[used]] + offset.values[used].astype(np.uint64), _LONGEST_NAME
        )
    good = text.valid & (text.values != "")
    lost = np.bincount(owner[~there], minlength=len(tables.count))
    lost += np.bincount(owner[used[~good]], minlength=len(tables.count))
    some = np.flatnonzero(lost)
    _tell_modules(
        kernel,
        tables.names[some],
        f"{int(lost.sum()):,} of {int(tables.count[some].sum()):,} lie on pages that the dump lacks",
    )
    used, names = used[good], text.values[good].tolist()
    where, letter = value.values[used].astype(np.uint64), letters[used].astype(np.uint8)
    # kernel/kallsyms.c, s_show: upper case is what a module exports, whatever the letter that it was built with.
    of = tables.number[owner[used]]
    seen = np.fromiter(
        (key in exported for key in zip(of.tolist(), where.tolist(), names, strict=True)),
        dtype=bool,
        count=len(used),
    )
    upper = (letter >= ord("A")) & (letter <= ord("Z"))
    small = (letter >= ord("a")) & (letter <= ord("z"))
    letter = np.where(seen & small, letter - _CASE, np.where(~seen & upper, letter + _CASE, letter))
    letter = letter.astype(np.uint8)
    ends = np.searchsorted(owner[used], np.arange(len(tables.count) + 1)).tolist()
    return [
        MoreSymbols(str(name), names[first:last], where[first:last], letter[first:last])
        for name, (first, last) in zip(tables.names, itertools.pairwise(ends), strict=True)
        if last > first
    ]


def _letters_within(symbols: StructArray) -> tuple[U64, npt.NDArray[np.bool_]]:
    """The letters of symbols whose entries hold them, uint64[n], and bool[n] of what could be read.

    Linux commit 5439c985c5a8 ("module: Overwrite st_size instead of st_info") (in v5.0) moved them: where st_info has
    them, every one is a letter, which no ELF symbol's own is.
    """
    info = symbols["st_info"]
    known = info.values[info.valid & (symbols["st_name"] != 0).true]
    inside = (known >= ord("A")) & (known <= ord("z")) | (known == ord("?"))
    kept = info if inside.all() else symbols["st_size"]
    return kept.values.astype(np.uint64) & np.uint64(0xFF), kept.valid


def _exported(kernel: Kernel, module: StructArray) -> set[tuple[int, int, str]]:
    """What modules export to all others: (row of the module, address, name), as kernel/module/kallsyms.c, is_exported,
    finds it."""
    start, number = module["syms"], module["num_syms"]
    count = number.where(start.valid & (number <= _MOST_SYMBOLS).true).int64.filled(0)
    kind = kernel.find_type("struct kernel_symbol").strip()
    assert isinstance(kind, StructType)
    count = kernel.budget.counts(count, kind.size, "the symbols that modules export")
    owner = np.repeat(np.arange(len(module)), count)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    symbol = StructArray(kernel, kind, start.values[owner] + index.astype(np.uint64) * np.uint64(kind.size))
    if symbol.has("value_offset"):
        # CONFIG_HAVE_ARCH_PREL32_RELOCATIONS: they say how far from themselves the value and the name lie.
        here = Column.of(symbol.addresses, symbol.valid, "address")
        value, name = (
            here + kind.member(path).bit_offset // 8 + symbol[path]
            for path in ("value_offset", "name_offset")
        )
    else:
        value, name = symbol["value"], symbol["name"]
    text = c_strings(kernel, name.where(value.valid), _LONGEST_NAME)
    good = np.flatnonzero(value.valid & text.valid)
    return set(
        zip(owner[good].tolist(), value.values[good].tolist(), text.values[good].tolist(), strict=True)
    )


def module_types(kernel: Kernel) -> list[Types]:
    """The modules' own type information, which continues the kernel's (kernel/bpf/btf.c, btf_modules)."""
    base = kernel.types
    if not isinstance(base, Btf):
        return _by_files(kernel)
    # Linux commit 36e68442d1af ("bpf: Load and verify kernel module BTFs") (in v5.11).
    if kernel.find_symbol("btf_modules") is None or kernel.types.get("struct btf_module") is None:
        # No loss of this dump, so no problem of its tables: who asks for a module's type is told.
        kernel.no_module_types = (
            "this kernel keeps no type information of its modules (Linux 5.11 began to, with "
            "CONFIG_DEBUG_INFO_BTF_MODULES)"
        )
        return _by_files(kernel)
    head = kernel.symbol("btf_modules")
    _, entry = list_entries(
        kernel,
        [head],
        "struct btf_module",
        "list",
        what="the modules' BTF",
    )
    btf = entry.follow("btf")
    data, size, name = btf["data"], btf["data_size"], btf["name"]
    first = btf["start_id"] if btf.has("start_id") else None
    if first is not None and (first != base.end_id).true.any():
        kernel.no_module_types = (
            "what modules keep of their types goes on where the kernel's own BTF ends, and the types that were given "
            "are not that"
        )
        return _by_files(kernel)
    # As with symbols: types that stand with another module are those of a copy of its struct.
    there = np.flatnonzero(data.true)
    _, copies = _each_once(there, data.values[there].astype(np.uint64))
    rows = np.setdiff1d(np.arange(len(entry)), copies)
    if len(copies):
        more = f" and {len(copies) - 1:,} more modules" if len(copies) > 1 else ""
        kernel.lost(f"the types of module {str(name.values[copies[0]])!r}{more}: they are another module's")
    claimed = size.where((size <= _LARGEST_BTF).true).int64.filled(0)[rows]
    believed = kernel.budget.counts(claimed, 1, "bytes of the modules' types")
    found: list[Types] = []
    for row, fits in zip(rows.tolist(), believed.tolist(), strict=True):
        who = str(name.values[row])
        try:
            where, length = data[row], size[row]
            if where is None or length is None:
                raise KernlabError("it lies on pages that the dump lacks")
            if length != fits:
                raise KernlabError(f"it claims {length:,} bytes")
            found.append(Btf(kernel.read(where, length), base))
        except KernlabError as error:
            kernel.lost(f"the types of module {who!r} are not known: {error}")
    return found


def _by_files(kernel: Kernel) -> list[Types]:
    """Types of the loaded modules that have a debug file."""
    found: list[Types] = []
    for name in loaded(kernel)["name"].values.tolist() if has_modules(kernel) else ():
        try:
            types = kernel.host.module_types(kernel, str(name)) if kernel.host is not None else None
        except KernlabError as error:
            kernel.lost(f"the types of module {str(name)!r} are not known: {error}")
            continue
        found += [types] if types is not None else []
    return found


def _memory(kernel: Kernel, module: StructArray, *, code: bool = False) -> list[tuple[Column, Column]]:
    """The base and the size of each kind of memory that modules have, or of their code."""
    # Linux commit ac3b43283923 ("module: replace module_layout with module_memory") (in v6.4).
    if module.has("mem"):
        if code:
            named = [kernel.types.enumerator_or_none(name) for name in _CODE_KINDS]
            kinds = [kind for kind in named if kind is not None]
        else:
            kinds = [*range(min(kernel.types.enumerator("MOD_MEM_NUM_TYPES"), _MOST_KINDS))]
        found = [(module[f"mem[{kind}].base"], module[f"mem[{kind}].size"]) for kind in kinds]
    else:
        size = "text_size" if code else "size"
        found = [(module[f"{layout}.base"], module[f"{layout}.{size}"]) for layout in _LAYOUTS]
    return [(_before_the_end(kernel, base, size), size) for base, size in found]


def _before_the_end(kernel: Kernel, base: Column, size: Column) -> Column:
    """Bases without those from which memory of that size would reach beyond the last address."""
    beyond = base.valid & size.valid & (size.filled(0).astype(np.uint64) > ~base.filled(0).astype(np.uint64))
    if beyond.any():
        kernel.lost("modules would reach beyond the last address", mask=beyond)
    return base.where(~beyond)


def _ranges(kinds: list[tuple[Column, Column]]) -> tuple[U64, U64]:
    """[start, end) uint64[m] of what modules have of some kinds of memory."""
    nothing = np.zeros(0, dtype=np.uint64)
    found = [(base, size, np.flatnonzero(base.true & size.true)) for base, size in kinds]
    start = np.concatenate([nothing, *(base.values[rows].astype(np.uint64) for base, _, rows in found)])
    size = np.concatenate([nothing, *(size.values[rows].astype(np.uint64) for _, size, rows in found)])
    return start, start + size


def code_ranges(kernel: Kernel) -> tuple[U64, U64]:
    """[start, end) of each module's code, uint64[m] each; none where the symbols do not say that there are modules."""
    if kernel.symbols.get("modules") is None:
        return _ranges([])
    return _ranges(_memory(kernel, loaded(kernel), code=True))


@fact
def module_ranges(kernel: Kernel) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], list[str]]:
    """What lies in modules: [start, end) uint64[n], ascending, and the name of each range's module."""
    nothing = np.zeros(0, dtype=np.uint64)
    if not has_modules(kernel):
        return nothing, nothing, []
    module = loaded(kernel)
    parts = _memory(kernel, module)
    name = never_empty(module["name"])
    of_module = [np.flatnonzero(base.true & size.true & name.valid) for base, size in parts]
    start = np.concatenate([base.values[rows] for (base, _), rows in zip(parts, of_module, strict=True)])
    size = np.concatenate([size.values[rows] for (_, size), rows in zip(parts, of_module, strict=True)])
    order = np.argsort(start, kind="stable")
    names = name.values[np.concatenate(of_module)[order]]
    return start[order], start[order] + size[order].astype(np.uint64), [str(text) for text in names]
