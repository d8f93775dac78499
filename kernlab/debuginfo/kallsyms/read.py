"""kallsyms, the symbol table that a kernel carries in itself: the kernel image in, a `SymbolTable` out.

How addresses are stored has changed three times; which way a kernel does it is read off the data: that one is right by
which the symbols that VMCOREINFO names come out at the addresses it gives (scripts/kallsyms.c, kernel/kallsyms.c).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.kallsyms.names import MOST_SYMBOLS, Image, Names, Tables, decode_names
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError
from kernlab.memory.arch import Architecture
from kernlab.util.addresses import wrapped

U64 = npt.NDArray[np.uint64]

#: Symbols of VMCOREINFO that tell right addresses from wrong ones.
_WITNESSES = (
    "_stext",
    "init_uts_ns",
    "swapper_pg_dir",
    "init_top_pgt",
    "prb",
    "node_online_map",
    "clear_seq",
)


def read_kallsyms(image: Image, info: Vmcoreinfo, doubts: list[str] | None = None) -> SymbolTable:
    """The kernel's own symbols; `doubts` is told where VMCOREINFO says otherwise of single ones.

    Raises KernlabError where the tables cannot be found, are damaged, or contradict VMCOREINFO in all that both name;
    FaultError and PageExcluded where the dump lacks them.
    """
    doubts = [] if doubts is None else doubts
    tables = _tables_of(info)
    if tables is not None:
        try:
            return _read(image, info, tables, doubts)
        except KernlabError as error:
            try:
                table = _read(image, info, _search(image, info), doubts)
            except KernlabError:
                raise error from None
            doubts.append(f"kallsyms does not lie where VMCOREINFO says ({error}): it was found by its shape")
            return table
    return _read(image, info, _search(image, info), doubts)


def _read(image: Image, info: Vmcoreinfo, tables: Tables, doubts: list[str]) -> SymbolTable:
    count = int.from_bytes(image.read(tables.num_syms, 4), "little")
    if not 0 < count <= MOST_SYMBOLS:
        raise KernlabError(
            f"kallsyms of this dump is damaged: it claims {count:,} symbols at {tables.num_syms:#x}"
        )
    names = decode_names(image, tables, count)
    addresses = _addresses(image, info, tables, names, count, doubts)
    table = SymbolTable(names.blob, names.starts, addresses, names.letters, image.arch.kernel_start)
    return with_told(table, info, image.arch)


def with_told(table: SymbolTable, info: Vmcoreinfo, arch: Architecture) -> SymbolTable:
    """A table that names functions only (CONFIG_KALLSYMS_ALL is off), with the variables that VMCOREINFO names."""
    if not table.functions_only:
        return table
    # Arrays are told by where they lie, which may be outside the image (mem_section).
    found = {
        name: address
        for key in info
        if key.startswith("SYMBOL(")
        and (name := key[len("SYMBOL(") : -1]) not in table
        and (address := info.symbol(name) or 0) >= arch.image_start
    }
    return table.told(list(found), list(found.values()))


def _search(image: Image, info: Vmcoreinfo) -> Tables:
    # Few dumps need it, and a cold start counts milliseconds.
    from kernlab.debuginfo.kallsyms.search import find_tables

    return find_tables(image, info)


def _tables_of(info: Vmcoreinfo) -> Tables | None:
    """Where VMCOREINFO says that the tables are (since v6.0, commit f09bddbd8661)."""
    names, num_syms, table, index, base, offsets, absolute = (
        info.symbol(f"kallsyms_{key}")
        for key in (
            "names",
            "num_syms",
            "token_table",
            "token_index",
            "relative_base",
            "offsets",
            "addresses",
        )
    )
    if names is None or num_syms is None or table is None or index is None:
        return None
    if offsets is None and absolute is None:
        return None
    return Tables(
        names=names,
        num_syms=num_syms,
        token_table=table,
        token_index=index,
        offsets=() if offsets is None else (offsets,),
        relative_base=base,
        absolute=absolute,
    )


def _addresses(
    image: Image, info: Vmcoreinfo, tables: Tables, names: Names, count: int, doubts: list[str]
) -> U64:
    """Every symbol's address: each way of storing them is tried, and that one taken which the witnesses confirm.

    A wrong way gives none of them its address. So where some are right, the others are wrong in VMCOREINFO.
    """
    table = SymbolTable(names.blob, names.starts, np.zeros(count, dtype=np.uint64), names.letters, 0)
    known = ((name, table.index(name), info.symbol(name)) for name in _WITNESSES)
    witnesses = [(name, row, value) for name, row, value in known if row is not None and value is not None]
    tried, most = 0, 0
    partly: U64 | None = None
    for candidate in _candidates(image, tables, count):
        tried += 1
        right = sum(int(candidate[row]) == value for _, row, value in witnesses)
        ascends = right == len(witnesses) > 0 or _ascending(candidate[image.arch.is_kernel(candidate)], count)
        if right == len(witnesses) and ascends:
            return candidate
        if right > most and ascends:
            most, partly = right, candidate
    if partly is not None:
        doubts += [
            f"VMCOREINFO says SYMBOL({name})={value:#x}, kallsyms {int(partly[row]):#x}: that was believed"
            for name, row, value in witnesses
            if int(partly[row]) != value
        ]
        return partly
    if not tried:
        # Says which page is missing.
        image.read(tables.absolute if tables.absolute is not None else tables.offsets[0], 4 * count)
    if not witnesses:
        raise KernlabError(
            f"the addresses in kallsyms of this dump do not ascend in any of the {tried} ways in which kernels store "
            "them, and VMCOREINFO names none of its symbols to compare"
        )
    raise KernlabError(
        f"kallsyms of this dump contradicts its VMCOREINFO: of {len(witnesses)} symbols that both name, {most} have "
        f"the same address ({tried} ways to read the addresses were tried)"
    )


def _candidates(image: Image, tables: Tables, count: int) -> Iterator[U64]:
    """The addresses as each generation of kernels stores them; tables on missing pages are passed over."""
    for where in tables.offsets:
        data, there = image.read_partial(where, 4 * count)
        if not there.all():
            continue
        unsigned = data.view("<u4")
        signed = unsigned.view("<i4").astype(np.int64).view(np.uint64)
        # Since 7.x each offset counts from where it stands itself, and there is no base.
        if tables.relative_base is None or tables.searched:
            yield np.uint64(where) + np.arange(count, dtype=np.uint64) * np.uint64(4) + signed
        for at in dict.fromkeys(_bases(tables, where, count)):
            base_bytes, known = image.read_partial(at, 8)
            if not known.all():
                continue
            base = int(base_bytes.view("<u8")[0])
            # Without CONFIG_KALLSYMS_ABSOLUTE_PERCPU (gone in 6.15) all offsets are unsigned …
            yield np.uint64(base) + unsigned.astype(np.uint64)
            # … with it, negative ones count down from the base, and the others are absolute.
            yield np.where(
                unsigned.view("<i4") < 0,
                wrapped(base - 1) - signed,
                unsigned.astype(np.uint64),
            )
    if tables.absolute is not None:
        data, there = image.read_partial(tables.absolute, 8 * count)
        if there.all():
            yield data.view("<u8").astype(np.uint64)


def _bases(tables: Tables, where: int, count: int) -> Iterator[int]:
    """Where the relative base may stand: right after the offsets, or before num_syms."""
    if tables.relative_base is not None:
        yield tables.relative_base
    if tables.searched:
        yield (where + 4 * count + 7) & ~7


def _ascending(addresses: U64, count: int) -> bool:
    """Are those of `count` symbols that are addresses most of them, and sorted, as kallsyms is?"""
    return len(addresses) > count // 2 and bool((addresses[1:] >= addresses[:-1]).mean() > 0.999)
