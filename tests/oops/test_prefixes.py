"""The same report under every prefix that a log can have gives the same row."""

from __future__ import annotations

import pandas as pd
import pytest
from oops import logs

from kernlab.oops import parse
from kernlab.oops.lines import split

PREFIXES = {
    "stamp": "[   12.345678] ",
    "short stamp": "[   12.3] ",
    "caller": "[   12.345678][  T812] ",
    "CPU": "[   12.345678][    C3] ",
    "caller alone": "[    T812] ",
    "level": "<4>[   12.345678] ",
    "level alone": "<4>",
    "dmesg -x": "kern  :warn  : [   12.345678] ",
    "dmesg -T": "[Mon Nov 30 12:24:53 2026] ",
    "dmesg --time-format iso": "2026-11-30T12:24:53,123456+00:00 ",
    "syslog": "Nov 30 12:24:53 host kernel: [   12.345678] ",
    "journalctl -k": "Nov 30 12:24:53 host kernel: ",
    "ISO syslog": "2026-11-30T12:24:53.123456+00:00 host kernel: [   12.345678] ",
    "prompt": "login: [   12.345678] ",
    "vendor": "[   12.345678]  [3:    billing:  812] ",
    "colour": "\x1b[32m[   12.345678] \x1b[0m",
}


#: All logs one after the other, with the silence between that tells them apart where no mark does.
LOG = "\n".join(line for log, *_ in logs.ALL.values() for line in (*log.split("\n"), *["later"] * 60))
PLAIN = parse(LOG).drop(columns=["timestamp", "caller"])


def test_one_report_of_each():
    assert PLAIN["kind"].tolist() == [kind for _, kind, *_ in logs.ALL.values()]


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_prefixes_change_nothing(prefix, end):
    told = parse(end.join(prefix + line for line in LOG.split("\n")))
    pd.testing.assert_frame_equal(told.drop(columns=["timestamp", "caller"]), PLAIN)
    if "12.345678" in prefix:
        assert set(told["timestamp"]) == {pd.Timedelta(12_345_678, "us")}
    if "T812" in prefix:
        assert set(told["caller"]) == {"T812"}


@pytest.mark.parametrize(
    "line",
    [
        "[ INFO: possible recursive locking detected ]",
        "[<ffffffff81000000>] a+0x1/0x2",
        "[ 1] a",
        "Nov b",
        "",
    ],
)
def test_what_only_looks_like_a_prefix_stays(line):
    assert split(line) == (line, None, "")
