"""A JupyterLab of the test's own, and a real browser before it: what tests/browser drives.

`Server` is a JupyterLab in folders of its own (nothing of the user's settings is read or changed) with this
checkout's front-end bundle and server extension; `Desk` is one browser page on it, and keeps what its console said.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
#: Where screenshots go, to be looked at.
PICTURES = ROOT / "build" / "browser"

BUNDLE = ROOT / "extensions" / "vmcore-explorer" / "labextension"
SERVER_SETTINGS = ROOT / "extensions" / "jupyter-config"

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_START_SECONDS = 90

#: Names that a page of JupyterLab asks for and that need not be there.
_HARMLESS = ("favicon",)


#: The contrast of each piece of text with what lies behind it, as painted: colours blended, opacity and all.
UNREADABLE = """root => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const ground = element => {
    const own = rgba(getComputedStyle(element).backgroundColor);
    if (own[3] >= 0.999) return own.slice(0, 3);
    return over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
  };
  const bright = colour => {
    const [r, g, b] = colour.map(c => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Map();
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    const silent = element.closest("style, script, :disabled, [aria-disabled=true], svg");
    if (!text.data.trim() || !element.checkVisibility() || silent) continue;
    const style = getComputedStyle(element);
    let shown = rgba(style.color);
    for (let each = element; each; each = each.parentElement) shown[3] *= Number(getComputedStyle(each).opacity);
    const behind = ground(element);
    const [low, high] = [bright(over(shown, behind)), bright(behind)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const enough = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (high + 0.05) / (low + 0.05);
    const name = `${element.tagName}.${element.className}`;
    if (ratio < enough) found.set(name, `${ratio.toFixed(2)} ${name}: ${text.data.trim().slice(0, 60)}`);
  }
  return [...found.values()];
}"""


def find_chromium() -> str | None:
    """The browser's program: KERNLAB_CHROMIUM, or what the PATH has."""
    named = os.environ.get("KERNLAB_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextmanager
def desk_alone(height: int, dump: Path | None = None) -> Iterator[Desk | None]:
    """A desk in a JupyterLab and a browser of its own, 1,440 pixels wide, for benchmarks; None, and said, without one.

    `dump` is given to the JupyterLab as `Server.dump` does.
    """
    program = find_chromium()
    if program is None:
        print("no Chromium on this machine; KERNLAB_CHROMIUM names one", file=sys.stderr)
        yield None
        return
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder) / "lab") as server,
        sync_playwright() as started,
    ):
        if dump is not None:
            server.dump(dump)
        running = started.chromium.launch(executable_path=program, args=flags)
        try:
            yield Desk(running.new_page(viewport={"width": 1440, "height": height}), server)
        finally:
            running.close()
            server.end_kernels()


