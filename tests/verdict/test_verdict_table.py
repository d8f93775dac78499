"""`dump.verdict` on every sample, and on captures where they are: the first row is what happened, cells run as they
stand, evidence names rows that are there, and what is told of one is told of all of them alike.

Whatever needs whole verdicts of samples stands in this file: they are built once then.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES, find_dump
from support.captures import captures, dumps_in
from support.verdict_truth import HERE, truth_of, wrong

import kernlab
from kernlab.oops.forms import KINDS
from kernlab.oops.signature import signature as report_signature
from kernlab.verdict.log_alone import lines_of
from kernlab.verdict.story import story
from kernlab.verdict.vocabulary import VOCABULARY

NAMES = sorted(folder.name for folder in SAMPLES.iterdir() if folder.is_dir() and dumps_in(folder))
KNOWN = sorted(file.stem for file in HERE.glob("*.json"))
#: Tables that are asked for with something, and what evidence of them is labelled by.
_WITH_ARGUMENTS = frozenset({"owner", "slab_objects"})


@pytest.fixture(params=[*NAMES, pytest.param("captures", marks=pytest.mark.long)])
def dumps(request: Any, opened: Callable[[str], Any]) -> Iterator[Any]:
    """One sample, or all captures."""
    if request.param != "captures":
        yield iter([(request.param, opened(request.param))])
        return
    found = [path for folder in captures() for path in dumps_in(folder)[:1]]
    if not found:
        pytest.skip("no captures: KERNLAB_LAB_CAPTURES")
    yield _each(found)


def _each(paths: list[Path]) -> Iterator[tuple[str, Any]]:
    for path in paths:
        with kernlab.open(path) as dump:
            yield path.parent.name, dump


def test_a_verdict_holds_what_it_promises(dumps: Any) -> None:
    """Each cell runs as it stands and shows something; each row of evidence is there."""
    wrong: list[str] = []
    for name, dump in dumps:
        verdict = dump.verdict
        assert re.fullmatch(r"v1:[a-z0-9-]+:[\w-]+:\S+", dump.signature), dump.signature
        assert len(verdict) <= 20
        for row in verdict.itertuples():
            told = f"{name}: {row.finding} ({row.subject})"
            wrong += [
                f"{told}: {why}" for why in (*_of_row(row), *_of_evidence(dump, row), *_of_cell(dump, row))
            ]
    assert wrong == []


def _of_row(row: Any) -> Iterator[str]:
    if row.finding not in VOCABULARY and row.finding not in KINDS:
        yield "a finding that is not of the vocabulary"
    if row.role not in ("cause", "end", "beside"):
        yield f"the role {row.role}"
    if not 0 < row.confidence <= 0.99:
        yield f"{row.confidence} sure: none is nothing, and nothing is certain"
    if not row.evidence:
        yield "no evidence"
    for sentence in row.against:
        if not re.fullmatch(r"[^\s].*[.)]", sentence):
            yield f"{sentence!r} is no sentence"


def _of_evidence(dump: Any, row: Any) -> Iterator[str]:
    for each in row.evidence:
        if set(each) != {"table", "rows", "says"} or not each["says"] or len(each["rows"]) > 100:
            yield f"{each} is no evidence"
            continue
        if re.search(r"[\x00-\x1f\x7f\u202a-\u202e]|<NA>|\bNaT?\b|\bnan\b|\bNone\b", each["says"]):
            yield f"it says {each['says']!r}"
        if any(isinstance(label, bool | np.generic) for label in each["rows"]):
            yield f"{each['table']} has labels that are not plain: {each['rows'][:5]}"
        table = getattr(dump, each["table"])
        if each["table"] not in _WITH_ARGUMENTS and not set(each["rows"]) <= set(table.index):
            yield f"{each['table']} has no rows {each['rows'][:5]}"


def _of_cell(dump: Any, row: Any) -> Iterator[str]:
    if "\n" in row.cell or not row.cell.startswith("dump."):
        yield f"its cell is {row.cell!r}"
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            shown = eval(row.cell, {"dump": dump})
    except Exception as error:
        yield f"{row.cell} fails: {error!r}"
        return
    if isinstance(shown, pd.DataFrame | pd.Series):
        something = len(shown) > 0
    else:
        something = shown not in (None, "") or printed.getvalue() != ""
    if not something:
        yield f"{row.cell} shows nothing"
    _close_plots()


def _close_plots() -> None:
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("name", KNOWN)
def test_the_verdict_on_a_known_dump_is_what_happened(opened: Callable[[str], Any], name: str) -> None:
    assert wrong(opened(name).verdict, truth_of(name, find_dump(name).folder)) == []


def test_every_sample_is_known() -> None:
    assert {sample.name for sample in SAMPLES.iterdir() if sample.is_dir()} <= set(KNOWN)


#: What a reader learns of each sample, in its order (samples/*/README.md tell what was done to the guest).
TOLD = {
    "io": r"crashed on purpose \(SysRq\).*asked for it.*SysRq.*High \(97%\).*Ask who did that",
    "oom": r"Out of memory: reporting \(\d+\) holds most.*had taken most.*holds 210\.\d MiB.*not who grew",
    "flight": r"Out of memory: billing \(\d+\) holds most.*memory could not be met.*holds 275\.\d MiB.*not who",
    "hung": r"inventor.*inventory_thread of the module kernlab_story.*watchdog found.*inventory_lock.*stack",
    "deadlock": r"2 deadlocks: checkout and refund .*, and so do import.*32 s before.*import .*names its owner.*same",
    "lockup": r"count_up of the module kernlab_shop.*watchdog.*till_lock.*the maintainers of the module kernlab_shop",
    "oops": r"NULL pointer in order_check of the module kernlab_story.*billing \(1\) ran.*disassemble\('order_check'\)",
}  # fmt: skip


@pytest.mark.parametrize("name", list(TOLD))
def test_the_story_of_a_sample_says_what_was_done_to_its_guest(
    opened: Callable[[str], Any], name: str
) -> None:
    verdict = opened(name).verdict
    assert set(verdict["finding"]) <= set(VOCABULARY)
    told = story(verdict)
    assert re.search(TOLD[name], told, re.DOTALL), told
    assert verdict["cell"].iloc[0] in told
    for row in verdict["evidence"].iloc[0][:3]:
        assert row["says"] in told


def test_lines_are_as_wide_as_asked_and_lose_no_word(opened: Callable[[str], Any]) -> None:
    verdict = opened("deadlock").verdict
    narrow = story(verdict, width=60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert narrow.split() == story(verdict).split()


def test_an_end_that_tells_has_the_signature_of_its_report(opened: Callable[[str], Any]) -> None:
    dump = opened("oops")
    report = kernlab.oops.parse(dump.log).iloc[-1]
    assert dump.signature == report["signature"]
    assert report_signature(dump.signature, coarse=True) == "v1:null-dereference:kernlab_story:order_check"


@pytest.mark.parametrize(
    ("name", "signed"),
    [
        ("deadlock", "v1:deadlock:kernlab_shop:checkout_pay<refund_pay"),
        ("hung", "v1:lock-not-released:kernlab_story:inventory_thread"),
        ("lockup", "v1:lock-not-released:kernlab_shop:count_up<till_open_deaf<shop_write"),
        ("oom", "v1:process-took-the-memory:kernel:reporting"),
        ("panic", "v1:sysrq:kernel:-"),
    ],
)
def test_the_cause_signs_where_the_end_only_followed(
    opened: Callable[[str], Any], name: str, signed: str
) -> None:
    assert opened(name).signature == signed


@pytest.mark.parametrize("name", NAMES)
def test_the_log_alone_says_less_and_nothing_else(opened: Callable[[str], Any], name: str) -> None:
    """Of a dump's log alone: the same end, at the same lines; no finding that the dump does not have."""
    dump = opened(name)
    text = _saved(dump.log)
    alone, whole = kernlab.verdict.of_log(text), dump.verdict
    assert list(alone.columns) == list(whole.columns)
    assert alone.dtypes.equals(whole.dtypes)
    assert set(alone.loc[alone["confidence"] >= 0.5, "finding"]) <= set(whole["finding"])
    ends = alone[alone["role"] == "end"]
    assert ends["finding"].tolist() == whole[whole["role"] == "end"]["finding"].tolist()
    assert len(ends) == 1
    log = kernlab.verdict.lines(text)
    rows: Iterator[Any] = alone.itertuples()
    for row in rows:
        assert row.cell.startswith("log."), row.cell
        assert len(eval(row.cell, {"log": log}))
        assert all(set(each["rows"]) <= set(log.index) for each in row.evidence if each["table"] == "log")
    assert sum("of a log alone" in problem for problem in alone.attrs["problems"]) <= 1


def _saved(log: pd.DataFrame) -> str:
    """A log as vmcore-dmesg saves it: each line of a record with the record's stamp."""
    lines = []
    for stamp, text in zip(log["timestamp"].dt.total_seconds(), log["text"].fillna(""), strict=True):
        lines += [f"[{stamp:12.6f}] {line}" for line in text.split("\n")]
    return "\n".join(lines) + "\n"


def test_lines_of_a_log_have_the_contract_of_the_log(opened: Callable[[str], Any]) -> None:
    log = opened("oops").log
    lines = lines_of(_saved(log))
    assert lines["text"].dtype == log["text"].dtype
    assert lines["timestamp"].dtype == log["timestamp"].dtype
    assert lines["caller"].dtype == log["caller"].dtype


def test_a_log_that_says_nothing() -> None:
    for text in ("", "\n", "hello\nworld"):
        verdict = kernlab.verdict.of_log(text)
        assert len(verdict) == 0
        assert verdict.attrs["signature"] == "v1:stopped:kernel:-"
