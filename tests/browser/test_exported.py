"""What `jupyter nbconvert --to html` makes of a notebook: everything is there without a network, and asked for once."""

from __future__ import annotations

import pytest
from support.jupyterlab import export

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def exported(tmp_path_factory, dump_files):
    """`exported(name, cells)`: the page that plain nbconvert makes of a notebook of these cells, executed."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (the extra 'report')")
    folder = tmp_path_factory.mktemp("exported")

    def make(name, *cells):
        opened = f"import kernlab; dump = kernlab.open({str(dump_files('debian-6.1').vmcore)!r})"
        return export(folder / f"{name}.ipynb", [opened, *cells])

    return make


@pytest.fixture(scope="module")
def grids_page(exported):
    """Grids of 30, 3, 3 and 3 rows."""
    return exported("grids", *(f"kernlab.show(dump.tasks.head({rows}))" for rows in (30, 3, 3, 3)))


@pytest.fixture(scope="module")
def widgets_page(exported):
    return exported(
        "widgets",
        "explorer = dump.explorer('tasks', 'comm=init'); explorer",
        "browser = dump.explore('init_task', opened=('children',)); browser",
        "print(set(explorer.frame.comm), explorer.selected, browser.frame)",
    )


def test_grids_share_their_scripts(grids_page, offline):
    """Three grids of three rows were 2.9 MB of scripts."""
    assert grids_page.stat().st_size < 1_500_000
    live = offline(grids_page, javascript=True)
    grids = live.locator(".kernlab-grid")
    grids.nth(3).locator(".dt-container").wait_for()
    assert grids.count() == 4
    for number in range(4):
        grid = grids.nth(number)
        grid.locator(".dt-container tbody tr").nth(2).wait_for()
        assert grid.locator(".kernlab-plain").is_hidden()
        grid.locator("th", has_text="pid").first.click()


def test_a_grid_without_scripts_is_a_plain_table(grids_page, offline):
    still = offline(grids_page)
    grids = still.locator(".kernlab-grid")
    assert grids.locator("table:visible").count() == 4
    assert grids.nth(0).locator("tbody tr:visible").count() == 11, "10 of 30 rows, and a row of ellipses"
    assert grids.nth(1).locator("tbody tr:visible").count() == 3
    said = grids.nth(0).inner_text()
    assert "30 rows ×" in said
    assert "the first 5 and the last 5 shown" in said
    assert "itables" not in grids.nth(0).inner_text().lower()


def test_explorers_and_structs_are_pages_without_a_widget(widgets_page, offline):
    """Widgets of such a page were blank without a network, and asked one for what draws them."""
    source = widgets_page.read_text("utf-8")
    assert "widget-state+json" not in source
    assert "embed-amd" not in source
    still = offline(widgets_page)
    shown = still.locator(".kernlab-explorer-page")
    assert "sysrq triggered crash" in shown.locator(".kernlab-card").inner_text()
    assert "What looks wrong" in shown.inner_text()
    assert "kthreadd, pid 2" in still.locator(".kernlab-tree").inner_text()
    assert still.get_by_text("{'init'} None None").count() == 1


def test_nothing_more_is_asked_of_a_network_than_for_any_page(widgets_page, browser, tmp_path):
    """nbconvert's own template names two scripts; an explorer's page asked for a third, and those for more."""
    asked = {}
    pages = {"plain": export(tmp_path / "plain.ipynb", ["1"], execute=False), "widgets": widgets_page}
    for name, path in pages.items():
        context = browser.new_context(offline=True)
        page = context.new_page()
        asked[name] = set()
        page.on("request", lambda request, name=name: asked[name].add(request.url))
        page.goto(f"file://{path}")
        page.wait_for_timeout(500)
        asked[name] = {url for url in asked[name] if not url.startswith("file:")}
        context.close()
    assert len(asked["plain"]) > 0
    assert asked["widgets"] == asked["plain"]
