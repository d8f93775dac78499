"""An HTML page in, a PDF out, printed by a Chromium that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kernlab.errors import KernlabError, MissingDependencyError

_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_SECONDS = 180


def browser() -> str:
    """The command of a Chromium: KERNLAB_CHROMIUM, else one on PATH. Raises MissingDependencyError without one."""
    named = os.environ.get("KERNLAB_CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise MissingDependencyError(
            f"a PDF is printed by Chromium, and {f'{named} is not there' if named else 'none is on PATH'}: install it "
            "(apt install chromium), let KERNLAB_CHROMIUM name it, or write .html and print that"
        )
    return found


def to_pdf(page: bytes) -> bytes:
    """Print a page that needs nothing from outside. Raises KernlabError where the browser fails."""
    command = browser()
    with tempfile.TemporaryDirectory(prefix="kernlab-pdf-") as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_bytes(page)
        options = [
            "--headless=new",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={folder}/profile",
            "--no-pdf-header-footer",
            f"--print-to-pdf={target}",
        ]
        # Chromium refuses root its sandbox; the page has no scripts of others.
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        try:
            done = subprocess.run(
                [command, *options, source.as_uri()],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KernlabError(f"{command} did not print the page within {_SECONDS} s") from error
        if not target.is_file() or not target.stat().st_size:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise KernlabError(
                f"{command} printed no page: {said[-1] if said else f'status {done.returncode}'}"
            )
        return target.read_bytes()
