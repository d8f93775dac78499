"""Small ELF files with DWARF for tests of source lines: two in git, and more of inlined.c where there is a gcc."""

from __future__ import annotations

import functools
import posixpath
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "debuginfo" / "inlined.c"
#: DWARF 5 of gcc 12, with the build id 0123456789abcdef0123456789abcdef01234567.
KEPT = SOURCE.with_suffix(".debug")
#: The same of clang 14, which numbers addresses, strings and lists of ranges, and says neither siblings nor aranges:
#: clang -O2 -gdwarf-5 -ffreestanding -fno-pic -mcmodel=kernel -fdebug-compilation-dir=/build/linux, linked as `build`.
CLANG = SOURCE.with_name("inlined-clang.debug")
BUILD_ID = "0123456789abcdef0123456789abcdef01234567"
TEXT = 0xFFFF_FFFF_8100_0000

Frames = list[tuple[str, str, int]]


def build(
    folder: Path,
    *options: str,
    build_id: str = BUILD_ID,
    link: bool = True,
    source: Path = SOURCE,
    text: int = TEXT,
) -> Path:
    """inlined.c compiled as a kernel is placed, its `_text` at TEXT and its code from `text` on, or (`link` false) as a
    module is; skips where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to make files with DWARF of other forms (apt-get install gcc)")
    made = folder / ("vmlinux" if link else "inlined.ko")
    command = ["gcc", "-O2", "-g", "-ffreestanding", "-fno-pic", "-mcmodel=kernel", *options]
    linker = ["-nostdlib", "-Wl,--build-id=0x" + build_id]
    linker += (
        ["-static", "-no-pie", f"-Wl,-Ttext={text:#x}", f"-Wl,--defsym=_text={TEXT:#x}"] if link else ["-r"]
    )
    done = subprocess.run(
        [*command, *linker, "-o", str(made), str(source)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"this gcc does not take {' '.join(options)}: {done.stderr.strip().splitlines()[-1]}")
    return made


def addr2line(file: Path, addresses: list[int], section: str = "") -> dict[int, Frames]:
    """(function, path, line) from the innermost on, as binutils finds them; skips without them."""
    if shutil.which("addr2line") is None:
        pytest.skip("no addr2line, the oracle (apt-get install binutils)")
    command = ["addr2line", "-a", "-i", "-f", *(["-j", section] if section else []), "-e", str(file)]
    said = subprocess.run(
        command, input="\n".join(map(hex, addresses)), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found: dict[int, Frames] = {}
    at = 0
    here: Frames = []
    while at < len(said):
        if said[at].startswith("0x"):
            here = found.setdefault(int(said[at], 16), [])
            at += 1
            continue
        path, _, line = said[at + 1].split(" (discriminator")[0].rpartition(":")
        here.append(
            (said[at], "" if path == "??" else posixpath.normpath(path), int(line) if line.isdigit() else 0)
        )
        at += 2
    return found


@functools.cache
def functions(file: Path) -> dict[str, tuple[int, int]]:
    """[start, end) of the functions of inlined.c, as nm tells them."""
    said = subprocess.run(["nm", "-S", str(file)], capture_output=True, text=True, check=True).stdout
    found = {}
    for row in said.splitlines():
        words = row.split()
        if len(words) == 4 and words[2] in "tT":
            found[words[3]] = (int(words[0], 16), int(words[0], 16) + int(words[1], 16))
    return found
