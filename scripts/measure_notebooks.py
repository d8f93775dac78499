"""Runs every notebook as Binder would, and says how much memory its kernel and JupyterLab's server took at most.

To be run by the Python of an environment made by binder/requirements.txt and binder/postBuild. The server is a real
one, and is asked for what a reader's browser asks for: the page, the notebooks, each sample's summary. Exit status 1
when a notebook does not fit into Binder's memory. What two processes share is counted twice: the real sum is less.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What mybinder.org guarantees.
MOST_BYTES = 1 << 30
START_SECONDS = 90
#: What a reader may do with a sample: all that can be clicked, and the tables that read most.
SHOW = (
    "dump.explorer()",
    # Where nothing says when anything happened there is nothing to play, which it says.
    "try:\n    display(dump.player())\nexcept kernlab.KernlabError as error:\n    print(error)",
    "dump.plot.stacks();",
    "dump.plot.physical();",
    "dump.map_usage, dump.slabs, dump.waits",
)
#: What a cell prints last: the most that its kernel, and the largest of the processes that it started, ever had.
PEAK = "import resource as _r\nprint(*(_r.getrusage(w).ru_maxrss << 10 for w in (_r.RUSAGE_SELF, _r.RUSAGE_CHILDREN)))"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="without any: all, and then each sample")
    given = parser.parse_args(arguments).notebooks
    os.chdir(ROOT)  # where kernlab finds the samples
    work = [*notebooks(given or sorted((ROOT / "notebooks").glob("*.ipynb"))), *(() if given else samples())]
    too_much = 0
    with server() as (address, process):
        served, summary = ask_as_a_reader(address, process)
        print(f"{'notebook':34} {'kernel':>9} {'server':>9} {'together':>9} {'seconds':>8}", flush=True)
        for name, path, cells in work:
            began = time.monotonic()
            kernel = executed(cells, path)
            took = time.monotonic() - began
            served = max(served, peak(process.pid))
            whole = kernel + served
            too_much += whole > MOST_BYTES
            print(f"{name:34} {mib(kernel)} {mib(served)} {mib(whole)} {took:8.1f}", flush=True)
        print(f"{'a summary, by double-click':34} {mib(summary)} {mib(served)} {mib(summary + served)}")
    if too_much:
        print(f"{too_much} of these do not fit into {MOST_BYTES >> 20} MiB", file=sys.stderr)
    return 1 if too_much else 0


def mib(count: int) -> str:
    return f"{count / 2**20:5.0f} MiB"


def notebooks(paths: list[Path]) -> Iterator[tuple[str, Path, list[str]]]:
    """Each notebook's name, folder and code."""
    for path in paths:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield (
            path.name,
            path.parent,
            ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"],
        )


def samples() -> Iterator[tuple[str, Path, list[str]]]:
    """Each sample's name and folder, and cells that show of it what there is to click."""
    for path in dumps():
        yield (
            f"sample {path.parent.name}",
            path.parent,
            [f"import kernlab\ndump = kernlab.open({path.name!r})", *SHOW],
        )


def dumps() -> list[Path]:
    """The samples' dumps."""
    import kernlab

    return [Path(path) for path in kernlab.samples()["path"]]


def executed(cells: list[str], folder: Path) -> int:
    """Bytes that the kernel of these cells had at its fullest. Raises CellExecutionError where one fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in [*cells, PEAK]])
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    own, child = (int(word) for word in notebook.cells[-1]["outputs"][-1]["text"].split())
    return own + child


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """JupyterLab's server over the checkout, on the loopback interface: its address with the token, and its process."""
    token = secrets.token_hex(16)
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = {**os.environ, "JUPYTER_RUNTIME_DIR": folder, "JUPYTER_CONFIG_DIR": folder}
        command = (
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(f"--port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={ROOT}"),
        )
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)
            try:
                address = f"http://127.0.0.1:{port}/{{}}?token={token}"
                wait_for(address.format("api/status"), process)
                yield address, process
            finally:
                process.terminate()
                process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.URLError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("JupyterLab's server did not come up")


def ask_as_a_reader(address: str, process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Ask for what a browser would: the most bytes that the server had since, and that one summary's process had."""

    def ask(where: str, /, **more: str) -> bytes:
        url = address.format(where) + "".join(
            f"&{key}={urllib.parse.quote(value)}" for key, value in more.items()
        )
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())

    ask("lab/tree/notebooks/README.md")
    for listed in json.loads(ask("api/contents/notebooks"))["content"]:
        ask("api/contents/" + urllib.parse.quote(listed["path"]), content="1")
    summary = 0
    for dump in dumps():
        ask("kernlab/summary", path=str(dump.relative_to(ROOT)))
        made = (sys.executable, "-m", "kernlab.display.summary", str(dump))
        child = subprocess.Popen(made, stdout=subprocess.DEVNULL, cwd="/")
        _, _, used = os.wait4(child.pid, 0)
        summary = max(summary, used.ru_maxrss << 10)
    return peak(process.pid), summary


def peak(pid: int) -> int:
    """The most bytes that a process ever had resident, by its own account in /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
