"""`kernlab.kernel_check`: a kernel in, what each table can do with it out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import pandas as pd

from kernlab.compatibility.judge import Judged, judged
from kernlab.compatibility.record import record
from kernlab.compatibility.subjects import Subject, subject
from kernlab.dataframes import frame, objects

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame


def kernel_check(
    path: str | os.PathLike[str] | None = None, *, symbols: str | os.PathLike[str] | None = None
) -> Frame:
    """Will kernlab read this kernel? One row per table, before any dump of it is there.

    Parameters: path of a BTF file (/sys/kernel/btf/vmlinux of a machine), of a vmlinux that holds BTF, or of a dump, of
    which types and symbols alone are looked at; without it the running kernel; symbols: a System.map, or a copy of
    /proc/kallsyms, of a kernel that is given as BTF alone. Without one, symbols are assumed to be those of the kernel
    among those that kernlab was recorded on that is most like it, and `attrs["problems"]` says so.

    table; state: "reads", "reads without" (columns or parts) or "cannot"; without: a list of the columns that this
    kernel has nothing for; reason: in the table's own words why it cannot be made, or what it says it lacks; untried: a
    list of what real data may lead to and this kernel lacks, where no dump has shown what comes of that.

    What is in memory is another matter: a table that reads may be empty, and one of a damaged dump may lack much.
    Raises KernlabError for what is none of these, a kernel without BTF, and a machine that kernlab does not read.
    """
    one = subject(path, symbols)
    return as_frame(one, judged(one))


def as_frame(one: Subject, rows: list[Judged]) -> Frame:
    """What was found of a kernel as a table."""
    text = pd.api.types.pandas_dtype("str")
    found = frame(
        None,
        "kernel_check",
        table=pd.Series([row.table for row in rows], dtype=text).array,
        state=pd.Categorical([row.state for row in rows], ["reads", "reads without", "cannot"]),
        without=objects([list(row.without) for row in rows]),
        reason=pd.Series([row.reason or None for row in rows], dtype=text).array,
        untried=objects([list(row.untried) for row in rows]),
    )
    found.attrs |= {"source": one.name, "machine": one.machine, "release": one.release or None}
    found.attrs["problems"] = problems(one)
    return cast("Frame", found)


def problems(one: Subject) -> list[str]:
    """What is not known of the kernel that was looked at."""
    if not one.like:
        return []
    return [
        f"no list of the kernel's symbols was given: those of Linux {one.like} are assumed, which is most like it of "
        f"the {len(record().kernels)} that kernlab was recorded on"
    ]
