"""The loaded modules' symbols and types, put into the `Kernel` when something is first looked up there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.symbols import MoreSymbols
from kernlab.debuginfo.types import StructType
from kernlab.errors import KernlabError
from kernlab.linux.made_symbols import made_symbols
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings, never_empty

_MOST_SYMBOLS = 1 << 22
_LARGEST = 256 << 20
#: Kinds of memory that a module has (include/linux/module.h, enum mod_mem_type) are seven.
_MOST_KINDS = 64

# include/linux/module.h, enum module_state: not on /proc/modules until it is formed.
UNFORMED = 3
_UNDEFINED = 0  # SHN_UNDEF
_CASE = ord("a") - ord("A")


def has_modules(kernel: Kernel) -> bool:
    """Can this kernel load modules (CONFIG_MODULES)? Raises SymbolNotFoundError where that is not known."""
    return kernel.find_symbol("modules") is not None


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
    """Each module's own symbol table (kernel/module/kallsyms.c, module_get_kallsym)."""
    names = module["name"]
    table = module.follow("kallsyms")
    count, symtab, strtab = table["num_symtab"], table["symtab"], table["strtab"]
    # Linux commit 1c7651f43777 ("kallsyms: store type information in its own array") (in v5.2).
    typetab = table["typetab"]
    entry = kernel.find_type("Elf64_Sym").strip()
    exports = _exported(kernel, module)
    found = []
    for row in range(len(module)):
        name = str(names.values[row])
        number, start, names_at, letters_at = count[row], symtab[row], strtab[row], typetab[row]
        if None in (number, start, names_at, letters_at):
            kernel.lost(f"the symbols of module {name!r}: its symbol table lies on pages that the dump lacks")
            continue
        if not 0 < number <= _MOST_SYMBOLS:
            if number:
                kernel.lost(
                    f"the symbols of module {name!r}: it claims {number:,} of them; they were not read"
                )
            continue
        symbols = StructArray(
            kernel, entry, np.uint64(start) + np.arange(number, dtype=np.uint64) * np.uint64(entry.size)
        )
        offset, section, value = symbols["st_name"], symbols["st_shndx"], symbols["st_value"]
        letters, there = kernel.memory.read_partial(letters_at, number)
        used = offset.true & value.valid & there & (section != _UNDEFINED).true
        if not used.any():
            continue
        size = int(offset.values[used].max()) + 512
        strings, readable = kernel.memory.read_partial(names_at, min(size, _LARGEST))
        blob = strings.tobytes()
        picked = np.flatnonzero(used & (offset.values < len(blob)))
        starts = offset.values[picked].tolist()
        ends = [blob.find(b"\0", start) for start in starts]
        good = [
            end > start and bool(readable[start:end].all()) for start, end in zip(starts, ends, strict=True)
        ]
        lost = int((~(offset.valid & value.valid & there)).sum()) + good.count(False)
        if lost:
            kernel.lost(
                f"the symbols of module {name!r}: {lost:,} of {number:,} lie on pages that the dump lacks"
            )
        picked = picked[np.array(good, dtype=bool)]
        texts = [
            blob[start:end].decode("utf-8", "backslashreplace")
            for start, end, fine in zip(starts, ends, good, strict=True)
            if fine
        ]
        where = value.values[picked].astype(np.uint64)
        letter = letters[picked]
        # kernel/kallsyms.c, s_show: upper case is what a module exports, whatever the letter that it was built with.
        seen = np.array(
            [pair in exports[row] for pair in zip(where.tolist(), texts, strict=True)], dtype=bool
        )
        upper = (letter >= ord("A")) & (letter <= ord("Z"))
        small = (letter >= ord("a")) & (letter <= ord("z"))
        letter = np.where(seen & small, letter - _CASE, np.where(~seen & upper, letter + _CASE, letter))
        found.append(MoreSymbols(name, texts, where, letter.astype(np.uint8)))
    return found


def _exported(kernel: Kernel, module: StructArray) -> list[set[tuple[int, str]]]:
    """What each module exports to all others: (address, name), as kernel/module/kallsyms.c, is_exported, finds it."""
    start, number = module["syms"], module["num_syms"]
    count = number.where(start.valid & (number <= _MOST_SYMBOLS).true).int64.filled(0)
    kind = kernel.find_type("struct kernel_symbol").strip()
    assert isinstance(kind, StructType)
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
    text = c_strings(kernel, name.where(value.valid), 512)
    found: list[set[tuple[int, str]]] = [set() for _ in range(len(module))]
    for row in np.flatnonzero(value.valid & text.valid).tolist():
        found[owner[row]].add((value[row], text[row]))
    return found


def module_types(kernel: Kernel) -> list[Btf]:
    """The modules' own type information, which continues the kernel's (kernel/bpf/btf.c, btf_modules)."""
    # Linux commit 36e68442d1af ("bpf: Load and verify kernel module BTFs") (in v5.11).
    if kernel.find_symbol("btf_modules") is None or kernel.types.get("struct btf_module") is None:
        # No loss of this dump, so no problem of its tables: who asks for a module's type is told.
        kernel.no_module_types = (
            "this kernel keeps no type information of its modules (Linux 5.11 began to, with "
            "CONFIG_DEBUG_INFO_BTF_MODULES)"
        )
        return []
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
    base = kernel.types
    assert isinstance(base, Btf)
    found = []
    for row in range(len(entry)):
        who = str(name.values[row])
        try:
            where, length = data[row], size[row]
            if where is None or length is None:
                raise KernlabError("it lies on pages that the dump lacks")
            if length > _LARGEST:
                raise KernlabError(f"it claims {length:,} bytes")
            found.append(Btf(kernel.read(where, length), base))
        except KernlabError as error:
            kernel.lost(f"the types of module {who!r} are not known: {error}")
    return found


@fact
def module_ranges(kernel: Kernel) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], list[str]]:
    """What lies in modules: [start, end) uint64[n], ascending, and the name of each range's module."""
    nothing = np.zeros(0, dtype=np.uint64)
    if not has_modules(kernel):
        return nothing, nothing, []
    module = loaded(kernel)
    # Linux commit ac3b43283923 ("module: replace module_layout with module_memory") (in v6.4).
    if module.has("mem"):
        kinds = range(min(kernel.types.enumerator("MOD_MEM_NUM_TYPES"), _MOST_KINDS))
        parts = [(module[f"mem[{kind}].base"], module[f"mem[{kind}].size"]) for kind in kinds]
    else:
        parts = [(module[f"{part}.base"], module[f"{part}.size"]) for part in ("core_layout", "init_layout")]
    name = never_empty(module["name"])
    of_module = [np.flatnonzero(base.true & size.true & name.valid) for base, size in parts]
    start = np.concatenate([base.values[rows] for (base, _), rows in zip(parts, of_module, strict=True)])
    size = np.concatenate([size.values[rows] for (_, size), rows in zip(parts, of_module, strict=True)])
    order = np.argsort(start, kind="stable")
    names = name.values[np.concatenate(of_module)[order]]
    return start[order], start[order] + size[order].astype(np.uint64), [str(text) for text in names]
