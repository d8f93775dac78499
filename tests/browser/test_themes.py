"""Light and dark: all text can be read (WCAG 2, level AA) in both, also after the theme was changed."""

from __future__ import annotations

import pytest

OPENED = "import kernlab; dump = kernlab.open('crash.vmcore')\n%load_ext kernlab"
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Light")


@pytest.fixture
def themed(desk, lab, dump_files):
    """`themed(name, dump, cells)`: runs the cells, and yields (theme, panel) for light, dark, and light again."""

    def show(name, dump, *cells):
        lab.dump(dump_files(dump).vmcore, f"{dump}.vmcore")
        panel = desk.notebook(f"{name}.ipynb", (OPENED.replace("crash", dump), *cells))
        assert panel.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        for theme in THEMES:
            desk.theme(theme)
            desk.page.wait_for_timeout(300)
            yield ("dark" if "Dark" in theme else "light"), panel

    yield show
    desk.theme("JupyterLab Light")


def output(panel, number):
    found = panel.locator(f".jp-Cell[data-windowed-list-index='{number}'] .jp-OutputArea-output").first
    found.scroll_into_view_if_needed()
    return found


def test_tables_structs_and_grids(desk, themed):
    cells = (
        "dump",
        "dump.tasks.tail(3)",
        "%struct task_struct",
        "dump.struct('task_struct', dump.tasks.address[0])",
        "kernlab.show(dump.tasks)",
        "import IPython; IPython.display.HTML(dump.explore('init_task', opened=('children',)).to_html())",
    )
    for theme, panel in themed("tables", "damaged-7.2", *cells):
        for number in range(1, len(cells) + 1):
            shown = output(panel, number)
            if number == 5:
                shown.locator(".dt-container").wait_for()
            assert desk.unreadable(shown) == [], (theme, cells[number - 1])
            desk.picture(f"theme-{number}-{theme}", shown)


def test_a_plot_turns_with_the_page_it_is_kept_in(desk, themed):
    shown = {}
    for theme, panel in themed("plots", "debian-6.1", "dump.plot.slabs();"):
        image = output(panel, 1).locator("img")
        image.wait_for()
        shown.setdefault(theme, set()).add(image.evaluate("e => getComputedStyle(e).content"))
        desk.picture(f"theme-plot-{theme}", panel)
    assert shown["light"] == {"normal"}, "its own picture, also after the page was dark"
    assert len(shown["dark"]) == 1
    assert next(iter(shown["dark"])).startswith('url("data:image/png')


def test_stacks_and_who_waits_for_whom(desk, themed):
    cells = (
        "hung = kernlab.open(kernlab.sample('hung'))",
        "hung.stack.of_panic()",
        "hung.stack('order-1')",
        "hung.stacks.groups().head(3)",
        "hung.waits.head(8)",
        "hung.waits.graph()",
        "hung.plot.stacks();",
    )
    for theme, panel in themed("stacks", "debian-6.1", *cells):
        for number in range(2, len(cells) + 1):
            shown = output(panel, number)
            if number in (2, 3):
                # The first frame and one of a module, opened.
                for frame in (0, 4):
                    frame = shown.locator("details").nth(frame)
                    if frame.get_attribute("open") is None:
                        frame.locator("summary").click()
            assert desk.unreadable(shown) == [], (theme, cells[number - 1])
            desk.picture(f"theme-stacks-{number}-{theme}", shown)
