"""Several kinds of events in one table, texts and fields of all; latency marks of PREEMPT_RT's kernels."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

import kernlab
from kernlab import KernlabError
from kernlab.dataframes import deferred
from kernlab.traces.ftrace.text import Texts, latency_marks
from kernlab.traces.ftrace.tokens import NotUnderstood

COMMON = ["instance", "timestamp", "cpu", "pid", "comm", "event", "system"]


@pytest.fixture(scope="module")
def turned(opened: Callable[[str], kernlab.Dump]) -> tuple[kernlab.Dump, np.ndarray]:
    """debian-6.1, whose events are all sched_switch, with many turned into a sched_waking; and which.

    That event's comm, pid and prio lie where sched_switch has prev_comm, prev_pid and prev_prio.
    """
    dump = opened("debian-6.1")
    ftrace = dump.ftrace
    number = ftrace._formats.ids("sched:sched_waking")[0]
    trace = ftrace._trace
    overlay = Overlay(dump)
    raw = {int(page): dump.read(int(page), 4096) for ring in trace.rings for page in ring.pages}
    spans = zip(trace.start.tolist(), trace.size.tolist(), strict=True)
    records = [trace.data[start : start + size].tobytes() for start, size in spans]
    waking = np.array([row % 3 == 0 and records.count(record) == 1 for row, record in enumerate(records)])
    for row in np.flatnonzero(waking).tolist():
        ((page, place),) = [
            (page, data.find(records[row])) for page, data in raw.items() if records[row] in data
        ]
        overlay.word(page + place, number, 2)
    assert 3 < waking.sum() < len(waking) - 3
    return overlay.dump(), waking


@pytest.fixture
def mixed(turned):
    return turned[0]


@pytest.fixture
def waking(turned):
    return turned[1]


@pytest.fixture(scope="module")
def switches(opened: Callable[[str], kernlab.Dump]) -> pd.DataFrame:
    return opened("debian-6.1").ftrace.events("sched_switch")


@pytest.mark.parametrize(
    "given",
    [
        ["sched_switch", "sched_waking"],
        ["sched:sched_switch", "sched_wak*"],
        "sched_*",
        "sched:*",
        "*",
        ("irq_*", "sched_[sw]*"),
    ],
)
def test_kinds_by_list_and_pattern_share_a_table(mixed, waking, switches, given):
    found = mixed.ftrace.events(given)
    assert list(found.columns[:7]) == COMMON
    assert len(found) == len(switches)
    assert found["timestamp"].tolist() == switches["timestamp"].tolist()
    assert found["event"].tolist() == ["sched_waking" if one else "sched_switch" for one in waking]
    # Its own pid and comm give way to those of the task that ran.
    assert found["pid"].tolist() == switches["pid"].tolist()
    assert found.loc[waking, "field_pid"].tolist() == switches.loc[waking, "prev_pid"].tolist()
    assert found.loc[waking, "field_comm"].tolist() == switches.loc[waking, "prev_comm"].tolist()
    assert found.loc[~waking, "next_pid"].tolist() == switches.loc[~waking, "next_pid"].tolist()
    assert found.loc[waking, "next_pid"].isna().all()
    assert found.loc[~waking, ["field_pid", "field_comm", "prio"]].isna().all().all()
    assert str(found["next_pid"].dtype) == "Int64"
    assert "text" not in found


def test_what_is_asked_for_and_nothing_else(mixed, waking, switches):
    found = mixed.ftrace.events(["sched_waking"], text=True)
    assert set(found["event"]) == {"sched_waking"}
    assert len(found) == waking.sum()
    assert found["text"].str.startswith("comm=").all()
    # One name alone is a table of that kind, as ever: its own fields keep their names.
    assert "common_pid" in mixed.ftrace.events("sched_waking")
    none = mixed.ftrace.events(["irq_*"])
    assert len(none) == 0
    assert list(none.columns) == COMMON
    assert len(mixed.ftrace.events(["irq_*", "sched_*"], instance="")) == len(switches)
    assert len(mixed.ftrace.lines(event=["sched_waking", "irq_*"])) == waking.sum()


def test_a_name_or_pattern_that_fits_nothing_is_told(mixed):
    with pytest.raises(KernlabError, match="no trace event 'sched_swich'; did you mean sched_switch"):
        mixed.ftrace.events(["sched_waking", "sched_swich"])
    with pytest.raises(KernlabError, match=r"that matches 'nothing_\*'"):
        mixed.ftrace.events("nothing_*")


def test_too_many_cells_are_refused(mixed, monkeypatch):
    from kernlab.traces.ftrace import many

    monkeypatch.setattr(many, "_MOST_CELLS", 100)
    with pytest.raises(KernlabError, match=r"name fewer kinds, or use the column `fields` of ftrace\.all"):
        mixed.ftrace.events("*")


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_all_has_every_events_fields_and_text(opened, name):
    dump = opened(name)
    found = dump.ftrace.all
    assert list(found.columns[:6]) == COMMON[:6]
    whole = dump.ftrace.events("sched_switch", text=True)
    # Of some rows only those are made.
    assert found.tail(2)["text"].tolist() == whole["text"].tolist()[-2:]
    assert found["text"].tolist() == whole["text"].tolist()
    assert found["text"].dtype == "str"
    fields = pd.DataFrame([json.loads(one) for one in found["fields"]])
    for column in ("prev_comm", "prev_pid", "prev_state", "next_comm", "next_pid", "next_prio"):
        assert fields[column].tolist() == whole[column].tolist()


@pytest.fixture
def any_number_is_many(monkeypatch):
    monkeypatch.setattr(deferred, "FEW_ROWS", 0)


def test_texts_of_few_events_outlive_their_dump(dump_files):
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        found = dump.ftrace.all
        expected = dump.ftrace.events("sched_switch", text=True)["text"].tolist()
    assert found["text"].tolist() == expected


def test_texts_that_nobody_looked_at_go_with_their_dump(dump_files, any_number_is_many):
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        found = dump.ftrace.all
        texts = found["text"].tolist()
        gathers = dump.kernel.memory.gathers
    assert dump.kernel.memory.gathers == gathers
    assert found["text"].tolist() == texts
    assert found.drop(columns="fields").to_csv().count("prev_comm=") == len(texts)
    with pytest.raises(KernlabError, match=r"nobody looked .*vmcore was closed; open it again"):
        found["fields"].tolist()


@pytest.mark.usefixtures("any_number_is_many")
def test_texts_look_the_same_made_late_and_at_once(opened, mixed):
    late, once = mixed.ftrace.all, Overlay(opened("debian-6.1")).dump().ftrace
    assert type(late["text"].array) is deferred.DeferredText
    assert late["fields"].dtype == "str"
    assert once.all["text"].tolist() == once.events("sched_switch", text=True)["text"].tolist()
    assert pickle.loads(pickle.dumps(late)).equals(late)


def test_a_format_that_is_not_understood_is_told_before_any_text_is_made(
    mixed, monkeypatch, any_number_is_many
):
    def refuse(texts, form):
        raise NotUnderstood("it is odd")

    dump = Overlay(mixed).dump()
    monkeypatch.setattr(Texts, "_by_format", refuse)
    found = dump.ftrace.all
    told = [
        f"the text of sched:{name} events is left out: it is odd" for name in ("sched_switch", "sched_waking")
    ]
    assert set(told) <= set(found.attrs["problems"])
    assert set(told) <= set(dump.problems)
    assert found["text"].isna().all()


def test_what_a_text_lacks_is_told_by_the_table_that_shows_it(mixed, monkeypatch):
    def refuse(texts, form):
        raise NotUnderstood("it is odd")

    monkeypatch.setattr(Texts, "_by_format", refuse)
    dump = Overlay(mixed).dump()
    shown = dump.ftrace.events("sched_waking", text=True)
    assert "the text of sched:sched_waking events is left out: it is odd" in shown.attrs["problems"]
    assert dump.ftrace.problems == dump.problems


#: enum trace_flag_type of 6.1 with PREEMPT_RT's patch, as its BTF has it.
RT = {
    "IRQS_OFF": 1,
    "IRQS_NOSUPPORT": 2,
    "NEED_RESCHED": 4,
    "HARDIRQ": 8,
    "SOFTIRQ": 16,
    "NEED_RESCHED_LAZY": 32,
    "PREEMPT_RESCHED": 0,
    "NMI": 64,
    "BH_OFF": 128,
}


def marks(flags, counts, kinds, *more):
    values = {f"TRACE_FLAG_{name}": value for name, value in kinds.items()}
    arrays = [None if one is None else np.array(one) for one in more]
    return latency_marks(np.array(flags), np.array(counts), values.get, *arrays)


def test_marks_of_preempt_rt_before_6_12_have_seven_characters():
    """Lines of a 6.1-rt guest's trace file, and what their records hold (preempt_lazy_count lies beside pid)."""
    found = marks([0, 0, 5, 13, 129, 37], [0x20, 0, 4, 0x14, 0x23, 1], RT, [1, 0, 0, 1, 1, 2])
    assert found == [".....12", ".......", "dn..4..", "dn.h411", "D...312", "dnL.12."]


def test_marks_of_preempt_rt_5_10_have_migrate_disable_as_a_field():
    kinds = {name: value for name, value in RT.items() if name != "BH_OFF"}
    assert marks([1, 0], [2, 0], kinds, [0, 1], [1, 2]) == ["d...2.1", ".....12"]


def test_marks_of_other_kernels_are_as_they_were():
    kinds = {name: value for name, value in RT.items() if name != "BH_OFF"}
    assert marks([1], [2], kinds) == ["d..2"]
    assert marks([1], [0x12], RT | {"NEED_RESCHED_LAZY": 2}) == ["d..21"]
