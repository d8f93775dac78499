"""The struct browser in a real JupyterLab, driven as a reader does."""

from __future__ import annotations

import pytest

CELLS = (
    "import kernlab; dump = kernlab.open('crash.vmcore')",
    "browser = dump.explore('init_task', opened=('children',)); browser",
)


@pytest.fixture
def browsed(desk, lab, dump_files):
    lab.dump(dump_files("debian-6.1").vmcore)
    panel = desk.notebook("browse.ipynb", CELLS)
    return panel.locator(".klb")


def test_pictures(browsed, desk):
    browsed.wait_for()
    desk.picture("struct-browser-light", browsed)
    row = browsed.locator(".klb-row", has_text="kthreadd").first
    row.locator(".klb-twisty").click()
    desk.page.wait_for_timeout(1500)
    desk.picture("struct-browser-open", browsed)
    desk.theme("JupyterLab Dark")
    desk.picture("struct-browser-dark", browsed)
    for name in ("Bytes", "Layout", "DataFrame"):
        browsed.get_by_role("button", name=name).first.click()
        desk.page.wait_for_timeout(1500)
        desk.picture(f"struct-browser-{name.lower()}-dark", browsed)
