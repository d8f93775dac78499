"""Notebooks that the tests of the report's page make up, and the page that the exporter makes of them."""

from __future__ import annotations

import io
from typing import Any

REPORT = "application/vnd.kernlab.report+json"


def markdown(source: str) -> Any:
    from nbformat.v4 import new_markdown_cell

    return new_markdown_cell(source)


def code(source: str = "x", *outputs: Any, tags: tuple[str, ...] = ()) -> Any:
    from nbformat.v4 import new_code_cell

    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


def data(bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> Any:
    from nbformat.v4 import new_output

    return new_output("display_data", data=bundle, metadata=metadata or {})


def html(source: str) -> Any:
    return data({"text/html": source, "text/plain": "plain"})


def said(text: str, name: str = "stdout") -> Any:
    from nbformat.v4 import new_output

    return new_output("stream", name=name, text=text)


def error(name: str = "ValueError", value: str = "no such table", *lines: str) -> Any:
    from nbformat.v4 import new_output

    return new_output("error", ename=name, evalue=value, traceback=list(lines))


def notebook(*cells: Any) -> Any:
    from nbformat.v4 import new_notebook

    # nbformat gives cells random ids.
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return new_notebook(cells=list(cells), metadata={"language_info": {"name": "python"}})


def page(*cells: Any, name: str = "crash") -> str:
    """The page of these cells."""
    from kernlab.report.exporter import ReportExporter

    made, _ = ReportExporter().from_notebook_node(notebook(*cells), {"metadata": {"name": name}})
    return str(made)


def png(width: int = 640, height: int = 360, colour: str = "#0072B2") -> str:
    """A picture in base64, all of one colour."""
    import base64

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")
