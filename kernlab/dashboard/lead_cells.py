"""The cell of a lead or a finding in, what it shows out: its code is walked, step by step, and never evaluated.

The cells of `suspects` and `verdict` are kernlab's own, but they quote names that stand in the dump. What is known here
are the dump's tables, stacks and plots, and the few ways in which a cell picks rows of them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

from kernlab.dump import TABLES
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    from kernlab.dump import Dump

_LONGEST = 2000

_PICKS = frozenset({"head", "tail", "nlargest", "nsmallest", "sort_values", "isna", "notna", "groupby"})
_SUMS = frozenset({"mean", "sum", "size", "count", "min", "max", "value_counts", "nunique"})
#: What may be asked of what; columns of a frame besides.
_METHODS: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    (pd.DataFrame, _PICKS | {"loc", "iloc"}),
    (pd.Series, _PICKS | _SUMS | {"loc", "iloc", "str", "isin"}),
    ((DataFrameGroupBy, SeriesGroupBy), _SUMS),
)
_TEXT_METHODS = frozenset({"contains", "startswith", "endswith", "fullmatch"})

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COMBINE: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}


@dataclass(frozen=True)
class PlotCell:
    """A cell that draws: `dump.plot.name(*given, **named)`."""

    name: str
    given: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)


def show(dump: Dump, code: str) -> pd.DataFrame | pd.Series[Any] | PlotCell:
    """What a lead's cell shows. Raises KernlabError for code that does more than pick rows of tables, or draw."""
    if len(code) > _LONGEST:
        raise KernlabError(f"a cell of {len(code):,} characters is not one of a lead")
    try:
        body = ast.parse(code, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise KernlabError(f"this is not the cell of a lead: {error}") from error
    if (plot := _plot(body)) is not None:
        return plot
    if (given := _called(body, "stack", _is_dump)) is not None:
        return dump.stack(*given[0], **given[1]).frames
    if isinstance(body, ast.Attribute) and _is_dump(body.value) and body.attr == "problems":
        return pd.DataFrame({"problem": list(dump.problems)}, dtype="str")
    shown = _value(dump, body)
    if isinstance(shown, pd.DataFrame | pd.Series):
        return shown
    raise KernlabError(f"{code} gives {type(shown).__name__}, and not a table")


def _plot(node: ast.expr) -> PlotCell | None:
    given = _called(
        node, None, lambda on: isinstance(on, ast.Attribute) and on.attr == "plot" and _is_dump(on.value)
    )
    if given is None or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    return PlotCell(node.func.attr, *given)


def _called(
    node: ast.expr, name: str | None, on: Callable[[ast.expr], bool]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a call of `name` (None: of any), a method of what `on` knows; None of anything else."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if not on(node.func.value) or name not in (None, node.func.attr):
        return None
    named = {each.arg: _constant(each.value) for each in node.keywords if each.arg is not None}
    return tuple(_constant(each) for each in node.args), named


def _is_dump(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "dump"


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _refused(node) from None


def _value(dump: Dump, node: ast.expr) -> Any:
    match node:
        case ast.Attribute(value=inner, attr=name):
            return _member(dump, node, inner, name)
        case ast.Call(func=ast.Attribute() as function, args=args, keywords=keywords):
            called = _value(dump, function)
            if not callable(called):
                raise _refused(node)
            named = {each.arg: _constant(each.value) for each in keywords if each.arg is not None}
            return called(*(_constant(each) for each in args), **named)
        case ast.Subscript(value=inner, slice=key):
            return _value(dump, inner)[_value(dump, key)]
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(dump, left), _value(dump, right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMBINE:
            return _COMBINE[type(op)](_value(dump, left), _value(dump, right))
        case ast.Slice(lower=lower, upper=upper, step=None):
            return slice(*(None if one is None else _constant(one) for one in (lower, upper)))
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            return ~_value(dump, inner)
        case _:
            return _constant(node)


def _member(dump: Dump, node: ast.expr, inner: ast.expr, name: str) -> Any:
    if _is_dump(inner):
        if name in TABLES:
            return getattr(dump, name)
        raise _refused(node)
    if isinstance(inner, ast.Attribute) and inner.attr == "str" and name in _TEXT_METHODS:
        text = _value(dump, inner)
        return getattr(text, name)
    value = _value(dump, inner)
    if isinstance(value, pd.DataFrame) and name in value.columns:
        return value[name]
    if isinstance(value, DataFrameGroupBy) and name in value.obj.columns:
        return value[name]
    for kinds, known in _METHODS:
        if isinstance(value, kinds) and name in known:
            return getattr(value, name)
    raise _refused(node)


def _refused(node: ast.expr) -> KernlabError:
    return KernlabError(f"{ast.unparse(node)[:200]} is more than the explorer runs; a notebook's cell can")
