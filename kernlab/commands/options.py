"""What verbs of a dump share: the options that open it, that choose rows, and that say in which form they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

import kernlab
from kernlab.commands import completing, telling
from kernlab.commands.completing import FORMS
from kernlab.errors import KernlabError

#: Groups of options on a help page.
OPENING, ROWS, OUTPUT = "Opening the dump", "Rows and columns", "Output"

LEVELS = ("none", "share", "strict")

Vmcore = Annotated[str, typer.Argument(metavar="VMCORE", help="the dump file", show_default=False)]

DumpFormat = Annotated[
    str | None,
    typer.Option(
        "--dump-format",
        metavar="FORMAT",
        rich_help_panel=OPENING,
        autocompletion=completing.offering(completing.dump_formats),
        help="the dump's format, where its content does not tell: raw for a plain image of physical memory",
    ),
]
Redact = Annotated[
    str,
    typer.Option(
        "--redact",
        metavar="LEVEL",
        rich_help_panel=OPENING,
        autocompletion=completing.offering(lambda: LEVELS),
        help="what is private replaced, as in reports: none, share or strict (docs/redaction.md)",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=telling.be_quiet, help="no progress, no problems, no warnings: errors only"
    ),
]

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        rich_help_panel=ROWS,
        help='only rows for which it holds: columns, members (mm->map_count), numbers (10M), "text", == != < <= > >= '
        '=~ "glob*", + - * / % & | << >>, and or not',
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="A,B",
        rich_help_panel=ROWS,
        autocompletion=completing.columns,
        help="only these, in this order; a member of the rows' struct is one, too: signal->oom_score_adj",
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="A,B",
        rich_help_panel=ROWS,
        autocompletion=completing.columns,
        help="sort by these, the smallest first",
    ),
]
Descending = Annotated[
    bool, typer.Option("--descending", rich_help_panel=ROWS, help="sort the largest first")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=0, rich_help_panel=ROWS, help="only the first N rows"),
]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORM",
        rich_help_panel=OUTPUT,
        autocompletion=completing.offering(lambda: FORMS),
        help=f"{', '.join(FORMS)}; without it what the name of the file ends in says, else table",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="write there, whole or not at all (default: standard output)",
    ),
]


def open_dump(
    path: str | Sequence[str], dump_format: str | None = None, redact: str = "none", **more: Any
) -> kernlab.Dump:
    """The dump that was named, or the pieces of one; `more` is what `kernlab.open` takes. Raises KernlabError."""
    if redact not in LEVELS:
        raise KernlabError(f"--redact takes {', '.join(LEVELS)}, not {redact!r}")
    if redact != "none":
        more["redact"] = redact
    from kernlab.commands.given import files

    more = files() | more
    names = [path] if isinstance(path, str) else list(path)
    return kernlab.open(names[0] if len(names) == 1 else names, format=dump_format, **more)


def form_of(form: str | None, output: str | None, forms: Mapping[str, tuple[str, ...]] = FORMS) -> str:
    """The form that was named, or that a file's name ends in; the first of `forms` else. Raises KernlabError."""
    if form is None:
        named = [one for one, endings in forms.items() if output and output.lower().endswith(endings)]
        return named[0] if named else next(iter(forms))
    if form not in forms:
        from kernlab.util.text import nearest

        hint = nearest(form, forms, 1) or f"; there are {', '.join(forms)}"
        dump = "; the dump's own format is --dump-format" if form in completing.dump_formats() else ""
        raise KernlabError(f"--format takes no {form!r}{dump or hint}")
    return form
