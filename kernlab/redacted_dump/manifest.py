"""The manifest of a redacted dump: what went, by kind and how many, and the proof of it, as JSON beside the file.

It goes where the dump goes, so it names no secret and no path. Nor has it the original's hash: with that, who guesses
what was hidden could find out whether the guess is right.
"""

from __future__ import annotations

import sys
from typing import Any

from kernlab.formats.kdump.writer import Written
from kernlab.redacted_dump.proof import Proof

FORMAT = "kernlab redaction manifest 1"


def manifest(
    level: str,
    before: str | None,
    counts: dict[str, int],
    written: Written,
    left_out: int,
    notes_left_out: int,
    proof: Proof | None,
) -> dict[str, Any]:
    """What to write as JSON. `left_out`: frames of the original that the redacted dump lacks; proof None: not proven.

    `before` is the level at which the original had been redacted already: one that is as high as `level` was kept.
    """
    return {
        "format": FORMAT,
        "kernlab": sys.modules["kernlab"].__version__,
        "level": level,
        "redacted_before": before,
        "hidden": counts,
        "frames_left_out": left_out,
        "notes_left_out": notes_left_out,
        "file": {
            "sha256": written.sha256,
            "bytes": written.file_bytes,
            "frames": written.frames,
            "frames_lost_in_the_original": written.lost_frames,
        },
        "proof": None if proof is None else _told(proof),
    }


def _told(proof: Proof) -> dict[str, Any]:
    return {
        "holds": proof.holds,
        "tables": {
            found.table: {
                "rows": found.rows,
                "cells_that_differ": found.differ,
                **({"problem": True} if found.problem else {}),
            }
            for found in proof.tables
        },
        "columns_that_may_differ": dict(proof.named),
        "strings_searched": proof.searched,
        "strings_found": [
            {
                "kind": leak.kind,
                "form": leak.form,
                "times": leak.times,
                "physical": [hex(place) for place in leak.physical if place >= 0],
            }
            for leak in proof.leaks
        ],
    }
