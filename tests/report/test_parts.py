"""Parts of a report: strings of a dump stay text in HTML and on a terminal, numbers are as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.hostile import hostile

from kernlab import report
from kernlab.report import io_words, phrases
from kernlab.report.explain import in_words, request
from kernlab.report.parts import Folded, Heading, Items, Lead, Leads, Lines, Section, Table, Words, seconds

BAD = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


def test_every_part_escapes_for_html_and_for_a_terminal() -> None:
    table = Table(BAD, pd.DataFrame({"a": [BAD], "b_bytes": [3 << 30]}), {"a": BAD, "b_bytes": "size"})
    parts = [Words(BAD), Heading(BAD), Items([BAD]), Lines([BAD]), table, Leads([Lead(BAD, BAD, BAD)])]
    section = Section(BAD, [*parts, Folded(BAD, parts)])
    assert "<img" not in section.html()
    assert section.html().count("&lt;img") == 2 * (len(parts) + 4) + 2
    for shown in (section.html(), repr(section)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "3.0 GiB" in repr(section)


def test_a_section_without_parts_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    empty = Section("Nothing here")
    empty._ipython_display_()
    assert repr(empty) == ""
    assert capsys.readouterr().out == ""


def test_spans_of_time_and_missing_values() -> None:
    frame = pd.DataFrame(
        {
            "since": pd.to_timedelta([450, 12_300, 7_400_000, None], unit="ms"),
            "n": pd.array([1, None, 12_345, 0], dtype="Int64"),
        }
    )
    lines = Table("t", frame, {"since": "for", "n": "count", "absent": "never"}).text().splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["for", "count"],
        ["450", "ms", "1"],
        ["12.3", "s", "–"],
        ["2", "h", "3", "min", "20", "s", "12,345"],
        ["–", "0"],
    ]
    assert seconds(pd.Timedelta(0)) == "0.0 s"


def test_spans_sizes_and_counts_in_sentences() -> None:
    assert [phrases.span(one) for one in (0, 95.6e-6, 0.0003, 0.0379, 0.9997, 17.66, 59.96, 92.34, 7_400, 2e5)] == [
        "0.0 s", "96 µs", "300 µs", "38 ms", "1.0 s", "17.7 s", "1 min", "1 min 32 s",
        "2 h 3 min 20 s", "2 d 7 h 33 min",
    ]  # fmt: skip
    assert phrases.span(pd.Timedelta(-2, unit="s")) == "-2.0 s"
    assert [phrases.size(one) for one in (1023.4 * 1024, 1000 * 1024, 512, float("nan"))] == [
        "1.0 MiB", "1000.0 KiB", "512 B", "",
    ]  # fmt: skip
    assert phrases.several(1, "disk") == "1 disk"
    assert phrases.several(1200, "disk") == "1,200 disks"
    assert [phrases.listed(list(names)) for names in ("", "a", "ab", "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_request_that_waits_longer_than_any_other_did_is_an_alarm() -> None:
    ms = pd.Timedelta(milliseconds=1)
    start = [place * 10 * ms for place in range(12)]
    took = [2 * ms] * 11 + [pd.NaT]
    rows = pd.DataFrame({"start": start, "latency": pd.to_timedelta(took), "process": "writer"})
    rows["end"] = rows["start"] + rows["latency"]
    waits = [io_words._disk("vda", rows, 110 * ms + after) for after in (1 * ms, 500 * ms)]
    assert [len(disk.overdue) for disk in waits] == [0, 1]
    assert not any(disk.slow for disk in waits)
    assert "for 1.0 ms: no longer than others took" in io_words._under_way(waits[0])
    assert "for longer than any that was answered (the oldest for 500 ms)" in io_words._under_way(waits[1])


def test_functions_in_words() -> None:
    assert in_words("__mutex_lock.constprop.0+0x41f/0x730") == "waits for a mutex"
    assert in_words("order_place+0x11/0x30 [kernlab_story]") == "code of the module kernlab_story"
    assert in_words("no_such_function+0x1/0x2") == ""
    assert request(["vfs_write+0x1/0x2", "ksys_write+0x1/0x2", "do_syscall_64+0x1/0x2"]) == "write"
    assert request(["kthread+0x1/0x2"]) == ""


def test_sections_of_a_hostile_dump_hold_no_markup_of_it(opened: Any) -> None:
    with hostile(opened("debian-6.1")) as dump:
        shown = []
        for make in (
            report.in_short, report.leads, report.last_words, report.stacks, report.waits, report.cpus,
            report.machine, report.missing,
        ):  # fmt: skip
            made = make(dump)
            html = made.html()
            shown.append(html)
            assert "<img" not in html
            assert "harm>" not in html
            assert "<script" not in html
            assert "\x1b" not in html + repr(made)
        data = report.head(dump).data
        assert "\x1b" not in data["title"] + data["subtitle"]
        table = report.memory(dump).html()
        assert "harm>" not in table
        # The names are there, as text.
        assert "id=harm" in "".join([*shown, table])
    from matplotlib import pyplot

    pyplot.close("all")
