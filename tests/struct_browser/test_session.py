"""What the struct browser answers, on real dumps: against the tables, which are tested against the guests' /proc."""

from __future__ import annotations

import json

import pytest

from kernlab.core.struct import Struct
from kernlab.core.struct_array import StructArray
from kernlab.struct_browser import element_types
from kernlab.struct_browser.session import MOST_ROWS, PAGE, Session


@pytest.fixture
def session(dump):
    return Session(dump.kernel)


def go(session, text):
    answer = session.answer({"op": "go", "text": text})
    assert "error" not in answer, answer
    # Only plain JSON goes out, and no number that a double could not hold.
    json.dumps(answer)
    return answer


def rows_of(session, page, number):
    """All rows of a node, page by page."""
    found = list(page["rows"])
    while page["next"] is not None:
        page = session.answer({"op": "children", "id": number, "offset": page["next"]})
        found += page["rows"]
    return found


def all_rows(session, text):
    view = go(session, text)
    return rows_of(session, view["page"], view["root"]["id"])


def numbers(thing):
    if isinstance(thing, dict):
        for inner in thing.values():
            yield from numbers(inner)
    elif isinstance(thing, list):
        for inner in thing:
            yield from numbers(inner)
    elif isinstance(thing, int):
        yield thing


def test_a_struct_shows_all_its_members_in_pages(session, dump):
    view = go(session, "init_task")
    kind = dump.kernel.find_type("struct task_struct").strip()
    assert len(view["page"]["rows"]) == PAGE
    assert view["page"]["total"] == len(kind.member_names())
    rows = rows_of(session, view["page"], view["root"]["id"])
    assert [row["name"] for row in rows] == kind.member_names()
    by_name = {row["name"]: row for row in rows}
    assert by_name["comm"]["value"] == '"swapper/0"'
    assert by_name["pid"]["value"] == "0"
    assert by_name["comm"]["type"] == "char [16]"
    assert by_name["comm"]["offset"] == f"{kind.member('comm').offset:#x}"
    assert "PF_KTHREAD" in by_name["flags"]["value"]
    assert by_name["sched_class"]["summary"].startswith("idle_sched_class")
    assert max(numbers(view)) < 2**53


def test_no_address_is_a_number(session, dump):
    for text in ("init_task", "pid(1).mm", "slab_caches"):
        for row in all_rows(session, text):
            for key in ("address", "target"):
                assert isinstance(row[key], str)
                assert row[key] == "" or int(row[key], 16) == int(row[key][2:], 16)
    first = all_rows(session, "slab_caches")[0]
    assert int(first["address"], 16) in set(dump.slabs.address.to_numpy(dtype="uint64").tolist())
    assert int(first["address"], 16) > 2**53


def test_lists_are_opened_as_what_they_hold(session, dump):
    tasks = dump.tasks
    leaders = set(tasks[(tasks.pid == tasks.tgid) & (tasks.pid > 0)].pid)
    shown = all_rows(session, "init_task.tasks")
    assert {int(row["summary"].rpartition("pid ")[2]) for row in shown} == leaders
    assert all(row["type"] == "struct task_struct" for row in shown)
    names = {row["summary"].partition(",")[0] for row in all_rows(session, "slab_caches")}
    assert names == set(dump.slabs.name)
    names = [row["summary"] for row in all_rows(session, "modules")]
    assert set(names) == set(dump.modules.name)


def test_trees_are_opened_as_what_they_hold(session, dump):
    kind = dump.kernel.find_type("struct mm_struct").strip()
    tree = "mm_mt" if "mm_mt" in kind.member_names() else "mm_rb"
    shown = all_rows(session, f"pid(1).mm.{tree}")
    maps = dump.maps[dump.maps.pid == 1]
    assert [int(row["address"], 16) for row in shown] == maps.address.to_numpy(dtype="uint64").tolist()
    numbers_of = [int(row["name"].strip("[]")) for row in all_rows(session, "init_pid_ns.idr")]
    # The idr holds thread ids, and those of groups and sessions whose leader is gone.
    assert set(dump.tasks.pid) - {0} <= set(numbers_of)