def export(path: Path, cells: Sequence[str], *, execute: bool = True) -> Path:
    """The HTML page that plain `jupyter nbconvert --to html --execute` makes of a notebook of these cells."""
    write_notebook(path, cells)
    command = [
        *(sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR"),
        *(["--execute"] if execute else []),
        path.name,
    ]
    subprocess.run(command, cwd=path.parent, check=True, timeout=180)
    return path.with_suffix(".html")


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook of these code cells, not executed."""
    from nbformat import v4, write

    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {
        "name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"
    }  # fmt: skip
    write(notebook, path)


class Server:
    """A JupyterLab on the loopback interface: `url`, `token`, and `root`, the folder that it serves.

    `program` is "jupyterlab", or "notebook" for Notebook 7. `settings` is a folder of configuration to take over.
    """

    def __init__(self, folder: Path, program: str = "jupyterlab", settings: Path | None = None):
        self.program = program
        self.settings = settings
        self.folder = folder
        self.root = folder / "root"
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        settings = self.folder / "config"
        for place in (self.root, settings / "labconfig", self.folder / "path" / "labextensions" / "@kernlab"):
            place.mkdir(parents=True)
        news = {"fetchNews": "false", "checkForUpdates": False}
        (settings / "labconfig" / "default_setting_overrides.json").write_text(
            json.dumps({"@jupyterlab/apputils-extension:notification": news})
        )
        if SERVER_SETTINGS.is_dir():
            shutil.copytree(SERVER_SETTINGS, settings, dirs_exist_ok=True)
        if self.settings is not None:
            shutil.copytree(self.settings, settings, dirs_exist_ok=True)
        if BUNDLE.is_dir():
            link = self.folder / "path" / "labextensions" / "@kernlab" / "vmcore-explorer"
            link.symlink_to(BUNDLE)
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(settings),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTER_PATH": str(self.folder / "path"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "JUPYTER_PREFER_ENV_PATH": "0",
            "JUPYTER_TOKEN": self.token,
        }
        # A kernel that is told where to draw shows no plots in its notebook.
        environment.pop("MPLBACKEND", None)
        command = [
            *(sys.executable, "-m", self.program, "--no-browser", "--ip=127.0.0.1", f"--port={self.port}"),
            *("--allow-root", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.root}"),
        ]
        if self.program == "jupyterlab":
            command.append("--LabApp.expose_app_in_browser=True")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.ask("GET", "/api/status")
                return self
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError(
                        f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}"
                    ) from error
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the server's REST interface; its JSON answer (None where there is none)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Authorization": f"token {self.token}"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def end_kernels(self) -> None:
        """End all sessions: kernels outlive the page that started them, one that is being started then, too."""
        limit = time.monotonic() + _START_SECONDS / 3
        while True:
            late = time.monotonic() > limit
            try:
                for what in ("sessions", "kernels") if late else ("sessions",):
                    for each in self.ask("GET", f"/api/{what}"):
                        self.ask("DELETE", f"/api/{what}/{each['id']}")
                # A kernel that starts has no session yet, and may come up in the midst of the next test.
                if late or not self.ask("GET", "/api/kernels"):
                    return
            except urllib.error.HTTPError as error:
                # One that ends meanwhile is not found, and while it is listed the server fails for it.
                if error.code not in (404, 500) or time.monotonic() > limit + _START_SECONDS / 3:
                    raise
            time.sleep(0.2)

    def dump(self, source: Path, name: str = "crash.vmcore") -> Path:
        """A dump below the served folder (a link to the same bytes where that can be)."""
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            try:
                os.link(source.resolve(), place)
            except OSError:
                shutil.copyfile(source, place)
        return place

    def notebook(self, name: str, cells: Sequence[str]) -> Path:
        """A notebook of these code cells, not executed, below the served folder."""
        path = self.root / name
        write_notebook(path, cells)
        return path

    def trust(self, path: Path) -> None:
        """Sign a notebook, as a user does who trusts it."""
        from nbformat import read
        from nbformat.sign import NotebookNotary

        NotebookNotary(data_dir=str(self.folder / "data")).sign(read(path, 4))


#: The notebook in sight.
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"

#: What tests leave in a page, taken away: documents (unsaved, too), consoles, side panels, the dark theme, the folder.
CLEARED = """async () => {
  const { commands, shell } = window.jupyterapp;
  for (const area of ["main", "down"])
    for (const widget of [...shell.widgets(area)]) widget.dispose();
  shell.activateById("filebrowser");
  await commands.execute("filebrowser:go-to-path", { path: "/" });
  if (document.body.dataset.jpThemeLight !== "true")
    await commands.execute("apputils:change-theme", { theme: "JupyterLab Light" });
  return document.querySelector(".jp-Dialog, .lm-Menu") === null;
}"""

#: What a page must know anew of the server: its files, and which kernels ended. A document of the name that one before
#: had would else wait for that one's kernel.
REFRESHED = """async () => {
  const { commands, serviceManager } = window.jupyterapp;
  await Promise.all([serviceManager.sessions.refreshRunning(), serviceManager.kernels.refreshRunning()]);
  await commands.execute("filebrowser:refresh");
}"""


class Desk:
    """One page of a browser: `page` is playwright's; `said` what its console called an error.

    `holds`: a JupyterLab was loaded into the page before, and cleared (""), or left with what this names. A test
    that leaves a document for the next one names it in `leaves`; what a test does to a page that `clear` does not
    take away it says with `spoilt = True`.
    """

    def __init__(self, page: Any, server: Server, *, holds: str | None = None):
        self.page = page
        self.server = server
        self.said: list[str] = []
        self.requests: list[str] = []
        self.spoilt = False
        self.holds = holds
        self.leaves = ""
        self._listening = {"console": self._console, "pageerror": self._uncaught, "request": self._request}
        for event, listener in self._listening.items():
            page.on(event, listener)

    def _uncaught(self, error: Any) -> None:
        self.said.append(f"uncaught: {error}")

    def _request(self, request: Any) -> None:
        self.requests.append(request.url)

    def _console(self, message: Any) -> None:
        where = (message.location or {}).get("url", "")
        if message.type == "error" and not any(name in where for name in _HARMLESS):
            self.said.append(f"{message.text} ({where})")

    def open(self, path: str = "", *, anew: bool = False) -> None:
        """Show JupyterLab in a fresh workspace, with a file of the served folder open when `path` names one.

        A JupyterLab that runs in the page already serves once, unless it shall be loaded `anew`: that takes longer
        than most tests.
        """
        holds, self.holds = self.holds, None
        if holds and not anew:
            anew = not self.clear()
            self.server.end_kernels()
        if holds is not None and not anew:
            self.page.evaluate(REFRESHED)
            if path:
                self.run("docmanager:open", {"path": path})
                self.page.wait_for_function(
                    """path => {
                      const context = window.jupyterapp.shell.currentWidget?.context;
                      return context?.path === path && context.isReady;
                    }""",
                    arg=path,
                    timeout=60_000,
                )
            return
        tree = f"/tree/{path}" if path else ""
        self.page.goto(
            f"{self.server.url}/lab/workspaces/{secrets.token_hex(4)}{tree}?token={self.server.token}"
        )
        self.page.wait_for_function("window.jupyterapp?.shell != null", timeout=60_000)
        self.page.evaluate("window.jupyterapp.restored.then(() => true)")
        if path:
            self.page.wait_for_function(
                "window.jupyterapp.shell.currentWidget?.context?.isReady ?? true", timeout=60_000
            )

    def leave(self) -> bool:
        """Hear no more of the page, which the next desk may have: whether it may."""
        for event, listener in self._listening.items():
            self.page.remove_listener(event, listener)
        loaded = self.page.evaluate("window.jupyterapp?.shell != null")
        return bool(not self.spoilt and loaded and (self.leaves or self.clear()))

    def clear(self) -> bool:
        """Make the page as one that was just opened; whether that could be done."""
        return bool(self.page.evaluate(CLEARED))

    def wait_for_kernel(self, seconds: float = 60) -> None:
        """Until the current document's kernel has nothing to do."""
        from playwright.sync_api import TimeoutError as TookTooLongError

        # The status bar's own word comes too early, and Run All then hangs.
        idle = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        try:
            self.page.wait_for_function(idle, timeout=seconds * 500)
        except TookTooLongError:
            # On a machine that is busy a kernel's first answer may be lost: a user would reconnect, too.
            self.page.evaluate(
                "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.reconnect()"
            )
            self.page.wait_for_function(idle, timeout=seconds * 500)

    def run(self, command: str, arguments: dict[str, Any] | None = None) -> None:
        """Execute one of JupyterLab's commands; does not wait for it to end."""
        # Without the braces the promise would be returned, and waited for.
        self.page.evaluate(
            "([command, args]) => { void window.jupyterapp.commands.execute(command, args); }",
            [command, arguments or {}],
        )

    def notebook(self, name: str, cells: Sequence[str], seconds: float = 90) -> Any:
        """A notebook of these cells, opened and run to its end; the panel's locator."""
        self.server.notebook(name, cells)
        self.open(name)
        self.wait_for_kernel()
        self.run("runmenu:run-all")
        self._wait_for_cells(len(cells), seconds)
        return self.page.locator(NOTEBOOK)

    def go_on(self, cells: Sequence[str], seconds: float = 90) -> Any:
        """Run these cells behind the first one of the notebook in sight, in place of those there; its locator."""
        self.page.evaluate(
            """cells => {
              const { content } = window.jupyterapp.shell.currentWidget;
              const model = content.model.sharedModel;
              model.deleteCellRange(1, model.cells.length);
              model.insertCells(1, cells.map(source => ({ cell_type: "code", source, metadata: {} })));
              content.deselectAll();
              content.activeCellIndex = 1;
            }""",
            list(cells),
        )
        self.run("notebook:run-all-below")
        self._wait_for_cells(1 + len(cells), seconds)
        return self.page.locator(NOTEBOOK)

    def _wait_for_cells(self, count: int, seconds: float) -> None:
        self.page.wait_for_function(
            """count => {
              const model = window.jupyterapp.shell.currentWidget?.content?.model;
              const cells = model ? [...Array(model.cells.length).keys()].map(i => model.cells.get(i)) : [];
              return cells.length === count && cells.every(cell => cell.executionState === 'idle'
                  ? cell.executionCount : cell.executionState === undefined && cell.executionCount);
            }""",
            arg=count,
            timeout=seconds * 1000,
        )

    def save(self) -> None:
        """Save the current document, and wait until that is done."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.context.save().then(() => true)")

    def theme(self, name: str) -> None:
        """`JupyterLab Dark` or `JupyterLab Light`."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name}).then(() => true)",
            name,
        )
        light = "true" if "Light" in name else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def unreadable(self, view: Any) -> list[str]:
        """Text in a locator's element that stands out too little from its ground (WCAG 2, AA), with the ratio."""
        found: list[str] = view.evaluate(UNREADABLE)
        return found

    def text(self) -> str:
        """What the page's main area says, cut to what a log can hold."""
        shown: str = self.page.evaluate(
            "(document.querySelector('#jp-main-content-panel') ?? document.body).innerText"
        )
        return re.sub(r"\n\s*\n+", "\n", shown)[:3000]

    def picture(self, name: str, of: Any = None) -> Path:
        """A screenshot of the page (or of a locator) in build/browser/, to be looked at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        (of or self.page).screenshot(path=str(path))
        return path
