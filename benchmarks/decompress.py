"""Decompressing a dump's pages: each library alone, and kernlab with all that it adds, as ratios to libdeflate.

    python benchmarks/decompress.py [DUMP]

The libraries get the same compressed pages, each page once, and throw their output away; kernlab reads every frame of
the dump (shared and raw pages too) into memory that was touched before, and its time is divided by the same number of
compressed pages. For a dump with LZO pages the ratios are to lzallright.
"""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kernlab.formats import open_dump_file
from kernlab.formats.kdump import file as kdump_module
from kernlab.formats.kdump.file import KdumpFile
from kernlab.formats.kdump.pages import LZO, ZLIB

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "debian-6.1" / "vmcore"
PAGE = 4096


def libraries(flag: int) -> dict[str, Callable[[bytes], object]]:
    """What can decompress such pages here; the first one is the measure."""
    if flag == LZO:
        from lzallright import LZOCompressor

        return {"lzallright": lambda data: LZOCompressor.decompress(data, PAGE)}
    import deflate

    found: dict[str, Callable[[bytes], object]] = {
        "libdeflate": lambda data: deflate.zlib_decompress(data, PAGE)
    }
    try:
        from isal import isal_zlib

        found["isal"] = lambda data: isal_zlib.decompress(data, bufsize=PAGE)
    except ImportError:
        print("isal is not installed: left out")
    found["zlib"] = lambda data: zlib.decompress(data, bufsize=PAGE)
    return found


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def alone(decompress: Callable[[bytes], object], pages: Sequence[bytes], threads: int, batch: int) -> None:
    def one(start: int) -> None:
        for data in pages[start : start + batch]:
            decompress(data)

    starts = range(0, len(pages), batch)
    if threads == 1:
        for start in starts:
            one(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, starts))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("dump", nargs="?", type=Path, default=SAMPLE)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--batch", type=int, default=512)
    given = arguments.parse_args()
    dump = open_dump_file(given.dump)
    if not isinstance(dump, KdumpFile):
        raise SystemExit(f"{given.dump} has no compressed pages")
    flag = LZO if dump.format == "kdump-lzo" else ZLIB
    table = dump._pages._entries.part(0, dump.frame_count)
    table = table[table["flags"] == flag]
    data = given.dump.read_bytes()
    pages = [data[o : o + n] for o, n in zip(table["offset"].tolist(), table["size"].tolist(), strict=True)]
    if not pages:
        raise SystemExit(f"{given.dump} has no compressed pages")

    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, 2, cores})
    print(f"{given.dump.name}: {dump.frame_count:,} frames, {len(pages):,} {dump.format} pages; {cores} CPUs")
    print(f"{'':24}{'threads':>8}{'µs a page':>11}{'ratio':>8}")
    base = 0.0

    def row(name: str, threads: int, seconds: float) -> None:
        each = seconds / len(pages) * 1e6
        print(f"{name:24}{threads:8}{each:11.2f}{each / base if base else 1.0:8.2f}")

    for name, decompress in libraries(flag).items():
        for threads in counts:
            seconds = best(lambda d=decompress, t=threads: alone(d, pages, t, given.batch), given.rounds)
            base = base or seconds / len(pages) * 1e6
            row(name, threads, seconds)
    every = np.arange(dump.frame_count)
    out = np.zeros((dump.frame_count, dump.page_size), dtype=np.uint8)
    usual = kdump_module._workers
    for threads in counts:
        kdump_module._workers = lambda threads=threads: threads
        if threads == 1 or dump.format == "kdump-zlib":
            row("kernlab, every frame", threads, best(lambda: dump.read_into(every, out), given.rounds))
        else:
            # kernlab reads these with one thread: this row says why.
            row(
                "(kernlab, were it shared)",
                threads,
                best(lambda t=threads: dump._read_shared(every, out, t), given.rounds),
            )
    kdump_module._workers = usual


if __name__ == "__main__":
    main()
