"""Who is at the other end: read from the message that a kernel is answering, as the front ends send them."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from kernlab.util import frontend


@pytest.fixture
def asked(monkeypatch):
    """`asked(message)`: this process is a kernel that answers the message."""

    def be(message):
        shell = types.SimpleNamespace(kernel=object(), parent_header=message)
        monkeypatch.setattr(frontend, "kernel_shell", lambda: shell)

    monkeypatch.delenv("VOILA_BASE_URL", raising=False)
    return be


def execute(code="dump.tasks", **content):
    return {"content": {"code": code, **content}, "metadata": {}}


def test_a_front_end_that_can_be_asked_is_watched(asked, monkeypatch):
    asked(execute(allow_stdin=True))
    assert frontend.is_watched()
    asked(execute(allow_stdin=False))
    assert not frontend.is_watched()
    monkeypatch.setenv("VOILA_BASE_URL", "/")
    assert frontend.is_watched()


@pytest.mark.parametrize("message", [{}, None, {"content": None}, {"content": {"comm_id": "1", "data": {}}}])
def test_a_click_on_a_widget_comes_from_somebody(asked, message):
    asked(message)
    assert frontend.is_watched()
    assert frontend.cell_name() == ""


def test_a_cell_is_known_by_its_id_or_else_by_its_code(asked):
    asked({**execute(), "metadata": {"cellId": "abc"}})
    assert frontend.cell_name() == "abc"
    asked(execute("dump.tasks"))
    first = frontend.cell_name()
    assert first
    asked(execute("dump.maps"))
    assert frontend.cell_name() not in ("", first)
    asked(execute("dump.tasks"))
    assert frontend.cell_name() == first


def test_outside_of_a_kernel_there_is_nobody():
    script = (
        "import sys\n"
        "from kernlab.util import frontend\n"
        "print(frontend.kernel_shell(), frontend.is_watched(), repr(frontend.cell_name()), 'IPython' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "None False '' False\n"


def test_nbclient_says_that_nobody_is_there(tmp_path):
    """A real kernel, executed as nbconvert does it."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (the extra 'report')")
    from nbformat import v4

    cells = ["import kernlab.util.frontend as f; print(f.is_watched())", *["print(f.cell_name())"] * 2]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3", extra_arguments=["--log-level=ERROR"]).execute()
    said, *names = ["".join(output["text"] for output in cell.outputs) for cell in notebook.cells]
    assert said == "False\n"
    assert len(set(names)) == 2, "two cells, though their code is the same"
    assert all(len(name) > 10 for name in names)