def test_a_ring_that_is_entered_at_an_entry_says_where_its_head_is(session, dump):
    shown = all_rows(session, "pid(1).sibling")
    strangers = [row for row in shown if row["note"]]
    assert len(strangers) == 1
    assert "no struct task_struct, but in init_task+" in strangers[0]["note"]
    children = dump.tasks[(dump.tasks.ppid == 0) & (dump.tasks.pid > 1)]
    assert len(shown) - 1 == len(children[children.pid == children.tgid])


def test_python_code_gives_what_is_shown(session, dump):
    for text in ("pid(1)", "init_net", "runqueues[0]", "super_blocks", "pid(1).mm", "pid(1).files.fdt"):
        for row in all_rows(session, text)[:120]:
            if not row["code"] or row["why"]:
                continue
            value = eval(row["code"], {"dump": dump})
            if isinstance(value, Struct):
                assert value.address_ in (int(row["address"], 16), int(row["target"] or "0", 16)), row
            elif isinstance(value, str):
                assert value[:40] in row["value"].replace("…", "") or not value.isprintable(), row
            elif type(value) is int and row["kind"] == "scalar":
                assert (
                    str(value) in row["value"]
                    or hex(value) in row["value"].lower()
                    or oct(value) in row["value"]
                    or (not value or "(" in row["value"] or "_" in row["value"] or ":" in row["value"])
                ), row


def test_expressions_lead_to_the_same_place(session):
    for text in ("pid(1)", "init_task.fs", "runqueues[0]", "slab_caches", "pid(1).files.fdt"):
        for row in all_rows(session, text)[:150]:
            if not row["expression"] or row["kind"] in ("pointer", "function") or "{" in row["type"]:
                continue
            assert go(session, row["expression"])["address"] == row["address"], row


def test_opening_and_entering_a_row(session, dump):
    view = go(session, "pid(1)")
    (mm,) = (row for row in rows_of(session, view["page"], view["root"]["id"]) if row["name"] == "mm")
    opened = session.answer({"op": "children", "id": mm["id"]})
    assert {"pgd", "total_vm"} <= {row["name"] for row in opened["rows"]}
    entered = session.answer({"op": "enter", "id": mm["id"]})
    assert entered["title"] == "struct mm_struct"
    assert entered["address"] == mm["target"]
    assert [row["name"] for row in entered["page"]["rows"]] == [row["name"] for row in opened["rows"]]


def test_null_and_functions_do_not_open(session):
    by_name = {row["name"]: row for row in all_rows(session, "init_task")}
    assert by_name["mm"]["value"] == "NULL"
    assert not by_name["mm"]["opens"]
    handler = next(
        row
        for row in all_rows(session, "pid(1).files.fd_array[0].f_op")
        if row["name"] == "read_iter" or row["name"] == "write"
    )
    assert handler["kind"] == "function"


def test_what_a_head_holds_is_asked_once(session, dump, monkeypatch):
    monkeypatch.setattr(element_types, "ELEMENT_TYPES", {})
    monkeypatch.setattr(element_types, "_remembered", {})
    # Slab caches themselves lie in a slab of caches; net devices in kmalloc memory, of which nobody knows.
    page = go(session, "init_net.dev_base_head")["page"]
    number = session._nodes and max(n for n, p in session._nodes.items() if p.name.startswith("init_net"))
    assert page["question"] == {"link": "struct list_head", "owner": "struct net.dev_base_head"}
    offered = session.answer({"op": "candidates", "id": number, "text": "net_dev"})["items"]
    assert ["struct net_device", "dev_list"] in offered
    wrong = session.answer({"op": "hold", "id": number, "type": "struct net_device", "link": "name"})
    assert "needs struct list_head" in wrong["error"]
    several = session.answer({"op": "hold", "id": number, "type": "net_device", "link": ""})
    assert "through which member" in several["error"]
    told = session.answer({"op": "hold", "id": number, "type": "net_device", "link": "dev_list"})
    assert "lo" in told["rows"][0]["summary"]
    # Remembered for every other browser.
    assert (
        "question" not in Session(dump.kernel).answer({"op": "go", "text": "init_net.dev_base_head"})["page"]
    )


def test_lists_nobody_told_of_are_seen_from_slabs(session, monkeypatch):
    monkeypatch.setattr(element_types, "ELEMENT_TYPES", {})
    monkeypatch.setattr(element_types, "_remembered", {})
    view = go(session, "init_task.children")
    assert "seen from the slab caches" in view["page"]["note"]
    assert {row["type"] for row in view["page"]["rows"]} == {"struct task_struct"}


