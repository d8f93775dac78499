"""drgn's way to a dump, shared by its sides of the benchmarks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import drgn
import pandas as pd


def main(build: Callable[[drgn.Program], pd.DataFrame], figures: Callable[[pd.DataFrame], str]) -> None:
    """`python SCRIPT DUMP VMLINUX [--figures]`: build the table, and print its figures or what the work took."""
    dump, vmlinux = sys.argv[1:3]
    prog = drgn.Program()
    prog.set_core_dump(dump)
    prog.load_debug_info([vmlinux])
    begun = time.perf_counter()
    frame = build(prog)
    seconds = time.perf_counter() - begun
    if "--figures" in sys.argv[3:]:
        print(figures(frame))
    else:
        print(json.dumps({"seconds": seconds, "table_bytes": int(frame.memory_usage(deep=True).sum())}))
