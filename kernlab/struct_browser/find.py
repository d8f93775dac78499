"""`dump.find_symbols(…)` and `dump.layout(…)`: what `%sym` and `%struct` show."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, cast

from kernlab import dataframes
from kernlab.core.column import Column
from kernlab.core.variables import percpu_type, spelt
from kernlab.debuginfo import global_variables
from kernlab.struct_browser.pahole import StructLayout, layout

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame


class FindSymbols:
    """`dump.find_symbols(…)`: symbols by name or pattern."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, pattern: str) -> Frame:
        """The symbols of a name, or of a pattern as the shell writes it ("*_alloc?"): name, address, module, c_type.

        `c_type` is a variable's type where kernlab or the dump knows it. Raises KernlabError (naming symbols spelt
        alike) where there is none.

        >>> dump.find_symbols("init_tas*")[["name", "address", "c_type"]]
                name             address              c_type
        0  init_task  0xffffffff9bc1aa40  struct task_struct
        """
        kernel = self._dump.kernel
        kernel.with_modules()
        table = kernel.symbols
        if not any(character in pattern for character in "*?["):
            kernel.symbol(pattern)
            names = {pattern}
        else:
            names = set(fnmatch.filter(table.names(), pattern))
        modules = table.modules()
        rows = [i for i, name in enumerate(table.names()) if name in names]
        found = [table.names()[i] for i in rows]
        kinds = [self._type(name) for name in found]
        made = dataframes.frame(
            kernel,
            f"symbols {pattern}",
            name=found,
            address=dataframes.addresses(kernel, table.addresses[rows]),
            module=[modules[i] for i in rows],
            c_type=Column.texts(kinds),
        )
        return cast("Frame", made)

    def _type(self, name: str) -> str | None:
        described = percpu_type(self._dump.kernel, name)
        if described is not None:
            return f"{described.c_name} (per CPU)"
        per_cpu = global_variables.PERCPU_TYPES.get(name)
        known = global_variables.TYPES.get(name) or spelt(self._dump.kernel, name)
        return known or (f"{per_cpu} (per CPU)" if per_cpu else None)


class TypeLayout:
    """`dump.layout(…)`: a struct's members, holes and cache lines."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, type: str) -> StructLayout:  # noqa: A002 - the word that dump.struct uses
        """The layout of a struct or union, as pahole shows it. Raises TypeNotFoundError, KernlabError.

        >>> dump.layout("struct list_head")
        struct list_head {
            struct list_head *next;                                      /*      0        8 */
            struct list_head *prev;                                      /*      8        8 */
        }; /* 16 bytes · 1 cache line · 2 members */
        """
        kernel = self._dump.kernel
        return layout(kernel.find_type(type), kernel.arch.cache_line)
