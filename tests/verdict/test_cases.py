"""Made cases have what real ones have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pandas as pd
import pytest
from verdict.cases import made_case, made_table

from kernlab.verdict.case import Case


def test_tables_have_the_columns_and_dtypes_of_a_dump(opened: Callable[[str], Any]) -> None:
    """A rule that works on a made table works on a dump's."""
    case = Case(opened("debian-6.1").kernel)
    for name in ("tasks", "waits", "log", "stacks", "modules", "disks"):
        real, made = getattr(case, name), made_table(name)
        differing = [
            column
            for column in real.columns
            if column not in made or str(made[column].dtype) != str(real[column].dtype)
        ]
        assert not differing, name


def test_the_log_becomes_reports_and_an_end() -> None:
    """Times and callers stand in columns, not in the text."""
    case = made_case(
        "[   12.5] [    T7] sysrq: Trigger a crash\n"
        "[   12.6] Kernel panic - not syncing: sysrq triggered crash"
    )
    assert case.log["text"].tolist()[0] == "sysrq: Trigger a crash"
    assert case.log["caller"].tolist() == ["T7", ""]
    assert case.log["timestamp"].tolist()[0] == pd.Timedelta(12.5, "s")
    assert (case.end.kind, case.before_end(case.reports["timestamp"].iloc[0])) == ("sysrq", 0.1)


def test_every_table_of_the_contract_is_there() -> None:
    """No rule fails for a table that nobody gave; of what `Case` puts together itself a test gives what it needs."""
    case = made_case()
    tables = [name for name in vars(case) if isinstance(getattr(Case, name, None), cached_property)]
    assert {"tasks", "stacks", "waits", "modules", "inflight"} <= set(tables)
    assert all(len(getattr(case, name)) == 0 for name in tables if name not in ("info", "hung_after"))


def test_what_is_given_is_held_to_the_contract() -> None:
    """A column that no dump has would make a test of nothing."""
    with pytest.raises(AssertionError, match="no columns"):
        made_case(waits=[{"pidd": 3}])
    with pytest.raises(AssertionError, match="Case has no"):
        made_case(wait=[{"pid": 3}])
    case = made_case(
        waits=[{"pid": 3, "type": "mutex", "holder_pid": 4}, {"pid": 4, "type": "mutex", "holder_pid": 3}]
    )
    assert case.waits.graph().cycles == [[3, 4]]
