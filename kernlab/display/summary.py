"""A dump in, its summary in words out: what died, when, why, who was running, and what the file left out."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernlab.display.headline import headline
from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.escape import escape_terminal, show_controls
from kernlab.util import text

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.dump import Dump

#: makedumpfile(8), -d: what each bit of the dump level leaves out.
_LEFT_OUT = {1: "zero pages", 2: "page cache", 4: "private page cache", 8: "user data", 16: "free pages"}

#: What one summary may take, for a server that makes them of files it knows nothing of.
_MOST_MEMORY = 6 << 30
_MOST_SECONDS = 60


@dataclass(frozen=True)
class Summary:
    """What a dump says of itself. The strings come from the dump: whoever shows them escapes them."""

    title: str
    #: What it died of, in one line: the verdict's, else the kernel's own words.
    why: str
    #: Pairs of a name and what there is to say.
    rows: tuple[tuple[str, str], ...]
    #: What is missing, as the file and the tables built so far say it.
    problems: tuple[str, ...]
    #: Why in a sentence, and how sure that is; none where there is no verdict.
    told: tuple[str, ...] = ()


def summary(dump: Dump) -> Summary:
    """The summary of a dump. One so damaged that its facts cannot be read gives a summary that says so."""
    try:
        facts = dump.info
    except KernlabError as error:
        return Summary("A dump without information about itself", str(error), (("file", repr(dump)),), ())
    said = _known(
        facts["panic_message"],
        f"Why the machine died is unknown: {unread}"
        if (unread := _unread(facts, "panic_message"))
        else "The machine is running; its log tells of nothing that went wrong."
        if dump.kernel.changes
        else "The log names no cause: the machine was stopped, or its last words are lost.",
    )
    first = headline(dump)
    rows = (
        *([("last words", said)] if first else []),
        *(
            [("running", _up(facts))]
            if dump.kernel.changes
            else [("died", _when(facts)), ("running", _who(facts))]
        ),
        ("machine", _machine(facts)),
        ("kernel", f"{_told(facts, 'version')} · taint: {_told(facts, 'taint')}"),
        ("command line", _told(facts, "cmdline")),
        ("dump", _file(dump, facts)),
        *([] if dump.kernel.changes else [("left out", left_out(facts["dump_level"]))]),
        *([("redacted", f"at level {facts['redacted']}")] if _known(facts["redacted"], "") else []),
    )
    title = f"Linux {_known(facts['release'])} on {_known(facts['nodename'], 'a machine without a name')}"
    problems = tuple(dump.problems)
    if first is None:
        return Summary(title, said, rows, problems)
    return Summary(title, first.title, rows, problems, (first.because, first.sure))


def as_text(told: Summary) -> str:
    """A summary for a terminal: its title, why the machine died and how sure that is, and a line a fact; what is
    missing is left to who shows it.
    """
    margin = max(len(name) for name, _ in told.rows)
    lines = [
        told.title,
        told.why,
        *told.told,
        "",
        *(f"{name:<{margin}}  {value}" for name, value in told.rows),
    ]
    return "\n".join(map(escape_terminal, lines))


def left_out(level: object) -> str:
    """What a makedumpfile dump level leaves out, in words."""
    if level is None or level != level:
        return "not said by the file"
    bits = int(str(level))
    names = [name for bit, name in _LEFT_OUT.items() if bits & bit]
    return f"{', '.join(names) or 'nothing'} (dump level {bits})"


def _known(value: Any, otherwise: str = "unknown") -> str:
    return otherwise if value is None or value != value or value == "" else str(value)


def _unread(facts: pd.Series[Any], fact: str) -> str:
    """Why a fact could not be read; '' for one that could, be there a value or none."""
    return str(facts.attrs.get("unknown", {}).get(fact, ""))


def _told(facts: pd.Series[Any], fact: str) -> str:
    """A fact, or why it is not known."""
    unread = _unread(facts, fact)
    return _known(facts[fact], f"unknown ({unread})" if unread else "unknown")


def _when(facts: pd.Series[Any]) -> str:
    time, up = facts["crash_time"], facts["uptime"]
    when = f"{time:%Y-%m-%d %H:%M:%S} UTC" if time is not None and time == time else "at an unknown time"
    if facts["crash_time_source"] is not None and "clock" in facts["crash_time_source"]:
        when += f" by {facts['crash_time_source']}"
    return (
        f"{when}, {text.human_time(up.total_seconds())} after boot" if up is not None and up == up else when
    )


def _up(facts: pd.Series[Any]) -> str:
    """Since when a machine runs, and when it was looked at."""
    up = facts["uptime"]
    since = f" for {text.human_time(up.total_seconds())}" if up is not None and up == up else ""
    return f"live{since}, as of {facts.attrs['window']['end'][:19].replace('T', ' ')} UTC"


def _who(facts: pd.Series[Any]) -> str:
    if facts["panic_cpu"] is None:
        unread = _unread(facts, "panic_cpu")
        return f"unknown ({unread})" if unread else "no CPU had panicked"
    return f"{_known(facts['panic_comm'])} (pid {_known(facts['panic_pid'])}) on CPU {facts['panic_cpu']}"


def _machine(facts: pd.Series[Any]) -> str:
    memory = facts["memory_bytes"]
    cpus = facts["cpus"]
    parts = [
        _known(facts["machine"]),
        f"{cpus} CPU{'' if cpus == 1 else 's'} online" if cpus is not None else "CPUs unknown",
        f"{text.human_bytes(memory)} of memory" if memory is not None else "memory unknown",
    ]
    unread = _unread(facts, "cpus") or _unread(facts, "memory_bytes")
    return ", ".join(parts) + (f" ({unread})" if unread else "")


def _file(dump: Dump, facts: pd.Series[Any]) -> str:
    file = dump.kernel.file
    kept = text.human_bytes(file.frame_count * file.page_size)
    size = facts["file_bytes"]
    packed = f"{text.human_bytes(size)} on disk, " if size is not None else ""
    return f"{facts['format']}, {packed}{kept} of memory in {file.frame_count:,} page frames"


def opens_alone(name: str) -> bool:
    """Whether a table can be shown by its name: it has no parameters, or none without a default. Builds nothing."""
    if not TABLES[name].is_method:
        return True
    _, *others = inspect.signature(TABLES.load(name).function).parameters.values()
    fillers = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(one.default is not one.empty or one.kind in fillers for one in others)


class _Listing:
    """JSON whose repr is itself: what a front end reads of a user expression."""

    def __init__(self, listed: Any):
        self._json = json.dumps(listed)

    def __repr__(self) -> str:
        return self._json


def open_dumps(namespace: dict[str, Any] | None = None) -> Any:
    """The dumps that this process has open, for JupyterLab's side panel: its repr is a JSON list.

    Each is file, title, variable (its name in `namespace`, None where it has none) and tables: [name, rows, how
    Python asks the dump for it], rows None where the table was not built yet. Nothing is built for it, and what
    needs to be told more is left out. The title says why the machine died, too, once the verdict was asked for.
    """
    from kernlab.dataframes import origin

    names = {id(value): name for name, value in list((namespace or {}).items()) if name[:1] != "_"}
    found = []
    for dump in origin.alive():
        release = dump.kernel.vmcoreinfo.release or "unknown kernel"
        listed = dump.tables
        found.append(
            {
                "file": text.shorten(show_controls(str(dump.kernel.source)), 300),
                "title": f"{_why(dump, listed)}{text.shorten(show_controls(f'Linux {release}'), 120)}",
                "variable": names.get(id(dump)),
                "tables": [
                    [name, int(rows) if rows >= 0 else None, f"{name}()" if TABLES[name].is_method else name]
                    for name, rows in zip(listed["name"], listed["rows"].fillna(-1), strict=True)
                    if opens_alone(name)
                ],
            }
        )
    return _Listing(found)


def _why(dump: Dump, listed: pd.DataFrame) -> str:
    """What the machine died of, where that is known already."""
    if not (listed.loc[listed["name"] == "verdict", "rows"].fillna(-1) >= 0).any():
        return ""
    from kernlab.verdict.story import title

    return f"{text.shorten(title(dump.verdict), 160)} · "


def main(arguments: list[str]) -> int:
    """`python -m kernlab.display.summary FILE`: the summary as one JSON object on stdout, in bounded time and memory.

    For JupyterLab's server, which must not open files that others wrote by itself. `error` says why there is none.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from kernlab.dump import open as open_dump

    try:
        # A path: what is called "live" there is a file.
        with open_dump(Path(arguments[0]), arena_bytes=256 << 20) as dump:
            told = summary(dump)
            answer: dict[str, Any] = {
                "title": told.title,
                "why": told.why,
                "rows": told.rows,
                "problems": told.problems[:50],
            }
    except (KernlabError, MemoryError) as error:
        answer = {"error": str(error) or "it needs more memory than a summary may take"}
    shown = json.loads(
        json.dumps(answer), object_hook=lambda part: {key: _shown(value) for key, value in part.items()}
    )
    sys.stdout.write(json.dumps(shown))
    return 0


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return text.shorten(show_controls(value), 2000)
    return [_shown(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
