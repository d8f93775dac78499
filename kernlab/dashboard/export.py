"""A table in, a file of it out for the reader's browser to keep: CSV or Parquet, in pieces that a message may have."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import pandas as pd

from kernlab.dataframes.spreadsheets import for_spreadsheets
from kernlab.errors import KernlabError, MissingDependencyError

#: Bytes of one message; and of one file: a browser keeps all of it in memory.
PIECE = 1 << 20
MOST_BYTES = 512 << 20

_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True)
class File:
    """A file for the reader."""

    name: str
    type: str
    content: bytes


class Exports:
    """The file that was made last, while its pieces are asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[int, File] | None = None
        self._count = 0

    def make(self, name: str, table: pd.DataFrame, kind: str) -> dict[str, str | int]:
        """Make the file of a table: what the front end asks its pieces with. Raises KernlabError where it cannot be."""
        file = make(name, table, kind)
        with self._lock:
            self._count += 1
            self._made = (self._count, file)
            return {
                "file": self._count,
                "name": file.name,
                "type": file.type,
                "pieces": max(1, -(-len(file.content) // PIECE)),
            }

    def piece(self, file: int, piece: int) -> bytes:
        """One piece of the file; the last one lets it go. Raises KernlabError when another was made since."""
        with self._lock:
            if self._made is None or self._made[0] != file:
                raise KernlabError("this file is gone: another was made since; export it again")
            content = self._made[1].content
            start = piece * PIECE
            if piece < 0 or start > len(content):
                raise KernlabError(f"the file has no piece {piece:,}")
            if start + PIECE >= len(content):
                self._made = None
            return content[start : start + PIECE]


def make(name: str, table: pd.DataFrame, kind: str) -> File:
    """The file of a table; addresses are hexadecimal in CSV, and exact in both; text in CSV computes nothing.

    Raises KernlabError.
    """
    if kind not in _TYPES:
        raise KernlabError(f"a table is exported as {' or '.join(_TYPES)}, not as {kind!r}")
    stream = io.BytesIO()
    # What is shown may be any rows in any order: their numbers say nothing outside of here.
    plain = table.reset_index(drop=isinstance(table.index, pd.RangeIndex) or table.index.name is None)
    if kind == "csv":
        # A file that a browser saved is opened by a double click: nothing in it may be a formula.
        for_spreadsheets(plain).to_csv(stream, index=False)
    else:
        try:
            plain.to_parquet(stream, index=False)
        except ImportError as error:
            raise MissingDependencyError('Parquet needs pyarrow: pip install "kernlab[parquet]"') from error
    if stream.tell() > MOST_BYTES:
        raise KernlabError(
            f"{name} is a file of {stream.tell() >> 20:,} MiB, more than a browser should take: filter it first, or "
            f"write it in a notebook with .to_{kind}()"
        )
    return File(f"{name}.{kind}", _TYPES[kind], stream.getvalue())
