"""What `dump.explore` leaves in a notebook for JupyterLab's own renderer: plain JSON of what was opened, no more."""

from __future__ import annotations

import json

import pytest

from kernlab.struct_browser import snapshot
from kernlab.struct_browser.explore import Snapshot


@pytest.fixture
def browser(opened):
    pytest.importorskip("anywidget", reason="anywidget is not installed (the extra 'lab')")
    return opened("debian-6.1").explore("init_task", opened=("children", "fs"))


def test_the_tree_is_beside_the_widget_as_json(browser):
    data, _ = browser._repr_mimebundle_()
    tree = data["application/vnd.kernlab.struct+json"]
    assert json.loads(json.dumps(tree)) == tree
    assert tree["view"]["title"] == "struct task_struct"
    rows = {row["name"]: row for row in tree["view"]["page"]["rows"]}
    assert rows["__state"] == {
        "name": "__state", "type": "unsigned int", "value": "TASK_RUNNING (0x0)", "offset": "0x18"
    }  # fmt: skip
    children = tree["captured"][str(rows["children"]["id"])]
    assert [row["summary"] for row in children["rows"]] == ["init, pid 1", "kthreadd, pid 2"]
    # An id says that there is more below, and there is.
    told = [
        row["id"]
        for page in (tree["view"]["page"], *tree["captured"].values())
        for row in page["rows"]
        if "id" in row
    ]
    assert {str(number) for number in told} == set(tree["captured"])
    assert len(json.dumps(tree)) < 40_000


def test_without_widgets_the_tree_is_the_same(browser):
    alone = Snapshot(browser.shown["view"], browser.shown["captured"], "why")
    data = alone._repr_mimebundle_()
    assert data[snapshot.MIME] == browser._repr_mimebundle_()[0][snapshot.MIME]
    assert "kthreadd" in data["text/html"]
    assert "kthreadd" in data["text/plain"]
