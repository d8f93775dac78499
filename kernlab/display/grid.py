"""`kernlab.show(df)`: a DataFrame in, an interactive grid out (sorting, search, pages), through itables.

Works without a network. The grid's scripts, a megabyte, are once in a page: in the output of the cell that showed
the first one. Where they do not run (an untrusted notebook, JavaScript off, that cell's output gone) a grid is a plain
table of its first rows.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from kernlab.dataframes.address import AddressDtype
from kernlab.display.cells import AT_RIGHT, duration, kind_of_column, readable
from kernlab.display.html import is_ours, to_html
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.escape import NO_MATH, escape_html, show_short
from kernlab.util.frontend import cell_name
from kernlab.util.text import Address, shorten

#: JavaScript's numbers are doubles: integers beyond go as text.
_LARGEST_EXACT = 1 << 53
_LONGEST_CELL = 500
#: Rows that go into a page unless more are asked for: all of them are in the notebook.
MOST_ROWS = 20_000
_PROBLEMS_SHOWN = 10

#: Shown in human units, sorted by what they are.
_HUMAN_SIZE = """function (data, type) {
  if (type !== 'display' || data === '' || data === null) { return data; }
  let value = Number(data), unit = 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  while (Math.abs(value) >= 1023.95 && unit < 6) { value /= 1024; unit += 1; }
  return unit ? value.toFixed(1) + ' ' + units[unit] : value + ' B';
}"""

#: A share of 1 as a percent, sorted by what it is.
_PERCENT = """function (data, type) {
  if (type !== 'display' || data === '' || data === null) { return data; }
  const share = Number(data);
  if (share !== 0 && Math.abs(share) < 0.0005) { return '< 0.1%'; }
  return (100 * share).toFixed(Math.abs(share) >= 0.1 || share === 0 ? 0 : 1) + '%';
}"""

#: Rows of the plain table that stands in for a grid.
_PLAIN_ROWS = 10

# DataTables has colours of its own, dark where the page was dark when its scripts were loaded. Here they are the
# page's, whatever it turns to.
_STYLE = """\
.kernlab-grid{overflow-x:auto;text-align:left;--dt-html-background:transparent;--dt-row-stripe:127,127,127;\
--dt-row-hover:127,127,127;--dt-column-ordering:127,127,127;--line:var(--jp-border-color2,#8886)}
.kernlab-grid td{font-variant-numeric:tabular-nums;unicode-bidi:isolate}
.kernlab-grid td.kernlab-address{font-family:var(--jp-code-font-family,monospace)}
.kernlab-grid.kernlab-grid :is(.dt-container,table,thead,tbody,tr,th,td){color:inherit;background-color:transparent;\
border-color:var(--line)}
.kernlab-grid.kernlab-grid tbody tr:nth-child(odd)>td{background-color:rgba(127,127,127,.07)}
.kernlab-grid.kernlab-grid tbody tr:hover>td{background-color:rgba(127,127,127,.18)}
.kernlab-grid.kernlab-grid :is(input,select,.dt-paging-button){color:inherit!important;border-color:var(--line)}
.kernlab-grid.kernlab-grid :is(input,select){background-color:transparent}
.kernlab-grid.kernlab-grid option{color:CanvasText;background-color:Canvas}
.kernlab-grid.kernlab-grid .dt-paging-button:is(.current,:hover:not(.disabled)){background:rgba(127,127,127,.2);\
border:1px solid var(--line)}
.kernlab-grid.kernlab-grid table[hidden],\
.kernlab-grid:has(.dt-container)>.kernlab-plain,.kernlab-grid:not(:has(.dt-container))>.kernlab-told{display:none}"""

#: What itables itself shows until the scripts have run: a logo, links to its pages, a table in its own style.
_WAITING = re.compile(
    r"(?<=<table id=\"itables_)([^>]*>)\s*<tbody>.*?</tbody>|<div id=\"[^\">]*_fallback\">.*?</table>\s*</div>",
    re.DOTALL,
)

#: The notebook's cell that carries the grids' scripts; the others use them.
_carrier: list[str] = []


def show(
    table: Any,
    *,
    max_rows: int | None = MOST_ROWS,
    human_sizes: bool = False,
    page_rows: int = 25,
    **options: Any,
) -> Grid:
    """An interactive grid of a DataFrame, or of a Series as names and values.

    Parameters: max_rows, how many rows go into the page (None: all); human_sizes, columns of bytes in KiB, MiB, …
    (they sort as numbers all the same); page_rows, rows a page; options, anything that itables takes.
    Addresses are hexadecimal, integers exact, control characters visible; nothing in a cell is markup.
    Raises MissingDependencyError without itables.

    >>> grid = kernlab.show(dump.tasks)
    """
    if isinstance(table, pd.Series):
        shown = table.to_frame("value").reset_index(names="name")
        shown.attrs = dict(table.attrs)
    elif isinstance(table, pd.DataFrame):
        shown = table
    else:
        raise KernlabError(
            f"a {type(table).__name__} is not a table; kernlab.show takes DataFrames and Series"
        )
    return Grid(shown, max_rows, human_sizes, page_rows, options)


class Grid:
    """What `kernlab.show` gives: shows itself as a grid in a notebook."""

    def __init__(
        self,
        table: pd.DataFrame,
        max_rows: int | None,
        human_sizes: bool,
        page_rows: int,
        options: dict[str, Any],
    ):
        self.table = table
        self._itables = _import()
        self._rows = len(table) if max_rows is None else min(max_rows, len(table))
        self._human_sizes, self._page_rows, self._options = human_sizes, page_rows, options

    def _repr_html_(self) -> str:
        itables = self._itables
        shown = for_grid(self.table.iloc[: self._rows])
        options: dict[str, Any] = {
            "classes": "display compact nowrap",
            "pageLength": self._page_rows,
            "lengthMenu": sorted({10, 25, 100, 500, self._page_rows}),
            "maxBytes": 0,
            "maxRows": 0,
            "maxColumns": 0,
            "showIndex": not isinstance(self.table.index, pd.RangeIndex),
            "connected": False,
            "allow_html": False,
            "style": "table-layout:auto;width:auto;margin:0",
            "columnDefs": self._columns(shown),
        }
        made = _WAITING.sub(r"\1", itables.to_html_datatable(shown, **(options | self._options)))
        plain = to_html(self.table, max_rows=_PLAIN_ROWS, human_sizes=self._human_sizes)
        return (
            f'<div class="kernlab-grid {NO_MATH}"><style>{_STYLE}</style>{_scripts(itables)}'
            f'<div class="kernlab-told">{self._caption()}</div>{made}<div class="kernlab-plain">{plain}'
            "<small>Not all of it can be used here: the scripts of kernlab.show are with the first grid of a notebook, "
            "or did not run. Run this cell again.</small></div></div>"
        )

    def _columns(self, shown: pd.DataFrame) -> list[dict[str, Any]]:
        """DataTables' rules for columns, by position: the index's levels come first where it is shown."""
        first = 0 if isinstance(self.table.index, pd.RangeIndex) else 1
        pairs = list(enumerate(zip(self.table.columns, self.table.dtypes, strict=True), first))
        rules: list[dict[str, Any]] = []
        addresses = [i for i, (_, dtype) in pairs if isinstance(dtype, AddressDtype)]
        if addresses:
            # As numbers they would be sorted as doubles, and neighbours would be equal.
            rules.append({"targets": addresses, "type": "string", "className": "dt-left kernlab-address"})
        numbers = [i for i, (name, dtype) in pairs if kind_of_column(str(name), dtype) in AT_RIGHT]
        others = [i for i, _ in pairs if i not in addresses and i not in numbers]
        for side, columns in (("right", numbers), ("left", others)):
            if columns:
                rules.append({"targets": columns, "className": f"dt-{side}"})
        sizes = [i for i, (name, _) in pairs if str(name) == "bytes" or str(name).endswith("_bytes")]
        if self._human_sizes and sizes:
            rules.append({"targets": sizes, "render": self._itables.JavascriptFunction(_HUMAN_SIZE)})
        shares = [i for i, (name, dtype) in pairs if kind_of_column(str(name), dtype) == "share"]
        if shares:
            rules.append({"targets": shares, "render": self._itables.JavascriptFunction(_PERCENT)})
        return rules

    def _caption(self) -> str:
        rows, columns = self.table.shape
        attrs = self.table.attrs if is_ours(self.table) else {}
        name = f"<b>{escape_html(str(attrs['table']))}</b> · " if attrs.get("table") else ""
        cut = f", the first {self._rows:,} here (max_rows=None takes all)" if self._rows < rows else ""
        told = [str(problem) for problem in attrs.get("problems", ())]
        items = "".join(
            f"<li>{escape_html(shorten(problem, 500))}</li>" for problem in told[:_PROBLEMS_SHOWN]
        )
        count = f"{len(told):,} {'problem' if len(told) == 1 else 'problems'}: something was lost here"
        lost = (
            f'<div style="border-left:3px solid var(--jp-warn-color1,#d80);padding:2px 8px">'
            f"{count}<ul>{items}</ul></div>"
            if told
            else ""
        )
        return f"<div>{name}{rows:,} rows × {columns:,} columns{cut}</div>{lost}"

    def __repr__(self) -> str:
        return f"<grid of {len(self.table):,} rows × {len(self.table.columns):,} columns>"


def for_grid(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with cells that mean the same in JavaScript: small integers, floats and text."""
    columns = {i: _column(str(name), table.iloc[:, i]) for i, name in enumerate(table.columns)}
    shown = pd.DataFrame(columns, index=_index(table.index))
    shown.columns = pd.Index([show_short(str(name), _LONGEST_CELL) for name in table.columns], dtype=object)
    return shown


def _index(index: pd.Index) -> pd.Index:
    if isinstance(index, pd.RangeIndex):
        return index
    cells: pd.Index[Any] = pd.Index([_cell(item) for item in index], dtype=object)
    return cells if index.nlevels > 1 else cells.rename(_cell(index.name))


def _column(name: str, column: pd.Series) -> Any:
    # Bits that a decimal number hides.
    flags = kind_of_column(name, column.dtype) == "flags"
    items = [readable("flags", item)[0] if flags else _cell(item) for item in column.array]
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result


def _cell(item: Any) -> Any:
    if item is None or item is pd.NA or item is pd.NaT or item != item:
        return ""
    if isinstance(item, Address):
        return str(item)
    if isinstance(item, bool | np.bool_):
        return str(bool(item))
    if isinstance(item, int | np.integer):
        return int(item) if abs(int(item)) < _LARGEST_EXACT else str(int(item))
    if isinstance(item, float | np.floating):
        return float(item) if np.isfinite(item) else str(item)
    if isinstance(item, pd.Timedelta):
        return duration(item)
    return show_short(str(item), _LONGEST_CELL)


def _import() -> Any:
    try:
        import itables
    except ImportError as error:
        raise MissingDependencyError('the grid needs itables: pip install "kernlab[jupyter]"') from error
    return itables


def _scripts(itables: Any) -> str:
    """The grid's scripts, a megabyte: once a notebook, in the output of the cell that showed the first grid."""
    cell = cell_name()
    if cell and _carrier and _carrier[0] != cell:
        return ""
    if cell:
        _carrier[:] = [cell]
    from itables import javascript, options

    made: str = javascript.generate_init_offline_itables_html(options.dt_bundle)
    # Only the scripts: its remark on trust is for a cell of its own.
    return made.partition("<div")[0]
