"""The table of contents, docstrings and the column contract in, the column reference out: one Markdown page a group."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernlab.dataframes.registry import Entry
from kernlab.dump import TABLES, Dump
from scripts.docs_site.contract import Promise, read
from scripts.docs_site.docstrings import markdown, mirrored, parse


@dataclass(frozen=True, slots=True)
class Group:
    """A page: its title, what it says first, and which views of a dump (`dump.replay`) belong to it, too."""

    title: str
    about: str
    views: tuple[str, ...] = ()


#: By the package that a table's module lies in, in the order of the index.
GROUPS = {
    "verdict": Group("Verdict", "Why did it die?"),
    "suspects": Group("Leads", "Where to look first."),
    "processes": Group(
        "Processes and locks", "Threads, what they did, what they wait for, what they have mapped."
    ),
    "memory": Group(
        "Memory", "Every page of the machine, every cache, every area: by kind, by owner, by address."
    ),
    "files": Group("Files", "Open files, mounts, file systems, locks on files."),
    "network": Group("Network", "Sockets, devices, neighbours, routes."),
    "block": Group(
        "Block devices", "Disks, what they still had to do, and what may have changed since the crash."
    ),
    "devices": Group("Devices and interrupts", "Devices, interrupts, timers, work."),
    "scheduling": Group("Scheduling", "CPUs, their queues, RCU, delays."),
    "containers": Group("Containers", "Control groups, pressure, namespaces."),
    "system": Group("The system", "What it was, what it said, and what was loaded.", ("kernlab",)),
    "traces": Group("Traces", "What relay, blktrace and ftrace still had in memory.", ("relay", "ftrace")),
    "replay": Group("Replay", "The last seconds, on one clock that ends at the crash.", ("replay",)),
}
#: Where sections of the contract go that are of no table function.
FINDING = Group(
    "Finding things", "Which tables, symbols and lists there are.", ("tables", "find_symbols", "entries")
)

INTRODUCTION = """\
# Columns

Every table of a dump, with all of its columns: made from the code, and held by tests to what real dumps give.

- `address` is an unsigned 64-bit address that shows as hexadecimal, is never a float, and knows the C type there.
- `Int64`, `UInt64`, `boolean` may be missing (`<NA>`); `int64`, `uint64`, `bool` never are. Missing text is `NaN`.
- Times are `timedelta64[ns]`, dates `datetime64[ns, UTC]`. Names that end in `_bytes` are bytes.
- What could not be read is missing, never 0. `attrs["problems"]` of each table says what it lacks, and why.
- "or absent" marks columns that only some kernels have.
- Any other member of a row's struct is one call away: `dump.tasks.kern.field("signal->oom_score_adj")`
  ([structs](../api/structs.md)).

"""


def write_reference(contract: Path, folder: Path) -> list[str]:
    """Write the pages into `folder`. Returns what is wrong: a table without text, columns or a section, one a line."""
    promises = read(contract)
    problems = list(_undocumented(promises))
    if problems:
        return problems
    folder.mkdir(parents=True)
    pages: dict[str, Group] = dict(GROUPS)
    pages["finding"] = FINDING
    index = [INTRODUCTION]
    for name, group in pages.items():
        sections = list(_sections(name, group, promises))
        text = [f"# {group.title}\n\n{group.about}\n"]
        text += [section for _, _, section in sections]
        folder.joinpath(f"{name}.md").write_text("\n".join(text), "utf-8")
        index += [f"## {group.title}\n", "| table | what it is |\n|---|---|"]
        index += [f"| [`{_call(heading)}`](#{_anchor(heading)}) | {what} |" for heading, what, _ in sections]
        index.append("")
    index += ["```{toctree}\n:hidden:\n", *pages, "```\n"]
    folder.joinpath("index.md").write_text("\n".join(index), "utf-8")
    return []


def _undocumented(promises: list[Promise]) -> Iterable[str]:
    known = {promise.name for promise in promises}
    views = {view for group in (*GROUPS.values(), FINDING) for view in group.views}
    for name, entry in TABLES.items():
        if entry.group not in GROUPS:
            yield f"{name} is of the group {entry.group}, which scripts/docs_site/columns.py has no page for"
        if name not in known:
            yield f"{name} has no section in docs/design.md"
        documented = parse(inspect.getdoc(entry.load().function) or "")
        if not documented.summary or not documented.example:
            yield f"{name}: its docstring lacks {'an example' if documented.summary else 'a text'}"
    for promise in promises:
        if promise.name not in TABLES and promise.name not in views:
            yield f"docs/design.md has a section {promise.heading}, which is on no page of the column reference"
        if not promise.text or not promise.rows:
            yield f"docs/design.md: {promise.heading} lacks {'columns' if promise.text else 'a text'}"


def _sections(name: str, group: Group, promises: list[Promise]) -> Iterable[tuple[str, str, str]]:
    """Heading, first sentence and Markdown of each section of a page: tables as contents.py orders them, then views."""
    for table, entry in TABLES.items():
        if entry.group == name:
            for promise in promises:
                if promise.name == table:
                    yield promise.heading, markdown(entry.description), _table(entry, promise)
    for view in group.views:
        for promise in promises:
            if promise.name == view:
                first = " ".join(promise.text.split("\n\n")[0].split()).split(". ")[0].rstrip(".:") + "."
                yield promise.heading, first, _view(promise)


def _table(entry: Entry, promise: Promise) -> str:
    table = entry.load()
    documented = parse(inspect.getdoc(table.function) or "")
    parts = [_heading(promise.heading), markdown(entry.description)]
    if table.is_method:
        parts.append(f"```python\ndump.{entry.name}{_signature(entry.name)}\n```")
    parts.append(promise.text)
    facts = []
    if table.rows:
        facts.append(f"Rows are of `{table.rows}`: `.kern` reads any other member of it.")
    if documented.mirrors:
        facts.append(f"It mirrors {mirrored(documented.mirrors)} of the kernel.")
    if facts:
        parts.append(" ".join(facts))
    parts.append(_columns(promise))
    parts.append(f"```pycon\n{documented.example}\n```")
    if documented.text:
        # The contract says it column by column; the docstring is what help() shows.
        says = markdown(f"{documented.summary}\n\n{documented.text}").replace("\n", "\n")
        parts.append(f":::{{dropdown}} What `help(dump.{entry.name})` says\n{says}\n:::")
    return "\n\n".join(parts) + "\n"


def _view(promise: Promise) -> str:
    return "\n\n".join([_heading(promise.heading), promise.text, _columns(promise)]) + "\n"


def _anchor(heading: str) -> str:
    return "table-" + "".join(letter if letter.isalnum() else "-" for letter in heading).strip("-").lower()


def _call(heading: str) -> str:
    """A heading of the contract as users write it: it follows `dump.`, or is a call of `kernlab`."""
    return heading if heading.startswith("kernlab.") else f"dump.{heading}"


def _heading(heading: str) -> str:
    return f"({_anchor(heading)})=\n## `{_call(heading)}`"


def _columns(promise: Promise) -> str:
    rows = [f"| {name} | {dtype} | {meaning} |" for name, dtype, meaning in promise.rows]
    # A box that scrolls by itself: names, dtypes and long sentences do not fit a telephone.
    return "\n".join(["| column | dtype | meaning |", "|---|---|---|", *rows])


def _signature(name: str) -> str:
    signature = inspect.signature(getattr(Dump, name))
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    return str(signature.replace(parameters=own, return_annotation=inspect.Signature.empty)).replace("'", "")
