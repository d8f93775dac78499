"""Executes the first-look notebook on the bundled dump: its text goes to the terminal, its page to build/.

The page is one HTML file that asks the network for nothing: a reference to anything outside it is an error.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01-first-look.ipynb"
SAMPLE = ROOT / "samples" / "debian-6.1" / "vmcore"
PAGE = ROOT / "build" / "01-first-look.html"
CELL_SECONDS = 120

# What nbconvert's page would load from the network: scripts for widgets, formulas, diagrams. Here are none.
NETWORK_SCRIPTS = (
    "html_head_js_requirejs",
    "html_head_js_mathjax",
    "html_head_js_mermaidjs",
    "jupyter_widgets",
)
OFFLINE_TEMPLATE = "{% extends 'lab/index.html.j2' %}\n" + "\n".join(
    f"{{%- block {name} -%}}{{%- endblock {name} -%}}" for name in NETWORK_SCRIPTS
)
# The browser itself refuses whatever might still ask for something.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "font-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
)
REFERENCES = re.compile(
    r"""<(?:script|img|iframe|link|source|object|embed|video|audio)\b[^>]*?\b(?:src|href|data)\s*=\s*["']?(?!data:|["'#])([^\s"'>]+)"""
    r"""|url\(\s*["']?(?!data:|["']?#)([^)"']+)|@import\s+["']([^"']+)""",
    re.IGNORECASE,
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def main() -> int:
    for path, what in ((NOTEBOOK, "notebook"), (SAMPLE, "sample dump")):
        if not path.is_file():
            print(f"The demo's {what} is missing: {path.relative_to(ROOT)}", file=sys.stderr)
            return 1
    # Slow to import, and the check above should answer at once.
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)
    started = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        # ipykernel warns that its sockets are not encrypted; they are on the loopback interface.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(ANSI.sub("", str(error)), file=sys.stderr)
        return 1
    took = time.monotonic() - started

    for cell in notebook.cells:
        show(cell)
    page = to_page(notebook)
    outside = sorted({next(filter(None, match.groups())) for match in REFERENCES.finditer(page)})
    if outside:
        print(f"The page refers to files outside itself: {', '.join(outside)}", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(f"\nExecuted {NOTEBOOK.relative_to(ROOT)} in {took:.1f} s.")
    print(f"Report ({PAGE.stat().st_size / 1e6:.1f} MB, one file, opens offline): {PAGE}")
    return 0


def show(cell: Any) -> None:
    """Print a cell's outcome as plain text: headings, tables, what was printed; plots are in the page."""
    if cell["cell_type"] == "markdown":
        headings = [line.lstrip("# ") for line in str(cell["source"]).splitlines() if line.startswith("#")]
        if headings:
            print("\n" + "\n".join(f"== {heading} ==" for heading in headings))
        return
    for output in cell.get("outputs", ()):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        if "image/png" not in output.get("data", {}) and text.strip():
            print(printable(text.rstrip()))


def printable(text: str) -> str:
    """Escape control characters: the text comes from a dump, and a terminal obeys them."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode()
        for c in ANSI.sub("", text)
    )


def to_page(notebook: Any) -> str:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"offline.html.j2": OFFLINE_TEMPLATE})],
        template_file="offline.html.j2",
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    page, _ = exporter.from_notebook_node(notebook)
    page = re.sub(r"<script\b[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    return str(page).replace("<head>", f"<head>{POLICY}", 1)


if __name__ == "__main__":
    sys.exit(main())
