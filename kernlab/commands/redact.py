"""`kernlab redact`: a dump in, a redacted dump and its manifest in files out, and the proof on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernlab.commands import completing, telling
from kernlab.commands.given import files
from kernlab.commands.options import OUTPUT, DumpFormat, Quiet, form_of
from kernlab.escape import escape_terminal

if TYPE_CHECKING:
    from kernlab.redacted_dump import Proof, Redacted

EXAMPLES = """
kernlab redact vmcore -o redacted.vmcore
kernlab redact vmcore -o redacted.vmcore --map ~/redaction-map.json
kernlab redact vmcore -o redacted.vmcore --level strict
"""
EPILOG = (
    "Exit status: 0 written and proven; 1 the proof failed (the dump stays as FILE.unproven: do not pass it on); "
    "2 an error."
)

PROVEN, NOT_PROVEN = 0, 1
_FORMS = {"table": (".txt",), "json": (".json",)}
_LEVELS = ("share", "strict")


def redact(
    vmcore: Annotated[
        list[str],
        typer.Argument(metavar="VMCORE", help="the dump, or the pieces of a split one", show_default=False),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="the redacted dump to write; FILE.manifest.json says what went",
        ),
    ],
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="LEVEL",
            autocompletion=completing.offering(lambda: _LEVELS),
            help="share, or strict, which hides all names of files and programs, too (docs/redaction.md)",
        ),
    ] = "share",
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="what became of what, to be kept at home: gone on with where it is there, so that several dumps get "
            "the same pseudonyms; without it nobody can tell afterwards",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify", help="prove the dump against the original before it gets its name"
        ),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="write over files that are there")] = False,
    dump_format: DumpFormat = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            rich_help_panel=OUTPUT,
            autocompletion=completing.offering(lambda: _FORMS),
            help="table (default), or json: the manifest",
        ),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Write a copy of a dump without what is private in it, and prove that nothing else changed.

    User memory, page cache, socket buffers, keys, arguments and environment go; names and addresses of machines and
    people become others, each always the same. Structures stay: all tables are compared with the original's, and only
    the columns that are named may differ. Any format becomes a kdump file (zlib), which crash, drgn and makedumpfile
    read, too.
    """
    from kernlab import redacted_dump

    chosen = form_of(form, None, _FORMS)
    given: Any = vmcore[0] if len(vmcore) == 1 else vmcore
    done = redacted_dump.redact(
        given, output, level=level, map_path=map_, verify=verify, force=force, format=dump_format, **files()
    )
    if chosen == "json":
        sys.stdout.write(f"{json.dumps(done.manifest, indent=1)}\n")
    else:
        sys.stdout.writelines(f"{escape_terminal(line)}\n" for line in told(done))
    telling.note(f"Written to {done.path}, its manifest to {done.manifest_path}.")
    if map_ is not None:
        telling.note(f"{map_} says what became of what: keep it at home.")
    return PROVEN if done.good else NOT_PROVEN


def told(done: Redacted) -> Iterator[str]:
    """The manifest in lines: what was hidden, how many times, and the proof."""
    hidden = done.manifest["hidden"]
    margin = max((len(f"{count:,}") for count in hidden.values()), default=0)
    level, before = done.manifest["level"], done.manifest["redacted_before"]
    if before == level:
        yield f"Redacted at level {level} already: its memory is as it was."
    else:
        yield f"Hidden at level {level}:" if before is None else f"Hidden at level {level}, beyond {before}:"
    yield from (f"  {count:>{margin},}  {kind}" for kind, count in hidden.items())
    frames = done.manifest["file"]["frames"]
    yield f"  {done.manifest['frames_left_out']:,} page frames left out, {frames:,} kept"
    yield ""
    if done.proof is None:
        yield "Not proven (--no-verify)."
    else:
        yield from _proof(done.proof)


def _proof(proof: Proof) -> Iterator[str]:
    good = [found for found in proof.tables if not found.problem]
    same = sum(not found.differ for found in good)
    yield f"Compared {len(proof.tables)} tables with the original's: {same} are the same in every cell."
    rows = [
        (
            f"{found.table}.{column}",
            f"{cells:,} of {found.rows:,}",
            "" if column in proof.named.get(found.table, ()) else "UNEXPECTED",
        )
        for found in proof.tables
        for column, cells in found.differ.items()
    ]
    if rows:
        widths = [max(len(row[place]) for row in rows) for place in (0, 1)]
        yield "Columns that differ, and in how many rows:"
        yield from (
            f"  {name:<{widths[0]}}  {cells:>{widths[1]}}  {note}".rstrip() for name, cells, note in rows
        )
    for found in proof.tables:
        if found.problem:
            yield f"  {found.table}: {found.problem}  UNEXPECTED"
    places = sum(leak.times for leak in proof.leaks)
    yield f"Searched all pages and the header for {proof.searched:,} strings of what was hidden: found {places:,}."
    for leak in proof.leaks:
        where = ", ".join(hex(place) if place >= 0 else "across pages" for place in leak.physical[:4])
        yield f"  {leak.kind} ({leak.form}): {leak.times:,} times, at physical {where or 'the header'}  LEAK"
    yield "Proven." if proof.holds else "NOT PROVEN: do not pass this dump on."
