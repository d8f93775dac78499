"""The kernel's command line, one parameter a row, as the kernel cuts it and by who took it."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.command_line import (
    Parameter,
    given_to_init,
    kernel_parameters,
    module_parameters,
    parameters,
)
from kernlab.walk.strings import c_strings

#: Longer than any kernel's command line (COMMAND_LINE_SIZE), a boot configuration's before it and all.
_LONGEST = 1 << 16


@table
def cmdline(kernel: Kernel) -> pd.DataFrame:
    """One row per parameter of the kernel's command line (/proc/cmdline), in its order, duplicates kept.

    Columns: position (from 0), parameter (its name), value (without the quotes around it; missing without a "="),
    kind ("kernel"; "module", with a point in its name; "init", which the kernel did not know and gave to process 1 as
    an argument or in its environment, or which stands behind "--"), known (did anything take it: False where init was
    given it, or where its module has no such parameter; missing for a module that is not loaded). Of crashkernel older
    kernels do not say that they know it: it has its effect, and init is given it, too. Mirrors lib/cmdline.c
    (next_arg), kernel/params.c (parse_args) and init/main.c (unknown_bootoption).

    >>> dump.cmdline[["parameter", "value", "kind", "known"]].tail(2)
      parameter        value    kind  known
    3       mdf  -c,-d,31    init  False
    4    rdinit        /init  kernel   True
    """
    pointer, read = kernel.words([kernel.symbol("saved_command_line")], what="the command line's address")
    text = c_strings(kernel, pointer[read], _LONGEST, "the command line").tolist()
    found = parameters(text[0]) if text and text[0] else []
    kinds, known = [], []
    if found:
        builtin, modules, passed = kernel_parameters(kernel), module_parameters(kernel), given_to_init(kernel)
        if passed is None:
            kernel.lost("cmdline: which parameters the kernel did not know cannot be told")
        # Of a variable that is given twice init's environment keeps the last.
        variables = {one.name for one in found if one.value is not None and one.start in (passed or ())}
        passed = passed and passed | {one.start for one in found if one.name in variables}
        for one in found:
            kind, taken = _taken(one, builtin, modules, passed)
            kinds.append(kind)
            known.append(taken)
    return frame(
        kernel,
        "cmdline",
        position=list(range(len(found))) if found else Column.of([], kind="int").int64,
        parameter=Column.texts([one.name for one in found]),
        value=Column.texts([one.value for one in found]),
        kind=Column.texts(kinds),
        known=nullable(
            Column.of([bool(one) for one in known], kind="bool").values.astype(bool),
            Column.of([one is not None for one in known], kind="bool").values.astype(bool),
        ),
    )


def _taken(
    one: Parameter, builtin: set[str], modules: dict[str, set[str]], passed: set[int] | None
) -> tuple[str, bool | None]:
    """Whose a parameter is, and whether anything took it (None: not known)."""
    if one.for_init:
        return "init", False
    name = one.name.replace("-", "_")
    module, point, rest = name.partition(".")
    if name in builtin:
        return ("module" if point else "kernel"), True
    # process_sysctl_arg: "sysctl.vm.swappiness", also written with slashes.
    if module == "sysctl" and point:
        return "kernel", True
    # A point makes it a module's, which takes it when it is loaded: init never sees it.
    if point:
        return "module", rest in modules[module] if module in modules else None
    if passed is None:
        return "kernel", None
    return ("init", False) if one.start in passed else ("kernel", True)
