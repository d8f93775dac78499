"""A dump in, the explorer's pieces out as plain JSON: the overview, what belongs to a chosen row, plots as pictures."""

from __future__ import annotations

import base64
import inspect
import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab import tables, text
from kernlab.errors import KernlabError
from kernlab.widgets.explorer_tables import Pages, cells

if TYPE_CHECKING:
    from kernlab.dump import Dump

_LAST_WORDS = 14
_LARGEST = 6

#: matplotlib draws one figure at a time.
_drawing = threading.Lock()

#: What belongs to a row of which table: title, the other table, its column, this row's column. The tables that this
#: kernlab (or this kernel) lacks are left out.
_OF_TASK = (
    ("Maps", "maps", "pid", "tgid"),
    ("Files", "files", "pid", "tgid"),
    ("Stack", "stacks", "pid", "pid"),
    ("Threads", "tasks", "tgid", "tgid"),
)
_RELATED = {
    "slabs": (("Objects", "slab_objects", "cache", "name"),),
    "modules": (("Symbols", "symbols", "module", "name"),),
}


def running(dump: Dump, pages: Pages) -> dict[str, Any]:
    """What ran on the CPUs when the machine died."""
    tasks = pages.table("tasks")
    places = [int(place) for place in tasks.index[tasks["on_cpu"].fillna(False)]]
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
    }


def last_words(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The log's records around the panic, or its end."""
    log = pages.table("log")
    found = log.index[log["text"].str.startswith("Kernel panic", na=False)]
    middle = int(found[-1]) if len(found) else len(log)
    start = max(0, min(middle - _LAST_WORDS // 2, len(log) - _LAST_WORDS))
    return {
        "start": start,
        "records": [
            {
                "place": place,
                "time": "" if pd.isna(time) else f"{time.total_seconds():.6f}",
                "level": None if pd.isna(level) else int(level),
                "text": text.shorten(_text(said), 240),
            }
            for place, time, level, said in zip(
                range(start, start + _LAST_WORDS),
                *(log[name].iloc[start : start + _LAST_WORDS] for name in ("timestamp", "level", "text")),
                strict=False,
            )
        ],
    }


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
        answer["related"] += _related(_OF_TASK, task)
        answer["memory"] = _memory(pages, int(task["tgid"])) if "maps" in tables.INDEX else []
        if name != "tasks":
            at = int(str(task.name))
            answer["owner"] = {"place": at, "title": _title("tasks", task, at)}
    answer["related"] += _related(_RELATED.get(name, ()), row)
    return answer


def plots(dump: Dump) -> list[dict[str, str]]:
    """The plots that need no more than the dump: name, and what they show."""
    try:
        kind = type(dump.plot)
    except (KernlabError, AttributeError):
        return []
    found = []
    for name, method in inspect.getmembers(kind, callable):
        if name.startswith("_") or not _draws_alone(method):
            continue
        said = (inspect.getdoc(method) or "").split("\n", 1)[0]
        found.append({"name": name, "description": said})
    return found


def picture(dump: Dump, name: str, dark: bool) -> dict[str, Any]:
    """A plot as a PNG with a clear ground, its text dark or light. Raises KernlabError when there is none."""
    if name not in {plot["name"] for plot in plots(dump)}:
        raise KernlabError(f"there is no plot {name!r}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _drawing:
        # Not pyplot's: that keeps figures, and belongs to the user's cells.
        figure = Figure(figsize=(9.5, 5.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        getattr(dump.plot, name)(ax=ax, theme="dark" if dark else "light")
        for each in figure.axes:
            each.patch.set_alpha(0)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=170, transparent=True)
        said = ax.get_label() or ax.get_title(loc="left")
    return {"png": base64.b64encode(stream.getvalue()).decode("ascii"), "alt": _text(said) or name}


def _draws_alone(method: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return any(parameter.name == "ax" for parameter in parameters) and all(
        parameter.default is not parameter.empty for parameter in parameters
    )


def _text(value: Any) -> str:
    return "?" if pd.isna(value) else text.show_controls(str(value))


def _numbers(row: pd.Series[Any], *names: str) -> dict[str, int | None]:
    return {name: None if pd.isna(row[name]) else int(row[name]) for name in names}


def _title(name: str, row: pd.Series[Any], place: int) -> str:
    if name == "tasks":
        return f"{_text(row['comm'])} · pid {_text(row['pid'])}"
    label = next((_text(row[key]) for key in ("name", "path", "text") if row.get(key)), "")
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
        if name not in tables.INDEX or value is None or pd.isna(value):
            continue
        plain = value if isinstance(value, str) else int(value)
        # pid 0 is every CPU's idle task: nothing belongs to it.
        if plain == 0 and key in ("pid", "tgid"):
            continue
        found.append({"title": title, "table": name, "where": {column: plain}})
    return found


def _memory(pages: Pages, tgid: int) -> list[dict[str, Any]]:
    """A process's mappings by kind: bytes mapped, and resident where the table knows it."""
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
    sizes = own["size_bytes"].groupby(kind).sum().sort_values(ascending=False)
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
