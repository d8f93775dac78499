"""The struct browser in a real JupyterLab and Chromium, on a graph of a million structs: how long a reader waits.

    python benchmarks/browser.py [--nodes 1000000] [--runs 15] [--busy 60]

init_task of samples/debian-6.1 gets a million children, each a whole task_struct (copies of one, linked among
themselves, made when they are read). Measured is what a reader does, from the click to the frame in which the rows
are drawn, and what the kernel's handler took of it; then the same while another thread of the kernel builds tables
of fresh dumps, and while a cell does. Handlers run one at a time, so a handler's own reading is its time when idle.
Nothing here is a test: the figures are for reading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from support.jupyterlab import Desk, desk_alone  # noqa: E402

#: Pages of one made task_struct.
PAGES = 3

GRAPH = """
import json, sys, threading, time
sys.path[:0] = [TESTS]
import kernlab
from support.overlay import PAGE, Overlay
below = kernlab.open('crash.vmcore')
kind = below.kernel.find_type('struct task_struct').strip()
assert kind.size <= PAGES * PAGE
at = {name: kind.member(name).offset for name in ('sibling', 'children', 'pid')}
model = int(below.tasks[below.tasks.pid == 1].address.iloc[0])
template = below.read(model, kind.size).ljust(PAGES * PAGE, b'\\0')
overlay, first, head = Overlay(below), 0, below.symbol('init_task') + at['children']

def page(number):
    node, part = divmod(number, PAGES)
    words = bytearray(template[part * PAGE : (part + 1) * PAGE])
    def put(offset, value, size=8):
        if part * PAGE <= offset < (part + 1) * PAGE:
            words[offset % PAGE : offset % PAGE + size] = value.to_bytes(size, 'little')
    near = [first + other * PAGES * PAGE + at['sibling'] if 0 <= other < NODES else head
            for other in (node + 1, node - 1)]
    put(at['sibling'], near[0]); put(at['sibling'] + 8, near[1])
    put(at['pid'], 100000 + node, 4)
    # Each has children of its own: the same million, from where it stands.
    put(at['children'], near[0]); put(at['children'] + 8, near[1])
    return bytes(words)

first = overlay.make(NODES * PAGES, page)
overlay.word(head, first + at['sibling']).word(head + 8, first + (NODES - 1) * PAGES * PAGE + at['sibling'])
dump = overlay.dump()
"""

BROWSER = """
browser = dump.explore('init_task')
took, answer = [], browser._session.answer
def timed(request):
    began = time.perf_counter()
    given = answer(request)
    took.append((time.perf_counter() - began) * 1e3)
    return given
browser._session.answer = timed
browser
"""

BUILD = """
stop, built = False, [0]
def build(seconds):
    end = time.monotonic() + seconds
    while not stop and time.monotonic() < end:
        with kernlab.open('crash.vmcore') as own:
            for name in ('tasks', 'maps', 'pages', 'slabs', 'memory_by_process', 'symbols'):
                getattr(own, name); built[0] += 1
"""

# From the click to the frame in which `ready` holds.
CLOCK = """
([selector, wanted, more]) => new Promise((resolve, reject) => {
  const app = document.querySelector('.klb'), element = app.querySelector(selector);
  if (!element) { reject(new Error('nothing to click: ' + selector)); return; }
  const before = app.querySelectorAll(wanted).length, began = performance.now();
  const look = () => {
    if (app.querySelectorAll(wanted).length >= before + more)
      requestAnimationFrame(() => resolve(performance.now() - began));
    else if (performance.now() - began > 20000)
      reject(new Error(`no answer within 20 s: ${selector}, ${before} before`));
    else setTimeout(look, 1);
  };
  element.click();
  look();
})
"""


def main(arguments: list[str]) -> int:
    """Measure and print; 1 where there is no browser."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument(
        "--busy", type=int, default=60, metavar="SECONDS", help="how long tables are built at most"
    )
    given = parser.parse_args(arguments)
    with desk_alone(900, ROOT / "samples" / "debian-6.1" / "vmcore") as desk:
        if desk is None:
            return 1
        measure(desk, given)
    return 0


