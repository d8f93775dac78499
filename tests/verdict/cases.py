"""Cases that no capture shows: a log and some tables in, what rules look at out.

    case = made_case("[   12.000000] sysrq: Trigger a crash", waits=[{"pid": 7, "type": "mutex"}])
    found = verdict_of(case)

Every table that `Case` has is there, with the columns and dtypes of the contract (docs/design.md); those not given
have no rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from kernlab.oops.prefixes import split
from kernlab.tables.processes.waits import Waits
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.registry import Rule, rules
from kernlab.verdict.weigh import weigh

Rows = pd.DataFrame | Iterable[Mapping[str, object]]

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "design.md"
_CLASSES: dict[str, type[pd.DataFrame]] = {"waits": Waits}


@cache
def _contract() -> dict[str, dict[str, str]]:
    """Table -> its columns, each with its first dtype; patterns are left out."""
    found: dict[str, dict[str, str]] = {}
    for section in _PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        rows = re.findall(r"^\| `([^`*]+)` \| ([^|]+?) \|", section, re.MULTILINE)
        found[section.partition("\n")[0].strip("`")] = {name: dtype.split(" or ")[0] for name, dtype in rows}
    return found


def made_table(name: str, rows: Rows = ()) -> pd.DataFrame:
    """A table of the contract, `log` or `waits`, of some rows; columns that these do not have are missing values."""
    given = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), dtype=object)
    strange = [column for column in given.columns if column not in _contract()[name]]
    assert not strange, f"{name} has no columns {strange}"
    columns = {}
    for column, dtype in _contract()[name].items():
        values = given[column].tolist() if column in given else [pd.NA] * len(given)
        columns[column] = _typed(values, dtype)
    table = _CLASSES.get(name, pd.DataFrame)(columns, index=given.index if len(given) else pd.RangeIndex(0))
    table.attrs |= {"table": name, "source": "made", "problems": []}
    return table


@cache
def _empty(name: str) -> pd.DataFrame:
    return made_table(name)


def _typed(values: list[Any], dtype: str) -> Any:
    if dtype in ("any", "object", "list", "dict"):
        return pd.Series(values, dtype=object).to_numpy()
    if dtype.startswith("timedelta"):
        stamps = [pd.NaT if pd.isna(value) else pd.Timedelta(value) for value in values]
        return pd.Series(stamps, dtype=dtype).to_numpy()
    if dtype == "bool":
        return np.array([not pd.isna(value) and bool(value) for value in values], dtype=bool)
    if re.fullmatch(r"u?int\d+", dtype):
        return np.array([0 if pd.isna(value) else value for value in values], dtype=dtype)
    if dtype == "category":
        return pd.Categorical([None if pd.isna(value) else value for value in values])
    if dtype == "float64":
        return np.array([np.nan if pd.isna(value) else value for value in values], dtype=dtype)
    # pandas' own types know its names of dtypes as literals only.
    named: Any = dtype
    return pd.array(values, dtype=named)


def made_log(text: str) -> pd.DataFrame:
    """`dump.log` of a text, a record for each line; callers and times as the lines say."""
    records = []
    for number, line in enumerate(text.splitlines()):
        said, time, caller = split(line)
        stamp = pd.NaT if time is None else pd.Timedelta(time, "ns")
        records.append({"timestamp": stamp, "level": 4, "caller": caller, "text": said, "seq": number})
    return made_table("log", records)


class MadeKernel:
    """What rules ask of a kernel itself: the size of a page, what its file lacks, and to whom losses are told."""

    page_size = 4096
    changes = False
    file = SimpleNamespace(problems=[])

    def __init__(self) -> None:
        self.losses: list[str] = []

    def lost(self, *what: str, **_: object) -> None:
        """As `Kernel.lost`."""
        self.losses += what

    def find_symbol(self, name: str) -> None:
        """As `Kernel.find_symbol` of a kernel without any."""


class MadeCase(Case):
    """A `Case` of what it is given."""

    def __init__(self, log: str, info: Mapping[str, object], given: Mapping[str, object]) -> None:
        self._kernel = MadeKernel()  # type: ignore[assignment]
        self._of_one_boot = True
        keys = dict.fromkeys(_contract()["info"], pd.NA)
        self.__dict__ |= {"log": made_log(log), "info": pd.Series({**keys, **info}, dtype=object)}
        for name, value in given.items():
            assert isinstance(getattr(Case, name, None), cached_property), f"Case has no {name}"
            made = name in _contract() and not isinstance(value, (pd.Series, SimpleNamespace))
            self.__dict__[name] = made_table(name, value) if made else value  # type: ignore[arg-type]
        for name in _contract():
            if name not in self.__dict__ and isinstance(getattr(Case, name, None), cached_property):
                self.__dict__[name] = _empty(name).copy()

    @property
    def kernel(self) -> Any:
        """The made one."""
        return self._kernel


def made_case(
    log: str = "", *, info: Mapping[str, object] = {}, hung_after: int = 120, **given: object
) -> Case:
    """A case of a log's text, keys of `info`, and tables by the names of `Case`: rows, a DataFrame, or what else it is.

    `reports` and `end` come of the log. `memory` is given as a SimpleNamespace of what a rule asks of it.
    """
    return MadeCase(log, info, {"hung_after": hung_after, **given})


def found_by(case: Case, *asked: Rule) -> list[Finding]:
    """What some rules find, as they find it."""
    return [finding for rule in asked for finding in rule(case)]


def verdict_of(case: Case, *asked: Rule) -> list[Finding]:
    """What some rules find, else all of them, weighed."""
    return weigh(case, found_by(case, *(asked or rules())))
