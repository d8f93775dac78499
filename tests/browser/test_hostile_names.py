"""A dump whose names are markup, formulas and terminal escapes: every view shows them, and none does what they say."""

from __future__ import annotations

import re

import pytest
from support.jupyterlab import BUNDLE, ROOT

pytestmark = pytest.mark.long

OPENED = f"""\
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import kernlab
from support.hostile import hostile
%load_ext kernlab
dump = hostile(kernlab.open('hostile.vmcore'))"""

#: What names bring: elements, formulas, colours, and characters that act instead of showing.
MADE = "#harm, [onerror], img[src=x], mjx-container, .MathJax, [class*='ansi-']"
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def inert(desk, lab, dump_files):
    """`inert(view)`: nothing of a name became anything but text there. Said for the whole page at the end."""
    lab.dump(dump_files("debian-6.1").vmcore, "hostile.vmcore")

    def check(view):
        assert view.locator(MADE).count() == 0
        assert ACTING.findall(view.inner_text()) == []

    yield check
    desk.page.wait_for_timeout(500)
    assert desk.page.evaluate("window.harm") is None
    assert desk.page.locator(MADE).count() == 0
    assert not ACTING.search(desk.page.title())


def outputs(desk, *cells):
    """The outputs of a notebook on the hostile dump, by cell: the kernel that has it open serves the next test, too."""
    kept = desk.holds == "hostile"
    panel = desk.go_on(cells) if kept else desk.notebook("hostile.ipynb", (OPENED, *cells))
    desk.leaves = "hostile"
    assert panel.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    return panel, [
        panel.locator(f".jp-Cell[data-windowed-list-index='{number}'] .jp-Cell-outputArea").first
        for number in range(1, len(cells) + 1)
    ]


def test_card_and_tables(desk, inert):
    cells = (
        "dump",
        "dump.tasks.tail(8)[['pid', 'comm', 'address']]",
        "dump.slabs.head(6)[['name', 'address']]",
        "dump.modules.head(3)",
        "dump.maps[dump.maps.path.str.contains('[^ -~]|<|[$]', regex=True, na=False)].head(6)",
        "dump.log[dump.log.text.str.contains('<u')][['text']]",
    )
    panel, (card, tasks, slabs, modules, maps, log) = outputs(desk, *cells)
    for output in (card, tasks, slabs, modules, maps, log):
        output.scroll_into_view_if_needed()
        inert(output)
    card.scroll_into_view_if_needed()
    desk.picture("hostile-card", panel)
    assert "<u id=harm>x</u> $x$␛" in card.inner_text()
    assert 'Linux 6.1.0-56-cloud-amd64 on <img id=harm src=x onerror="window.harm=1">' in card.inner_text()
    assert len(card.inner_text()) < 3000, "a command line of 10 kB is shortened"
    maps.scroll_into_view_if_needed()
    desk.picture("hostile-tables", panel)
    tasks.scroll_into_view_if_needed()
    said = tasks.inner_text()
    for name in (
        "<u id=harm>hi",
        "</td><script>",
        "$x^2$",
        "␛[31mred␛[0m",
        "\\u202egnp.exe",
        "\\xff\\xfe\\x80bad",
    ):
        assert name in said
    slabs.scroll_into_view_if_needed()
    assert len(slabs.inner_text()) < 3000, "a name of 10 kB is shortened"


