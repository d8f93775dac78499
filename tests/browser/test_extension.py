"""JupyterLab's side: a dump opens by double-click and is never downloaded; panel, notebook, snapshots of structs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from support.jupyterlab import BUNDLE, ROOT

import kernlab

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (BUNDLE / "package.json").is_file(), reason="the front end is not built: run `make extension`"
    ),
]

EXPLORER = ".kernlab-Document:not(.lm-mod-hidden) .kl-explorer"
MIME = "application/vnd.kernlab.struct+json"
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"


@pytest.fixture
def dump(lab, dump_files):
    """Puts the dump below the served folder under a name of its own."""
    return lambda name: lab.dump(dump_files("debian-6.1").vmcore, name)


def double_click(desk, name):
    """Open a file of the file browser, as a person does."""
    item = desk.page.locator(".jp-DirListing-item").filter(
        has=desk.page.locator(".jp-DirListing-itemText", has_text=re.compile(f"^{re.escape(name)}$"))
    )
    item.wait_for()
    assert item.get_attribute("data-file-type") == "kernlab-vmcore"
    item.dblclick()


def explorer(desk):
    found = desk.page.locator(EXPLORER)
    found.wait_for(timeout=60_000)
    found.locator(".kl-chip").first.wait_for()
    return found


def about(desk, name):
    """The requests of the page that name a file, as (path, query), routes of the kernel's session aside."""
    parts = [urlsplit(url) for url in desk.requests]
    return [
        (unquote(part.path), parse_qs(part.query))
        for part in parts
        if name in unquote(part.path + part.query)
    ]


def not_downloaded(desk, name):
    asked = about(desk, name)
    assert any(path.endswith("/kernlab/summary") for path, _ in asked), "the summary was asked for"
    assert [path for path, _ in asked if "/files/" in path] == []
    contents = [(path, query) for path, query in asked if path.endswith(f"/api/contents/{name}")]
    assert contents, "its name and size were asked for"
    assert [query for _, query in contents if query.get("content") != ["0"]] == []


@pytest.mark.parametrize("name", ["double-click.vmcore", "vmcore", "dump.202511240818"])
def test_a_double_click_opens_the_explorer_and_downloads_nothing(desk, dump, name):
    dump(name)
    desk.open()
    received = []
    desk.page.on("response", lambda answer: received.append(int(answer.headers.get("content-length", 0))))
    double_click(desk, name)
    board = explorer(desk)
    assert "crashed on purpose (SysRq)" in board.locator(".kl-why").inner_text()
    assert desk.page.locator(".kernlab-Summary").is_hidden()
    assert desk.page.locator(".lm-TabBar-tab.lm-mod-current .lm-TabBar-tabLabel", has_text=name).count() == 1
    not_downloaded(desk, name)
    assert max(received, default=0) < 3 << 20, "no answer is as large as the dump"
    if name == "vmcore":
        desk.page.wait_for_timeout(500)
        desk.picture("extension-explorer-light")
        desk.theme("JupyterLab Dark")
        desk.page.wait_for_timeout(300)
        desk.picture("extension-explorer-dark")
        # The setting outlives the page.
        desk.theme("JupyterLab Light")


@pytest.mark.parametrize("name", ["vmcore-dmesg.txt", "vmcore.log", "dump.1.py"])
def test_what_lies_beside_a_dump_is_no_dump(desk, lab, name):
    (lab.root / name).write_text("[    0.000000] Linux version\n")
    desk.open()
    item = desk.page.locator(".jp-DirListing-item", has_text=name)
    item.wait_for()
    assert item.get_attribute("data-file-type") != "kernlab-vmcore"


def test_the_summary_comes_before_the_kernel(desk, dump):
    dump("early.vmcore")
    desk.open()
    desk.spoilt = True
    # A kernel that takes its time.
    desk.page.route(
        "**/api/sessions*", lambda route: None if route.request.method == "POST" else route.continue_()
    )
    double_click(desk, "early.vmcore")
    summary = desk.page.locator(".kernlab-Summary")
    summary.locator("dd", has_text="sysrq_handle_crash").or_(
        summary.locator(".kernlab-why", has_text="crashed on purpose (SysRq)")
    ).first.wait_for()
    assert "Starting a kernel" in summary.inner_text()
    desk.picture("extension-summary")


