"""The loaded modules' symbols and types, put into the `Kernel` when something is first looked up there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.btf import Btf
from kernlab.errors import KernlabError
from kernlab.kernel import Kernel
from kernlab.structs import StructArray
from kernlab.walk.lists import list_entries

#: More modules, symbols of one, or bytes of one's BTF or names than this are damage.
_MOST_MODULES = 1 << 16
_MOST_SYMBOLS = 1 << 22
_LARGEST = 256 << 20

# include/linux/module.h, enum module_state: not on /proc/modules until it is formed.
UNFORMED = 3
_UNDEFINED = 0  # SHN_UNDEF


@dataclass(frozen=True)
class ModuleSymbols:
    """One module's symbols: names, addresses uint64[n], kallsyms' letters uint8[n]."""

    module: str
    names: list[str]
    addresses: npt.NDArray[np.uint64]
    letters: npt.NDArray[np.uint8]


def loaded(kernel: Kernel, problems: list[str]) -> StructArray:
    """The modules on the kernel's list that are formed, newest first, as /proc/modules shows them."""
    if "modules" not in kernel.symbols:  # CONFIG_MODULES=n
        return StructArray(kernel, kernel.find_type("struct module"), np.zeros(0, dtype=np.uint64))
    head = kernel.symbol("modules")
    _, module = list_entries(
        kernel,
        [head],
        "struct module",
        "list",
        problems=problems,
        what="the list of modules",
        limit=_MOST_MODULES,
    )
    state = module["state"]
    formed: StructArray = module[~(state.valid & (state.values == UNFORMED))]
    return formed


def load(kernel: Kernel) -> None:
    """Extend the kernel's symbols and types by those of its modules; what cannot be had goes into its problems."""
    problems: list[str] = []
    module = loaded(kernel, problems)
    for symbols in module_symbols(kernel, module, problems):
        kernel.symbols = kernel.symbols.extended(
            symbols.names, symbols.addresses, symbols.letters, symbols.module
        )
    kernel.module_types = module_types(kernel, problems)
    kernel.lost(problems)


def module_symbols(kernel: Kernel, module: StructArray, problems: list[str]) -> list[ModuleSymbols]:
    """Each module's own symbol table (kernel/module/kallsyms.c, module_get_kallsym)."""
    names = module["name"]
    table = module.follow("kallsyms")
    count, symtab, strtab = table["num_symtab"], table["symtab"], table["strtab"]
    # Linux commit 1c7651f43777 ("kallsyms: store type information in its own array") (in v5.2).
    typetab = table["typetab"]
    entry = kernel.find_type("Elf64_Sym").strip()
    found = []
    for row in range(len(module)):
        name = str(names.values[row])
        number = int(count.values[row])
        if not (count.valid[row] and symtab.valid[row] and strtab.valid[row] and typetab.valid[row]):
            problems.append(
                f"the symbols of module {name!r}: its symbol table lies on pages that the dump lacks"
            )
            continue
        if not 0 < number <= _MOST_SYMBOLS:
            if number:
                problems.append(
                    f"the symbols of module {name!r}: it claims {number:,} of them; they were not read"
                )
            continue
        start = np.uint64(symtab.values[row])
        symbols = StructArray(
            kernel, entry, start + np.arange(number, dtype=np.uint64) * np.uint64(entry.size)
        )
        offset, section, value = symbols["st_name"], symbols["st_shndx"], symbols["st_value"]
        letters, there = kernel.memory.read_partial(int(typetab.values[row]), number)
        used = offset.valid & value.valid & there & (section.values != _UNDEFINED)
        used[offset.values == 0] = False
        if not used.any():
            continue
        size = int(offset.values[used].max()) + 512
        strings, readable = kernel.memory.read_partial(int(strtab.values[row]), min(size, _LARGEST))
        blob = strings.tobytes()
        picked = np.flatnonzero(used & (offset.values < len(blob)))
        starts = offset.values[picked].tolist()
        ends = [blob.find(b"\0", start) for start in starts]
        good = [
            end > start and bool(readable[start:end].all()) for start, end in zip(starts, ends, strict=True)
        ]
        lost = int((~(offset.valid & value.valid & there)).sum()) + good.count(False)
        if lost:
            problems.append(
                f"the symbols of module {name!r}: {lost:,} of {number:,} lie on pages that the dump lacks"
            )
        picked = picked[np.array(good, dtype=bool)]
        texts = [
            blob[start:end].decode("utf-8", "backslashreplace")
            for start, end, fine in zip(starts, ends, good, strict=True)
            if fine
        ]
        found.append(ModuleSymbols(name, texts, value.values[picked].astype(np.uint64), letters[picked]))
    return found


def module_types(kernel: Kernel, problems: list[str]) -> list[Btf]:
    """The modules' own type information, which continues the kernel's (kernel/bpf/btf.c, btf_modules)."""
    # Linux commit 36e68442d1af ("bpf: Load and verify kernel module BTFs") (in v5.11).
    if "btf_modules" not in kernel.symbols or kernel.types.get("struct btf_module") is None:
        # No loss of this dump, so no problem of its tables: who asks for a module's type is told.
        kernel.no_module_types = "this kernel keeps no type information of its modules (Linux 5.11 began to)"
        return []
    head = kernel.symbol("btf_modules")
    _, entry = list_entries(
        kernel,
        [head],
        "struct btf_module",
        "list",
        problems=problems,
        what="the modules' BTF",
        limit=_MOST_MODULES,
    )
    btf = entry.follow("btf")
    data, size, name = btf["data"], btf["data_size"], btf["name"]
    base = kernel.types
    assert isinstance(base, Btf)
    found = []
    for row in range(len(entry)):
        who = str(name.values[row])
        try:
            if not (data.valid[row] and size.valid[row]):
                raise KernlabError("it lies on pages that the dump lacks")
            if int(size.values[row]) > _LARGEST:
                raise KernlabError(f"it claims {int(size.values[row]):,} bytes")
            found.append(Btf(kernel.read(int(data.values[row]), int(size.values[row])), base))
        except KernlabError as error:
            problems.append(f"the types of module {who!r} are not known: {error}")
    return found
