"""The struct browser in a real JupyterLab, driven as a reader does: mouse, keyboard, and no kernel at all."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.long

CELLS = (
    "import kernlab; dump = kernlab.open('crash.vmcore')",
    "browser = dump.explore('init_task', opened=('children',)); browser",
)


@pytest.fixture
def browsed(desk, lab, dump_files):
    """A struct browser; the next test has a new one in the same kernel."""
    lab.dump(dump_files("debian-6.1").vmcore)
    panel = desk.go_on(CELLS[1:]) if desk.holds == "browse" else desk.notebook("browse.ipynb", CELLS)
    desk.leaves = "browse"
    found = panel.locator(".klb")
    found.wait_for()
    return found


def row(browsed, name):
    return browsed.locator(".klb-row[role=treeitem]").filter(
        has=browsed.page.locator(f".klb-name:has-text('{name}')")
    )


def go(browsed, text):
    browsed.locator(".klb-address").first.fill(text)
    browsed.locator(".klb-address").first.press("Enter")


def test_expand_three_levels_go_and_come_back(browsed, desk):
    # children (opened from Python) -> kthreadd -> its mm-less members; then through a list to another struct.
    kthreadd = browsed.locator(".klb-row", has_text="kthreadd").first
    kthreadd.locator(".klb-twisty").click()
    third = browsed.locator(".klb-row[aria-level='3']", has_text="thread_info").first
    third.wait_for()
    third.locator(".klb-twisty").click()
    browsed.locator(".klb-row[aria-level='4']", has_text="syscall_work").wait_for()
    desk.picture("struct-browser-light", browsed)
    go(browsed, "slab_caches")
    browsed.locator(".klb-headline", has_text="struct list_head").wait_for()
    browsed.locator(".klb-row", has_text="kmalloc-64").first.wait_for()
    go(browsed, "pid(1).mm")
    browsed.locator(".klb-headline", has_text="struct mm_struct").wait_for()
    back = browsed.get_by_role("button", name="Back")
    back.click()
    browsed.locator(".klb-headline", has_text="struct list_head").wait_for()
    back.click()
    browsed.locator(".klb-headline", has_text="struct task_struct").wait_for()
    # What was open is open still.
    assert browsed.locator(".klb-row[aria-level='4']", has_text="syscall_work").count() == 1
    browsed.get_by_role("button", name="Forward").click()
    browsed.locator(".klb-headline", has_text="struct list_head").wait_for()


def test_errors_search_and_suggestions(browsed, desk):
    go(browsed, "init_task.nosuch")
    browsed.get_by_role("alert").filter(has_text="no member 'nosuch'").wait_for()
    address = browsed.locator(".klb-address").first
    address.fill("")
    address.press_sequentially("init_task.com")
    browsed.get_by_role("option", name=re.compile("init_task.comm")).first.wait_for()
    address.press("ArrowDown")
    address.press("Enter")
    assert address.input_value() == "init_task.comm"
    address.press("Escape")
    browsed.locator(".klb-search").fill("sum_exec_runtime")
    browsed.locator(".klb-row", has_text="se.sum_exec_runtime").wait_for()
    browsed.locator(".klb-search").press("Escape")
    browsed.locator(".klb-row", has_text="thread_info").first.wait_for()


def test_bytes_layout_and_frame(browsed, desk):
    desk.theme("JupyterLab Dark")
    pane = browsed.locator(".klb-pane")
    browsed.get_by_role("button", name="Bytes").click()
    pane.locator(".klb-hexline").first.wait_for()
    assert pane.locator(".klb-hexline").count() == 64
    desk.picture("struct-browser-bytes-dark", browsed)
    browsed.get_by_role("button", name="Layout").click()
    pane.locator(".klb-line-hole").first.wait_for()
    desk.picture("struct-browser-layout-dark", browsed)
    browsed.locator(".klb-row", has_text="children").first.click()
    browsed.get_by_role("button", name="DataFrame").first.click()
    pane.locator("td", has_text="kthreadd").first.wait_for()
    assert "dump.entries('init_task.children')" in pane.inner_text()
    desk.picture("struct-browser-frame-dark", browsed)
    desk.theme("JupyterLab Light")


def test_keyboard_alone(browsed, desk):
    page = desk.page
    first = browsed.locator(".klb-row[role=treeitem]").first
    first.click()
    focused = "document.activeElement?.querySelector('.klb-name')?.textContent"
    page.keyboard.press("ArrowRight")
    browsed.locator(".klb-row[aria-level='2']").first.wait_for()
    browsed.locator(".klb-row[aria-level='1'][aria-posinset='1'][aria-expanded=true]").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-level')") == "2"
    page.keyboard.press("ArrowLeft")
    assert "thread_info" in page.evaluate(focused)
    page.keyboard.press("ArrowLeft")
    browsed.locator(".klb-row[aria-level='2'][aria-posinset='1']").nth(0)
    assert first.get_attribute("aria-expanded") == "false"
    page.keyboard.type("real_p")
    assert "real_parent" in page.evaluate(focused)
    page.keyboard.press("Enter")
    browsed.locator(".klb-headline", has_text="struct task_struct").wait_for()
    page.keyboard.press("Alt+ArrowLeft")
    page.wait_for_timeout(300)
    # One-letter shortcuts of the notebook stay out: no cell was cut or changed.
    page.keyboard.type("xdd")
    cells = page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length")
    assert cells == len(CELLS)
    label = first.get_attribute("aria-label")
    assert "struct thread_info" in label


def test_without_a_kernel_what_was_opened_stays(browsed, desk, lab):
    desk.leaves = ""
    browsed.locator(".klb-row", has_text="kthreadd").first.locator(".klb-twisty").click()
    browsed.locator(".klb-row[aria-level='3']", has_text="thread_info").first.wait_for()
    desk.page.wait_for_timeout(800)
    # JupyterLab's "Save Widget State Automatically", which is off by default: without it no widget comes back.
    desk.run("@jupyter-widgets/jupyterlab-manager:saveWidgetState")
    desk.page.wait_for_timeout(800)
    desk.save()
    assert "widgets" in json.loads((lab.root / "browse.ipynb").read_text())["metadata"]
    lab.trust(lab.root / "browse.ipynb")
    lab.end_kernels()
    desk.open("browse.ipynb")
    # A JupyterLab that opens a notebook starts a kernel for it, but not ours: nothing in it knows this browser.
    restored = desk.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .klb")
    restored.wait_for()
    restored.locator(".klb-row[aria-level='3']", has_text="thread_info").first.wait_for()
    unopened = restored.locator(".klb-row[aria-level='3'][aria-expanded='false']").first
    unopened.locator(".klb-twisty").click()
    status = restored.get_by_role("status")
    desk.page.wait_for_timeout(1500)
    assert "kernel" in (status.inner_text() + restored.inner_text())
    desk.picture("struct-browser-no-kernel", restored)


def test_an_untrusted_notebook_shows_the_tree(desk, lab, dump_files):
    from nbformat import read, write

    lab.dump(dump_files("debian-6.1").vmcore)
    desk.notebook("untrusted.ipynb", CELLS)
    desk.save()
    path = lab.root / "untrusted.ipynb"
    notebook = read(path, 4)
    notebook.metadata.pop("widgets", None)
    # Another source is another signature: nobody has trusted this one.
    notebook.cells[1].source += "  # from elsewhere"
    write(notebook, lab.root / "elsewhere.ipynb")
    lab.end_kernels()
    desk.open("elsewhere.ipynb")
    panel = desk.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    tree = panel.locator("details").first
    tree.wait_for()
    assert "kthreadd" in tree.inner_text()
    assert panel.locator(".klb").count() == 0
    desk.picture("struct-browser-untrusted", panel)


def test_an_exported_page_without_javascript(offline, opened, tmp_path):
    browser = opened("debian-6.1").explore("init_task", opened=("children", "fs"))
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><meta charset=utf-8>{browser.to_html()}")
    page = offline(page_file)
    assert page.locator("details").count() == 3
    assert "kthreadd" in page.locator("details").first.inner_text()


def test_a_trusted_notebook_without_widget_state_shows_the_tree(desk, lab, dump_files):
    lab.dump(dump_files("debian-6.1").vmcore)
    explorer = "explorer = dump.explorer(); explorer"
    foreign = "import ipywidgets; ipywidgets.IntSlider()"
    panel = desk.notebook("trusted.ipynb", (*CELLS, explorer, foreign))
    panel.locator(".klb").wait_for()
    desk.save()
    path = lab.root / "trusted.ipynb"
    notebook = json.loads(path.read_text())
    # As JupyterLab saves it unless "Save Widget State Automatically" is on, which another test may have chosen.
    notebook["metadata"].pop("widgets", None)
    path.write_text(json.dumps(notebook))
    lab.trust(path)
    lab.end_kernels()
    desk.open("trusted.ipynb")
    panel = desk.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    tree = panel.locator(".kernlab-Kept .kernlab-Tree")
    tree.wait_for()
    assert "kthreadd, pid 2" in tree.inner_text()
    assert "Run the cell again" in panel.locator(".kernlab-Kept").first.inner_text()
    tree.scroll_into_view_if_needed()
    desk.picture("struct-browser-trusted-no-state", panel)
    page = panel.locator(".kernlab-Kept .kernlab-explorer-page")
    page.wait_for()
    page.scroll_into_view_if_needed()
    desk.page.wait_for_timeout(500)
    desk.picture("explorer-trusted-no-state", panel)
    page.get_by_text("sysrq triggered crash").first.wait_for()
    # What is not ours fails as it always does.
    panel.locator(".jp-OutputArea-output", has_text="Error displaying widget").first.wait_for()
    assert panel.locator(".kernlab-Kept").count() == 2
    # A kernel comes, and the widgets with it.
    desk.wait_for_kernel()
    desk.run("runmenu:run-all")
    panel.locator(".klb-row", has_text="kthreadd").first.wait_for()
    panel.locator(".kl-explorer .kl-chip").first.wait_for()
    assert panel.locator(".kernlab-Kept").count() == 0
    # ipywidgets reports each model that it does not find.
    desk.said[:] = [said for said in desk.said if "widget model not found" not in said]
