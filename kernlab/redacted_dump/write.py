"""A dump in, a redacted dump in a file of its own out, with its manifest, and proven before it gets its name."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernlab.debuginfo.vmcoreinfo import REDACTED
from kernlab.dump import Dump
from kernlab.dump import open as open_dump
from kernlab.errors import KernlabError
from kernlab.formats.base import Note
from kernlab.formats.kdump.writer import Written, write_kdump
from kernlab.formats.notes import NT_PRSTATUS
from kernlab.redacted_dump.manifest import manifest
from kernlab.redacted_dump.proof import Proof, prove, read_map
from kernlab.util.files import write_whole

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

#: What makedumpfile's level says of a dump without user pages, page cache and free pages.
_LEVEL = 2 | 4 | 8 | 16
#: Notes of which it is known what is in them; drivers' own (VMCOREDD) may hold anything.
_QEMU = "QEMU"


@dataclass(frozen=True)
class Redacted:
    """What came of it: the file (`.unproven` behind its name where the proof does not hold) and its manifest."""

    path: Path
    manifest_path: Path
    manifest: dict[str, Any]
    proof: Proof | None

    @property
    def good(self) -> bool:
        """May it leave the house?"""
        return self.proof is None or self.proof.holds


def redact(
    path: Paths,
    output: str | os.PathLike[str],
    *,
    level: str = "share",
    map_path: str | os.PathLike[str] | None = None,
    verify: bool = True,
    force: bool = False,
    **opening: Any,
) -> Redacted:
    """Write the dump at `path` (or of its pieces) to `output` as a kdump without what the level hides.

    `map_path` says what became of what: one that is there is gone on with, so that dumps of one house stay
    consistent, and it is written anew in the end. `opening` is what `kernlab.open` takes besides. A dump whose proof
    fails stays as OUTPUT.unproven; nothing stays of one that was not finished. Raises KernlabError (a file in the way
    without `force`, the input's own name, a level that hides nothing), OSError with the name of what cannot be written.
    """
    pieces = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(piece) for piece in path]
    out = Path(output)
    if level == "none":
        raise KernlabError("level none hides nothing; kernlab redact takes share or strict")
    _check_names(pieces, out, None if map_path is None else Path(map_path), force)
    aside = out.with_name(f"{out.name}.unproven")
    try:
        told, proof = _made(pieces, aside, level, map_path, verify, opening)
        final = out if proof is None or proof.holds else aside
        manifest_path = final.with_name(f"{final.name}.manifest.json")
        write_whole(manifest_path, (json.dumps(told, indent=1) + "\n").encode())
        if final == out:
            aside.replace(out)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return Redacted(final, manifest_path, told, proof)


def _made(
    pieces: list[Path],
    aside: Path,
    level: str,
    map_path: str | os.PathLike[str] | None,
    verify: bool,
    opening: dict[str, Any],
) -> tuple[dict[str, Any], Proof | None]:
    """Write the dump aside and prove it: its manifest, and the proof where one was asked for."""
    source: Any = pieces[0] if len(pieces) == 1 else pieces
    known = map_path if map_path is not None and Path(map_path).exists() else None
    with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        map_file = Path(scratch) / "map.json"
        with open_dump(source, redact=level, redaction_map=known, **opening) as hidden:
            assert hidden.redaction is not None
            # What was redacted more before stays so.
            level, before = hidden.redaction.level, hidden.redaction.before
            written, notes_left_out = _write(hidden, aside, level)
            hidden.redaction.write_map(map_file)
            if map_path is not None:
                hidden.redaction.write_map(map_path)
            counts, named = dict(hidden.redaction.counts), hidden.redaction.columns
        with open_dump(source, **opening) as original:
            left_out = original.kernel.file.frame_count - written.frames
            proof = None
            if verify:
                with open_dump(aside) as redacted:
                    proof = prove(original, redacted, aside, read_map(map_file), named)
    return manifest(level, before, counts, written, left_out, notes_left_out, proof), proof


def _write(hidden: Dump, path: Path, level: str) -> tuple[Written, int]:
    """Write the dump with its mark; what was written, and how many notes were not."""
    file = hidden.kernel.file
    text = file.vmcoreinfo
    if text is None:
        text = "".join(f"{name}={value}\n" for name, value in hidden.kernel.vmcoreinfo.items()).encode()
    lines = [line for line in text.split(b"\n") if line and not line.startswith(REDACTED.encode() + b"=")]
    version = sys.modules["kernlab"].__version__
    info = b"\n".join([*lines, f"{REDACTED}={level} kernlab {version}".encode(), b""])
    notes = [note for note in file.notes if _is_known(note)]
    others = sum(not _is_known(note) and note.name != "VMCOREINFO" for note in file.notes)
    before = file.header.get("dump_level")
    dump_level = (before if isinstance(before, int) else 0) | _LEVEL
    written = write_kdump(file, path, vmcoreinfo=info, notes=notes, dump_level=dump_level)
    # As makedumpfile leaves a dump: who shares it decides for whom.
    path.chmod(0o600)
    return written, others


def _is_known(note: Note) -> bool:
    return note.name == _QEMU or (note.name == "CORE" and note.type == NT_PRSTATUS)


def _check_names(pieces: list[Path], out: Path, map_path: Path | None, force: bool) -> None:
    """Refuse names by which a file would be lost."""
    written = [out, out.with_name(f"{out.name}.unproven"), out.with_name(f"{out.name}.manifest.json")]
    for piece in pieces:
        for name in [*written, *([map_path] if map_path is not None else [])]:
            if name.exists() and piece.exists() and name.samefile(piece):
                raise KernlabError(f"{name} is the dump itself, which is never written to; name another file")
    if map_path is not None and map_path.absolute() in [name.absolute() for name in written]:
        raise KernlabError(f"{map_path} would be both the map, which stays at home, and what goes out")
    if out.is_dir():
        raise KernlabError(f"{out} is a folder; name a file in it")
    for name in written:
        if name.exists() and not force:
            raise KernlabError(f"{name} is already there; --force (force=True) writes over it")
