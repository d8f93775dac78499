"""From a dump to a report in one file: a template is run with the dump as its parameter, and written as a page."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.escape import NO_MATH, escape_html, escape_terminal
from kernlab.formats.live import LIVE
from kernlab.report import notebook_paths, templates
from kernlab.report.execute import FAILED, execute, parameterized
from kernlab.report.hashes import sha256_of
from kernlab.report.opening import FILES_VARIABLE, LEVELS, MAP_VARIABLE
from kernlab.report.page.report_data import REPORT_MIME
from kernlab.report.page_head import made
from kernlab.util.files import write_whole

Told = Callable[[int, int, str], None]

_NOT_LIVE = (
    "a report tells of a machine that died, and its sections of one moment: of one that runs look at the tables "
    "(kernlab table live NAME, kernlab notebook live), or make a report of a file of that name: ./live"
)
_FORMATS = (".html", ".htm", ".ipynb", ".pdf")


@dataclass(frozen=True)
class Report:
    """A report that was written: where, its executed notebook, its title, and the headings of sections that failed."""

    path: Path
    notebook: Any
    title: str
    failed: tuple[str, ...]


def make(
    vmcore: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    template: str | os.PathLike[str] = "triage",
    redact: str = "share",
    redaction_map: str | os.PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002
    vmlinux: Sequence[str | os.PathLike[str]] = (),
    types: str | os.PathLike[str] | None = None,
    symbols: str | os.PathLike[str] | None = None,
    any_build: bool = False,
    told: Told | None = None,
) -> Report:
    """Make a report of a dump, and write it in one go.

    vmcore: a dump file, or the list of a split dump's pieces; output: FILE.html, FILE.ipynb or FILE.pdf (without one
    VMCORE-report.html in the current folder); template: "triage", "memory", "io", "hang", or the path of a notebook;
    redact: "none", "share" or "strict"; redaction_map: where to write what became what, which stays at home (a map that
    is there already is used: names become what they became in the report before); format, vmlinux, types,
    symbols, any_build: as for `kernlab.open`; told(number, of how many, heading) is called before each cell.

    Raises KernlabError where the dump, the template or the output cannot be used, and where the kernel dies. A section
    that fails is shown as such, and named in the result.
    """
    if vmcore == LIVE or vmcore == [LIVE]:
        raise KernlabError(_NOT_LIVE)
    pieces = [Path(one) for one in ([vmcore] if isinstance(vmcore, str | os.PathLike) else vmcore)]
    debug = [Path(one).resolve() for one in vmlinux]
    where = Path(output) if output is not None else default_output(pieces)
    source = templates.find(os.fspath(template))
    secret = Path(redaction_map).resolve() if redaction_map is not None else None
    described = {"types": types, "symbols": symbols}
    beside = {name: str(Path(one).resolve()) for name, one in described.items() if one is not None}
    _check(pieces, where, [source, *debug, *map(Path, beside.values())], secret, redact)
    notebook, template_hash = templates.load(source)
    own = source.parent != Path(templates.__file__).resolve().parent
    with tempfile.TemporaryDirectory(prefix="kernlab-report-") as scratch, _Hashing(pieces) as hashing:
        # The template sees names without folders; a notebook of the user's runs where it lies, and finds its files.
        folder = source.resolve().parent if own else Path(scratch)
        names = [str(piece.resolve()) for piece in pieces] if own else _link(pieces, Path(scratch))
        parameters = {
            "vmcore": names[0] if len(names) == 1 else names,
            "redact": redact,
            "format": format,
            "vmlinux": [str(one) for one in debug] or None,
        }
        notebook = parameterized(notebook, parameters)
        _add_finish(notebook, redact, secret)
        known = {MAP_VARIABLE: str(secret)} if secret is not None and secret.is_file() else {}
        if beside or any_build:
            known[FILES_VARIABLE] = json.dumps(beside | ({"any_build": True} if any_build else {}))
        execute(notebook, folder, told or (lambda number, count, heading: None), known)
        _finished(notebook, redact, own)
        hashes = hashing.hashes()
    cut = {str(path.resolve().parent): "" for path in (*pieces, *debug, source)}
    cut |= {str(path.absolute().parent): "" for path in (*pieces, source)}
    notebook_paths.clean(notebook, {**cut, scratch: "", os.path.realpath(scratch): ""})
    name = source.name if own else source.stem
    _add_provenance(notebook, hashes, f"{name} (SHA-256 {template_hash})", parameters)
    failed = tuple(_heading(cell) for cell in notebook.cells if FAILED in cell.metadata.get("tags", ()))
    write_whole(where, _written(notebook, where.suffix.lower()))
    return Report(where, notebook, str(gathered(notebook).get("title", "")), failed)


def default_output(pieces: Sequence[Path]) -> Path:
    """`vmcore-report.html` in the current folder for .../vmcore.xz."""
    name = pieces[0].name
    for suffix in (".xz", ".gz", ".zst", ".bz2"):
        name = name.removesuffix(suffix)
    return Path(f"{name}-report.html")


def gathered(notebook: Any) -> dict[str, Any]:
    """What all cells say of the page's head (REPORT_MIME), a later one first."""
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {}).get(REPORT_MIME)
            if isinstance(data, dict):
                found.update(data)
    return found


