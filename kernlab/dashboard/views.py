"""A dump in, the explorer's pieces out as plain JSON: the overview, what belongs to a chosen row, plots as pictures."""

from __future__ import annotations

import base64
import inspect
import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.dashboard.lead_cells import PlotCell
from kernlab.dashboard.table_view import Pages, cells
from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.tables.system.last_report import last_report
from kernlab.util import text

if TYPE_CHECKING:
    from kernlab.dump import Dump

_LAST_WORDS = 14
_AFTER_PANIC = 3
_LARGEST = 6

#: Where a plot is listed that no table has the name of.
_PLOT_GROUPS = {"processes": "processes", "physical": "memory"}

#: matplotlib draws one figure at a time.
_drawing = threading.Lock()

#: What belongs to a row of which table: title, the other table, its column, this row's column. The tables that this
#: kernlab (or this kernel) lacks are left out.
_OF_TASK = (
    ("Maps", "maps", "pid", "tgid"),
    ("Map usage", "map_usage", "pid", "tgid"),
    ("Files", "files", "pid", "tgid"),
    ("Threads", "tasks", "tgid", "tgid"),
)
_RELATED = {
    "slabs": (("Objects", "slab_objects", "cache", "name"),),
    "modules": (("Symbols", "symbols", "module", "name"),),
}


def running(dump: Dump, pages: Pages) -> dict[str, Any]:
    """What ran on the CPUs when the machine died, how many threads there were, and how many waited in state D."""
    tasks = pages.table("tasks")
    running = tasks[tasks["on_cpu"].fillna(False)].sort_values("cpu", kind="stable")
    places = [int(place) for place in running.index]
    return {
        "tasks": [
            {
                "place": place,
                "comm": _text(tasks["comm"].iloc[place]),
                **_numbers(tasks.iloc[place], "pid", "cpu"),
            }
            for place in places[:256]
        ],
        "count": int((tasks["pid"] > 0).sum()),
        "blocked": int((tasks["state"] == "D").sum()),
    }


