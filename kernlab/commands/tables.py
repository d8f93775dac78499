"""`kernlab info`, `tables` and `table`: a dump's summary and its tables, as text, CSV or JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import kernlab
from kernlab.commands.opening import add_opening, open_dump, tell
from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal
from kernlab.util.text import Address, nearest

if TYPE_CHECKING:
    import pandas as pd


def add_parser(commands: Any) -> None:
    """Add `info`, `tables` and `table` to the subparsers of `kernlab`."""
    info = commands.add_parser("info", help="what a dump is, and how the machine died")
    info.add_argument("dump", metavar="DUMP", nargs="+", help="the dump file; of a split dump all pieces")
    info.add_argument("--json", action="store_true", help="every fact by its name, as JSON")
    add_opening(info)
    info.set_defaults(run=_info)

    tables = commands.add_parser("tables", help="the tables that a dump gives, each with its description")
    tables.add_argument(
        "dump", metavar="DUMP", nargs="*", help="a dump; its traces are listed, too, if it has any"
    )
    add_opening(tables)
    tables.set_defaults(run=_tables)

    table = commands.add_parser(
        "table",
        help="one table of a dump, as text, CSV or JSON",
        description="Prints a table. What the dump lacks for it is said on standard error.",
        epilog="Examples: kernlab table vmcore tasks --query 'state == \"D\"' --columns pid,comm;  "
        "kernlab table vmcore slab_objects dentry --csv;  kernlab table vmcore relay.channels",
    )
    table.add_argument("dump", metavar="DUMP", help="the dump file")
    name = table.add_argument(
        "name", metavar="NAME", nargs="?", help="a table (kernlab tables lists them), or VIEW.TABLE"
    )
    name.completer = _names
    words = table.add_argument(
        "arguments", metavar="ARGUMENT", nargs="*", help="what a table with parameters takes"
    )
    words.completer = _words
    form = table.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="as CSV")
    form.add_argument(
        "--json", action="store_true", help="as a JSON list of rows; addresses as strings, times as seconds"
    )
    table.add_argument("--query", metavar="EXPRESSION", help="only rows for which it holds (DataFrame.query)")
    columns = table.add_argument("--columns", metavar="A,B", help="only these columns, in this order")
    sort = table.add_argument("--sort", metavar="COLUMN", help="sort by a column")
    columns.completer = sort.completer = _columns
    table.add_argument("--descending", action="store_true", help="the largest first")
    table.add_argument("--head", metavar="N", type=int, help="only the first N rows")
    add_opening(table)
    table.set_defaults(run=_table)


def _info(arguments: argparse.Namespace) -> int:
    with open_dump(arguments) as dump:
        if arguments.json:
            facts = {str(key): _plain(value) for key, value in dump.info.items()}
            print(json.dumps(facts | {"problems": dump.problems}, indent=1))
            return 0
        from kernlab.display.summary import as_text, summary

        said = summary(dump)
    print(as_text(said))
    tell(list(said.problems))
    return 0


#: Tables of a view: what the traces of a dump are asked for.
_OF_VIEWS = {
    "relay.channels": "Relay channels, one row per CPU, with what they hold and what they lost.",
    "ftrace.instances": "Instances of ftrace, with their clocks and tracers.",
    "ftrace.counts": "Events in the trace buffers, how many of each kind.",
    "ftrace.all": "Every event in the trace buffers.",
}


def _names(**_: Any) -> list[str]:
    """What may stand for NAME, for the shell."""
    from kernlab.dump import TABLES

    return [*TABLES, *_OF_VIEWS]


def _columns(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Columns of the table that is named already, for the shell; after a comma one more."""
    from kernlab.dump import TABLES

    if parsed_args.name not in TABLES:
        return []
    before = prefix.rpartition(",")[0]
    return [f"{before},{name}" if before else name for name in TABLES.load(parsed_args.name).columns]