@pytest.mark.parametrize("ends", [True, False])
def test_the_setting_says_whether_a_kernel_ends_with_its_document(desk, dump, lab, ends):
    name = f"close-{ends}.vmcore"
    dump(name)
    lab.end_kernels()
    where = "/lab/api/settings/@kernlab/vmcore-explorer:plugin"
    lab.ask("PUT", where, {"raw": json.dumps({"shutdownOnClose": ends})})
    try:
        # JupyterLab reads its settings when it is loaded.
        desk.open(anew=True)
        desk.spoilt = True
        double_click(desk, name)
        explorer(desk)
        # Of a test before, a kernel that was being started when its page was closed may come up still.
        (own,) = (each["kernel"]["id"] for each in lab.ask("GET", "/api/sessions") if name in each["path"])

        def lives() -> bool:
            return own in [each["id"] for each in lab.ask("GET", "/api/kernels")]

        assert lives()
        desk.page.locator(".lm-TabBar-tab.lm-mod-current", has_text=name).locator(
            ".lm-TabBar-tabCloseIcon"
        ).click()
        desk.page.locator(EXPLORER).wait_for(state="detached")
        limit = time.monotonic() + (20 if ends else 3)
        while lives() and time.monotonic() < limit:
            desk.page.wait_for_timeout(200)
        assert lives() == (not ends)
    finally:
        lab.ask("PUT", where, {"raw": "{}"})
        lab.end_kernels()


def test_choosing_a_task_shows_its_maps(desk, dump):
    dump("choose.vmcore")
    desk.open()
    double_click(desk, "choose.vmcore")
    board = explorer(desk)
    board.locator(".kl-entry[data-view=tasks]").click()
    board.locator(".kl-filter").fill("pid=1")
    row = board.locator(".kl-main tbody tr", has_text="init").first
    row.wait_for()
    board.locator(".kl-count", has_text=re.compile("^1 of")).first.wait_for()
    row.click()
    drawer = board.locator(".kl-drawer")
    drawer.get_by_role("tab", name="Maps").click()
    drawer.locator("tbody td", has_text="[stack]").first.wait_for()
    desk.picture("extension-selection")
    # The same in Python: the console below is on the same kernel.
    desk.page.locator(".kernlab-Document").get_by_role("button", name="Console").or_(
        desk.page.locator(".jp-Toolbar").get_by_text("Console", exact=True)
    ).first.click()
    prompt = desk.page.locator(".kernlab-Console .jp-CodeConsole-promptCell .cm-content")
    prompt.fill("int(explorer.selected['pid']), len(explorer.frame)")
    prompt.press("Shift+Enter")
    desk.page.locator(".kernlab-Console .jp-OutputArea-output", has_text="(1, 1)").wait_for()
    desk.picture("extension-console")


def test_the_side_panel_lists_open_dumps_and_their_tables(desk, dump, lab):
    dump("panel.vmcore")
    desk.open()
    desk.page.locator(".lm-TabBar-tab[data-id=kernlab-dumps]").click()
    panel = desk.page.locator("#kernlab-dumps")
    assert "No kernel of this window has a dump open" in panel.inner_text()
    desk.run("docmanager:open", {"path": "panel.vmcore"})
    board = explorer(desk)
    entry = panel.locator("details", has_text="panel.vmcore")
    entry.wait_for()

    def rows(table):
        button = entry.get_by_role("button").filter(has=desk.page.get_by_text(table, exact=True))
        return button, button.locator(".kernlab-soft")

    # The overview has built it; nobody has asked for maps yet.
    tasks, maps = rows("tasks")[1], rows("maps")
    tasks.filter(has_text=re.compile(r"^\d+$")).wait_for()
    assert int(tasks.inner_text()) > 50
    assert maps[1].inner_text() == "–"
    # What must be told more is not offered; what can be called is.
    for name, offered in (("owner", 0), ("search", 0), ("slab_objects", 1)):
        assert rows(name)[0].count() == offered
        assert board.locator(f".kl-entry[data-view={name}]").count() == offered
    rows("slab_objects")[0].click()
    board.locator(".kl-main h3", has_text="slab_objects").wait_for()
    board.locator(".kl-main tbody td", has_text="kmalloc").or_(
        board.locator(".kl-main tbody td", has_text=re.compile("^0x"))
    ).first.wait_for()
    assert board.locator(".kl-bad, .kl-notice:not([hidden])").count() == 0
    maps[0].click()
    board.locator(".kl-main h3", has_text="maps").wait_for()
    maps[1].filter(has_text=re.compile(r"^\d+$")).wait_for()
    desk.picture("extension-panel")
    # What is closed is gone, its kernel too.
    desk.run("application:close")
    panel.get_by_text("No kernel of this window has a dump open").wait_for()
    deadline = time.monotonic() + 15
    while lab.ask("GET", "/api/sessions") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lab.ask("GET", "/api/sessions") == []


