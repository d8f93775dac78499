"""rss_bytes, pss_bytes and swap_bytes of `maps`, computed when they are looked at."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.dataframes.deferred import deferred
from kernlab.errors import KernlabError
from kernlab.linux.map_usage import PSS_SHIFT, usage

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LATER = ("rss_bytes", "pss_bytes", "swap_bytes")


def usage_later(kernel: Kernel, vmas: U64) -> dict[str, Any]:
    """rss_bytes, pss_bytes and swap_bytes of VMAs by their addresses, as columns that are computed when looked at.

    Those that nobody looked at are computed before the dump is closed. Where the walk fails they are missing, and a
    warning says why.
    """

    def compute() -> dict[str, tuple[I64, Mask]]:
        try:
            found = usage(kernel)
        except KernlabError as error:
            warnings.warn(
                f"rss_bytes, pss_bytes and swap_bytes of memory maps are missing: {error}", stacklevel=2
            )
            nothing = np.zeros(len(vmas), dtype=np.int64), np.zeros(len(vmas), dtype=bool)
            return dict.fromkeys(_LATER, nothing)
        row, known = found.of_vmas(vmas)
        if not len(found.known):
            return dict.fromkeys(_LATER, (row, np.zeros(len(row), dtype=bool)))
        known &= found.known[row]
        swap = found.sums["swap"] + found.sums["shmem_swap"]
        return {
            "rss_bytes": (found.sums["rss"][row], known),
            "pss_bytes": (found.sums["pss"][row] >> PSS_SHIFT, known),
            "swap_bytes": (swap[row], known & found.swap_known[row]),
        }

    return deferred(_LATER, len(vmas), compute, kernel.before_close)