def _check(
    pieces: Sequence[Path], output: Path, read: Sequence[Path], secret: Path | None, redact: str
) -> None:
    """Find what is wrong before a minute of work. Raises KernlabError."""
    if redact not in LEVELS:
        raise KernlabError(f"a report is redacted to one of {', '.join(LEVELS)}, not {redact!r}")
    if output.suffix.lower() not in _FORMATS:
        raise KernlabError(f"{output}: a report is written as .html, .ipynb or .pdf, which its name says")
    for piece in pieces:
        if not piece.exists():
            raise KernlabError(f"there is no dump {piece}")
    if secret is not None and secret == output.resolve():
        raise KernlabError(f"{output} cannot be the report and the map of what was redacted in it")
    for written in filter(None, (output, secret)):
        for path in (*pieces, *read):
            if written.exists() and path.exists() and written.samefile(path):
                raise KernlabError(
                    f"{written} is read for the report, and would be overwritten by it: choose another name"
                )
        if written.is_dir():
            raise KernlabError(f"{written} is a folder: name a file in it")
        if not written.resolve().parent.is_dir():
            raise KernlabError(f"there is no folder {written.resolve().parent}")
    if output.suffix.lower() == ".pdf":
        from kernlab.report.pdf import browser

        browser()
    if redact == "none" and secret is not None:
        raise KernlabError("nothing is redacted with redact='none', so there is no map to write")


def _link(pieces: Sequence[Path], folder: Path) -> list[str]:
    """The dump's files under their bare names in a folder of our own."""
    names = list[str]()
    for number, piece in enumerate(pieces, 1):
        name = piece.name if piece.name not in names else f"{number}-{piece.name}"
        (folder / name).symlink_to(piece.resolve())
        names.append(name)
    # "live" is the running kernel's name, "./live" a file's.
    return [f"./{name}" if name == LIVE else name for name in names]


def _add_finish(notebook: Any, redact: str, secret: Path | None) -> None:
    import nbformat

    code = (
        "import kernlab.report.opening\n"
        f"kernlab.report.opening.finish({redact!r}, {None if secret is None else str(secret)!r})"
    )
    notebook.cells.append(nbformat.v4.new_code_cell(code, id="finish"))  # type: ignore[no-untyped-call]


def _finished(notebook: Any, redact: str, own: bool) -> None:
    """Take the last cell away again, and believe nobody: was all that was opened redacted as it should be?"""
    cell = notebook.cells.pop()
    for output in cell.outputs:
        if output.output_type == "error":
            raise KernlabError(f"what was redacted could not be written: {output.ename}: {output.evalue}")
    said = "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")
    levels = json.loads(said)["levels"] if said else []
    if not levels and not own:
        # A page on which every section failed for one reason is no report.
        raise KernlabError(_first_error(notebook) or "the template opened no dump")
    # A dump that was redacted more when it was written stays so.
    enough = LEVELS[LEVELS.index(redact) :] if redact != "none" else ("none",)
    wrong = [level for level in levels if level not in enough]
    if wrong and own:
        raise KernlabError(
            f"the notebook opened a dump with redact={wrong[0]!r}, and the report shall have {redact!r}: open it with "
            "kernlab.open(vmcore, redact=redact), or ask for that level"
        )
    if wrong:
        raise KernlabError(f"the dump was opened with redact={wrong[0]!r} instead of {redact!r}")


