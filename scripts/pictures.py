"""The pictures of README and gallery, made from the bundled samples: docs/pictures/NAME-light.png and NAME-dark.png.

    python -m scripts.pictures [NAME ...]

What has a face in a notebook is shown in a real JupyterLab and taken with Chromium, which both must be there. Pictures
are small: as many colours as a palette has, none over MOST_BYTES, which is an error.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.jupyterlab import Desk, Server, find_chromium  # noqa: E402

import kernlab  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 250_000
#: Pixels of a picture for one of the page.
SCALE = 1.5
WIDTH, HEIGHT = 1180, 900
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@dataclass(frozen=True, slots=True)
class Shot:
    """What a cell shows of a sample: the element that is taken, what to wait for, and what to do before."""

    sample: str
    cell: str
    #: Of the cell's output; `ready` must be there first.
    element: str = ".jp-OutputArea-output"
    ready: str = ""
    before: Callable[[Any], None] = lambda _: None
    height: int = 900


def _settle_explorer(board: Any) -> None:
    for title, meanwhile in (
        ("Why it died", "Weighing the evidence …"),
        ("What looks wrong", "Looking …"),
        ("Traces", "Looking …"),
    ):
        panel = board.locator(".kl-panel", has_text=title).first
        panel.get_by_text(meanwhile).wait_for(state="detached", timeout=60_000)


def _open_struct(browser: Any) -> None:
    row = browser.locator(".klb-row", has_text="kthreadd").first
    row.locator(".klb-twisty").click()
    browser.locator(".klb-row[aria-level='3']", has_text="thread_info").first.wait_for()
    # What was opened stands in the middle.
    browser.page.mouse.wheel(0, 140)
    browser.page.wait_for_timeout(300)


#: Of a notebook.
SHOTS = {
    "card": Shot("oom", "dump", ".kernlab-card"),
    "explorer": Shot(
        "oom",
        "dump.explorer(height='720px')",
        ".kl-explorer",
        ".kl-panel:has-text('Slab caches')",
        _settle_explorer,
    ),
    "struct-browser": Shot(
        "oom", "dump.explore('init_task', opened=('children',))", ".klb", ".klb-row", _open_struct
    ),
    "player": Shot(
        "flight",
        "player = dump.player(lanes=['memory', 'processes', 'cpus', 'disks', 'log'])\nplayer.seek(-9.85)\nplayer",
        ".klp",
        ".klp-stack canvas",
        height=1300,
    ),
    "waits": Shot("deadlock", "dump.waits.graph()", "svg"),
    "stack": Shot("hung", "dump.stack('inventoryd')", ".jp-OutputArea-output"),
    "flames": Shot("hung", "dump.plot.stacks();", "[data-mime-type='text/html']"),
    "table": Shot(
        "deadlock",
        "dump.waits.query(\"state == 'D'\")[['pid', 'comm', 'type', 'name', 'holder_comm', 'since']]",
        ".kernlab-frame",
    ),
}
#: Of matplotlib: the sample, and which plot of it.
PLOTS = {
    "memory": ("oom", "memory"),
    "physical": ("oom", "physical"),
    "offsets": ("io", "io_offsets"),
    "latency": ("io", "io_latency"),
}
#: Of a report's page: the sample, and how much of its length.
REPORTS = {"report": ("oom", 1140)}


def main(names: list[str]) -> int:
    """Make these pictures, or all. Returns the exit status."""
    known = [*PLOTS, *REPORTS, *SHOTS]
    wanted = names or known
    if unknown := sorted(set(wanted) - set(known)):
        print(f"pictures: there is no {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for name in wanted:
        if name in PLOTS:
            made += draw(name)
        elif name in REPORTS:
            made += print_report(name)
    shots = [name for name in wanted if name in SHOTS]
    if shots:
        with notebooks() as desk:
            for name in shots:
                made += take(desk, name)
    total = 0
    for path in made:
        size = path.stat().st_size
        total += size
        print(f"{path.relative_to(ROOT)}  {size / 1000:.0f} kB")
        if size > MOST_BYTES:
            print(f"pictures: {path.name} has more than {MOST_BYTES / 1000:.0f} kB", file=sys.stderr)
            return 1
    print(f"{len(made)} pictures, {total / 1e6:.1f} MB")
    return 0


def draw(name: str) -> Iterable[Path]:
    """A plot, on light and on dark ground."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    sample, plot = PLOTS[name]
    with kernlab.open(kernlab.sample(sample)) as dump:
        for theme in THEMES:
            figure = getattr(dump.plot, plot)(theme=theme).figure
            held = io.BytesIO()
            figure.savefig(held, format="png", dpi=100 * SCALE, bbox_inches="tight", pad_inches=0.15)
            plt.close("all")
            yield keep(name, theme, held.getvalue())


def print_report(name: str) -> Iterable[Path]:
    """The beginning of a report's page, as its file opens without a network."""
    from kernlab.report import make

    sample, height = REPORTS[name]
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        # Its name is on the page.
        vmcore = Path(folder) / "vmcore"
        vmcore.symlink_to(kernlab.sample(sample))
        page_file = Path(folder) / "report.html"
        make(vmcore, page_file)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": height}, device_scale_factor=SCALE, reduced_motion="reduce"
        )
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.goto(page_file.as_uri())
            yield keep(name, theme, page.screenshot())


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    if program is None:
        raise SystemExit("pictures: no Chromium on this machine; KERNLAB_CHROMIUM names one")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@contextmanager
def notebooks() -> Iterator[Desk]:
    """A JupyterLab with the samples in its folder, and a browser on it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder) / "lab") as server,
        chromium() as browser,
    ):
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, reduced_motion="reduce"
        )
        page.set_default_timeout(90_000)
        try:
            yield Desk(page, server)
        finally:
            server.end_kernels()


def take(desk: Desk, name: str) -> Iterable[Path]:
    """What a cell shows, in both themes."""
    shot = SHOTS[name]
    desk.server.dump(kernlab.sample(shot.sample), f"{shot.sample}.vmcore")
    opened = f"%load_ext kernlab\nimport kernlab\ndump = kernlab.open('{shot.sample}.vmcore')"
    desk.page.set_viewport_size({"width": WIDTH, "height": shot.height})
    panel = desk.notebook(f"{name}.ipynb", [opened, shot.cell])
    # The room of the window is the cell's.
    desk.run("application:toggle-left-area")
    desk.run("statusbar:toggle")
    output = panel.locator(".jp-Cell[data-windowed-list-index='1'] .jp-OutputArea").first
    element = output.locator(shot.element).first
    element.wait_for()
    if shot.ready:
        output.locator(shot.ready).first.wait_for()
    shot.before(element)
    for theme, called in THEMES.items():
        desk.theme(called)
        desk.page.wait_for_timeout(600)
        element.scroll_into_view_if_needed()
        yield keep(name, theme, element.screenshot())
    desk.server.end_kernels()


def keep(name: str, theme: str, png: bytes) -> Path:
    """Write a picture with a palette, which takes a third of the room."""
    from PIL import Image

    path = FOLDER / f"{name}-{theme}.png"
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