def last_words(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The log from where the last trouble begins: the first line of the report before the panic. Else its end.

    Of a report that is longer than what is shown, its beginning, and the panic; each record says how many were left
    out before it.
    """
    log = pages.table("log")
    found = last_report(log)
    first, end = (max(0, len(log) - _LAST_WORDS), len(log) - 1) if found is None else found
    begins = list(range(first, min(first + _LAST_WORDS, len(log))))
    panic = (
        [place for place in range(end, min(end + _AFTER_PANIC, len(log))) if place > begins[-1]]
        if begins
        else []
    )
    records: list[dict[str, Any]] = []
    for place in [*begins, *panic]:
        time, level, said = (log[name].iloc[place] for name in ("timestamp", "level", "text"))
        records.append(
            {
                "place": place,
                "skipped": place - records[-1]["place"] - 1 if records else 0,
                "time": "" if pd.isna(time) else f"{time.total_seconds():.6f}",
                "level": None if pd.isna(level) else int(level),
                "text": text.shorten(_text(said), 240),
            }
        )
    return {"start": first, "records": records}


def traces(dump: Dump, pages: Pages) -> dict[str, Any]:
    """Which traces the dump holds: what each is, and which view shows it."""
    found: list[dict[str, str]] = []
    failed: list[str] = []
    try:
        channels, traced = pages.table("relay"), dump.relay.block_traces
        # Channels may share a name.
        for _, rows in channels.groupby("address", sort=False):
            name = rows["name"].iloc[0]
            client = _text(rows["client"].iloc[0])
            unread = rows["unread_bytes"].astype("float64").sum()
            cpus = f"{len(rows)} CPU{'' if len(rows) == 1 else 's'}"
            said = f"relay channel on {cpus}, {text.human_bytes(unread)} that nobody had read"
            view = f"trace:{name!s}" if name in traced else "relay"
            found.append({"name": _text(name), "kind": client or "relay", "said": said, "view": view})
    except KernlabError as error:
        failed.append(f"relay: {_text(str(error))}")
    try:
        events = pages.table("ftrace")
        for instance, rows in events.groupby("instance", sort=False):
            which = f"instance {_text(instance)}" if instance else "global trace"
            said = f"{len(rows):,} event{'' if len(rows) == 1 else 's'} of {rows['event'].nunique():,} kinds"
            found.append({"name": which, "kind": "ftrace", "said": said, "view": "ftrace"})
    except KernlabError as error:
        failed.append(f"ftrace: {_text(str(error))}")
    return {"traces": found, "failed": failed}


def largest(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The largest processes and slab caches, each with its share of the largest one."""
    tasks = pages.table("tasks").reset_index(drop=True)
    owners = tasks[tasks["rss_bytes"].notna()].sort_values(["tgid", "pid"]).drop_duplicates("tgid")
    names = [f"{_text(comm)} ({tgid})" for comm, tgid in zip(owners["comm"], owners["tgid"], strict=True)]
    parts = [{"table": "tasks", "title": "Resident memory", "bars": _bars(owners["rss_bytes"], names)}]
    try:
        slabs = pages.table("slabs").reset_index(drop=True)
        parts.append(
            {
                "table": "slabs",
                "title": "Slab caches",
                "bars": _bars(slabs["bytes"], [_text(name) for name in slabs["name"]]),
            }
        )
    except KernlabError as error:
        parts.append({"table": "slabs", "title": "Slab caches", "why": _text(str(error)), "bars": []})
    return {"parts": parts}


def chosen(dump: Dump, pages: Pages, name: str, place: int) -> dict[str, Any]:
    """All there is to say of one row: its cells, the struct behind it, and which rows of other tables belong to it."""
    whole = pages.table(name)
    row = pages.row(name, place)
    facts = cells(row, whole)
    for fact, column in zip(facts, whole.columns, strict=True):
        target = getattr(whole[column].dtype, "target", "")
        if target and fact["cell"] is not None and int(fact["cell"], 16):
            fact["struct"] = target
    answer: dict[str, Any] = {"title": _title(name, row, place), "facts": facts, "related": []}
    task = row if name == "tasks" else _task_of(pages, row)
    if task is not None:
        answer["title"] = _title("tasks", task, place) if name == "tasks" else answer["title"]
        answer["task"] = place
        answer["related"] += _related(_OF_TASK, task)
        answer["memory"] = _memory(pages, int(task["tgid"])) if "maps" in TABLES else []
        if name != "tasks":
            at = int(str(task.name))
            answer["task"] = at
            answer["owner"] = {"place": at, "title": _title("tasks", task, at)}
    answer["related"] += _related(_RELATED.get(name, ()), row)
    return answer


def plots(dump: Dump) -> list[dict[str, str]]:
    """The plots that need no more than the dump: name, what they show, group ('' where a table has that name)."""
    try:
        kind = type(dump.plot)
    except (KernlabError, AttributeError):
        return []
    found = []
    shown = set(TABLES)
    for name, method in inspect.getmembers(kind, callable):
        if name.startswith("_") or not _draws_alone(method):
            continue
        said = (inspect.getdoc(method) or "").split("\n", 1)[0].replace("`", "")
        # A plot that goes by a table's name is shown beside that table: each name is listed once.
        group = (
            "" if name in shown else "traces" if name.startswith("io_") else _PLOT_GROUPS.get(name, "memory")
        )
        found.append({"name": name, "description": said, "group": group})
    return found


def picture(dump: Dump, name: str, dark: bool, cell: PlotCell | None = None) -> dict[str, Any]:
    """A plot as a PNG with a clear ground, its text dark or light; as a lead's `cell` has it, where it is one's.

    Raises KernlabError when there is none.
    """
    if name not in {plot["name"] for plot in plots(dump)}:
        raise KernlabError(f"there is no plot {name!r}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _drawing:
        # Not pyplot's: that keeps figures, and belongs to the user's cells.
        figure = Figure(figsize=(9.5, 5.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        given, named = ((), {}) if cell is None else (cell.given, cell.named)
        getattr(dump.plot, name)(*given, **{**named, "ax": ax, "theme": "dark" if dark else "light"})
        for each in figure.axes:
            each.patch.set_alpha(0)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=170, transparent=True)
        said = ax.get_label() or ax.get_title(loc="left")
    return {"png": base64.b64encode(stream.getvalue()).decode("ascii"), "alt": _text(said) or name}


def _draws_alone(method: Callable[..., Any]) -> bool:
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())[1:]
    # One that draws on many axes, the replay's, has a tab of its own.
    return (
        signature.return_annotation == "Axes"
        and any(parameter.name == "ax" for parameter in parameters)
        and all(parameter.default is not parameter.empty for parameter in parameters)
    )


def _text(value: Any) -> str:
    return "?" if pd.isna(value) else show_controls(str(value))


def _numbers(row: pd.Series[Any], *names: str) -> dict[str, int | None]:
    return {name: None if pd.isna(row[name]) else int(row[name]) for name in names}


def _title(name: str, row: pd.Series[Any], place: int) -> str:
    if name == "tasks":
        return f"{_text(row['comm'])} · pid {_text(row['pid'])}"
    label = next((_text(row[key]) for key in ("name", "path", "text", "subject") if row.get(key)), "")
    return text.shorten(f"{name} · {label}" if label else f"{name} · row {place:,}", 120)


def _task_of(pages: Pages, row: pd.Series[Any]) -> pd.Series[Any] | None:
    """The task that a row of another table names by its pid; None where it names none."""
    if "pid" not in row.index or pd.isna(row["pid"]):
        return None
    tasks = pages.table("tasks")
    found = tasks[(tasks["pid"] == row["pid"]) & (tasks["pid"] > 0)]
    return None if found.empty else found.iloc[0]


def _related(wanted: tuple[tuple[str, str, str, str], ...], row: pd.Series[Any]) -> list[dict[str, Any]]:
    found = []
    for title, name, column, key in wanted:
        value = row.get(key)
        if name not in TABLES or value is None or pd.isna(value):
            continue
        plain = value if isinstance(value, str) else int(value)
        # pid 0 is every CPU's idle task: nothing belongs to it.
        if plain == 0 and key in ("pid", "tgid"):
            continue
        found.append({"title": title, "table": name, "where": {column: plain}})
    return found


def _memory(pages: Pages, tgid: int) -> list[dict[str, Any]]:
    """A process's mappings by kind: bytes mapped."""
    if tgid == 0:
        return []
    maps = pages.table("maps")
    own = maps[(maps["pid"] == tgid).fillna(False)]
    if own.empty:
        return []
    path = own["path"].fillna("")
    kind = pd.Series("anonymous", index=own.index)
    kind = kind.mask(path.str.startswith("["), path).mask(path.str.startswith("[anon:"), "anonymous")
    kind = kind.mask((path != "") & ~path.str.startswith("["), "files")
    kind = kind.mask(own["perms"].str.endswith("s", na=False), "shared")
    sizes = own["size_bytes"].astype("float64").groupby(kind).sum().sort_values(ascending=False)
    return _bars(sizes.reset_index(drop=True), [_text(name) for name in sizes.index], places=False)


def _bars(sizes: pd.Series[Any], names: list[str], *, places: bool = True) -> list[dict[str, Any]]:
    known = sizes.notna().to_numpy()
    labelled = [(int(size), name, int(place)) for size, name, place, ok in zip(
        sizes, names, sizes.index, known, strict=True) if ok]  # fmt: skip
    labelled.sort(key=lambda bar: -bar[0])
    most = labelled[0][0] if labelled else 0
    return [
        {
            "name": text.shorten(name, 60),
            "size": text.human_bytes(size),
            "share": size / most if most else 0.0,
            **({"place": place} if places else {}),
        }
        for size, name, place in labelled[: _LARGEST if places else 12]
    ]
