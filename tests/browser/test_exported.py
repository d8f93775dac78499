"""What `jupyter nbconvert --to html` makes of a notebook: everything is there without a network, and asked for once."""

from __future__ import annotations

import pytest
from support.jupyterlab import export

pytestmark = pytest.mark.long


@pytest.fixture
def exported(tmp_path, lab, dump_files):
    """`exported(cells)`: the page that plain nbconvert makes of a notebook of these cells, executed."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (the extra 'report')")

    def make(*cells):
        opened = f"import kernlab; dump = kernlab.open({str(dump_files('debian-6.1').vmcore)!r})"
        return export(tmp_path / "page.ipynb", [opened, *cells])

    return make


def test_grids_share_their_scripts(exported, offline):
    """Three grids of three rows were 2.9 MB of scripts."""
    page = exported(*["kernlab.show(dump.tasks.head(3))"] * 3)
    assert page.stat().st_size < 1_500_000
    live = offline(page, javascript=True)
    grids = live.locator(".kernlab-grid")
    grids.nth(2).locator(".dt-container").wait_for()
    assert grids.count() == 3
    for number in range(3):
        grid = grids.nth(number)
        grid.locator(".dt-container tbody tr").nth(2).wait_for()
        assert grid.locator(".kernlab-plain").is_hidden()
        grid.locator("th", has_text="pid").first.click()


def test_a_grid_without_scripts_is_a_plain_table(exported, offline):
    page = exported("kernlab.show(dump.tasks.head(30))", "kernlab.show(dump.tasks.head(3))")
    still = offline(page)
    grids = still.locator(".kernlab-grid")
    assert grids.locator("table:visible").count() == 2
    assert grids.nth(0).locator("tbody tr:visible").count() == 11, "10 of 30 rows, and a row of ellipses"
    assert grids.nth(1).locator("tbody tr:visible").count() == 3
    said = grids.nth(0).inner_text()
    assert "30 rows ×" in said
    assert "the first 5 and the last 5 shown" in said
    assert "itables" not in grids.nth(0).inner_text().lower()


def test_explorers_and_structs_are_pages_without_a_widget(exported, offline):
    """Widgets of such a page were blank without a network, and asked one for what draws them."""
    page = exported(
        "explorer = dump.explorer('tasks', 'comm=init'); explorer",
        "browser = dump.explore('init_task', opened=('children',)); browser",
        "print(set(explorer.frame.comm), explorer.selected, browser.frame)",
    )
    source = page.read_text("utf-8")
    assert "widget-state+json" not in source
    assert "embed-amd" not in source
    still = offline(page)
    shown = still.locator(".kernlab-explorer-page")
    assert "sysrq triggered crash" in shown.locator(".kernlab-card").inner_text()
    assert "What looks wrong" in shown.inner_text()
    assert "kthreadd, pid 2" in still.locator(".kernlab-tree").inner_text()
    assert still.get_by_text("{'init'} None None").count() == 1


def test_nothing_more_is_asked_of_a_network_than_for_any_page(exported, browser):
    """nbconvert's own template names two scripts; an explorer's page asked for a third, and those for more."""
    asked = {}
    for name, cell in (
        ("plain", "1"),
        ("explorer", "dump.explorer()"),
        ("struct", "dump.explore('init_task')"),
    ):
        context = browser.new_context(offline=True)
        page = context.new_page()
        asked[name] = set()
        page.on("request", lambda request, name=name: asked[name].add(request.url))
        page.goto(f"file://{exported(cell)}")
        page.wait_for_timeout(500)
        asked[name] = {url for url in asked[name] if not url.startswith("file:")}
        context.close()
    assert asked["explorer"] == asked["struct"] == asked["plain"]
