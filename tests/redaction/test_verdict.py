"""The verdict of a redacted dump is that of the dump but for names; none that its tables hide is in what it says."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from support.seed import SEED

import kernlab
from kernlab.redaction.columns import columns as columns_of

pytestmark = pytest.mark.long


def said(verdict: pd.DataFrame) -> str:
    """All that a verdict says, but for lines of the log, which are as `dump.log` shows them."""
    evidence = [each["says"] for row in verdict["evidence"] for each in row if each["table"] != "log"]
    against = [sentence for row in verdict["against"] for sentence in row]
    return "\n".join([*verdict["subject"], *evidence, *against, *verdict["cell"], verdict.attrs["signature"]])


# One of them with each seed (support/seed.py).
@pytest.mark.parametrize("name", [("deadlock", "oom")[SEED % 2]])
def test_names_are_all_that_differs(name: str) -> None:
    path = kernlab.sample(name)
    with kernlab.open(path) as dump, kernlab.open(path, redact="strict") as hidden:
        whole, less = dump.verdict, hidden.verdict
        gone = set(dump.tasks["comm"]) - set(hidden.tasks["comm"])
    assert len(less) == len(whole) > 1
    for column in whole.columns:
        one, other = whole[column].map(repr).tolist(), less[column].map(repr).tolist()
        assert one == other or column in columns_of("strict")["verdict"], column
    assert [len(each) for each in less["evidence"]] == [len(each) for each in whole["evidence"]]
    words = re.compile("|".join(rf"\b{re.escape(comm)}\b" for comm in sorted(gone)))
    assert words.search(said(whole))
    assert words.findall(said(less)) == []