def test_up_down_bytes_and_layout(session, dump):
    task = dump.tasks[dump.tasks.pid == 1].address.iloc[0]
    offset = dump.kernel.find_type("struct task_struct").strip().member("tasks").offset
    view = go(session, f"struct list_head @ {int(task) + offset:#x}")
    up = session.answer({"op": "up", "id": view["root"]["id"]})["rows"]
    assert (up[0]["type"], up[0]["path"], int(up[0]["address"], 16)) == (
        "struct task_struct",
        "tasks.next",
        int(task),
    )
    view = go(session, "pid(1)")
    number = view["root"]["id"]
    dumped = session.answer({"op": "bytes", "id": number})
    raw = b"".join(bytes.fromhex(line["hex"]) for line in dumped["lines"])
    start = int(dumped["lines"][0]["address"], 16)
    assert raw == dump.read(start, len(raw))
    comm = dump.kernel.find_type("struct task_struct").strip().member("comm").offset
    later = session.answer({"op": "bytes", "id": number, "offset": comm})
    assert any(name == "comm" for *_, name in later["spans"])
    assert "init" in "".join(line["text"] for line in later["lines"])
    made = session.answer({"op": "layout", "id": number})
    assert made["name"] == "struct task_struct"
    assert any("comm[16]" in line["text"] for line in made["lines"])


def test_search(session):
    number = go(session, "init_task")["root"]["id"]
    by_name = session.answer({"op": "search", "id": number, "text": "EXEC_RUN"})["rows"]
    assert "se.sum_exec_runtime" in [row["name"] for row in by_name]
    by_value = session.answer({"op": "search", "id": number, "text": "swapper"})["rows"]
    assert "comm" in [row["name"] for row in by_value]
    assert session.answer({"op": "search", "id": number, "text": "zzzzzz"})["rows"] == []
    assert "error" in session.answer({"op": "search", "id": number, "text": " "})


def test_frames(session, dump):
    number = go(session, "slab_caches")["root"]["id"]
    answer = session.answer({"op": "frame", "id": number})
    assert answer["code"] == "dump.entries('slab_caches')"
    assert session.frame.name.tolist() == [
        row["summary"].partition(",")[0] for row in all_rows(session, "slab_caches")
    ]
    assert session.frame.address.dtype == "address" or session.frame.address.dtype.name.startswith("address")
    again = eval(answer["code"], {"dump": dump})
    assert again.equals(session.frame)
    chosen = dump.entries("init_task.children", {"who": "comm", "pages": "mm->total_vm"})
    assert chosen.columns.tolist() == ["key", "address", "who", "pages"]
    assert chosen.who.tolist()[0] == dump.tasks[dump.tasks.pid == 1].comm.iloc[0]
    members = dump.entries("init_task.fs")
    assert "root" in members.member.tolist()


def test_many_structs_as_one_place(dump):
    session = Session(dump.kernel)
    tasks = dump.tasks
    view = session.open(tasks.kern.structs)
    assert view["title"] == f"{len(tasks):,} × struct task_struct"
    rows = rows_of(session, view["page"], view["root"]["id"])
    assert [int(row["address"], 16) for row in rows] == tasks.address.to_numpy(dtype="uint64").tolist()
    array = StructArray(dump.kernel, "struct task_struct", [])
    assert session.open(array)["page"]["rows"] == []


@pytest.mark.parametrize(
    "request_",
    [None, 5, {}, {"op": "nosuch"}, {"op": "children"}, {"op": "children", "id": "x"}, {"op": "children", "id": 10**9},
     {"op": "go"}, {"op": "go", "text": None}, {"op": "search", "id": 1},
     {"op": "children", "id": 1, "offset": "y"}, {"op": "__class__"}],
)  # fmt: skip
def test_nonsense_is_answered_with_an_error(opened, request_):
    session = Session(opened("debian-6.1").kernel)
    session.open("init_task")
    assert isinstance(session.answer(request_)["error"], str)


def test_pages_are_bounded(opened):
    session = Session(opened("debian-6.1").kernel)
    number = session.open("struct page @ 0xffffea0000000000")["root"]["id"]
    for request in ({"count": 10**12}, {"count": -5}, {"offset": -3}, {"offset": 10**15}):
        assert len(session.answer({"op": "children", "id": number, **request})["rows"]) <= MOST_ROWS