def _first_error(notebook: Any) -> str:
    errors = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return next((str(output.evalue) for output in errors if output.output_type == "error"), "")


class _Hashing:
    """Hashes the dump's files while the report is made."""

    def __init__(self, pieces: Sequence[Path]):
        self._pieces = [piece for piece in pieces if piece.is_file()]
        self._wanted = True
        self._found: list[tuple[str, str]] = []
        self._thread = threading.Thread(target=self._hash, daemon=True)

    def _hash(self) -> None:
        for piece in self._pieces:
            try:
                self._found.append((piece.name, sha256_of(piece, lambda: self._wanted)))
            except KernlabError as error:
                self._found.append((piece.name, f"unknown: {error.words()}"))

    def hashes(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of each file, once all are read."""
        self._thread.join()
        return self._found

    def __enter__(self) -> _Hashing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wanted = False
        self._thread.join()


def _add_provenance(
    notebook: Any, hashes: Sequence[tuple[str, str]], template: str, parameters: dict[str, Any]
) -> None:
    """What only the runner knows, behind what the notebook says of where it comes from."""
    import nbformat

    data = gathered(notebook)
    rows = [list(row) for row in data.get("provenance", [])]
    known = {row[0] for row in rows}
    given = ", ".join(f"{name}={_shown(value)}" for name, value in parameters.items() if value is not None)
    new = [[f"SHA-256 of {name}", digest] for name, digest in hashes]
    # Behind name and size of the file, where these are told.
    at = 2 if known >= {"Dump", "Size"} else 0
    rows[at:at] = new
    rows += [["Template", template], ["Parameters", given]]
    if "Made" not in known:
        rows.append(["Made", made()])
    html = "".join(
        f'<tr><th scope="row">{escape_html(label)}</th><td>{escape_html(value)}</td></tr>'
        for label, value in rows
    )
    table = f"<h2>How this was made</h2><table><tbody>{html}</tbody></table>"
    bundle: dict[str, Any] = {
        REPORT_MIME: {"provenance": rows},
        "text/html": f'<div class="kernlab-report {NO_MATH}">{table}</div>',
        "text/plain": "\n".join(
            f"{escape_terminal(label)}: {escape_terminal(value)}" for label, value in rows
        ),
    }
    shown = nbformat.v4.new_output("display_data", data=bundle)  # type: ignore[no-untyped-call]
    place = next(
        (
            (cell, number)
            for cell in reversed(notebook.cells)
            for number, output in enumerate(cell.get("outputs", ()))
            if "provenance" in output.get("data", {}).get(REPORT_MIME, {})
        ),
        None,
    )
    if place is None:
        cell = nbformat.v4.new_code_cell(  # type: ignore[no-untyped-call]
            "# How this report was made: added by kernlab report", id="provenance", outputs=[shown]
        )
        notebook.cells.append(cell)
        return
    cell, number = place
    shown["data"][REPORT_MIME] = {**cell.outputs[number]["data"][REPORT_MIME], "provenance": rows}
    cell.outputs[number] = shown


def _shown(value: Any) -> str:
    """A parameter without the folders of this machine."""
    if isinstance(value, list):
        return f"[{', '.join(_shown(one) for one in value)}]"
    return repr(Path(value).name if os.sep in value else value)


def _heading(cell: Any) -> str:
    lines = [line for line in str(cell.source).splitlines() if line.strip()]
    return lines[-1][:80] if lines else "an empty cell"


def _written(notebook: Any, suffix: str) -> bytes:
    """The report's bytes. Raises KernlabError for what is needed and not there."""
    if suffix == ".ipynb":
        import nbformat

        text: str = nbformat.writes(notebook, version=4)  # type: ignore[no-untyped-call]
        return f"{text}\n".encode("utf-8", "backslashreplace")
    try:
        from kernlab.report.exporter import ReportExporter
    except ImportError as error:
        raise MissingDependencyError(
            f'{error.name} is not installed: pip install "kernlab[report]" brings what reports are made with'
        ) from error
    # nbconvert has no types.
    exporter: Any = ReportExporter
    page, _ = exporter().from_notebook_node(notebook)
    data: bytes = page.encode("utf-8", "backslashreplace")
    if suffix != ".pdf":
        return data
    from kernlab.report.pdf import to_pdf

    return to_pdf(data)
