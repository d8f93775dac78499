"""Names in a dump that are equal, empty, or a fixed column's: no row and no column is lost to another, or renamed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.dashboard.views import traces
from kernlab.linux import zones


@pytest.fixture(scope="module", params=["debian-6.1", "debian-7.2"])
def below(request, opened):
    return opened(request.param)


def named(overlay: Overlay, pointer: int, name: bytes) -> None:
    """Write a name over the one that a pointer leads to."""
    overlay.write(int.from_bytes(overlay.below.read(pointer, 8), "little"), name + b"\0")


def pointers(dump, symbol: str) -> int:
    return dump.kernel.symbol(symbol)


@pytest.mark.parametrize("first", [0, 20])
def test_two_counters_of_one_name(below, first):
    """The name's pointer is overwritten by another's: both counters are there, and the others go by their own names."""
    overlay = Overlay(below)
    table = pointers(below, "vmstat_text")
    word = int.from_bytes(below.read(table + 8 * first, 8), "little")
    overlay.word(table + 8 * 11, word)
    broken = overlay.dump()
    whole, found = below.vmstat, broken.vmstat
    assert len(found) == len(whole)
    assert found.index.is_unique
    assert found.tolist() == whole.tolist()
    name = whole.index[first]
    changed = {f"{name} (2)", name} - {name if first > 11 else ""}
    assert set(found.index) - set(whole.index) <= changed
    for table_name in ("zones", "nodes"):
        left, right = getattr(broken, table_name), getattr(below, table_name)
        assert left.shape == right.shape
        for place, column in enumerate(right):
            assert left.iloc[:, place].equals(right[column]), column
    # What is computed goes by what a counter is, not by what the damaged array calls it.
    assert broken.meminfo.equals(below.meminfo)


@pytest.mark.parametrize("name", [b"free", b"problems", b"", b"address", b"self", b"node"])
def test_a_counter_that_is_called_like_a_column_of_ours(below, name):
    overlay = Overlay(below)
    table = pointers(below, "vmstat_text")
    where = int.from_bytes(below.read(table, 8), "little")
    overlay.write(where, name + b"\0")
    broken = overlay.dump()
    assert broken.zones.shape == below.zones.shape
    assert broken.zones["free"].equals(below.zones["free"])
    assert broken.zones.kern.column == "address"
    assert len(broken.vmstat) == len(below.vmstat)
    assert broken.vmstat.tolist() == below.vmstat.tolist()
    assert broken.meminfo.equals(below.meminfo)


def test_zones_of_one_name(below):
    overlay = Overlay(below)
    kernel = below.kernel
    _, zone = zones.zones(kernel, zones.nodes(kernel))
    pointer = zone["name"].values.tolist()
    overlay.set("struct zone", int(zone.addresses[1]), "name", pointer[0])
    broken = overlay.dump()
    assert broken.zones["free"].equals(below.zones["free"])
    assert broken.buddyinfo.drop(columns="zone").equals(below.buddyinfo.drop(columns="zone"))
    assert len(broken.pages) == len(below.pages)


def test_migrate_types_of_one_name(below):
    overlay = Overlay(below)
    table = pointers(below, "migratetype_names")
    overlay.word(table + 8, int.from_bytes(below.read(table, 8), "little"))
    found, whole = overlay.dump().pages["migratetype"], below.pages["migratetype"]
    assert found.cat.codes.equals(whole.cat.codes)
    assert found.cat.categories.is_unique


def test_huge_pages_of_two_nodes_of_one_number(below, monkeypatch):
    from kernlab.tables.memory import hugepages

    node = zones.nodes(below.kernel)
    twice = zones.Nodes(below.kernel, np.repeat(node.addresses[:1], 2), [0, 0])
    monkeypatch.setattr(hugepages.zones, "nodes", lambda kernel: twice)
    found = hugepages.hugepages(below.kernel)
    assert [name for name in found if "node" in name] == [
        f"{name}_node0{again}" for again in ("", " (2)") for name in ("total", "free", "surplus")
    ]


@pytest.fixture(params=["prev_comm", "text", "cpu", "common_cpu", "event", "field_pid", ""])
def renamed(request, opened):
    """debian-6.1, whose sched_switch has two fields of a name, or one of a common column's."""
    dump = opened("debian-6.1")
    kernel = dump.kernel
    formats = dump.ftrace._formats
    (number,) = formats.ids("sched:sched_switch")
    call = formats._calls[np.array([formats._rows[number]])]
    head = call.follow("class", "struct trace_event_class")["fields"]
    from kernlab.walk.lists import list_entries

    _, fields = list_entries(kernel, head.addresses, "struct ftrace_event_field", "link", what="fields")
    overlay = Overlay(dump)
    # Two fields' names lead to one string, in the room of a longer one.
    room = max(fields["name"].values.tolist())
    overlay.write(room, request.param.encode() + b"\0")
    for address in fields.addresses[:2].tolist():
        overlay.set("struct ftrace_event_field", int(address), "name", room)
    return overlay.dump()


def test_fields_of_one_name_are_columns_of_their_own(renamed, opened):
    whole = opened("debian-6.1").ftrace
    for text in (False, True):
        assert len(renamed.ftrace.events("sched_switch", text=text).columns) == len(
            whole.events("sched_switch", text=text).columns
        )
    found = renamed.ftrace.events(["sched_switch"])
    assert len(found.columns) == len(whole.events(["sched_switch"]).columns)
    assert found.columns.is_unique
    first = json.loads(renamed.ftrace.all["fields"].iloc[0])
    assert len(first) == len(json.loads(whole.all["fields"].iloc[0]))


def test_channels_of_one_name_are_traces_of_their_own(opened):
    dump = opened("debian-6.1")
    channels = dump.relay.channels

    again = channels.copy()
    again.loc[again.index[-1:], "address"] = channels["address"].iloc[0] + 64
    assert again["name"].nunique() == 1
    assert again["address"].nunique() == 2
    tables = {"relay": again, "ftrace": dump.ftrace.all}

    class Pages:
        def table(self, name):
            return tables[name]

    shown = [one for one in traces(dump, Pages())["traces"] if one["kind"] != "ftrace"]
    assert len(shown) == again["address"].nunique()
