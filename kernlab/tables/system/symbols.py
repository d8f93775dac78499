"""The symbols of the kernel and its modules as a DataFrame."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import addresses, frame, table


@table
def symbols(kernel: Kernel) -> pd.DataFrame:
    """One row per symbol in kallsyms' order: name, address, type (its letter), module ('' for the kernel).

    >>> dump.symbols.query("name == 'init_task'")
                name             address type module
    62384  init_task  0xffffffff9bc1aa40    D
    """
    kernel.with_modules()
    known = kernel.symbols
    # A module's letters may be any bytes where its table is damaged.
    letters = np.array([chr(code) for code in range(256)], dtype="U1")[known.types]
    return frame(
        kernel,
        "symbols",
        name=known.names(),
        address=addresses(kernel, known.addresses),
        type=letters.tolist(),
        module=known.modules(),
    )
