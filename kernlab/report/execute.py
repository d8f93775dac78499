"""A notebook with parameters in, the same with its outputs out: papermill's parameters, a kernel of this kernlab.

A cell that fails is marked, and the next one goes on. A kernel that dies, and one that does not start, are errors.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError, MissingDependencyError

#: Seconds that a cell may take: large dumps are surveyed once, in one of them.
CELL_SECONDS = 1800

FAILED = "section-failed"
#: A cell of this tag that shows nothing is left out of the page.
OPTIONAL = "remove-if-empty"

_HOW = 'pip install "kernlab[report]" brings what reports are made with'


def parameterized(notebook: Any, parameters: dict[str, Any]) -> Any:
    """The notebook with a cell that sets `parameters`, behind the one tagged "parameters" (else it comes first)."""
    try:
        import nbformat
        from papermill.parameterize import parameterize_notebook
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed: {_HOW}") from error
    import logging

    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    notebook.metadata.setdefault("papermill", nbformat.from_dict({}))  # type: ignore[no-untyped-call]
    # It warns of notebooks without such a cell, which are welcome.
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        given = parameterize_notebook(
            notebook,
            parameters,
            kernel_name="python3",
            language="python",
            comment="What this report was made with",
        )
    finally:
        logger.setLevel(level)
    for cell in given.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell["id"] = "injected-parameters"
    return given


def execute(
    notebook: Any, folder: Path, told: Callable[[int, int, str], None], environment: dict[str, str]
) -> None:
    """Run all cells in place, in a kernel of this Python and this kernlab, with `folder` as its working directory and
    `environment` besides its own.

    told(number, of how many, heading) is called before each cell. Cells that failed are tagged FAILED. Raises
    KernlabError where the kernel cannot be started, or dies.
    """
    try:
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import DeadKernelError
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed: {_HOW}") from error

    class Manager(AsyncKernelManager):
        """Starts this Python, whatever kernels are installed; what lies in the working directory is no module."""

        @property
        def kernel_spec(self) -> Any:
            argv = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            quiet = [
                "--log-level=ERROR",
                "--InteractiveShellApp.ignore_cwd=True",
                "--HistoryManager.enabled=False",
            ]
            return KernelSpec(argv=[*argv, *quiet], display_name="Python 3", language="python")

    count = sum(cell.cell_type == "code" for cell in notebook.cells)
    number, heading = 0, ""

    def begins(cell: Any, cell_index: int) -> None:
        nonlocal number, heading
        heading = _heading(notebook, cell_index)
        if cell.cell_type == "code":
            number += 1
            told(number, count, heading)

    client = NotebookClient(
        notebook,
        km=Manager(),
        timeout=CELL_SECONDS,
        interrupt_on_timeout=True,
        allow_errors=True,
        record_timing=False,
        startup_timeout=120,
        on_cell_start=begins,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=_environment() | environment)
    except DeadKernelError as error:
        raise KernlabError(
            f"the report's kernel died in cell {number} of {count} ({heading}): it was killed, perhaps for "
            "lack of memory"
        ) from error
    except RuntimeError as error:
        raise KernlabError(f"the report's kernel cannot be started: {error}") from error
    for cell in notebook.cells:
        _mark(cell)


def _environment() -> dict[str, str]:
    """The kernel's environment: this kernlab is found first, and nobody looks at bars."""
    here = str(Path(__file__).resolve().parents[2])
    environment = dict(
        os.environ, KERNLAB_PROGRESS="0", MPLBACKEND="module://matplotlib_inline.backend_inline"
    )
    # Where packages are installed it is found anyway, and must not come before Python's own.
    if here != os.path.realpath(sysconfig.get_path("purelib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return environment


def _heading(notebook: Any, index: int) -> str:
    """What a cell is about, in few words: the heading above it, else its last line."""
    for cell in reversed(notebook.cells[:index]):
        for line in reversed(str(cell.source).splitlines()):
            if cell.cell_type == "markdown" and line.startswith("#"):
                return line.lstrip("# ")
    lines = [line for line in str(notebook.cells[index].source).splitlines() if line.strip()]
    return lines[-1][:60] if lines else "empty"


def _mark(cell: Any) -> None:
    if cell.cell_type != "code":
        return
    tags = list(cell.metadata.get("tags", ()))
    if any(output.output_type == "error" for output in cell.outputs):
        tags.append(FAILED)
    elif OPTIONAL in tags and not cell.outputs:
        tags.append("remove-cell")
    cell.metadata["tags"] = list(dict.fromkeys(tags))
