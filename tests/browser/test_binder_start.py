"""What a reader on Binder sees first: the start page, drawn, and from there a notebook with what its cells show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.jupyterlab import Server

FIRST_CHART = """() => {
  const { cells } = window.jupyterapp.shell.currentWidget.content.model;
  return [...Array(cells.length).keys()].find(i => cells.get(i).sharedModel.getSource().startsWith("dump.plot"));
}"""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def binder(tmp_path_factory):
    """JupyterLab with Binder's own settings."""
    with Server(tmp_path_factory.mktemp("binder"), settings=ROOT / "binder") as server:
        shutil.copytree(ROOT / "notebooks", server.root / "notebooks")
        yield server


def test_the_start_page_leads_to_a_notebook_that_shows_everything_at_once(binder, desks):
    desk = desks(binder)
    desk.open("notebooks/README.md")
    page = desk.page.locator(".jp-MarkdownViewer")
    page.get_by_role("heading", name="Start here").wait_for()
    desk.picture("binder-start")
    page.get_by_role("link", name="Ten cells").click()
    notebook = desk.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.get_by_text("sysrq triggered crash").first.wait_for(timeout=60_000)
    chart = notebook.locator(".jp-OutputArea img[src^='data:image/png']").first
    # JupyterLab draws the cells that are in sight.
    cell = desk.page.evaluate(FIRST_CHART)
    desk.page.evaluate(
        "index => window.jupyterapp.shell.currentWidget.content.scrollToItem(index).then(() => true)", cell
    )
    chart.wait_for()
    assert chart.evaluate("image => image.naturalWidth") > 600
    desk.picture("binder-tour")
    assert "Culling kernels with idle durations > 600 seconds" in binder.log.read_text()
    assert desk.said == []
