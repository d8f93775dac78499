"""Notebook 7, which has JupyterLab's parts in pages of their own: a dump opens there by double-click, too."""

from __future__ import annotations

import re

import pytest
from support.jupyterlab import BUNDLE, Server

pytestmark = pytest.mark.skipif(
    not (BUNDLE / "package.json").is_file(), reason="the front end is not built: run `make extension`"
)

#: Notebook 7 says so itself, on each of its pages, whatever is installed.
OF_ITS_OWN = ("reading 'schema'",)


@pytest.fixture(scope="module")
def notebook7(tmp_path_factory):
    pytest.importorskip("notebook", minversion="7", reason="Notebook 7 is not installed (the extra 'dev')")
    with Server(tmp_path_factory.mktemp("notebook7"), program="notebook") as server:
        yield server


def test_a_double_click_opens_the_explorer_in_its_tab(notebook7, desks, dump_files):
    notebook7.dump(dump_files("debian-6.1").vmcore, "crash.vmcore")
    files = desks(notebook7).page
    files.goto(f"{notebook7.url}/tree?token={notebook7.token}")
    item = files.locator(".jp-DirListing-item", has_text="crash.vmcore")
    item.wait_for()
    with files.context.expect_page() as opened:
        item.dblclick()
    desk = desks(notebook7, opened.value)
    board = desk.page.locator(".kl-explorer")
    board.locator(".kl-chip").first.wait_for(timeout=120_000)
    assert "crashed on purpose (SysRq)" in board.locator(".kl-why").inner_text()
    assert desk.page.locator(".kernlab-Summary").is_hidden()
    desk.picture("notebook7-explorer")
    # It works: a table, and the console on the same kernel, in this tab.
    board.locator(".kl-entry[data-view=tasks]").click()
    board.locator(".kl-count", has_text=re.compile("rows")).first.wait_for()
    desk.page.get_by_text("Console", exact=True).first.click()
    prompt = desk.page.locator(".kernlab-Console .jp-CodeConsole-promptCell .cm-content")
    prompt.fill("len(explorer.frame) == len(dump.tasks)")
    prompt.press("Shift+Enter")
    desk.page.locator(".kernlab-Console .jp-OutputArea-output", has_text="True").wait_for()
    assert len(files.context.pages) == 2, "no tab of its own for the console"
    assert len(notebook7.ask("GET", "/api/kernels")) == 1
    desk.picture("notebook7-console")
    assert [said for said in desk.said if not any(own in said for own in OF_ITS_OWN)] == []
