"""Pages that the kernel took out of use as faulty, by its count and by their own marks."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kernlab.util.text import human_bytes
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding, rows_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text
from kernlab.verdict.rules.spinning import HINT


@rule
def poisoned_pages(case: Case) -> Iterator[Finding]:
    """Pages that the kernel took out of use as faulty are counted, where the log does not tell of them any more; sure
    only where as many pages are marked so."""
    size = case.meminfo.get("HardwareCorrupted", pd.NA)
    if pd.isna(size) or size <= 0 or kernel_text(case).str.contains("Memory failure: 0x", regex=False).any():
        return
    counted = Evidence(
        "meminfo",
        f"{human_bytes(int(size))} of memory were found faulty and taken out of use",
        ("HardwareCorrupted",),
    )
    evidence, against = [counted], ["Nothing shows that the end has to do with it."]
    marked = _marked(case)
    if marked is not None and _near(int(marked["bytes"].sum()), int(size)):
        said = f"{human_bytes(int(marked['bytes'].sum()))} of memory are marked as faulty"
        evidence.append(Evidence("memory", said, rows_of(marked, list(marked.index))))
    else:
        against.append(
            "No pages are marked as faulty, or not as many: the number may be damaged."
            if marked is not None
            else "Which pages are marked as faulty is not known."
        )
    yield Finding(
        "memory failure",
        "pages of memory",
        0.9 if len(evidence) > 1 else HINT,
        tuple(evidence),
        'dump.meminfo[["HardwareCorrupted"]]',
        against=tuple(against),
    )


def _marked(case: Case) -> pd.DataFrame | None:
    """The rows of `memory` with pages that are marked as faulty; None where that is not known."""
    if not case.has("kinds"):
        return None
    return case.kinds[(case.kinds["kind"] == "hwpoison") & (case.kinds["bytes"] > 0).fillna(False)]


def _near(marked: int, counted: int) -> bool:
    """Huge pages of hugetlbfs count by their parts, and are marked in whole (mm/memory-failure.c)."""
    return marked > 0 and counted / 2 <= marked <= 1024 * counted
