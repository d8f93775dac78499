"""The explorer in a real JupyterLab: keyboard, columns, leads, files of tables, light and dark."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest

pytestmark = pytest.mark.long

OPENED = "import kernlab; dump = kernlab.open({})"
SHOWN = "explorer = dump.explorer(height='760px'); explorer"

#: Everything that the Tab key stops at in an element.
STOPS = """root => [...root.querySelectorAll("button, input, select, a[href], [tabindex]")].filter(
  e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility()).map(e => e.dataset.view || e.className || e.tagName)"""


@pytest.fixture
def board(desk, lab, dump_files):
    """`board(sample)`: the explorer of a dump, its overview complete. The next test has another in this kernel."""

    def show(name):
        if name == desk.holds:
            found = desk.go_on([SHOWN]).locator(".kl-explorer")
        else:
            if name == "debian-6.1":
                lab.dump(dump_files(name).vmcore, "crash.vmcore")
                opened = OPENED.format("'crash.vmcore'")
            else:
                opened = OPENED.format(f"kernlab.sample({name!r})")
            found = desk.notebook("explorer.ipynb", [opened, SHOWN]).locator(".kl-explorer")
        desk.leaves = name
        found.locator(".kl-panel", has_text="Slab caches").first.wait_for()
        for title in ("What looks wrong", "Traces"):
            panel = found.locator(".kl-panel", has_text=title).first
            panel.get_by_text("Looking …").wait_for(state="detached", timeout=60_000)
        found.scroll_into_view_if_needed()
        return found

    return show


def open_view(board, view):
    board.locator(f".kl-entry[data-view='{view}']").click()
    board.locator(".kl-count", has_text=re.compile("row")).first.wait_for()


def test_the_keyboard_goes_everywhere_in_few_steps(board, desk):
    shown = board("debian-6.1")
    page = desk.page
    assert len(shown.evaluate(STOPS)) <= 10, "there were 37 in the list alone"
    nav = "document.activeElement?.dataset?.view"
    shown.locator(".kl-entry[data-view=overview]").focus()
    for name in ("verdict", "suspects", "tasks"):
        page.keyboard.press("ArrowDown")
        assert page.evaluate(nav) == name
    page.keyboard.press("Enter")
    shown.locator(".kl-main h3", has_text="tasks").wait_for()
    shown.locator(".kl-count", has_text="rows").first.wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate(nav) == "tasks", "Enter keeps the focus where it is"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(nav) == "registers"
    page.keyboard.press("End")
    page.keyboard.press("Home")
    assert page.evaluate(nav) == "overview"
    stops = shown.evaluate(STOPS)
    assert len(stops) <= 6, stops
    # Tools, filter, the rows, one heading.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "CSV"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "kl-filter"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    shown.locator(".kl-drawer .kl-facts").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.title") == "Sort by pid"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    shown.locator("th[aria-sort=ascending]", has_text="tgid").wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.title") == "Sort by tgid", "sorting keeps the focus"
    # The notebook's one-letter shortcuts stay out.
    shown.locator(".kl-entry[data-view=tasks]").focus()
    page.keyboard.type("dd")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length") == 2


def test_a_table_is_found_by_its_name_or_by_what_it_is(board, desk):
    shown = board("debian-6.1")
    find = shown.locator(".kl-find")
    every = shown.locator(".kl-entry").count()
    find.fill("proc interrupts")
    assert shown.locator(".kl-entry").evaluate_all("all => all.map(one => one.dataset.view)") == ["irqs"]
    assert shown.locator(".kl-nav h3").all_inner_texts() == ["DEVICES"]
    find.press("Enter")
    shown.locator(".kl-main h3", has_text="irqs").wait_for()
    assert find.evaluate("one => one === document.activeElement")
    find.press("Escape")
    assert (find.input_value(), shown.locator(".kl-entry").count()) == ("", every)
    find.fill("no such table")
    assert shown.locator(".kl-entry").count() == 0


def test_no_column_is_cut_while_there_is_room(board, desk):
    shown = board("debian-6.1")
    for view in ("log", "iomem", "modules", "vmalloc", "tmpfs"):
        open_view(shown, view)
        desk.page.wait_for_timeout(300)
        cut, room = shown.locator(".kl-main .kl-scroll").evaluate(
            """scroller => [
              [...scroller.querySelectorAll("td")].filter(e => e.scrollWidth > e.clientWidth + 1)
                .map(e => e.textContent),
              scroller.clientWidth - scroller.querySelector("table").scrollWidth
                + scroller.querySelector("thead th:last-child").offsetWidth]"""
        )
        assert not cut or room < 40, (view, room, cut[:3])
        desk.picture(f"explorer-{view}", shown)


def test_a_table_is_saved_as_it_is_shown(board, desk):
    shown = board("debian-6.1")
    open_view(shown, "maps")
    shown.locator(".kl-filter").fill("perms:x")
    shown.locator(".kl-count", has_text=" of ").first.wait_for()
    for label, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        with desk.page.expect_download() as download:
            shown.locator(".kl-tool", has_text=label).click()
        assert download.value.suggested_filename == f"maps.{label.lower()}"
        saved = read(io.BytesIO(download.value.path().read_bytes()))
        assert saved["perms"].str.contains("x").all()
        rows = int(shown.locator(".kl-count").first.inner_text().split(" of ")[0].replace(",", ""))
        assert len(saved) == rows > 20
        if label == "CSV":
            assert saved["start"].str.fullmatch("0x[0-9a-f]{16}").all()


def test_a_notebook_that_is_closed_and_opened_again_goes_on(board, desk):
    """The page that comes back has a subshell of its own in the kernel that went on: what it asks is answered."""
    shown = board("debian-6.1")
    desk.leaves = ""
    open_view(shown, "tasks")
    desk.save()
    desk.run("application:close")
    desk.page.locator(".jp-NotebookPanel").wait_for(state="detached")
    desk.run("docmanager:open", {"path": "explorer.ipynb"})
    shown = desk.page.locator(".jp-NotebookPanel .kl-explorer")
    shown.wait_for()
    desk.wait_for_kernel()
    open_view(shown, "maps")
    open_view(shown, "slabs")
    desk.picture("explorer-opened-again", shown)


def test_a_lead_s_cell_runs_on_a_click(board, desk):
    shown = board("oom")
    leads = shown.locator(".kl-panel", has_text="What looks wrong")
    assert leads.locator("li").count() >= 3
    assert "story_session" in leads.inner_text()
    assert re.search(r"31.4 MiB · 11%", leads.inner_text())
    desk.picture("explorer-overview-oom", shown)
    leads.locator(".kl-run", has_text="story_session").click()
    shown.locator(".kl-main h3", has_text="dump.slab_objects('story_session')").wait_for()
    shown.locator(".kl-count", has_text=re.compile("84,3")).first.wait_for()
    desk.picture("explorer-lead", shown)
    shown.locator(".kl-entry[data-view=suspects]").click()
    shown.locator(".kl-main .kl-run", has_text="dump.plot.maps").click()
    shown.locator(".kl-plot img").wait_for()
    desk.picture("explorer-lead-plot", shown)
    shown.locator(".kl-entry[data-view=overview]").click()
    shown.locator(".kl-link", has_text="in state D").click()
    shown.locator(".kl-main tbody tr.kl-row").first.wait_for()
    assert shown.locator(".kl-filter").input_value() == "state=D"


def test_what_is_drawn_again_keeps_its_elements(board, desk):
    """A press on an element and a release on the one that took its place are no click."""
    shown = board("oom")
    open_view(shown, "tasks")
    shown.locator(".kl-main tbody tr.kl-row[data-place]").nth(4).wait_for()
    shown.evaluate(
        """root => { window.before = [...root.querySelectorAll("tr.kl-row, .kl-entry, .kl-nav h3")].slice(0, -8) }"""
    )
    rows = shown.locator(".kl-main tbody tr.kl-row")
    rows.nth(2).click()
    shown.locator(".kl-drawer .kl-facts").wait_for()
    assert rows.nth(2).get_attribute("aria-selected") == "true"
    rows.nth(3).click()
    shown.locator(".kl-main").hover()
    desk.page.mouse.wheel(0, 60)
    shown.locator(".kl-close").click()
    desk.page.wait_for_timeout(300)
    gone = shown.evaluate(
        "() => window.before.filter(each => !each.isConnected).map(each => each.textContent)"
    )
    assert gone == []
    assert shown.locator("tr[aria-selected=true]").count() == 1
    # A new order has other rows.
    shown.locator("th button", has_text="comm").click()
    shown.locator("th[aria-sort=ascending]", has_text="comm").wait_for()
    desk.page.wait_for_timeout(300)
    names = shown.locator(".kl-main tbody tr.kl-row").evaluate_all(
        "rows => rows.map(row => row.children[3].textContent)"
    )
    assert names[:20] == sorted(names[:20])


def test_light_and_dark(board, desk):
    shown = board("oom")
    try:
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            desk.theme(theme)
            name = theme.split()[1].lower()
            shown.locator(".kl-entry[data-view=overview]").click()
            shown.locator(".kl-words button").first.wait_for()
            shown.locator(".kl-leads li").first.wait_for()
            assert desk.unreadable(shown) == [], name
            desk.picture(f"explorer-overview-{name}", shown)
            for view in ("suspects", "tasks", "log"):
                open_view(shown, view)
                shown.locator(".kl-main tbody tr.kl-row").nth(2).click()
                shown.locator(".kl-drawer .kl-facts").wait_for()
                assert desk.unreadable(shown) == [], (name, view)
                desk.picture(f"explorer-{view}-{name}", shown)
                shown.locator(".kl-close").click()
        # A plot follows the page.
        shown.locator(".kl-entry[data-view='plot:physical']").click()
        image = shown.locator(".kl-plot img")
        image.wait_for()
        dark = image.get_attribute("src")
        desk.theme("JupyterLab Light")
        desk.page.wait_for_function(
            "before => document.querySelector('.kl-plot img')?.src !== before", arg=dark, timeout=90_000
        )
        desk.picture("explorer-plot-light", shown)
    finally:
        desk.theme("JupyterLab Light")


def test_stacks_of_a_chosen_task_and_of_all_that_are_blocked(board, desk):
    shown = board("hung")
    panel = shown.locator(".kl-panel", has_text="Who panicked").first
    panel.get_by_text("6 threads in state D").wait_for(timeout=60_000)
    assert "order_place+0x11/0x30 [kernlab_story]" in panel.inner_text()
    panel.scroll_into_view_if_needed()
    desk.picture("explorer-stacks-overview", shown)
    assert desk.unreadable(shown) == []
    panel.locator(".kl-link", has_text="inventoryd").click()
    shown.locator(".kl-main h3", has_text="stacks").wait_for()
    assert shown.locator(".kl-filter").input_value() == "pid=176"
    shown.locator(".kl-main tbody tr.kl-row[data-place]").first.click()
    shown.locator(".kl-tabs button", has_text="Stack").click()
    trace = shown.locator(".kl-drawer .kl-stack")
    trace.wait_for()
    assert "inventory_thread+0x21/0x40 [kernlab_story]" in trace.inner_text()
    assert "PID: 176 Comm: inventoryd" in shown.locator(".kl-drawer").inner_text()
    desk.picture("explorer-stack-tab", shown)
