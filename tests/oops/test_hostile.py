"""Any text gives a table of the same dtypes, without an exception and in time that grows with its length alone."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oops import logs
from support.seed import SEED

from kernlab.oops import interleaving, parse, stack
from kernlab.oops.heads import FORMS
from kernlab.oops.interleaving import MOST_REPORTS

DTYPES = parse("").dtypes
#: What logs are made of, in any order.
PIECES = sorted(
    {line for log, *_ in logs.ALL.values() for line in log.split("\n")}
    | {mark for form in FORMS for mark in form.marks}
    | {
        "[    1.000000]",
        "[    1.000000][   T1] ",
        "<4>",
        "\n",
        "\r",
        " ",
        "[<",
        "+0x1/0x2",
        "RIP: ",
        "? ",
        "\x1b[1m",
        "\0",
        "é",
    }
)


def check(table: pd.DataFrame) -> None:
    pd.testing.assert_series_equal(table.dtypes, DTYPES)
    assert table["offset"].is_monotonic_increasing
    assert (table["end"] > table["offset"]).all()
    assert (table["corrupted"] == (table["why"] != "")).all()
    for _, report in table.head(1).iterrows():
        stack(report)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=40))
@settings(max_examples=20, deadline=None)
def test_any_text(pieces):
    for log in ("\n".join(pieces), "".join(pieces)):
        check(parse(log))


@given(st.lists(st.text(max_size=60) | st.none() | st.sampled_from(PIECES), max_size=20), st.data())
@settings(max_examples=12, deadline=None)
def test_any_table(texts, data):
    times = data.draw(st.lists(st.integers(0, 10**15) | st.none(), min_size=len(texts), max_size=len(texts)))
    table = pd.DataFrame(
        {"text": pd.Series(texts, dtype="str"), "timestamp": pd.to_timedelta(pd.Series(times, dtype="Int64"))}
    )
    check(parse(table))
    check(parse(table["text"]))


def test_every_cut_of_a_report():
    every = list(logs.ALL.values())
    for log, *_ in (every[SEED % len(every)], every[(SEED + 3) % len(every)]):
        for cut in range(0, len(log), 97):
            check(parse(log[:cut]))


#: 128 KiB each of what is hard for patterns, and for who follows many callers.
N = 1 << 17
HARD = {
    "newlines": "\n" * N,
    "one line": "a" * N,
    "stamps": "[    1.000000]" * (N // 14),
    "heads": "BUG: KASAN: use-after-free in a+0x1/0x2\n" * (N // 40),
    "marks": "BUG: spinlock x\n" * (N // 16),
    "callers": "".join(f"[    1.000000][ T{i}] BUG: memory leak\n" for i in range(N // 40)),
    "names": ("BUG: KASAN: use-after-free in " + "a." * 2000 + "\n a.a.a.a.a.a.a.a+0x\n") * (N // 4040),
    "addresses": ("BUG: memory leak\n" + "[<" + "0" * 16 + ">] " * 1000 + "+0x1/\n") * (N // 4040),
    "words": ("INFO: task " + ":1" * 2000 + " blocked for more than x seconds\n") * (N // 4040),
    "blanks": (" " * 4000 + " invoked oom-killer: gfp_mask=\n") * (N // 4030),
    "taints": ("WARNING: CPU: 1 PID: 1 at a:1\nTainted: " + "A " * 2000 + "\n") * (N // 4040),
    "prefixes": ("Nov 30 12:00:00 " + "h" * 4000 + " kernel: BUG: memory leak\n") * (N // 4040),
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_hard_text(text):
    """A pattern that backtracks, or a list that is gone through for each line, would not come back from these."""
    assert len(parse(text)) <= MOST_REPORTS


def test_more_reports_than_any_log_has_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(interleaving, "MOST_REPORTS", 50)
    table = parse("BUG: memory leak\n" * 60 + "Kernel panic - not syncing: Attempted to kill init!\n")
    assert len(table) == 50
    assert table["kind"].iloc[-1] == "panic"
    assert "too many reports: those before line 11 were left out" in table.attrs["problems"][0]


def test_shuffled_logs():
    lines = [line for log, *_ in logs.ALL.values() for line in log.split("\n")]
    for seed in range(SEED, SEED + 4):
        random.Random(seed).shuffle(lines)
        check(parse("\n".join(lines)))