def measure(desk: Desk, given: argparse.Namespace) -> None:
    """Print the figures of a reader's steps, with the kernel idle and busy."""
    setting = f"TESTS, NODES, PAGES = {str(ROOT / 'tests')!r}, {given.nodes}, {PAGES}\n"
    panel = desk.notebook("graph.ipynb", (setting + GRAPH, BUILD, BROWSER), seconds=180)
    panel.locator(".klb-row").first.wait_for(timeout=60_000)
    print(f"{given.nodes:,} structs; milliseconds: median (largest) of {given.runs}\n")
    print(f"{'':34}{'until it is drawn':>20}{'of it the handler':>20}")
    steps(desk, "idle", given.runs)
    run = "import threading; worker = threading.Thread(target=build, args=({},)); worker.start()"
    execute(desk, run.format(given.busy))
    steps(desk, "a thread builds tables", given.runs)
    print(
        f"{'':34}{execute(desk, 'stop = True; worker.join(); print(built[0])').strip()} tables were built meanwhile"
    )
    execute(desk, "stop = False; built[0] = 0")
    execute(desk, f"build({given.busy})", wait=False)
    steps(desk, "a cell builds tables", given.runs)
    execute(desk, "pass")


def steps(desk: Desk, title: str, runs: int) -> None:
    """Expand the million, its next page, and one struct of it after another."""
    marks = execute if title != "a cell builds tables" else None
    print(title)
    go(desk)
    wait_row = ".klb-row[aria-level='2']"
    children = [click(desk, twisty("children"), wait_row, 100)]
    for _ in range(4):
        click(desk, twisty("children"), ".klb-row[aria-level='1']", 0)
        desk.page.wait_for_timeout(50)
        go(desk)
        children.append(click(desk, twisty("children"), wait_row, 100))
    report(desk, "the list of a million", children, marks)
    report(desk, "its next 200", [click(desk, ".klb-more button", wait_row, 100) for _ in range(5)], marks)
    opened = [
        click(
            desk,
            f"{wait_row}[aria-posinset='{200 - 3 * number}'] .klb-twisty",
            ".klb-row[aria-level='3']",
            50,
        )
        for number in range(runs)
    ]
    report(desk, "a struct in it", opened, marks)


def go(desk: Desk) -> None:
    """To init_task, anew: nothing of it is opened."""
    field = desk.page.locator(".klb .klb-address").first
    field.fill("init_task")
    field.press("Enter")
    desk.page.wait_for_function(
        "() => document.querySelectorAll(\".klb .klb-row[aria-level='2']\").length === 0 && "
        "document.querySelectorAll('.klb .klb-row').length > 50",
        timeout=60_000,
    )
    desk.page.wait_for_timeout(200)


def twisty(name: str) -> str:
    """The first row of that name, as a selector of what opens it."""
    return f".klb-row:has(.klb-name[title='{name}']) .klb-twisty"


def click(desk: Desk, selector: str, wanted: str, more: int) -> float:
    """Milliseconds from a click until at least `more` rows more are drawn."""
    return float(desk.page.evaluate(CLOCK, [selector, wanted, more]))


def report(desk: Desk, step: str, drawn: list[float], ask: Callable[..., str] | None) -> None:
    """One line; the handler's times come from the kernel, where it can be asked."""
    line = f"  {step:32}{statistics.median(drawn):>12,.0f} ({max(drawn):,.0f})"
    if ask is not None:
        took = json.loads(ask(desk, f"import json; print(json.dumps(took[-{len(drawn)}:]))"))
        line = f"{line:54}{statistics.median(took):>12,.0f} ({max(took):,.0f})"
    print(line, flush=True)


def execute(desk: Desk, code: str, *, wait: bool = True) -> str:
    """Run code in the notebook's kernel; what it printed."""
    return str(
        desk.page.evaluate(
            """([code, wait]) => new Promise((resolve, reject) => {
              const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const future = kernel.requestExecute({ code, store_history: false });
              let said = '';
              future.onIOPub = message => {
                if (message.header.msg_type === 'stream') said += message.content.text;
                if (message.header.msg_type === 'error') reject(new Error(message.content.evalue));
              };
              if (wait) future.done.then(() => resolve(said)); else resolve('');
            })""",
            [code, wait],
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
