"""The same report under every prefix that a log can have gives the same row."""

from __future__ import annotations

import pandas as pd
import pytest
from oops import logs

from kernlab.oops import parse
from kernlab.oops.prefixes import split

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
    "dmesg -x -T": "kern  :warn  : [Mon Nov 30 12:24:53 2026] ",
    "dmesg -x -t": "kern  :warn  : ",
    "dmesg -x iso": "kern  :warn  : 2026-11-30T12:24:53,123456+00:00 ",
    "dmesg -d": "[   12.345678 <    0.000012>] ",
    "dmesg delta": "[<    0.000012>] ",
    "dmesg -H": "[  +0.000012] ",
    "dmesg -H, a minute's first": "[Nov30 12:24] ",
    "journalctl short-monotonic": "[   12.345678] host kernel: ",
    "journalctl short-precise": "Nov 30 12:24:53.123456 host kernel: ",
    "journalctl short-full": "Mon 2026-11-30 12:24:53 UTC host kernel: ",
    "journalctl short-unix": "1795000000.123456 host kernel: ",
    "journalctl short-delta": "[   12.345678 <    0.000012 >] host kernel: ",
    "RFC 3164": "<4>Nov 30 12:24:53 host kernel: ",
    "RFC 5424": "<4>1 2026-11-30T12:24:53.123456Z host kernel - - - ",
    "/dev/kmsg": "4,1234,12345678,-;",
    "/dev/kmsg with caller": "4,1234,12345678,-,caller=T812;",
    "netconsole": "4,1234,12345678,-,ncfrag=0/33;",
    "netconsole with release": "6.1.0-test,4,1234,12345678,-;",
    "logread": "Mon Nov 30 12:24:53 2026 kern.warn kernel: ",
    "logread with stamp": "Mon Nov 30 12:24:53 2026 kern.warn kernel: [   12.345678] ",
    "logcat -b kernel": "11-30 12:24:53.123     0     0 W kernel  : ",
    "MediaTek": "<4>[   12.345678] .(0)[812:billing]",
    "Samsung": "[   12.345678] I[0:  billing:  812] ",
    "Nexus": "<4>[   12.345678] c0    812 ",
    "container's log": "2026-11-30T12:24:53.123456789Z [   12.345678] ",
    "Xen": "(d1) [2026-11-30 12:24:53] ",
    "mail": "> ",
    "page": "    ",
    "tab": "\t",
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
        ">ffff888003b5df00: fc fc fc",
        "[<0000000012345678>] a+0x1/0x2",
        "Mem-Info:",
        "kern: a",
        "4,1,2: a",
        "rust_kernel: panicked at a.rs:1:1:",
        "2026-11-30 was a day",
        "",
    ],
)
def test_what_only_looks_like_a_prefix_stays(line):
    assert split(line) == (line, None, "")
