"""Leads: all that looks wrong with a machine, each with its evidence and the cell that shows more."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, table
from kernlab.errors import KernlabError
from kernlab.tables.suspects.evidence import Evidence, Lead
from kernlab.tables.suspects.rules import RULES


@table
def suspects(kernel: Kernel) -> pd.DataFrame:
    """What looks wrong with memory, stacks, CPUs, threads and code, the weightiest first; no rows where nothing does.

    lead: what kind of thing; subject: who or what; bytes: how much memory it is about, missing where that is no
    question; share: of the memory that the kernel manages; evidence: one sentence with the numbers; cell: the code that
    shows more. A lead is a place to look; why the machine died is `verdict`. What could not be
    looked at is in attrs["problems"].

    >>> oom = kernlab.open(kernlab.sample("oom"))
    >>> oom.suspects[["lead", "subject"]].head(3)
                                 lead          subject
    0                             OOM        reporting
    1                   large process  reporting (124)
    2  large unreclaimable slab cache    story_session
    """
    memory = Evidence(kernel)
    found: list[Lead] = []
    for rule in RULES:
        try:
            found += rule(memory)
        except KernlabError as error:
            kernel.lost(
                f"suspects: {(rule.__doc__ or rule.__name__).splitlines()[0]} could not be asked: {error}"
            )
    found.sort(key=lambda lead: -lead.weight)
    size = Column.ints([lead.bytes if lead.bytes >= 0 else None for lead in found], "the bytes of leads")
    return frame(
        kernel,
        "suspects",
        lead=[lead.lead for lead in found],
        subject=[lead.subject for lead in found],
        bytes=nullable(size),
        share=np.where(size.valid, size.values / max(memory.managed, 1), np.nan),
        evidence=[lead.evidence for lead in found],
        cell=[lead.cell for lead in found],
    )
