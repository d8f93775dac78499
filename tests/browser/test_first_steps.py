"""`%load_ext kernlab`, the card and a table, in JupyterLab as a person meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.jupyterlab import Desk, Server


def test_the_extension_loads_and_shows_the_card_and_a_table(
    desk: Desk, lab: Server, dump_files: Callable[[str], Any]
) -> None:
    lab.dump(dump_files("debian-6.1").vmcore)
    panel = desk.notebook(
        "first-steps.ipynb", ["%load_ext kernlab\n%vmcore crash.vmcore", "dump.tasks.head(30)"]
    )
    card = panel.locator(".kernlab-card")
    card.wait_for()
    assert "sysrq triggered crash" in card.inner_text()
    table = panel.locator(".kernlab-frame table")
    assert table.locator("tbody tr").count() == 21, "20 of 30 rows, and a row of ellipses"
    addresses = table.locator("td.a").all_inner_texts()
    assert addresses
    assert all(len(shown) == 18 and shown.startswith("0x") for shown in addresses)
    assert panel.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    desk.picture("first-steps")
