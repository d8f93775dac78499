"""Damage of files in every form that is read: small ones whose every byte is known, and real dumps written anew.

forms:6.12:small:split-lzo:2@4096=00ff
forms:6.12:real:elf:0@168=0000000000400000
forms:6.12:real:flattened:cut=77777
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from formats import make_dump as make
from formats import make_saved

import kernlab
from fuzz.cases import NONE, Damaged, Kind, within
from fuzz.files import FOLDER
from fuzz.subjects import Subject, frames_of
from kernlab.formats import open_dump_file

SECONDS = 0.3
PAGE = make.PAGE

_SOME = make.some(40)
_SEGMENTS = [make.Segment(start, make.page(start, "text") * 3) for start in (0, 0x10000, 0x40000, 0x100000)]


def _small() -> dict[str, Callable[[], list[bytes]]]:
    """Makers of small files, by name; a split dump is several."""
    found: dict[str, Callable[[], list[bytes]]] = {}
    for kind in make.KINDS:
        found[f"kdump-{kind}"] = lambda kind=kind: [bytes(make.kdump(_SOME, kind=kind).data)]  # type: ignore[misc]
    for version in range(1, 6):
        found[f"kdump-v{version}"] = lambda v=version: [bytes(make.kdump(_SOME, version=v).data)]  # type: ignore[misc]
    found["kdump-qemu"] = lambda: [bytes(make.kdump(_SOME, qemu=True).data)]
    found["kdump-large-pages"] = lambda: [
        bytes(make.kdump({1: bytes(65536), 3: bytes(65536)}, block=65536).data)
    ]
    for kind in ("zlib", "lzo"):
        found[f"split-{kind}"] = lambda kind=kind: make.split(_SOME, (30, 70), kind=kind)  # type: ignore[misc]
    found["flattened"] = lambda: [make.flatten(bytes(make.kdump(_SOME).data))]
    found["flattened-split"] = lambda: [make.flatten(piece) for piece in make.split(_SOME, (50,))]
    found["elf"] = lambda: [bytes(make.elf(_SEGMENTS))]
    found["elf-many"] = lambda: [bytes(make.elf(_SEGMENTS, many=True))]
    found["elf-flattened"] = lambda: [make.flatten(bytes(make.elf(_SEGMENTS)))]
    found["lime"] = lambda: [make.lime(_SEGMENTS)]
    found["avml"] = lambda: [make.avml(_SEGMENTS)]
    found["raw"] = lambda: [make.raw(_SEGMENTS)]
    found["qemu-saved"] = lambda: [
        make_saved.stream(
            {"pc.ram": {**dict(enumerate(_SOME.values())), 50: 0}, "vga.vram": {0: 3}},
            {"pc.ram": 64 * PAGE, "vga.vram": PAGE},
            later=[("pc.ram", 1, make.page(7))],
        )
    ]
    found["vmware"] = lambda: [
        make_saved.state_file(
            {
                "cpu": [make_saved.tag("rip", bytes(8), 0), make_saved.tag("CR64", bytes(8), 0, 3)],
                "memory": [
                    *make_saved.regions([(0, 0, 20), (20, 0x100, 20)]),
                    make_saved.block("Memory", b"".join(_SOME.values()), 0, 0, padding=5),
                ],
            }
        )
    ]
    whole = bytes(make.kdump(_SOME).data)
    found["xz"] = lambda: [lzma.compress(whole)]
    found["gzip"] = lambda: [gzip.compress(whole, mtime=0)]
    found["bzip2"] = lambda: [bz2.compress(whole)]
    found["zstd"] = lambda: [zstandard.ZstdCompressor().compress(whole)]
    # What unpacks to a thousand times its size.
    found["bomb-xz"] = lambda: [lzma.compress(whole + bytes(1 << 26), preset=0)]
    found["bomb-zstd"] = lambda: [zstandard.ZstdCompressor().compress(whole + bytes(1 << 26))]
    return found


SMALL = _small()
REAL = ("elf", "lime", "avml", "flattened", "split")


@lru_cache(maxsize=64)
def _made(name: str) -> tuple[bytes, ...]:
    return tuple(SMALL[name]())


def _real(subject: Subject, form: str) -> list[Path]:
    """A real dump in another form: written once, and kept until the run ends."""
    names = [FOLDER / f"{subject.prefix}-real-{subject.name}-{form}{piece}" for piece in ("", "-2")]
    names = names if form == "split" else names[:1]
    if not names[0].exists():
        for path, data in zip(names, _write(subject, form), strict=True):
            path.write_bytes(data)
    return names


def _write(subject: Subject, form: str) -> list[bytes]:
    if form == "flattened":
        return [make.flatten(subject.path.read_bytes(), step=1 << 20)]
    frames, rows = frames_of(subject), subject.file.rows
    if form == "split":
        pages = {int(pfn): rows[row].tobytes() for row, pfn in enumerate(frames.tolist())}
        middle = int(frames[len(frames) // 2])
        return make.split(pages, (middle,), vmcoreinfo=subject.file.vmcoreinfo, kind="raw")
    edges = np.flatnonzero(np.diff(frames) != 1) + 1
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(frames)]
    segments = [
        make.Segment(int(frames[start]) * PAGE, rows[start:end].tobytes())
        for start, end in zip(starts, ends, strict=True)
    ]
    if form == "elf":
        return [bytes(make.elf(segments, note_bytes=make.notes(subject.file.vmcoreinfo)))]
    return [make.lime(segments) if form == "lime" else make.avml(segments)]


def _numbers(chance: random.Random, size: int) -> bytes:
    top = 1 << 8 * size
    value = chance.choice(
        (0, 1, top - 1, top // 2 - 1, 1 << 40, 1 << 33, 1 << 46, chance.getrandbits(8 * size))
    )
    return int(value % top).to_bytes(size, chance.choice(("little", "little", "big")))


def _where(chance: random.Random, length: int, first: int) -> int:
    """A place in a file, most often among its headers."""
    if chance.random() < 0.6:
        return chance.randrange(min(length, first))
    return chance.randrange(length)


def draw(subject: Subject, chance: random.Random) -> str | None:
    if chance.random() < 0.8:
        name = chance.choice(sorted(SMALL))
        files = [len(data) for data in _made(name)]
        start, first = f"forms:{subject.name}:small:{name}", 6000
    else:
        name = chance.choice(REAL)
        files = [path.stat().st_size for path in _real(subject, name)]
        start, first = f"forms:{subject.name}:real:{name}", 12_000
    piece = chance.randrange(len(files))
    how = chance.randrange(10)
    if how == 0:
        return f"{start}:{piece}cut={_where(chance, files[piece], first)}"
    if how == 1 and len(files) > 1:
        return f"{start}:{chance.choice(('twice', 'gone', 'swapped'))}"
    at = _where(chance, files[piece], first)
    if chance.random() < 0.7:
        at -= at % 4
    data = (
        _numbers(chance, chance.choice((4, 8, 8)))
        if how < 8
        else chance.randbytes(chance.choice((1, 16, 256)))
    )
    return f"{start}:{piece}@{at}={data.hex()}"


def _damage(files: list[bytes], said: str) -> list[bytes]:
    """The files with the change that a case's name says."""
    if said in ("twice", "gone", "swapped"):
        return {"twice": [files[0], *files], "gone": files[1:], "swapped": files[::-1]}[said]
    if "cut=" in said:
        piece, _, size = said.partition("cut=")
        return [data[: int(size)] if number == int(piece) else data for number, data in enumerate(files)]
    where, _, data = said.partition("=")
    piece, _, at = where.partition("@")
    new = bytes.fromhex(data)
    files[int(piece)] = files[int(piece)][: int(at)] + new + files[int(piece)][int(at) + len(new) :]
    return files


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    size, name, said = rest
    data = list(_made(name)) if size == "small" else [path.read_bytes() for path in _real(subject, name)]
    # What is compressed is unpacked into the disk cache: one that begins empty, of this worker alone.
    cache = FOLDER / f"{subject.prefix}-{slot}-cache"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    paths = []
    for number, one in enumerate(_damage(data, said)):
        path = FOLDER / f"{subject.prefix}-{slot}-form{number}"
        path.write_bytes(one)
        paths.append(path)
    what: Any = paths[0] if len(paths) == 1 else paths
    form = "raw" if name == "raw" else None

    def look() -> Any:
        file = open_dump_file(what, format=form)
        for numbers in file.present(1 << 12):
            index = file.find(numbers.astype(np.uint64))
            out = np.empty((len(index), file.page_size), dtype=np.uint8)
            there = np.flatnonzero(index >= 0)
            file.read_into(index[there], out[: len(there)])
            if size == "real":
                break
        file.find(np.array([0, 1 << 33, (1 << 52) - 1, (1 << 64) - 1], dtype=np.uint64))
        assert all(isinstance(problem, str) for problem in file.problems)
        file.close()
        return kernlab.open(what, format=form)

    steps = within(subject, sorted(subject.answers), "info", ":".join(rest), SECONDS)
    return Damaged(look, steps if size == "real" else (), NONE)


KIND = Kind("forms", 10, draw, apply)
