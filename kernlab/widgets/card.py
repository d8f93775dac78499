"""The summary card of a dump: its `info` in, one block of HTML out: what died, when, why, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernlab import text
from kernlab.errors import KernlabError

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.dump import Dump

#: makedumpfile(8), -d: what each bit of the dump level leaves out.
_LEFT_OUT = {1: "zero pages", 2: "page cache", 4: "private page cache", 8: "user data", 16: "free pages"}

#: Problems shown on the card; the others are counted and stay in `dump.problems`.
_MOST_PROBLEMS = 4

_STYLE = """
.kernlab-card{border:1px solid var(--jp-border-color2,rgba(128,128,128,.4));border-left:4px solid
var(--jp-error-color1,#c62828);border-radius:4px;padding:.8em 1.1em;max-width:62em;line-height:1.45;
font-family:var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit)}
.kernlab-card h3{margin:0 0 .1em;font-size:1.15em;font-weight:600}
.kernlab-card .why{font-family:var(--jp-code-font-family,monospace);margin:.35em 0 .6em;font-size:.95em;
overflow-wrap:anywhere}
.kernlab-card dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.1em;margin:0}
.kernlab-card dt{color:var(--jp-ui-font-color2,inherit);opacity:.75}
.kernlab-card dd{margin:0;overflow-wrap:anywhere}
.kernlab-card .lost{margin:.7em 0 0;padding:.45em .8em;border-radius:3px;
background:var(--jp-warn-color3,rgba(255,167,38,.18));color:var(--jp-ui-font-color0,inherit)}
.kernlab-card .lost ul{margin:.2em 0 0;padding-left:1.2em}
"""


def card(dump: Dump) -> str:
    """The card as HTML. A dump so damaged that its facts cannot be read gives a card that says so."""
    try:
        facts = dump.info
    except KernlabError as error:
        return _page("A dump that tells nothing of itself", str(error), [("file", repr(dump))], [])
    title = f"Linux {_known(facts['release'])} on {_known(facts['nodename'], 'a machine without a name')}"
    rows = [
        ("died", _when(facts)),
        ("running", _who(facts)),
        ("machine", _machine(facts)),
        ("kernel", f"{_known(facts['version'], 'version unknown')} · taint: {_known(facts['taint'])}"),
        ("command line", _known(facts["cmdline"])),
        ("dump", _file(dump, facts)),
        ("left out", left_out(facts["dump_level"])),
    ]
    why = _known(
        facts["panic_message"], "The log names no cause: the machine was stopped, or its last words are lost."
    )
    return _page(title, why, rows, dump.problems)


def left_out(level: object) -> str:
    """What a makedumpfile dump level leaves out, in words."""
    if level is None or level != level:
        return "not said by the file"
    bits = int(str(level))
    names = [name for bit, name in _LEFT_OUT.items() if bits & bit]
    return f"{', '.join(names) or 'nothing'} (dump level {bits})"


def _page(title: str, why: str, rows: list[tuple[str, str]], problems: list[str]) -> str:
    items = "".join(
        f"<dt>{text.escape_html(name)}</dt><dd>{text.escape_html(value)}</dd>" for name, value in rows
    )
    lost = ""
    if problems:
        shown = "".join(f"<li>{text.escape_html(problem)}</li>" for problem in problems[:_MOST_PROBLEMS])
        more = len(problems) - _MOST_PROBLEMS
        rest = f"<li>… and {more:,} more in <code>dump.problems</code></li>" if more > 0 else ""
        lost = f'<div class="lost"><b>Missing from this dump</b><ul>{shown}{rest}</ul></div>'
    return (
        f'<style>{_STYLE}</style><div class="kernlab-card {text.NO_MATH}"><h3>{text.escape_html(title)}</h3>'
        f'<div class="why">{text.escape_html(why)}</div><dl>{items}</dl>{lost}</div>'
    )


def _known(value: Any, otherwise: str = "unknown") -> str:
    return otherwise if value is None or value != value or value == "" else str(value)


def _when(facts: pd.Series[Any]) -> str:
    time, up = facts["crash_time"], facts["uptime"]
    when = (
        f"{time:%Y-%m-%d %H:%M:%S} UTC"
        if time is not None and time == time
        else "at a time the dump does not say"
    )
    return f"{when}, {_span(up.total_seconds())} after boot" if up is not None and up == up else when


def _span(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, whole = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join([*shown, f"{whole} s"]) if days == 0 else " ".join(shown)


def _who(facts: pd.Series[Any]) -> str:
    if facts["panic_cpu"] is None:
        return "no CPU had panicked"
    return f"{_known(facts['panic_comm'])} (pid {_known(facts['panic_pid'])}) on CPU {facts['panic_cpu']}"


def _machine(facts: pd.Series[Any]) -> str:
    memory = facts["memory_bytes"]
    size = text.human_bytes(memory) if memory is not None else "memory unknown"
    cpus = facts["cpus"]
    return (
        f"{_known(facts['machine'])}, {_known(cpus)} CPU{'' if cpus == 1 else 's'} online, {size} of memory"
    )


def _file(dump: Dump, facts: pd.Series[Any]) -> str:
    file = dump.kernel.file
    kept = text.human_bytes(file.frame_count * file.page_size)
    size = facts["file_bytes"]
    packed = f"{text.human_bytes(size)} on disk, " if size is not None else ""
    return f"{facts['format']}, {packed}{kept} of memory in {file.frame_count:,} page frames"