def test_the_side_panel_runs_a_table_in_the_notebook_that_has_the_dump(desk, dump):
    dump("panel.vmcore")
    panel = desk.notebook("panel.ipynb", ["import kernlab; case = kernlab.open('panel.vmcore')"])
    desk.page.locator(".lm-TabBar-tab[data-id=kernlab-dumps]").click()
    entry = desk.page.locator("#kernlab-dumps details", has_text="panel.vmcore")
    entry.wait_for()
    # It asks the kernel, and builds nothing.
    tables = entry.locator(".kernlab-Tables button")
    assert {said.split("\n")[-1] for said in tables.all_inner_texts()} == {"–"}
    for name, cell in (("modules", "case.modules"), ("slab_objects", "case.slab_objects()")):
        tables.filter(has=desk.page.get_by_text(name, exact=True)).click()
        panel.locator(".cm-content", has_text=re.compile(f"^{re.escape(cell)}$")).wait_for()
        panel.locator(".jp-OutputArea-output table").nth(0 if name == "modules" else 1).wait_for()
        if name == "modules":
            # The list is drawn anew with its rows: a click in that moment would be on what is gone.
            tables.filter(has=desk.page.get_by_text(name, exact=True)).filter(has_not_text="–").wait_for()
    assert panel.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0


def test_open_in_notebook_asks_the_first_questions(desk, dump, lab):
    for left in lab.root.glob("case 7*"):
        left.unlink()
    dump("case 7.vmcore")
    desk.open()
    item = desk.page.locator(".jp-DirListing-item", has_text="case 7.vmcore")
    item.click(button="right")
    desk.page.locator(".lm-Menu-itemLabel", has_text="Open in Notebook").click()
    desk.page.locator(NOTEBOOK).wait_for()
    desk.page.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.context?.path === 'case 7.investigation.ipynb'"
    )
    desk.wait_for_kernel()
    desk.run("runmenu:run-all")
    panel = desk.page.locator(NOTEBOOK)
    board = panel.locator(".kl-explorer")
    board.wait_for(timeout=90_000)
    assert panel.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert panel.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert panel.locator(".kernlab-card").count() == 1
    assert panel.locator(".kernlab-frame").count() == 3
    not_read = [query for path, query in about(desk, "case 7.vmcore") if query.get("content") != ["0"]]
    assert not_read == []
    written = json.loads((lab.root / "case 7.investigation.ipynb").read_text())
    assert "%vmcore 'case 7.vmcore'" in "".join(map(str, (cell["source"] for cell in written["cells"])))
    panel.locator(".jp-WindowedPanel-outer").evaluate("element => element.scrollTo(0, 0)")
    desk.page.wait_for_timeout(500)
    desk.picture("extension-notebook")


def test_the_launcher_and_the_palette_offer_dumps(desk):
    desk.open()
    desk.run("launcher:create")
    # JupyterLab has made one already where nothing is open: behind this one.
    cards = desk.page.locator(".jp-LauncherCard:visible")
    cards.filter(has_text="Explore a Dump").wait_for()
    assert cards.filter(has_text="Investigate a Dump").count() == 1
    desk.picture("extension-launcher")


def snapshot_notebook(lab, data, name):
    """A notebook that nobody here has signed: one cell, and an output of this data."""
    from nbformat import v4, write

    output = v4.new_output("display_data", data=data)
    cell = v4.new_code_cell("dump.explore('init_task')", execution_count=1, outputs=[output])
    write(v4.new_notebook(cells=[cell]), lab.root / name)


def test_a_struct_is_drawn_without_trust_and_without_a_kernel(desk, lab, opened):
    browser = opened("debian-6.1").explore("init_task", opened=("children", "fs"))
    data, _ = browser._repr_mimebundle_()
    snapshot_notebook(lab, data, "snapshot.ipynb")
    desk.open("snapshot.ipynb")
    tree = desk.page.locator(f"{NOTEBOOK} .kernlab-Tree")
    tree.wait_for()
    assert tree.locator("details").count() == 3
    said = tree.inner_text()
    assert "kthreadd, pid 2" in said
    assert "TASK_RUNNING (0x0)" in said
    assert desk.page.locator(f"{NOTEBOOK} .klb").count() == 0
    desk.page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
    desk.picture("extension-snapshot-untrusted", desk.page.locator(NOTEBOOK))


