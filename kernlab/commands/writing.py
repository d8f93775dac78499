"""A table in; text, CSV, JSON, JSON lines or Parquet out, on standard output or in a file that appears whole."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kernlab.commands.telling import note
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.escape import escape_terminal
from kernlab.util.files import whole_file
from kernlab.util.text import Address

if TYPE_CHECKING:
    import pandas as pd


def write(table: pd.DataFrame, form: str, output: str | None) -> None:
    """Write a table in one of `options.FORMS`. Raises KernlabError, and OSError with the file's name."""
    if form == "parquet":
        write_bytes(parquet(table), output)
        return
    make = {
        "table": text_lines,
        "csv": csv_lines,
        "csv-exact": exact_csv_lines,
        "json": json_lines,
        "jsonl": jsonl_lines,
    }[form]
    write_lines(make(table), output)


def write_lines(lines: Iterable[str], output: str | None) -> None:
    """Write lines, line feeds and all; those that could act on a terminal are made visible there."""
    if output is None:
        shown = sys.stdout.isatty()
        sys.stdout.writelines(escape_terminal(line, lines=True) if shown else line for line in lines)
        return
    with (
        _file(output) as path,
        path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out,
    ):
        out.writelines(lines)


def write_bytes(data: bytes, output: str | None) -> None:
    """Write bytes, which no terminal is for. Raises KernlabError, and OSError with the file's name."""
    if output is None:
        if sys.stdout.isatty():
            raise KernlabError("this is nothing for a terminal: name a file with -o")
        stream: IO[bytes] = sys.stdout.buffer
        stream.write(data)
        return
    with _file(output) as path:
        path.write_bytes(data)


@contextmanager
def _file(output: str) -> Iterator[Path]:
    with whole_file(Path(output)) as path:
        yield path
    note(f"Written to {output}.")


def text_lines(table: pd.DataFrame) -> Iterator[str]:
    """Rows of aligned columns, text to the left; line feeds and other controls in a cell are made visible."""
    cells = []
    table = with_seconds(table)
    for number, name in enumerate(table.columns):
        column = table.iloc[:, number]
        left = not (_is_number(column) and str(column.dtype) != "object")
        shown = ["" if missing(value) else escape_terminal(str(value)) for value in column]
        head = escape_terminal(str(name))
        width = max(map(len, [head, *shown]))
        cells.append([f"{word:<{width}}" if left else f"{word:>{width}}" for word in [head, *shown]])
    return (f"{'  '.join(row).rstrip()}\n" for row in zip(*cells, strict=True))


def csv_lines(table: pd.DataFrame) -> Iterator[str]:
    """CSV with a head, for spreadsheets, too: an apostrophe before text that one would compute, no control characters.

    Spans of time are seconds with nine digits, addresses hexadecimal.
    """
    from kernlab.dataframes.spreadsheets import for_spreadsheets

    return exact_csv_lines(for_spreadsheets(table))


def exact_csv_lines(table: pd.DataFrame) -> Iterator[str]:
    """The same for programs: text exactly as the kernel held it."""
    stream = io.StringIO()
    with_seconds(table).to_csv(stream, index=False, lineterminator="\n")
    stream.seek(0)
    return iter(stream)


def json_lines(table: pd.DataFrame) -> Iterator[str]:
    """A list of objects, one row a line."""
    yield "["
    for number, row in enumerate(_objects(table)):
        yield f"{',' if number else ''}\n{row}"
    yield "\n]\n"


def jsonl_lines(table: pd.DataFrame) -> Iterator[str]:
    """An object a line."""
    return (f"{row}\n" for row in _objects(table))


def _objects(table: pd.DataFrame) -> Iterator[str]:
    columns = [[plain(value) for value in table.iloc[:, number]] for number in range(table.shape[1])]
    names = [str(name) for name in table.columns]
    return (json.dumps(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def parquet(table: pd.DataFrame) -> bytes:
    """A Parquet file: addresses, times and missing values exactly as they are. Raises KernlabError."""
    stream = io.BytesIO()
    try:
        table.reset_index(drop=True).to_parquet(stream, index=False)
    except ImportError as error:
        raise MissingDependencyError('Parquet needs pyarrow: pip install "kernlab[parquet]"') from error
    except (ValueError, TypeError) as error:
        # pyarrow's own errors are these: a column that mixes numbers with text, two columns of one name.
        raise KernlabError(f"this table does not go into Parquet: {error}") from error
    return stream.getvalue()


def with_seconds(table: pd.DataFrame) -> pd.DataFrame:
    """Spans of time as seconds with nine digits: what people and programs read alike."""
    import pandas as pd

    spans = [number for number in range(table.shape[1]) if table.dtypes.iloc[number].kind == "m"]
    if not spans:
        return table
    table = table.copy(deep=False)
    for number in spans:
        text = [
            None if missing(span) else f"{Decimal(pd.Timedelta(span).as_unit('ns').value).scaleb(-9):.9f}"
            for span in table.iloc[:, number]
        ]
        table.isetitem(number, pd.array(text, dtype="str"))
    return table


def _is_number(column: pd.Series[Any]) -> bool:
    from pandas.api import types

    return bool(types.is_numeric_dtype(column.dtype)) and not types.is_bool_dtype(column.dtype)


def missing(value: Any) -> bool:
    """Is there no value? NaN, NaT and pandas' NA are what does not equal itself; NA will not even say so."""
    import pandas as pd

    return value is None or value is pd.NA or (not isinstance(value, str) and _differs(value))


def _differs(value: Any) -> bool:
    # Arrays and lists are never missing; what they hold may be.
    return not hasattr(value, "__len__") and bool(value != value)


def plain(value: Any) -> Any:
    """A cell as JSON has it: missing null, addresses hexadecimal strings, times ISO 8601, spans of time seconds."""
    import numpy as np
    import pandas as pd

    if missing(value):
        return None
    if isinstance(value, pd.Timedelta | np.timedelta64):
        return pd.Timedelta(value).as_unit("ns").value / 1e9
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        # JSON has no word for these.
        return None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return str(value)
