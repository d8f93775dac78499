"""A dump in, the headline of its verdict out: what it died of in one line, why in a sentence, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernlab.errors import KernlabError
from kernlab.verdict.story import tell

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Page frames of a dump whose verdict is waited for wherever it is shown: 64 GiB of 4 KiB pages. Of one of 0.7 GiB with
#: 4,000 threads it takes 2 to 3 s (benchmarks/verdict.py).
_MOST_FRAMES = 1 << 24


@dataclass(frozen=True)
class Headline:
    """What a verdict says first. Strings of the dump in it are shown, not escaped for HTML."""

    title: str
    because: str
    sure: str


def headline(dump: Dump) -> Headline | None:
    """The headline of a dump's verdict; None where there is no verdict, or it was not asked for and would take long."""
    try:
        if dump.kernel.file.frame_count > _MOST_FRAMES and not built(dump, "verdict"):
            return None
        verdict = dump.verdict
    except KernlabError:
        return None
    if not len(verdict) or verdict["role"].iloc[0] == "beside":
        return None
    told = tell(verdict)
    return Headline(told.title, told.died[0], f"How sure: {told.sure}")


def built(dump: Dump, name: str) -> bool:
    """Was a table built already?"""
    tables = dump.tables
    return bool(tables.loc[tables["name"] == name, "rows"].notna().any())
