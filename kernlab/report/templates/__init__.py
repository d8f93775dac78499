"""The templates of reports: notebooks beside this file, by name; and any other notebook, by its path."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.util.text import nearest

#: Name and what a report of it is about.
TEMPLATES = {
    "triage": "what died, why, and the evidence: the sections that the dump has something for",
    "memory": "where the memory is, in depth",
    "io": "what the disks did before the crash, from a block trace in the dump",
    "hang": "who waits for whom, what the CPUs and all threads did",
}

_FOLDER = Path(__file__).resolve().parent
#: A notebook of more bytes is none that somebody wrote.
_LARGEST = 64 << 20


def find(template: str) -> Path:
    """The path of a template by its name, or of a notebook. Raises KernlabError where there is none."""
    if template in TEMPLATES:
        return _FOLDER / f"{template}.ipynb"
    path = Path(template)
    if path.suffix == ".ipynb" or len(path.parts) > 1:
        if path.is_file():
            return path
        raise KernlabError(f"there is no notebook {template}; templates by name are {', '.join(TEMPLATES)}")
    hint = (
        nearest(template, TEMPLATES) or f"; there are {', '.join(TEMPLATES)}, or name a notebook: FILE.ipynb"
    )
    raise KernlabError(f"there is no template {template!r}{hint}")


def load(path: Path) -> tuple[Any, str]:
    """A notebook, its outputs gone, and the SHA-256 of its file. Raises KernlabError where it is none."""
    try:
        import nbformat
    except ImportError as error:
        raise MissingDependencyError(
            'nbformat is not installed: pip install "kernlab[report]" brings what reports are made with'
        ) from error
    if path.stat().st_size > _LARGEST:
        raise KernlabError(
            f"{path} has {path.stat().st_size:,} bytes, and a notebook has at most {_LARGEST:,}"
        )
    data = path.read_bytes()
    try:
        notebook: Any = nbformat.reads(data.decode("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    except (ValueError, nbformat.ValidationError, KeyError, AttributeError) as error:
        raise KernlabError(f"{path} is not a notebook: {error}") from error
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise KernlabError(f"{path} is a notebook in {language}; a report's is in Python")
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook, hashlib.sha256(data).hexdigest()