def _words(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """What a table with parameters may be given, for the shell: what a notebook offers for the same call."""
    from kernlab.jupyter.completion import suggestions

    # The shell asks for what may follow NAME also while NAME itself is typed.
    if parsed_args.name not in _names():
        return []
    try:
        with kernlab.open(parsed_args.dump, format=parsed_args.format) as dump:
            return [offer.text for offer in suggestions(f'dump.{parsed_args.name}("{prefix}', {"dump": dump})]
    except KernlabError:
        return []


def _tables(arguments: argparse.Namespace) -> int:
    from kernlab.dump import TABLES

    listed = {
        name: f"{entry.description}{' Takes arguments.' if entry.is_method else ''}"
        for name, entry in sorted(TABLES.items())
    }
    if arguments.dump:
        with open_dump(arguments) as dump:
            if len(dump.relay.channels):
                listed |= {name: text for name, text in _OF_VIEWS.items() if name.startswith("relay.")}
            if len(dump.ftrace.counts):
                listed |= {name: text for name, text in _OF_VIEWS.items() if name.startswith("ftrace.")}
    margin = max(map(len, listed))
    for name, description in listed.items():
        print(f"{name:<{margin}}  {description}")
    return 0


def _table(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        known = ", ".join(sorted(_names()))
        # A word that is a table's name is not a file: the other one was forgotten.
        wanted = f"DUMP {arguments.dump}" if arguments.dump in _names() else f"{arguments.dump} NAME"
        raise KernlabError(f"name a dump and a table: kernlab table {wanted}. There are: {known}")
    with open_dump(arguments) as dump:
        found = _find(dump, arguments.name, arguments.arguments)
        problems = list(found.attrs.get("problems", []))
        table = _select(_as_frame(found), arguments)
    if arguments.json:
        _print_json(table)
    elif arguments.csv:
        text = _with_seconds(table).to_csv(index=False, lineterminator="\n")
        # A file gets what the kernel held; a terminal would act on some of it.
        sys.stdout.write(escape_terminal(text, lines=True) if sys.stdout.isatty() else text)
    else:
        _print_text(table)
    tell(problems)
    return 0


def _find(dump: kernlab.Dump, name: str, arguments: list[str]) -> pd.DataFrame | pd.Series[Any]:
    """The table `name`, or `table` of a view (`relay.channels`), called where it takes arguments."""
    import pandas as pd

    public = [word for word in dir(dump) if word[0] != "_"]
    found: Any = dump
    for step in name.split("."):
        held = public if found is dump else [word for word in dir(found) if word[0] != "_"]
        if step not in held:
            hint = nearest(step, held, 2) or "; `kernlab tables` lists what there is"
            raise KernlabError(f"there is no table {name!r}{hint}")
        found = getattr(found, step)
    if callable(found) and not isinstance(found, pd.DataFrame | pd.Series):
        try:
            found = found(*(_argument(word) for word in arguments))
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


def _argument(word: str) -> int | str:
    try:
        return int(word, 0)
    except ValueError:
        return word


def _as_frame(found: pd.DataFrame | pd.Series[Any]) -> pd.DataFrame:
    import pandas as pd

    if isinstance(found, pd.DataFrame):
        return found
    return pd.DataFrame({"name": found.index.astype(str), "value": pd.Series(found.to_list(), dtype=object)})


def _select(table: pd.DataFrame, arguments: argparse.Namespace) -> pd.DataFrame:
    if arguments.query is not None:
        # pandas raises whatever the expression leads it to: syntax, names, types.
        try:
            table = table.query(arguments.query, engine="python", local_dict={}, global_dict={})
        except Exception as error:
            raise KernlabError(
                f"--query {arguments.query}: {error}. The columns are: {', '.join(map(str, table.columns))}"
            ) from error
    if arguments.sort is not None:
        _check(table, [arguments.sort])
        table = table.sort_values(arguments.sort, ascending=not arguments.descending, kind="stable")
    if arguments.head is not None:
        table = table.head(max(arguments.head, 0))
    if arguments.columns is not None:
        columns = [name.strip() for name in arguments.columns.split(",")]
        _check(table, columns)
        table = table[columns]
    return table


def _check(table: pd.DataFrame, columns: list[str]) -> None:
    for name in columns:
        if name not in table.columns:
            raise KernlabError(
                f"there is no column {name!r}; the columns are: {', '.join(map(str, table.columns))}"
            )


def _print_text(table: pd.DataFrame) -> None:
    """Rows of aligned columns, text to the left; line feeds and other controls in a cell are made visible."""
    cells = []
    table = _with_seconds(table)
    for number, name in enumerate(table.columns):
        column = table.iloc[:, number]
        left = not (_is_number(column) and str(column.dtype) != "object")
        shown = ["" if _missing(value) else escape_terminal(str(value)) for value in column]
        width = max(map(len, [str(name), *shown]))
        cells.append([f"{word:<{width}}" if left else f"{word:>{width}}" for word in [str(name), *shown]])
    sys.stdout.writelines(f"{'  '.join(row).rstrip()}\n" for row in zip(*cells, strict=True))


def _with_seconds(table: pd.DataFrame) -> pd.DataFrame:
    """Spans of time as seconds with nine digits: what people and programs read alike."""
    import pandas as pd

    spans = [name for name in table.columns if table[name].dtype.kind == "m"]
    seconds = {
        name: [None if _missing(span) else f"{Decimal(span.value).scaleb(-9):.9f}" for span in table[name]]
        for name in spans
    }
    return table.assign(
        **{str(name): pd.Series(text, index=table.index, dtype="str") for name, text in seconds.items()}
    )


def _is_number(column: pd.Series[Any]) -> bool:
    from pandas.api import types

    return bool(types.is_numeric_dtype(column.dtype)) and not types.is_bool_dtype(column.dtype)


def _print_json(table: pd.DataFrame) -> None:
    """A list of objects, one row a line."""
    columns = [[_plain(value) for value in table.iloc[:, number]] for number in range(table.shape[1])]
    names = [str(name) for name in table.columns]
    sys.stdout.write("[")
    for number, row in enumerate(zip(*columns, strict=True)):
        sys.stdout.write(f"{',' if number else ''}\n{json.dumps(dict(zip(names, row, strict=True)))}")
    sys.stdout.write("\n]\n")


def _missing(value: Any) -> bool:
    # NaN, NaT and pandas' NA are what does not equal itself; NA will not even say so.
    import pandas as pd

    return value is None or value is pd.NA or (not isinstance(value, str) and value != value)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: missing null, addresses hexadecimal strings, times ISO 8601, spans of time seconds."""
    import numpy as np
    import pandas as pd

    if _missing(value):
        return None
    if isinstance(value, pd.Timedelta | np.timedelta64):
        return pd.Timedelta(value).value / 1e9
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [_plain(each) for each in value]
    return str(value)