def test_the_struct_browser(desk, inert, opened):
    sample = opened("debian-6.1")
    hostile, red = (int(sample.tasks["address"].iloc[number]) for number in (-8, -5))
    module = int(sample.modules["address"].iloc[0])
    cells = (
        f"dump.explore(dump.struct('task_struct', {hostile}))",
        f"dump.struct('task_struct', {red})",
        f"%struct module {module:#x}",
        "dump.explore('slab_caches')",
    )
    _, (task, repr_of_it, content, caches) = outputs(desk, *cells)
    browsed = task.locator(".klb")
    browsed.wait_for()
    browsed.locator(".klb-headline", has_text="<u id=harm>hi").wait_for()
    inert(task)
    browsed.locator(".klb-search").fill("comm")
    browsed.locator(".klb-row", has_text="comm").first.wait_for()
    inert(task)
    browsed.locator(".klb-search").press("Escape")
    browsed.get_by_role("button", name="Bytes").click()
    browsed.locator(".klb-hexline").first.wait_for()
    inert(task)
    desk.picture("hostile-struct-browser", browsed)
    for output in (repr_of_it, content, caches):
        output.scroll_into_view_if_needed()
        inert(output)
    caches.locator(".klb-row", has_text="$$\\frac{x}{y}$$").first.wait_for()
    long = caches.locator(".klb-row", has_text="<img id=harm").first
    assert len(long.inner_text()) < 2000
    inert(caches)
    desk.picture("hostile-struct-browser-caches", caches)
    # What is typed comes back in an error.
    address = browsed.locator(".klb-address").first
    address.fill("<u id=harm>$x$")
    address.press("Enter")
    browsed.get_by_role("alert").first.wait_for()
    inert(task)


def test_show(desk, inert):
    shown = "kernlab.show(dump.{})"
    panel, grids = outputs(desk, *(shown.format(name) for name in ("modules", "slabs", "tasks.tail(8)")))
    for grid, name in zip(grids, ("<img id=harm", "\\u202e\\u2066txt.exe", "␛[31mred"), strict=True):
        grid.scroll_into_view_if_needed()
        grid.get_by_text(name).first.wait_for()
        inert(grid)
    desk.picture("hostile-show", panel)


def test_the_explorer(desk, inert):
    panel, (output,) = outputs(desk, "dump.explorer(height='760px')")
    board = output.locator(".kl-explorer")
    board.locator(".kl-chip").first.wait_for()
    board.locator(".kl-words button").first.wait_for()
    inert(board)
    desk.picture("hostile-explorer", panel)

    def show(table, search, name):
        board.locator(f".kl-entry[data-view={table}]").click()
        board.locator(".kl-filter").fill(search)
        # The first row is another one until the filter has been applied.
        board.locator(".kl-count", has_text=" of ").first.wait_for()
        row = board.locator(".kl-main tbody tr", has_text=name).first
        row.wait_for()
        row.click()
        board.locator(".kl-drawer .kl-facts").first.wait_for()
        inert(board)
        return row

    show("modules", "harm", "<img id=harm")
    show("maps", "exe", "\\u202e\\u2066txt.exe")
    show("slabs", "harm", "<img id=harm")
    desk.picture("hostile-explorer-slabs", panel)
    show("log", "harm", "<u id=harm>x</u>")
    show("tasks", "red", "␛[31mred␛[0m")
    desk.picture("hostile-explorer-tasks", panel)
    board.locator(".kl-drawer").get_by_role("button", name="browse").first.click()
    output.locator(".klb-headline", has_text="␛[31mred␛[0m").wait_for()
    inert(output)
    for plot in board.locator(".kl-entry[data-view^='plot:']").all()[:3]:
        plot.click()
        board.locator(".kl-plot img").wait_for(timeout=60_000)
        inert(board)


@pytest.mark.skipif(not (BUNDLE / "package.json").is_file(), reason="the front end is not built")
def test_the_name_of_the_file(desk, inert, lab, dump_files):
    name = "<u id=harm>$x$ \u202eexe.vmcore"
    lab.dump(dump_files("debian-6.1").vmcore, name)
    desk.open()
    desk.page.locator(".lm-TabBar-tab[data-id=kernlab-dumps]").click()
    desk.run("docmanager:open", {"path": name})
    board = desk.page.locator(".kernlab-Document:not(.lm-mod-hidden) .kl-explorer")
    board.wait_for(timeout=60_000)
    board.locator(".kl-chip").first.wait_for()
    inert(board)
    entry = desk.page.locator("#kernlab-dumps details", has_text="<u id=harm>$x$ \\u202eexe.vmcore")
    entry.wait_for()
    inert(entry)
    desk.picture("hostile-file-name")
