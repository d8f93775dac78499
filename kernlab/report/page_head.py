"""What a report's page is headed with: title, leads and provenance, under the MIME type that the exporter gathers."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernlab.display.summary import left_out, summary
from kernlab.escape import NO_MATH, escape_html, escape_terminal, show_controls
from kernlab.report.hashes import sha256_of
from kernlab.report.page.report_data import REPORT_MIME
from kernlab.report.story import story
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from kernlab.dump import Dump

_LIBRARIES = ("numpy", "pandas", "matplotlib")


class PageData:
    """A part of a report's head, with HTML for a notebook that shows it by itself."""

    def __init__(self, data: dict[str, Any], html: str, text: str):
        self.data, self._html, self._text = data, html, text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            REPORT_MIME: self.data,
            "text/html": f'<div class="kernlab-report {NO_MATH}">{self._html}</div>',
            "text/plain": self._text,
        }

    def __repr__(self) -> str:
        return self._text


def head(dump: Dump) -> PageData:
    """The title, which says what died, and a line of what machine it was and when."""
    told = story(dump)
    facts = summary(dump)
    when = dict(facts.rows).get("died", "at an unknown time")
    subtitle = show_controls(f"{facts.title}, died {when}")
    html = f"<h1>{escape_html(told.title)}</h1><p>{escape_html(subtitle)}</p>"
    return PageData(
        {"title": told.title, "subtitle": subtitle},
        html,
        f"{escape_terminal(told.title)}\n{escape_terminal(subtitle)}",
    )


def provenance(dump: Dump, *, sha256: bool = True) -> PageData:
    """Where the report comes from: the dump, its kernel, kernlab and its libraries, when it was made, what was lacking.

    The last cell of a report, when all has been read. sha256: hash the dump's files, too; `kernlab report` does that by
    itself meanwhile.
    """
    facts, file = dump.info, dump.kernel.file
    redaction = getattr(dump, "redaction", None)
    clean = redaction.text if redaction is not None else str
    rows = [["Dump", clean(file_names(dump))]]
    if facts["file_bytes"] is not None:
        rows.append(["Size", f"{human_bytes(facts['file_bytes'])} ({int(facts['file_bytes']):,} bytes)"])
    if sha256:
        rows += [
            [f"SHA-256 of {clean(path.name)}", sha256_of(path)] for path in files(dump) if path.is_file()
        ]
    rows += [
        ["Format", f"{facts['format']}, {file.frame_count:,} page frames of {file.page_size:,} bytes"],
        ["Left out of it", left_out(facts["dump_level"])],
        ["Kernel", f"{_text(facts['release'])} {_text(facts['version'])} {_text(facts['machine'])}"],
        ["Build ID of the kernel", _text(facts["build_id"])],
        [
            "Made with",
            f"kernlab {sys.modules['kernlab'].__version__}, Python {platform.python_version()}, {_libraries()}",
        ],
        ["Made", made()],
        ["Missing", _lost(dump)],
    ]
    data: dict[str, Any] = {"provenance": [[label, show_controls(value)] for label, value in rows]}
    if redaction is not None:
        data["redaction"] = {"level": redaction.level, "counts": dict(sorted(redaction.counts.items()))}
    else:
        data["redaction"] = {"level": "none", "counts": {}}
    if isinstance(facts["redacted"], str):
        data["redaction"]["before"] = facts["redacted"]
    body = "".join(
        f'<tr><th scope="row">{escape_html(label)}</th><td>{escape_html(value)}</td></tr>'
        for label, value in rows
    )
    text = "\n".join([f"{escape_terminal(label)}: {escape_terminal(value)}" for label, value in rows])
    return PageData(data, f"<h2>How this was made</h2><table><tbody>{body}</tbody></table>", text)


def file_names(dump: Dump) -> str:
    """The names of the dump's files, without the folders that they lie in."""
    return ", ".join(path.name for path in files(dump))


def files(dump: Dump) -> list[Path]:
    """The dump's files: one, or the pieces of a split dump."""
    pieces = dump.kernel.file.header.get("pieces")
    if not isinstance(pieces, list):
        pieces = [dump.kernel.file.path]
    return [Path(str(piece)) for piece in pieces]


def made() -> str:
    """When a report is made; SOURCE_DATE_EPOCH stands for now where it is set, as reproducible builds want it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = time.gmtime(int(epoch)) if re.fullmatch(r"\d{1,11}", epoch) else time.gmtime()
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", now)


def _libraries() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)


def _lost(dump: Dump) -> str:
    count = len(dump.problems)
    return (
        "nothing that was looked at"
        if not count
        else f"{count:,} {'thing' if count == 1 else 'things'}, listed above"
    )


def _text(value: Any) -> str:
    return "unknown" if value is None or value != value else str(value)
