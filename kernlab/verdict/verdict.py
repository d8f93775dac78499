"""Why did the machine die? A dump's kernel in, or its log alone; what it died of and what else is wrong out."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, objects, table
from kernlab.errors import KernlabError, TypesLostError
from kernlab.util import losses
from kernlab.verdict.case import Case
from kernlab.verdict.case_tables import LogAloneError
from kernlab.verdict.finding import Finding
from kernlab.verdict.log_alone import NEEDS_A_DUMP, NO_LOG, is_of_a_kernel
from kernlab.verdict.registry import Rule, rules
from kernlab.verdict.signature import signature
from kernlab.verdict.weigh import weigh

_MISSING = np.iinfo("i8").min
#: Nothing that is said of seconds before the end is longer: a thousand years.
_LONGEST_SECONDS = 1000 * 366 * 86_400


@table
def verdict(kernel: Kernel) -> pd.DataFrame:
    """What the machine died of in the first row, what else is wrong with it behind that; no rows where nothing is.

    finding: what went wrong, in a few words that are always the same; subject: who or what; pid, module, function,
    device: where each is known; role: "cause" of the end, the "end" as the machine itself saw it, or "beside" it;
    confidence: from 0 to 1, how sure that is; since: how long before the end it began; evidence: a list of
    {"table", "rows", "says"}, rows of tables by their labels and what they say; against: a list of sentences, what
    speaks against it; cell: the line of Python that shows it. What could not be looked at is in attrs["problems"],
    one line to find siblings by in attrs["signature"].

    >>> oops = kernlab.open(kernlab.sample("oops"))
    >>> oops.verdict.loc[0, ["finding", "module", "function"]].tolist()
    ['null dereference', 'kernlab_story', 'order_check']
    """
    return _told(Case(kernel))


def verdict_of_log(text: str) -> pd.DataFrame:
    """The verdict of a log that was saved without its dump (vmcore-dmesg.txt, a serial console, journalctl -k).

    Columns as of `dump.verdict`. Rules that need tables of a dump are not asked; rows of evidence are lines of the
    text, the first is 0; cell shows them where `log` is `kernlab.verdict.lines(text)`.

    >>> log = '''
    ... [   12.300001] BUG: kernel NULL pointer dereference, address: 0000000000000010
    ... [   12.300002] Oops: Oops: 0002 [#1] SMP
    ... [   12.300003] CPU: 1 UID: 0 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1
    ... [   12.300004] RIP: 0010:shop_check+0x1c/0x30 [shop]
    ... [   12.300005] Call Trace:
    ... [   12.300006]  shop_write+0x5e/0xe0 [shop]
    ... [   12.300007]  vfs_write+0xf8/0x390
    ... '''
    >>> kernlab.verdict.of_log(log).loc[0, ["finding", "module", "function"]].tolist()
    ['null dereference', 'shop', 'shop_check']
    """
    if not isinstance(text, str):
        raise KernlabError(
            f"kernlab.verdict.of_log takes the text of a log, not {type(text).__name__}. "
            "Of bytes it takes what decode() gives, of a dump dump.verdict is the verdict."
        )
    with losses.scope("verdict"):
        case = Case(None, text)
        if not is_of_a_kernel(text, case.log, case.reports):
            losses.lost(f"verdict: {NO_LOG}")
        return _told(case)


def _told(case: Case) -> pd.DataFrame:
    found: list[Finding] = []
    skipped = 0
    refused: dict[str, list[Rule]] = {}
    for rule in rules():
        try:
            found += rule(case)
        except LogAloneError:
            skipped += 1
        except TypesLostError:
            # Then there is nothing to look at, which an empty verdict would not say.
            raise
        except KernlabError as error:
            refused.setdefault(str(error), []).append(rule)
    for why, those in refused.items():
        which = _first_line(those[0]) if len(those) == 1 else f"{len(those)} of {len(rules())} rules"
        losses.lost(f"verdict: {which} could not be asked: {why}")
    if skipped:
        losses.lost(
            f"verdict: {skipped} of {len(rules())} rules {NEEDS_A_DUMP}: they look at tables of a dump"
        )
    found = weigh(case, found)
    siblings = signature(case, found)
    result = frame(
        case.kernel if case.has_dump else None,
        "verdict",
        finding=[each.finding for each in found],
        subject=[each.subject for each in found],
        pid=nullable(Column.ints([each.pid for each in found], "the pids of findings")),
        module=Column.texts([each.module for each in found]),
        function=Column.texts([each.function for each in found]),
        device=Column.texts([each.device for each in found]),
        role=[each.role for each in found],
        since=np.array([_nanoseconds(each.since) for each in found], dtype="i8").view("m8[ns]"),
        confidence=[float(each.confidence) for each in found],
        evidence=objects([[one.as_dict() for one in each.evidence] for each in found]),
        against=objects([list(each.against) for each in found]),
        cell=[each.cell if case.has_dump else _of_log(each) for each in found],
    )
    result.attrs["signature"] = siblings
    # Shown as such.
    result.attrs["sentences"] = ["evidence", "against"]
    return result


def _nanoseconds(seconds: float | None) -> int:
    if seconds is None or not -_LONGEST_SECONDS < seconds < _LONGEST_SECONDS:
        return _MISSING
    return round(seconds * 1e9)


def _of_log(finding: Finding) -> str:
    """The cell that shows a finding where there is a log and no `dump`."""
    if re.match(r"dump\.log\b", finding.cell):
        return finding.cell.removeprefix("dump.")
    rows = [row for each in finding.evidence if each.table == "log" for row in each.rows]
    return f"log.loc[{sorted(rows)[:20]}]" if rows else ""


def _first_line(function: Rule) -> str:
    return (function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
