"""The summary card of a dump: its summary in, HTML or text out: what died, when, why, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.display.summary import Summary, as_text, summary
from kernlab.escape import NO_MATH, escape_html, escape_terminal
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Problems shown on the card; the others are counted and stay in `dump.problems`.
_MOST_PROBLEMS = 4
#: Characters of one fact: a command line has at most some 2,000, and a damaged one no end.
_LONGEST = 800

_STYLE = """
.kernlab-card{border:1px solid var(--jp-border-color2,rgba(128,128,128,.4));border-left:4px solid
var(--jp-error-color1,#c62828);border-radius:4px;padding:.8em 1.1em;max-width:62em;line-height:1.45;
font-family:var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit)}
.kernlab-card h3{margin:0 0 .25em;font-size:1.2em;font-weight:600;line-height:1.3;overflow-wrap:anywhere}
.kernlab-card p{margin:0 0 .3em;overflow-wrap:anywhere}
.kernlab-card .of,.kernlab-card .sure{color:var(--jp-ui-font-color2,inherit)}
.kernlab-card .of{font-size:.92em;margin:0 0 .15em}
.kernlab-card code{font-family:var(--jp-code-font-family,monospace);font-size:.92em}
.kernlab-card .why{font-family:var(--jp-code-font-family,monospace);margin:.35em 0 .6em;font-size:.95em}
.kernlab-card dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.1em;margin:.7em 0 0}
.kernlab-card dt{float:none;width:auto;margin:0;padding:0;font-weight:400;white-space:nowrap;
color:var(--jp-ui-font-color2,inherit)}
.kernlab-card dd{margin:0;padding:0;overflow-wrap:anywhere}
.kernlab-card .lost{margin:.7em 0 0;padding:.45em .8em;border-radius:3px;
background:rgba(255,167,38,.18)}
.kernlab-card .lost ul{margin:.2em 0 0;padding-left:1.2em}
"""


def card(dump: Dump) -> str:
    """The card as HTML."""
    told = summary(dump)
    return _page(told)


def plain(dump: Dump) -> str:
    """The card as text, for a terminal."""
    told = summary(dump)
    problems = [text.shorten(problem, _LONGEST) for problem in told.problems[:_MOST_PROBLEMS]]
    more = len(told.problems) - _MOST_PROBLEMS
    if more > 0:
        problems.append(f"… and {more:,} more in dump.problems")
    lost = ["", "Missing from this dump", *(f"- {escape_terminal(problem)}" for problem in problems)]
    return "\n".join([as_text(told), *(lost if problems else [])])


def _page(told: Summary) -> str:
    problems = told.problems
    items = "".join(
        f"<dt>{escape_html(name)}</dt><dd>{escape_html(text.shorten(value, _LONGEST))}</dd>"
        for name, value in told.rows
    )
    lost = ""
    if problems:
        shown = "".join(f"<li>{escape_html(problem)}</li>" for problem in problems[:_MOST_PROBLEMS])
        more = len(problems) - _MOST_PROBLEMS
        rest = f"<li>… and {more:,} more in <code>dump.problems</code></li>" if more > 0 else ""
        lost = f'<div class="lost"><b>Missing from this dump</b><ul>{shown}{rest}</ul></div>'
    return f'<style>{_STYLE}</style><div class="kernlab-card {NO_MATH}">{_first(told)}<dl>{items}</dl>{lost}</div>'


def _first(told: Summary) -> str:
    """What it died of, large, and how sure that is; where no verdict is, which machine it was, and its last words."""
    title, why = escape_html(told.title), escape_html(text.shorten(told.why, _LONGEST))
    if not told.told:
        return f'<h3>{title}</h3><p class="why">{why}</p>'
    because, sure = (escape_html(text.shorten(one, _LONGEST)) for one in told.told)
    return (
        f'<p class="of">{title}</p><h3>{why}</h3><p>{because}</p>'
        f'<p class="sure">{sure} <code>dump.verdict</code> has what shows it, and what else is wrong.</p>'
    )
