"""`kernlab table`: one table of a dump, chosen, sorted, and written in the form that was asked for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

import kernlab
from kernlab.commands import completing
from kernlab.commands.options import (
    Columns,
    Descending,
    DumpFormat,
    Form,
    Limit,
    Output,
    Quiet,
    Redact,
    Sort,
    Vmcore,
    Where,
    form_of,
    open_dump,
)
from kernlab.commands.telling import tell, told_of
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = """
kernlab table vmcore tasks --where 'state == "D"' --columns pid,comm,start_time
kernlab table vmcore tasks --where 'mm->map_count > 100 and rss_bytes > 10M'
kernlab table vmcore memory_by_process --sort rss_bytes --descending --limit 10
kernlab table vmcore slab_objects dentry --format csv
kernlab table vmcore search kcompactd0 limit=100
kernlab table vmcore log -o log.parquet
kernlab table vmcore relay.channels --format jsonl
"""

EPILOG = (
    "In CSV and JSON addresses are hexadecimal text, spans of time seconds, times ISO 8601; what is missing is empty "
    "in CSV and null in JSON. CSV may be opened in a spreadsheet: text that one would compute (it begins with =, +, - "
    "or @) has an apostrophe before it, and control characters are made visible; csv-exact is for programs, and "
    "changes nothing. What the dump lacks for a table is told on standard error."
)


def table(
    vmcore: Vmcore,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=completing.table_names,
            help="a table (`kernlab tables` lists them), or VIEW.TABLE",
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGUMENT",
            autocompletion=completing.table_arguments,
            help="what a table with parameters takes, in order or by name: limit=100",
        ),
    ] = None,
    where: Where = None,
    columns: Columns = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = None,
    form: Form = None,
    output: Output = None,
    dump_format: DumpFormat = None,
    redact: Redact = "none",
    quiet: Quiet = False,
    csv: Annotated[bool, typer.Option("--csv", hidden=True)] = False,
    json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
    query: Annotated[str | None, typer.Option("--query", hidden=True)] = None,
    head: Annotated[int | None, typer.Option("--head", hidden=True)] = None,
) -> int:
    """Print one table of a dump: all of it, or the rows and columns that you choose."""
    from kernlab.commands.selecting import Selection, select
    from kernlab.commands.writing import write

    if csv and json:
        raise KernlabError("--csv and --json are two forms; choose one with --format")
    chosen = form_of("csv" if csv else "json" if json else form, output)
    if name is None:
        known = ", ".join(sorted(completing.names()))
        # A word that is a table's name is not a file: the other one was forgotten.
        wanted = f"VMCORE {vmcore}" if vmcore in completing.names() else f"{vmcore} NAME"
        raise KernlabError(f"name a dump and a table: kernlab table {wanted}. There are: {known}")
    selection = Selection(
        where=query if where is None else where,
        columns=columns,
        sort=sort,
        descending=descending,
        limit=head if limit is None else limit,
    )
    with open_dump(vmcore, dump_format, redact) as dump:
        found = find(dump, name, arguments or [])
        problems = told_of(found.attrs)
        frame = select(as_frame(found), selection)
        write(frame, chosen, output)
    tell(problems)
    return 0


def find(dump: kernlab.Dump, name: str, arguments: list[str]) -> pd.DataFrame | pd.Series[Any]:
    """The table `name`, or `table` of a view (`relay.channels`), called where it takes arguments.

    Raises KernlabError where there is none, naming the nearest, or where it does not take these arguments.
    """
    import pandas as pd

    from kernlab.util.text import nearest

    public = [word for word in dir(dump) if word[0] != "_"]
    found: Any = dump
    for step in name.split("."):
        held = public if found is dump else [word for word in dir(found) if word[0] != "_"]
        if step not in held:
            hint = nearest(step, held, 2) or "; `kernlab tables` lists what there is"
            raise KernlabError(f"there is no table {name!r}{hint}")
        found = getattr(found, step)
    if callable(found) and not isinstance(found, pd.DataFrame | pd.Series):
        given, named = _arguments(found, arguments)
        try:
            found = found(*given, **named)
        except KernlabError:
            # Some are TypeErrors, too.
            raise
        except TypeError as error:
            raise KernlabError(f"{name} does not take these arguments: {error}") from error
    elif arguments:
        raise KernlabError(f"{name} takes no arguments, but {' '.join(arguments)} was given")
    if not isinstance(found, pd.DataFrame | pd.Series):
        raise KernlabError(
            f"{name} is not a table but a {type(found).__name__}; `kernlab tables` lists the tables"
        )
    return found


def _arguments(function: Any, words: list[str]) -> tuple[list[int | str], dict[str, int | str]]:
    """What a table with parameters is given: in order, and by name where a word is `size=8` and it has a `size`."""
    known = inspect.signature(function).parameters
    given: list[int | str] = []
    named: dict[str, int | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in known:
            named[name] = _argument(value)
        else:
            given.append(_argument(word))
    return given, named


def _argument(word: str) -> int | str:
    try:
        return int(word, 0)
    except ValueError:
        return word


def as_frame(found: pd.DataFrame | pd.Series[Any]) -> pd.DataFrame:
    """A table as rows and columns: a Series' index, and an index that has a name, are columns."""
    import pandas as pd

    if isinstance(found, pd.DataFrame):
        # Numbers of rows say nothing outside of Python.
        named = [name for name in found.index.names if name is not None and name not in found.columns]
        return found.reset_index() if named and len(named) == found.index.nlevels else found
    return pd.DataFrame({"name": found.index.astype(str), "value": pd.Series(found.to_list(), dtype=object)})
