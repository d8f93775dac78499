"""`dump.entries`: every argument is used or refused, and a column means what `.kern.field` means by it."""

from __future__ import annotations

import pandas as pd
import pytest

from kernlab.errors import KernlabError, MemberNotFoundError


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


def test_an_untyped_symbol_is_the_head_that_the_link_says(dump):
    found = dump.entries("workqueues", ["name", "flags"], type="struct workqueue_struct", link="list")
    assert found.columns.tolist() == ["key", "address", "name", "flags"]
    assert {"events", "events_highpri", "events_long"} <= set(found.name)
    assert dump.entries("workqueues", "name", type="workqueue_struct", link="list").name.equals(found.name)
    assert found.kern.type == "struct workqueue_struct"
    # The same list, walked by hand.
    node = dump.struct("struct list_head", "workqueues").next
    offset = dump.kernel.find_type("struct workqueue_struct").strip().member("list").offset
    for address in found.address[:5]:
        assert int(address) == int(node) - offset
        node = node.next


def test_a_type_without_a_link_is_asked_for_it(sample):
    with pytest.raises(KernlabError, match=r"through which member are they linked\?.*list"):
        sample.entries("workqueues", type="struct workqueue_struct")
    with pytest.raises(MemberNotFoundError, match="has no member 'lost'"):
        sample.entries("workqueues", type="struct workqueue_struct", link="lost")
    with pytest.raises(KernlabError, match="not a link of a list or tree"):
        sample.entries("workqueues", type="struct workqueue_struct", link="flags")


@pytest.mark.parametrize(
    ("what", "arguments", "told"),
    [
        ("init_task", {"type": "struct mm_struct"}, "not the head of a list or tree"),
        ("init_task.signal.rlim", {"type": "struct mm_struct"}, "not the head of a list or tree"),
        ("init_task.children", {"link": "sibling"}, "name the type, too"),
        ("init_task.comm", {"columns": ["x"]}, "no members for columns="),
        ("init_task.pid", {"columns": ["x"]}, "no members for columns="),
        ("init_task.children", {"columns": ["address"]}, "'its_address'"),
        ("init_task.children", {"columns": ["nosuch"]}, "no member 'nosuch'"),
    ],
)
def test_what_does_not_go_together_is_refused(sample, what, arguments, told):
    with pytest.raises(KernlabError, match=told):
        sample.entries(what, **arguments)


def test_rows_of_a_table_are_structs_already(sample):
    structs = sample.tasks.kern.structs
    with pytest.raises(KernlabError, match="not the head of a list"):
        sample.entries(structs, type="struct mm_struct")
    assert sample.entries(structs, ["pid"]).pid.tolist() == sample.tasks.pid.tolist()
    assert len(sample.entries(structs, limit=3)) == 3


def test_columns_of_a_struct_and_of_an_array_of_pointers(sample):
    one = sample.entries("init_task", {"number": "pid", "name": "comm"})
    assert one.number.tolist() == [0]
    assert one.name.tolist() == ["swapper/0"]
    # An array of pointers: what they point to, missing where they are NULL.
    caches = sample.entries("init_task.cgroups.subsys", ["refcnt.percpu_count_ptr", "id"])
    state = sample.struct("task_struct", "init_task").cgroups
    pointers = [int(state[f"subsys[{i}]"] or 0) for i in range(len(caches))]
    assert caches.address.fillna(0).astype("UInt64").tolist() == pointers
    assert caches.id.isna().tolist() == [not pointer for pointer in pointers]


def test_a_column_is_what_field_gives(sample):
    paths = ["s_id", "s_root->d_name.name", "s_type->name", "s_flags", "s_maxbytes / 2", "s_root"]
    found = sample.entries("super_blocks", paths)
    assert found["s_root->d_name.name"].dropna().str.startswith("/").all()
    for path in paths:
        pd.testing.assert_series_equal(found[path], found.kern.field(path))
