"""What `jupyter nbconvert --to html` makes of a notebook: everything is there without a network, and asked for once."""

from __future__ import annotations

import pytest
from lab import export


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
    assert "30 rows × 18 columns, the first 5 and the last 5 shown" in grids.nth(0).inner_text()
    assert "itables" not in grids.nth(0).inner_text().lower()
