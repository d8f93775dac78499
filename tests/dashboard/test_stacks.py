"""What the explorer answers of stacks: of a chosen task, of who panicked, and of all in state D."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("anywidget", reason="anywidget is not installed (the extra 'lab')")

import kernlab
from kernlab.dashboard.board import Board
from kernlab.errors import KernlabError


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


@pytest.fixture(scope="module")
def ask(hung):
    board = Board(hung)

    def answer(op, **args):
        told, _ = board.answer({"id": 1, "op": op, "args": args})
        return json.loads(json.dumps(told))["answer"]

    return answer


def test_a_chosen_task_has_the_stack_that_dump_stack_prints(hung, ask):
    place = int(hung.tasks.index[hung.tasks["pid"] == 176][0])
    told = ask("stack", place=ask("chosen", name="tasks", place=place)["task"])
    head, _, *lines = repr(hung.stack(176)).split("\n")
    assert told == {"head": head, "lines": lines, "failed": ""}
    row = int(hung.stacks.index[hung.stacks["pid"] == 176][0])
    assert ask("chosen", name="stacks", place=row)["task"] == place


def test_the_overview_has_who_panicked_and_the_blocked(hung, ask):
    told = ask("stacks")
    assert told["panic"]["head"] == repr(hung.stack.of_panic()).split("\n")[0]
    # Where it died, and no registers.
    assert told["panic"]["lines"][:2] == ["RIP: 0010:__crash_kexec+0x120/0x140", " <TASK>"]
    waiting, holding = told["groups"]
    assert waiting["title"] == "6 threads"
    assert waiting["pids"] == [179, 180, 181, 182, 183, 184]
    assert " order_place+0x11/0x30 [kernlab_story]".strip() in waiting["lines"]
    assert (holding["title"], holding["names"]) == ("1 thread", "inventoryd")
    assert (told["more"], told["failed"]) == (0, "")


def test_every_cell_of_its_leads_runs_in_the_explorer(hung):
    from kernlab.dashboard.lead_cells import show

    assert hung.suspects["cell"].tolist()[1:] == ["dump.stack(176)", "dump.locks"]
    for cell in hung.suspects["cell"]:
        assert len(show(hung, cell))
    assert show(hung, "dump.stack(176)").equals(hung.stack(176).frames)
    assert show(hung, "dump.stack(cpu=1)").equals(hung.stack(cpu=1).frames)
    for refused in (
        "dump.stack(176).frames",
        "dump.stack.of_panic()",
        "dump.stack(__import__('os'))",
        "stack(1)",
    ):
        with pytest.raises(KernlabError):
            show(hung, refused)
