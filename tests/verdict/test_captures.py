"""The verdict on every capture whose end is known: the first row is the true cause, and nothing that is false is told.

Samples and whole dumps are tried in test_verdict_table.py. The lab's captures lie where KERNLAB_LAB_CAPTURES says;
those whose guest said what a right verdict is are tried.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.captures import captures, dumps_in
from support.verdict_truth import VerdictTruth, false, truth_of_capture, wrong

import kernlab
from kernlab.verdict.verdict import verdict

CAPTURES = [folder for folder in captures() if truth_of_capture(folder) is not None]


def judged(dump: Path) -> pd.DataFrame:
    """The verdict on a dump in a file."""
    with kernlab.open(dump) as opened:
        return verdict(opened.kernel)


@pytest.mark.parametrize("folder", CAPTURES or [None], ids=[folder.name for folder in CAPTURES] or ["none"])
def test_the_verdict_on_a_capture_is_what_its_guest_said(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with a capture whose guest told its verdict")
    truth = truth_of_capture(folder)
    assert truth is not None
    assert wrong(judged(dumps_in(folder)[0]), truth) == []


ROW = {
    "finding": "hung task",
    "subject": "till (7), which has till_lock",
    "pid": 7,
    "module": "shop",
    "function": "till_open",
    "confidence": 0.9,
    "role": "cause",
    "evidence": [],
}
TRUTH = VerdictTruth(
    "hung task",
    pids=(7,),
    module="shop",
    functions=("till_open",),
    subject="till_lock",
    also=("RCU stall",),
    before=("warning",),
    innocent=("cron", "order-"),
    end="panic",
)


def rows(*others: dict[str, object], **changes: object) -> pd.DataFrame:
    """A verdict: what is true, with changes, and other rows behind it."""
    return pd.DataFrame([ROW | changes, *(ROW | other for other in others)])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (rows(), []),
        (rows(finding="lock not released"), []),
        (rows(finding="deadlock"), ["the first row is deadlock, not hung task"]),
        (rows(confidence=0.79), ["the first row is only 0.79 sure"]),
        (rows(pid=8), ["pid is 8, not (7,)"]),
        (rows(pid=None), ["pid is None, not (7,)"]),
        (rows(module=None), ["module is None, not shop"]),
        (rows(function="till_close"), ["function is till_close, not ('till_open',)"]),
        (rows(subject="till (7)"), ["till_lock is not named"]),
        (rows(subject="till (7)", evidence=[{"says": "it has till_lock"}]), []),
        (rows({"finding": "RCU stall"}), []),
        (rows({"finding": "panic", "role": "end"}), []),
        (rows({"finding": "panic", "subject": "x"}), ["panic of x is not so (0.90)"]),
        (rows({"finding": "OOM", "subject": "x", "confidence": 0.49}), []),
        (rows({"finding": "WARNING", "subject": "cron (3)", "role": "beside"}), []),
        (rows({"finding": "RCU stall", "subject": "cron (3)"}), ["RCU stall accuses cron"]),
        (
            rows({"finding": "RCU stall", "subject": "order-3", "confidence": 0.1}),
            ["RCU stall accuses order-"],
        ),
        (rows({"finding": "RCU stall", "subject": "anacron, cron-2 (3)"}), []),
        (rows().head(0), ["there is no finding"]),
    ],
)
def test_what_is_wrong_with_a_verdict_is_found(found: pd.DataFrame, said: list[str]) -> None:
    assert wrong(found, TRUTH) == said


def test_of_a_machine_that_was_stopped_all_that_was_amiss_is_to_be_told() -> None:
    truth = VerdictTruth("sysrq", also=("file system error",), subject="vda")
    alone = rows(finding="sysrq")
    assert wrong(alone, truth) == ["vda is not named", "file system error is not told"]
    assert wrong(rows({"finding": "file system error", "subject": "vda"}, finding="sysrq"), truth) == []
    assert false(alone, truth) == []