def test_a_trusted_struct_is_drawn_when_no_kernel_is_chosen(desk, lab, opened):
    browser = opened("debian-6.1").explore("init_task", opened=("children",))
    data, _ = browser._repr_mimebundle_()
    snapshot_notebook(lab, data, "no-kernel.ipynb")
    lab.trust(lab.root / "no-kernel.ipynb")
    desk.open("no-kernel.ipynb")
    tree = desk.page.locator(f"{NOTEBOOK} .kernlab-Kept .kernlab-Tree")
    # Also while JupyterLab still asks which kernel to start.
    desk.page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").wait_for()
    tree.wait_for()
    desk.page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
    desk.page.wait_for_timeout(3000)
    assert "kthreadd, pid 2" in tree.inner_text()
    assert desk.page.locator(f"{NOTEBOOK} .kernlab-Kept").count() == 1
    desk.picture("extension-snapshot-no-kernel", desk.page.locator(NOTEBOOK))
    desk.said[:] = [said for said in desk.said if "widget model not found" not in said]


def test_a_hostile_snapshot_is_text(desk, lab):
    evil = '<img src=x onerror="window.hacked=1"> $x$ \\(y\\) \u202e\x1b[31m'
    row = {
        "id": 1,
        "name": evil,
        "type": evil,
        "value": evil,
        "summary": evil,
        "why": evil,
        "note": evil,
        "offset": evil,
    }
    page = {"rows": [row, row], "note": evil, "problem": evil, "next": 5, "total": evil, "question": evil}
    view = {"title": evil, "address": evil, "root": row, "page": page}
    # A page that holds itself.
    snapshot_notebook(lab, {MIME: {"view": view, "captured": {"1": page}}}, "evil.ipynb")
    desk.open("evil.ipynb")
    tree = desk.page.locator(f"{NOTEBOOK} .kernlab-Tree")
    tree.wait_for()
    desk.page.wait_for_timeout(500)
    assert tree.locator("img, mjx-container, script").count() == 0
    assert desk.page.evaluate("window.hacked") is None
    assert tree.locator("details").count() < 5000


def test_a_snapshot_of_another_shape_breaks_nothing(desk, lab):
    from nbformat import v4, write

    page = {"rows": [None, 7, {"name": "kept"}]}
    broken = (
        {},
        {"view": 7},
        {"view": {"page": {"rows": "no"}}},
        {"view": {"page": page}, "captured": 3},
        [],
        7,
    )
    outputs = [v4.new_output("display_data", data={MIME: data}) for data in broken]
    write(v4.new_notebook(cells=[v4.new_code_cell("pass", outputs=outputs)]), lab.root / "broken.ipynb")
    desk.open("broken.ipynb")
    desk.page.locator(f"{NOTEBOOK} .kernlab-Tree", has_text="kept").wait_for()
    assert desk.page.locator(f"{NOTEBOOK} .kernlab-Tree").count() == len(broken)


def test_the_tour_exported_without_javascript_shows_its_trees(offline, lab, tmp_path):
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (the extra 'report')")
    command = [
        *(sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "--log-level=ERROR"),
        *("--ExecutePreprocessor.store_widget_state=False", f"--output-dir={tmp_path}", "00-tour.ipynb"),
    ]
    subprocess.run(command, cwd=ROOT / "notebooks", check=True, timeout=120)
    page = offline(tmp_path / "00-tour.html")
    assert "sysrq triggered crash" in page.locator(".kernlab-card").first.inner_text()
    assert "inode 1, size 500, rootfs" in page.locator(".kernlab-tree").inner_text()
    assert page.locator(".kernlab-frame").count() >= 3
    assert page.get_by_text("This is the explorer without its widget").count() == 1


def test_the_explorer_of_a_packed_dump_fills_its_tab(desk, lab):
    """A bar of progress stood before it, and half of the tab stayed empty."""
    lab.dump(kernlab.sample("deadlock"), "packed.vmcore")
    desk.open()
    desk.run("docmanager:open", {"path": "packed.vmcore"})
    board = explorer(desk)
    board.locator(".kl-story").wait_for()
    tab = desk.page.locator(".kernlab-Document:not(.lm-mod-hidden) .kernlab-Top")
    assert abs(board.bounding_box()["height"] - tab.bounding_box()["height"]) < 3
