"""The plan of a dump that was redacted when it was written: its memory stays, or pseudonyms would get pseudonyms."""

from __future__ import annotations

from collections import Counter

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.redaction.edits import Edits
from kernlab.redaction.found import HOMES
from kernlab.redaction.frames import Frames, Neighbours
from kernlab.redaction.levels import LEVELS
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.patterns import Patterns
from kernlab.redaction.plan import Plan
from kernlab.redaction.sweep import Sweeper
from kernlab.redaction.words import Words


def level_before(kernel: Kernel) -> str | None:
    """The level at which the dump says that it was redacted when it was written; None for any other dump."""
    level = kernel.vmcoreinfo.redacted
    return level if level in LEVELS[1:] else None


def plan_as_written(kernel: Kernel, level: str, known: RedactionMap) -> Plan:
    """A plan by which every frame stays; what is not of the memory, such as a file's name, is searched."""
    frames = Frames.of(kernel.file)
    edits = Edits(kernel, frames)
    edits.finish()
    literals = Literals()
    literals.prepare()
    nowhere = np.full((2, len(frames.index)), -1, dtype=np.int64)
    return Plan(
        level,
        known,
        frames.mask(),
        frames.mask(),
        edits,
        Sweeper(literals, Patterns(known, HOMES)),
        Words((), known.addresses),
        Counter(),
        [],
        {},
        frames,
        Neighbours((nowhere[0], nowhere[1]), (nowhere[0], nowhere[1])),
    )
