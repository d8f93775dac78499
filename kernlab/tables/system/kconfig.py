"""The configuration that the kernel was built with, as /proc/config.gz has it."""

from __future__ import annotations

import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, table
from kernlab.errors import KernlabError
from kernlab.linux.config import configuration


@table
def kconfig(kernel: Kernel) -> pd.DataFrame:
    """One row per option of the kernel's configuration, in the file's order; empty where the kernel carries none.

    Columns: name ("CONFIG_SMP"), value ("y", "m", "n" for an option that is not set, a number, a text without its
    quotes). Needs CONFIG_IKCONFIG, which Debian's kernels do not have. Mirrors kernel/configs.c.

    >>> len(dump.kconfig), dump.kconfig.attrs["problems"]
    (0, ['the kernel does not carry its configuration (CONFIG_IKCONFIG is off, or the module configs not loaded)'])
    """
    options: dict[str, str] = {}
    try:
        found = configuration(kernel)
    except KernlabError as error:
        kernel.lost(f"kconfig: {error}")
    else:
        if found is None:
            kernel.lost(
                "the kernel does not carry its configuration (CONFIG_IKCONFIG is off, or the module configs not loaded)"
            )
        options = found or {}
    return frame(
        kernel,
        "kconfig",
        name=Column.texts(list(options)),
        value=Column.texts(list(options.values())),
    )
