"""Loaded modules, as /proc/modules prints them."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, empty, frame, lookup, nullable, table
from kernlab.linux.kernel_modules import has_modules, loaded
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import never_empty

#: kernel/module/procfs.c, m_show
_STATES = ["Live", "Loading", "Unloading"]

#: kernel/panic.c: the taints that a module can bring are shown with the kernel's letters.
_TAINT_LETTERS = "PFSRMBUDAWCIOELKXTNJ"


@table(rows="struct module")
def modules(kernel: Kernel) -> pd.DataFrame:
    """One row per module, newest first: base and size_bytes of its memory, refcount, state, used_by, taint.

    used_by joins the users' names by commas ("[permanent]" among them for one that has no exit), taint gives the
    letters alone ("OE"). Mirrors kernel/module/procfs.c.

    >>> dump.modules[["name", "size_bytes", "refcount", "used_by"]].head(3)
           name  size_bytes  refcount used_by
    0      zram       40960         0
    1  zsmalloc       28672         1    zram
    2  null_blk       77824         0
    """
    if not has_modules(kernel):
        texts = dict.fromkeys(("state", "used_by", "taint"), "str")
        numbers = dict.fromkeys(("size_bytes", "refcount"), "Int64")
        return empty(
            kernel, "modules", address="struct module", name="str", base="address", **numbers, **texts
        )
    module = loaded(kernel)
    state, taint = module["state"], module["taints"]
    letters = [
        "".join(c for b, c in enumerate(_TAINT_LETTERS) if mask >> b & 1) for mask in taint.values.tolist()
    ]
    base, size = _memory(kernel, module)
    return frame(
        kernel,
        "modules",
        address=module,
        name=never_empty(module["name"]),
        base=addresses(kernel, base.values, base.valid),
        size_bytes=nullable(size),
        refcount=nullable(_references(module)),
        state=lookup(state.int64.where((state < len(_STATES)).true).filled(-1), _STATES),
        used_by=_users(kernel, module),
        taint=Column.of(letters, taint.valid, "text"),
    )


def _references(module: StructArray) -> Column:
    """How often each module is used; without CONFIG_MODULE_UNLOAD nobody counts it ("-" in /proc/modules)."""
    if not module.has("refcnt"):
        return Column.missing(len(module), "int")
    # One reference is the module's own (MODULE_REF_BASE).
    return module["refcnt.counter"] - 1


def _memory(kernel: Kernel, module: StructArray) -> tuple[Column, Column]:
    """Where each module's code lies, and the size of all its memory."""
    # Linux commit ac3b43283923 ("module: replace module_layout with module_memory") (in v6.4).
    if module.has("mem"):
        kinds = kernel.types.enumerator("MOD_MEM_NUM_TYPES")
        text = kernel.types.enumerator("MOD_TEXT")
        sizes = [module[f"mem[{kind}].size"] for kind in range(min(kinds, 64))]
        return module[f"mem[{text}].base"], functools.reduce(operator.add, sizes)
    return module["core_layout.base"], module["core_layout.size"] + module["init_layout.size"]


def _users(kernel: Kernel, module: StructArray) -> Column:
    """The modules that use each module, in the kernel's order (print_unload_info); not known to a kernel without
    CONFIG_MODULE_UNLOAD ("-")."""
    if not module.has("source_list"):
        return Column.missing(len(module))
    users: list[list[str]] = [[] for _ in range(len(module))]
    heads = module.follow("source_list").addresses
    owner, use = list_entries(kernel, heads, "struct module_use", "source_list", what="the modules' users")
    name = use["source->name"].text
    for row, who in zip(owner.tolist(), name, strict=True):
        if who is not None:
            users[row].append(who)
    # A module that can be loaded and not unloaded counts among its own users (print_unload_info).
    init, leave = module["init"], module["exit"]
    permanent = (init != 0) & (leave == 0)
    for row in np.flatnonzero(permanent.true).tolist():
        users[row].append("[permanent]")
    return Column.of([",".join(names) for names in users], kind="text")
