"""Debian's blkparse and btt as oracles: what they say of a trace, and a skip where they are not (or others)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

#: Later versions print other lines (1.3.0: "Trace started at", cgroups, whole extents of split requests).
BLKPARSE = "1.2.0"


def blkparse() -> str:
    program = shutil.which("blkparse")
    if program is None:
        pytest.skip("blkparse is not installed (package blktrace)")
    found = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    version = (found.stdout + found.stderr).split()[-1]
    if version != BLKPARSE:
        pytest.skip(f"blkparse is {version}; its lines are those of {BLKPARSE}")
    return program


def lines(folder: Path, device: str) -> list[str]:
    """What `blkparse -q` prints of <device>.blktrace.*; tests compare lines."""
    done = subprocess.run([blkparse(), "-q", "-i", device], cwd=folder, capture_output=True, check=True)
    text = done.stdout.decode("utf-8", "backslashreplace")
    return [line for line in text.split("\n") if not line.startswith("Input file ")]


def btt(folder: Path, device: str) -> dict[tuple[str, str, str], tuple[float, float, float, int]]:
    """btt's averages: (section, whose, step) -> (min, avg, max in nanoseconds, n); Q2Qdm and Q2Q are one."""
    program = shutil.which("btt")
    if program is None:
        pytest.skip("btt is not installed (package blktrace)")
    subprocess.run(
        [blkparse(), "-q", "-O", "-i", device, "-d", "merged"], cwd=folder, capture_output=True, check=True
    )
    done = subprocess.run(
        [program, "-A", "-i", "merged"], cwd=folder, capture_output=True, check=True, text=True
    )
    found = {}
    section = step = ""
    for line in done.stdout.splitlines():
        if title := re.match(r"=+ (.*?) =+$", line):
            section = title[1]
        elif header := re.match(r" +(\w+) +MIN ", line):
            step = header[1]
        elif row := re.match(r"(\(.*\)|\S+) +(\d+\.\d{9}) +(\d+\.\d{9}) +(\d+\.\d{9}) +(\d+)$", line):
            whose, name = ("all", row[1]) if step == "ALL" else (row[1], step)
            times = tuple(round(float(row[i]) * 1e9) for i in (2, 3, 4))
            found[section, whose, name.removesuffix("dm")] = (*times, int(row[5]))
    return found
