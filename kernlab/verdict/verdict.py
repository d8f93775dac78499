"""Why did the machine die? A dump's kernel in, what it died of and what else is wrong out, each with what shows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, objects, table
from kernlab.errors import KernlabError
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.registry import Rule, rules
from kernlab.verdict.weigh import weigh


@table
def verdict(kernel: Kernel) -> pd.DataFrame:
    """What the machine died of in the first row, what else is wrong with it behind that; no rows where nothing is.

    finding: what went wrong, in a few words that are always the same; subject: who or what; pid, module, function,
    device: where each is known; role: "cause" of the end, the "end" as the machine itself saw it, or "beside": what
    else is wrong; since: how long before the end it began; confidence: from 0 to 1, how sure that is; evidence: a list
    of {"table", "rows", "says"}, rows of tables and what they say; against: a list of sentences, what speaks against
    it; cell: the code that shows it. What could not be looked at is in attrs["problems"].

    >>> oops = kernlab.open(kernlab.sample("oops"))
    >>> oops.verdict.loc[0, ["finding", "module", "function"]].tolist()
    ['null dereference', 'kernlab_story', 'order_check']
    """
    case = Case(kernel)
    found: list[Finding] = []
    for rule in rules():
        try:
            found += rule(case)
        except KernlabError as error:
            kernel.lost(f"verdict: {_first_line(rule)} could not be asked: {error}")
    found = weigh(case, found)
    return frame(
        kernel,
        "verdict",
        finding=[each.finding for each in found],
        subject=[each.subject for each in found],
        pid=nullable(Column.ints([each.pid for each in found], "the pids of findings")),
        module=Column.texts([each.module for each in found]),
        function=Column.texts([each.function for each in found]),
        device=Column.texts([each.device for each in found]),
        role=[each.role for each in found],
        since=_spans([each.since for each in found]),
        confidence=[each.confidence for each in found],
        evidence=objects([[one.as_dict() for one in each.evidence] for each in found]),
        against=objects([list(each.against) for each in found]),
        cell=[each.cell for each in found],
    )


def _spans(seconds: Sequence[float | None]) -> npt.NDArray[np.timedelta64]:
    """Seconds as spans of time; missing where one is not known."""
    missing = np.timedelta64("NaT", "ns")
    return np.array(
        [missing if each is None else np.timedelta64(round(each * 1e9), "ns") for each in seconds],
        dtype="timedelta64[ns]",
    )


def _first_line(function: Rule) -> str:
    return (function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
