"""The explorer without a browser: what it answers, and that every answer is small, exact and inert."""

from __future__ import annotations

import ast
import html.parser
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("anywidget", reason="anywidget is not installed (the extra 'lab')")


import kernlab
from kernlab.dashboard import lead_cells, views
from kernlab.dashboard.explorer import Explorer
from kernlab.dashboard.export import make
from kernlab.dashboard.filter import matches
from kernlab.dashboard.table_view import MOST_ROWS, Pages
from kernlab.display.summary import open_dumps
from kernlab.dump import TABLES
from kernlab.errors import KernlabError
from kernlab.tables.suspects import rules
from kernlab.verdict import rules as verdict_rules

HOSTILE = '<img src=x onerror="window.harm=1"> $x$ \x1b[31m\u202e' + "y" * 10_000


@pytest.fixture(scope="module")
def sample(opened: Callable[[str], Any]) -> Any:
    return opened("debian-6.1")


@pytest.fixture(scope="module")
def pages(sample: Any) -> Pages:
    return Pages(sample)


@pytest.fixture
def own(dump_files: Callable[[str], Any]) -> Iterator[Any]:
    """A dump of the test's own, whose cached tables it may spoil."""
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        yield dump


class Asked:
    """An explorer, asked as its front end asks it."""

    def __init__(self, explorer: Explorer):
        self.explorer = explorer
        self.said: list[dict[str, Any]] = []
        explorer._board.send = lambda reply, buffers=(): self.said.append(reply)

    def __call__(self, op: str, **args: Any) -> dict[str, Any]:
        self.explorer._asked(None, {"id": "1", "op": op, "args": args}, None)
        reply = self.said.pop()
        json.dumps(reply, allow_nan=False)
        return reply


def bundle(explorer: Explorer) -> dict[str, Any]:
    made = explorer._repr_mimebundle_()
    data: dict[str, Any] = made[0] if isinstance(made, tuple) else made
    return data


def rows_where(table: pd.DataFrame, line: str) -> list[int]:
    mask = matches(table, line)
    assert mask is not None
    return [int(i) for i in np.flatnonzero(mask)]


def as_rows(mask: Any) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask.fillna(False).to_numpy(dtype=bool))]


# The little language of the filter, against what pandas says of the same question.


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("comm:KWORKER", lambda t: t["comm"].str.lower().str.contains("kworker")),
        ("comm=init", lambda t: t["comm"] == "init"),
        ("comm!=init", lambda t: t["comm"] != "init"),
        ("pid<=10 -pid=0", lambda t: (t["pid"] <= 10) & (t["pid"] != 0)),
        ("rss_bytes>1M", lambda t: t["rss_bytes"] > 1 << 20),
        ("rss_bytes>=1.5KiB", lambda t: t["rss_bytes"] >= 1536),
        ("kthread=yes state=S", lambda t: t["kthread"] & (t["state"] == "S")),
        ("utime>0.5", lambda t: t["utime"] > pd.Timedelta("500ms")),
        ("-kthread=yes", lambda t: ~t["kthread"].astype(bool)),
    ],
)
def test_a_filter_means_what_pandas_means(sample: Any, line: str, same: Any) -> None:
    expected = as_rows(same(sample.tasks))
    assert rows_where(sample.tasks, line) == expected
    assert 0 < len(expected) < len(sample.tasks), "the question should divide the tasks"


def test_a_word_is_looked_for_in_every_text_column_and_a_number_in_every_number(sample: Any) -> None:
    tasks = sample.tasks
    assert rows_where(tasks, "rcu") == as_rows(tasks["comm"].str.contains("rcu"))
    numbers = [
        name for name in tasks if pd.api.types.is_integer_dtype(tasks[name].dtype) and name != "address"
    ]
    expected = pd.concat([tasks[name] == 121 for name in numbers], axis=1).fillna(False).any(axis=1)
    assert rows_where(tasks, "121") == as_rows(expected)


def test_an_address_is_found_by_how_it_begins_to_its_last_bit(sample: Any) -> None:
    address = int(sample.tasks["address"].iloc[7])
    assert 7 in rows_where(sample.tasks, f"0x{address:016x}")
    assert 7 in rows_where(sample.tasks, f"address={address:#x}")
    # The neighbour that a double would make of it.
    assert 7 not in rows_where(sample.tasks, f"0x{address ^ 1:016x}")
    assert 7 not in rows_where(sample.tasks, f"address={address ^ 1:#x}")
    assert rows_where(sample.tasks, "0xf") == as_rows(sample.tasks["address"].notna())


def test_a_log_line_with_a_colon_is_text_as_there_is_no_such_column(sample: Any) -> None:
    expected = as_rows(sample.log["text"].str.contains("comm: init", case=False))
    assert rows_where(sample.log, '"Comm: init"') == expected
    assert expected
    assert rows_where(sample.log, "Comm:") == as_rows(sample.log["text"].str.contains("comm:", case=False))


@pytest.mark.parametrize("line", ["pid>x", "comm>3", "kthread=maybe", "address=init", "x" * 2000])
def test_a_comparison_without_sense_is_refused_and_says_why(sample: Any, line: str) -> None:
    with pytest.raises(KernlabError):
        matches(sample.tasks, line)


@pytest.mark.parametrize("line", ["rss>1M", "rss<1G", "nosuch=1", "comm:init nosuch>3", "adress=0xff"])
def test_a_column_that_is_not_there_is_named_and_not_taken_for_text(sample: Any, line: str) -> None:
    with pytest.raises(KernlabError, match=r"there is no column '(rss|nosuch|adress)'"):
        matches(sample.tasks, line)
    with pytest.raises(KernlabError, match="did you mean rss_bytes"):
        matches(sample.tasks, "rss>1M")


def test_text_with_a_sign_in_it_is_found_where_some_row_holds_it(sample: Any) -> None:
    word = "console=ttyS0"
    held = sample.log["text"].str.contains(word, regex=False)
    assert held.any()
    assert rows_where(sample.log, word) == as_rows(held)


@pytest.mark.parametrize(
    "line", ["__import__('os')", "@pid", "pid==1 or True", "comm:*", "(", '"', "-", "a\\"]
)
def test_nothing_of_a_filter_is_evaluated(sample: Any, line: str) -> None:
    mask = matches(sample.tasks, line)
    assert mask is None or mask.shape == (len(sample.tasks),)


def test_what_is_missing_fits_no_comparison(sample: Any) -> None:
    missing = sample.tasks["rss_bytes"].isna()
    assert missing.any()
    kept = set(rows_where(sample.tasks, "rss_bytes<1T"))
    assert not kept & set(np.flatnonzero(missing))


# Pages.


def test_pages_put_together_are_the_table(pages: Pages, sample: Any) -> None:
    seen = [
        row for offset in range(0, len(sample.maps), 100) for row in pages.page("maps", offset=offset)["rows"]
    ]
    assert [place for place, _ in seen] == list(range(len(sample.maps)))
    names = list(sample.maps.columns)
    start = names.index("start")
    assert [cells[start] for _, cells in seen] == [f"{int(value):#018x}" for value in sample.maps["start"]]


def test_every_table_has_a_page_whose_cells_are_text(pages: Pages) -> None:
    for entry in pages.names():
        page = pages.page(entry["name"], count=5)
        json.dumps(page, allow_nan=False)
        for _, cells in page["rows"]:
            assert len(cells) == len(page["columns"])
            assert all(cell is None or isinstance(cell, str | list) for cell in cells)


def test_a_table_that_must_be_told_more_is_not_offered(sample: Any, pages: Pages) -> None:
    offered = {entry["name"]: entry["code"] for entry in pages.names()}
    assert offered["slab_objects"] == "dump.slab_objects(…)"
    assert not {"owner", "search"} & offered.keys()
    assert {"owner", "search"} <= {entry["name"] for entry in pages.names(every=True)}
    # All caches, when no cache is named.
    page = pages.page("slab_objects", search="cache=kmalloc-64", count=3)
    assert 0 < page["matched"] < page["total"] == len(sample.slab_objects())
    with pytest.raises(KernlabError, match="needs arguments"):
        pages.page("owner")


def test_the_side_panel_builds_no_table_and_offers_what_opens(own: Any) -> None:
    name = "a dump of this test"
    before = set(own._built)
    listed = json.loads(repr(open_dumps({name: own})))
    (mine,) = [each for each in listed if each["variable"] == name]
    assert set(own._built) == before
    tables = {table: (rows, expression) for table, rows, expression in mine["tables"]}
    assert not {"owner", "search"} & tables.keys()
    assert tables["slab_objects"] == (None, "slab_objects()")
    assert tables["tasks"][1] == "tasks"
    own.modules  # noqa: B018
    (mine,) = [each for each in json.loads(repr(open_dumps({name: own}))) if each["variable"] == name]
    assert ["modules", len(own.modules), "modules"] in mine["tables"]
    assert set(own._built) == before | {"modules"}


def test_no_number_is_rounded_above_2_to_the_53(own: Any) -> None:
    big = (1 << 64) - 3
    odd = pd.DataFrame(
        {"count": pd.array([big, None], dtype="UInt64"), "signed": pd.array([-(1 << 62) - 1, 5])}
    )
    own._built["tasks"] = odd
    cells = [cells for _, cells in Pages(own).page("tasks")["rows"]]
    assert cells == [[str(big), str(-(1 << 62) - 1)], [None, "5"]]
    assert rows_where(odd, f"count={big}") == [0]
    assert rows_where(odd, f"count={big - 1}") == []


def test_sorting_keeps_ties_in_order_and_puts_missing_ones_last(pages: Pages, sample: Any) -> None:
    for descending in (False, True):
        places = [
            place
            for place, _ in pages.page("tasks", sort="rss_bytes", descending=descending, count=400)["rows"]
        ]
        values = sample.tasks["rss_bytes"].iloc[places]
        known = values.dropna()
        assert known.is_monotonic_decreasing if descending else known.is_monotonic_increasing
        assert values.iloc[len(known) :].isna().all()
        assert sorted(places) == list(range(len(sample.tasks)))
        same = [
            place
            for place, value in zip(places, values, strict=True)
            if value is not pd.NA and value == known.mode().iloc[0]
        ]
        assert same == sorted(same)


def test_an_answer_is_bounded_whatever_is_asked(pages: Pages) -> None:
    page = pages.page("symbols", offset=-5, count=10**9)
    assert len(page["rows"]) == MOST_ROWS
    assert page["offset"] == 0
    assert pages.page("symbols", offset=10**12)["rows"] == []


def test_a_hostile_name_is_visible_text_of_bounded_length(own: Any) -> None:
    own.tasks["comm"] = own.tasks["comm"].astype(object)
    own.tasks.loc[3, "comm"] = HOSTILE
    column = list(own.tasks.columns).index("comm")
    cell = Pages(own).page("tasks")["rows"][3][1][column]
    assert len(cell[0]) <= 240
    assert len(cell[1]) < 2100
    assert all(part.isprintable() for part in cell)
    assert "\u202e" not in cell[1]


def test_listing_the_tables_builds_none(own: Any) -> None:
    Pages(own).names()
    assert own._built == {}


def test_the_list_is_grouped_with_each_name_once_and_the_verdict_first(sample: Any, pages: Pages) -> None:
    listed = pages.names()
    names = [entry["name"] for entry in listed]
    assert names[:2] == ["verdict", "suspects"]
    assert len(set(names)) == len(names)
    assert set(names) == {entry["name"] for entry in listed}
    plots = views.plots(sample)
    # A plot that goes by a table's name has no place of its own.
    assert {plot["name"] for plot in plots if not plot["group"]} == {
        *("memory", "zones", "slabs", "maps", "stacks")
    }
    own = [plot["name"] for plot in plots if plot["group"]]
    assert not set(own) & set(names)
    groups = [entry["group"] for entry in listed]
    # Each group once, in the order of contents.py, what traces there are behind them.
    assert [group for group, _ in itertools.groupby(groups)] == list(dict.fromkeys(groups))
    assert list(dict.fromkeys(groups)) == [
        *("", "processes", "memory", "files", "network", "block"),
        *("devices", "scheduling", "containers", "system", "traces"),
    ]
    assert {plot["group"] for plot in plots} - {""} <= set(groups)


def test_a_table_is_listed_where_its_module_lies(pages: Pages) -> None:
    group = {entry["name"]: entry["group"] for entry in pages.names(every=True)}
    assert set(TABLES) <= set(group)
    for name, home in (("tasks", "processes"), ("zones", "memory"), ("owner", "memory"), ("tmpfs", "files")):
        assert group[name] == home
        assert (Path(kernlab.__file__).parent / "tables" / home).is_dir()


def test_a_share_is_a_percent_and_flags_are_bits(pages: Pages, own: Any) -> None:
    own._built["tasks"] = pd.DataFrame(
        {"share": [0.0168], "flags": np.array([0x17FFFFC0010200], dtype=np.uint64)}
    )
    page = Pages(own).page("tasks")
    assert [column["kind"] for column in page["columns"]] == ["share", "flags"]
    assert page["rows"] == [[0, [["1.7%", "0.0168"], ["0x17ffffc0010200", f"{0x17FFFFC0010200:,}"]]]]


@pytest.mark.parametrize(
    ("code", "same"),
    [
        ("dump.tasks", lambda d: d.tasks),
        ("dump.tasks.head()", lambda d: d.tasks.head()),
        ("dump.tasks[dump.tasks.comm == 'init']", lambda d: d.tasks[d.tasks.comm == "init"]),
        ("dump.tasks[dump.tasks.kthread]", lambda d: d.tasks[d.tasks.kthread]),
        ("dump.tasks.nlargest(3, 'pid')", lambda d: d.tasks.nlargest(3, "pid")),
        ("dump.tasks.loc[3]", lambda d: d.tasks.loc[3]),
        ("dump.log.iloc[3:7]", lambda d: d.log.iloc[3:7]),
        ("dump.log.loc[[3, 7]]", lambda d: d.log.loc[[3, 7]]),
        ("dump.tasks.comm.value_counts()", lambda d: d.tasks.comm.value_counts()),
        (
            r"dump.tasks[dump.tasks.comm.str.fullmatch('ksoftirqd/\\d+')]",
            lambda d: d.tasks[d.tasks.comm.str.fullmatch(r"ksoftirqd/\d+")],
        ),
        ("dump.problems", lambda d: pd.DataFrame({"problem": d.problems}, dtype="str")),
        ("dump.tasks[dump.tasks.state.isin(['S', 'D'])]", lambda d: d.tasks[d.tasks.state.isin(["S", "D"])]),
        (
            'dump.log[dump.log.text.str.contains("oom|panic", na=False)]',
            lambda d: d.log[d.log.text.str.contains("oom|panic", na=False)],
        ),
        (
            "dump.slab_objects('dentry').groupby('slab').allocated.mean()",
            lambda d: d.slab_objects("dentry").groupby("slab").allocated.mean(),
        ),
    ],
)
def test_a_lead_s_cell_gives_what_python_gives(sample: Any, code: str, same: Any) -> None:
    shown, expected = lead_cells.show(sample, code), same(sample)
    assert type(shown) is type(expected)
    assert shown.equals(expected)


def test_a_lead_s_plot_is_told_apart(sample: Any) -> None:
    assert lead_cells.show(sample, "dump.plot.maps(124, top=6)") == lead_cells.PlotCell(
        "maps", (124,), {"top": 6}
    )


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('true')",
        "dump.close()",
        "dump.kernel",
        "dump.__class__",
        "dump.tasks.to_pickle('/tmp/x')",
        "dump.tasks.eval('pid')",
        "dump.tasks.query('pid == 1')",
        "dump.tasks.pipe(print)",
        "dump.tasks.comm.map(len)",
        "dump.tasks.head",
        "dump.tasks['comm'].str.contains",
        "dump.plot.maps(__import__('os').getpid())",
        "[x for x in dump.tasks]",
        "lambda: 1",
        "open('/etc/passwd')",
        "dump.tasks if True else dump.maps",
        "dump.no_such_table",
        "1 +",
        "(" * 5000,
    ],
)
def test_nothing_else_of_a_cell_is_run(own: Any, code: str) -> None:
    with pytest.raises(KernlabError):
        lead_cells.show(own, code)
    assert not own._closed


def test_the_cells_of_all_leads_can_be_run(opened: Callable[[str], Any]) -> None:
    ask = Asked(opened("oom").explorer())
    leads = ask("suspects")["answer"]["leads"]
    assert len(leads) >= 3
    for lead in leads:
        answer = ask("lead", place=lead["place"])["answer"]
        assert answer["code"] == lead["cell"]
        if answer["kind"] == "plot":
            assert ask("plot", name=answer["view"])["answer"]["png"]
        else:
            assert ask("page", name=answer["view"], main=True)["answer"]["total"] > 0
            assert len(ask.explorer.frame) > 0


#: Rows of tables that not every kernel has, and memory that is only there where it failed.
_NOT_HERE = ("HardwareCorrupted",)


@pytest.mark.parametrize(
    "modules", [[Path(rules.__file__)], sorted(Path(verdict_rules.__file__).parent.glob("*.py"))]
)
def test_each_cell_that_a_rule_writes_can_be_run(opened: Callable[[str], Any], modules: list[Path]) -> None:
    """As they stand in the source of the rules of leads, and of the verdict's."""
    dump = opened("oom")
    written = [
        node.value
        for module in modules
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("dump.")
    ]
    whole = [code for code in written if all(code.count(one) == code.count(two) for one, two in ("()", "[]"))]
    assert len(whole) >= 10
    for code in whole:
        if not any(word in code for word in _NOT_HERE):
            lead_cells.show(dump, code)


@pytest.mark.parametrize("name", ["deadlock", "oops"])
def test_the_overview_tells_the_verdict_and_runs_its_cells(opened: Callable[[str], Any], name: str) -> None:
    dump = opened(name)
    ask = Asked(dump.explorer())
    told = ask("verdict")["answer"]
    assert told["title"] in (
        "2 deadlocks: checkout and refund wait for each other, and so do import and reprice",
        "A NULL pointer in order_check of the module kernlab_story",
    )
    assert told["count"] == len(dump.verdict)
    assert told["sure"].startswith("High")
    shown = [each for each in told["evidence"] if each["table"]]
    assert shown
    for each in shown:
        row = dump.verdict["evidence"].iloc[0][told["evidence"].index(each)]["rows"][0]
        assert getattr(dump, each["table"]).index[each["place"]] == row
    for place, cell in enumerate(dump.verdict["cell"]):
        answer = ask("lead", place=place, of="finding")["answer"]
        assert answer["code"] == cell
        assert answer["view"] == f"finding:{place}"
        assert ask("page", name=answer["view"], main=True)["answer"]["total"] > 0
    for of in ("tasks", "__class__", "suspects"):
        assert "error" in ask("lead", place=0, of=of)


def test_where_nothing_ended_a_machine_the_overview_says_so(own: Any, sample: Any) -> None:
    own._built["verdict"] = sample.verdict.iloc[:0]
    told = Asked(own.explorer())("verdict")["answer"]
    assert told["count"] == 0
    assert told["evidence"] == []
    assert "Nothing that ended this machine" in told["title"]


def test_a_name_of_the_dump_in_a_cell_stays_a_name(own: Any) -> None:
    evil = "x') or __import__('os').abort() or ('"
    own._built["suspects"] = pd.DataFrame({"cell": [f"dump.tasks[dump.tasks.comm == {evil!r}]"]})
    ask = Asked(own.explorer())
    assert ask("lead", place=0)["answer"]["kind"] == "table"
    assert ask("page", name="lead:0")["answer"]["total"] == 0
    for place in (1, -1, "0; import os"):
        assert "error" in ask("lead", place=place)


def test_last_words_begin_with_the_report(opened: Callable[[str], Any]) -> None:
    for name, begins, ends in (
        ("hung", "INFO: task inventoryd:176 blocked for more than", "Kernel panic - not syncing: hung_task"),
        ("oom", "reporting invoked oom-killer", "Kernel panic - not syncing: Out of memory"),
        ("oops", "BUG: kernel NULL pointer dereference", ""),
        ("panic", "sysrq: ", "Kernel panic - not syncing: sysrq triggered crash"),
    ):
        answer = Asked(opened(name).explorer())("words")["answer"]
        said = [record["text"] for record in answer["records"]]
        assert said[0].startswith(begins), name
        assert any(text.startswith(ends) for text in said)
        assert answer["start"] == answer["records"][0]["place"]
        for before, record in zip(answer["records"], answer["records"][1:], strict=False):
            assert record["place"] == before["place"] + 1 + record["skipped"]


def test_the_overview_counts_what_is_blocked_and_names_the_traces(
    opened: Callable[[str], Any], sample: Any
) -> None:
    dump = opened("hung")
    answer = Asked(dump.explorer())("running")["answer"]
    assert answer["blocked"] == int((dump.tasks["state"] == "D").sum()) > 3
    held = {trace["name"]: trace for trace in Asked(sample.explorer())("traces")["answer"]["traces"]}
    assert held["vda/trace"]["kind"] == "blktrace"
    assert held["global trace"]["said"].startswith("29 events")
    ask = Asked(sample.explorer())
    for trace in held.values():
        assert ask("page", name=trace["view"])["answer"]["total"] > 0


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_exported_table_is_the_shown_one_to_the_last_bit(sample: Any, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra 'parquet')")
    explorer = sample.explorer()
    sent: list[Any] = []
    explorer._board.send = lambda reply, buffers=(): sent.append((reply, buffers))

    def ask(op: str, **args: Any) -> Any:
        explorer._asked(None, {"id": "1", "op": op, "args": args}, None)
        reply, buffers = sent.pop()
        return (reply["answer"], buffers) if "answer" in reply else (reply["error"], None)

    file, _ = ask("export", kind=kind, name="maps", search="perms:x", sort="start", descending=True)
    assert file["name"] == f"maps.{kind}"
    content = b"".join(ask("piece", file=file["file"], piece=i)[1][0] for i in range(file["pieces"]))
    expected = sample.maps[sample.maps["perms"].str.contains("x")].sort_values("start", ascending=False)
    stream = io.BytesIO(content)
    back = pd.read_csv(stream) if kind == "csv" else pd.read_parquet(stream)
    assert list(back.columns) == list(expected.columns)
    starts = [int(str(value), 0) for value in back["start"]]
    assert sorted(starts) == sorted(int(value) for value in expected["start"])
    if kind == "csv":
        assert all(len(value) == 18 and value.startswith("0x") for value in back["start"])
    # What was taken is gone, and what cannot be is refused.
    assert "gone" in ask("piece", file=file["file"], piece=0)[0]
    assert "not as 'pickle'" in ask("export", kind="pickle", name="maps")[0]


def test_a_large_file_comes_in_pieces(sample: Any) -> None:
    explorer = sample.explorer()
    exports = explorer._answers._exports
    table = sample.pages.head(30_000)
    file = exports.make("pages", table, "csv")
    assert file["pieces"] > 2
    whole = b"".join(exports.piece(file["file"], i) for i in range(file["pieces"]))
    assert whole == make("pages", table, "csv").content


# The widget.


def test_the_answers_are_those_of_the_dump(sample: Any, dump_files: Callable[[str], Any]) -> None:
    ask = Asked(sample.explorer())
    words = ask("words")["answer"]["records"]
    assert any(record["text"].startswith("Kernel panic") for record in words)
    ran = ask("running")["answer"]["tasks"]
    assert {task["cpu"] for task in ran} == {0, 1}
    assert [task["pid"] for task in ran if task["comm"] == "init"] == [1]
    largest = ask("largest")["answer"]["parts"]
    slab = sample.slabs.sort_values("bytes", ascending=False).iloc[0]
    assert largest[1]["bars"][0]["name"] == slab["name"]


def test_a_chosen_task_brings_its_maps_as_its_own_proc_file_had_them(
    sample: Any, dump_files: Callable[[str], Any]
) -> None:
    truth = dump_files("debian-6.1").truth.maps()
    ask = Asked(sample.explorer())
    place = int(np.flatnonzero(sample.tasks["comm"] == "app<6>")[0])
    answer = ask("chosen", name="tasks", place=place)["answer"]
    pid = int(sample.tasks["pid"].iloc[place])
    assert answer["title"] == f"app<6> · pid {pid}"
    related = {each["title"]: each for each in answer["related"]}
    assert {"Maps", "Threads"} <= set(related)
    shown = ask("page", name=related["Maps"]["table"], where=related["Maps"]["where"], count=400)["answer"]
    names = [column["name"] for column in shown["columns"]]
    starts = [int(cells[names.index("start")], 16) for _, cells in shown["rows"]]
    expected = truth[(truth["pid"] == pid) & (truth["path"] != "[vsyscall]")]["start"]
    assert starts == [int(value) for value in expected]
    assert answer["memory"][0]["share"] == 1.0
    structs = {fact["name"]: fact["struct"] for fact in answer["facts"] if "struct" in fact}
    assert structs == {"address": "struct task_struct", "mm": "struct mm_struct"}


def test_a_mapping_leads_to_its_process_and_an_idle_task_to_nothing(sample: Any) -> None:
    ask = Asked(sample.explorer())
    answer = ask("chosen", name="maps", place=0)["answer"]
    owner = answer["owner"]["place"]
    assert sample.tasks["pid"].iloc[owner] == sample.maps["pid"].iloc[0]
    idle = int(np.flatnonzero(sample.tasks["pid"] == 0)[0])
    assert ask("chosen", name="tasks", place=idle)["answer"]["related"] == []


def test_the_frame_is_what_is_shown_and_the_selection_what_was_chosen(sample: Any) -> None:
    explorer = sample.explorer()
    ask = Asked(explorer)
    assert explorer.selected is None
    with pytest.raises(KernlabError, match="no table is shown"):
        _ = explorer.frame
    ask("page", name="tasks", search="rss_bytes>1M", sort="pid", descending=True, main=True)
    ask("page", name="maps", where={"pid": 1})  # in the drawer: not what is shown
    frame = explorer.frame
    assert frame["pid"].is_monotonic_decreasing
    assert (frame["rss_bytes"] > 1 << 20).all()
    assert len(frame) == (sample.tasks["rss_bytes"] > 1 << 20).sum()
    ask("chosen", name="tasks", place=2)
    pd.testing.assert_series_equal(explorer.selected, sample.tasks.iloc[2])


def test_show_brings_the_reader_there_and_refuses_what_is_not_there(sample: Any) -> None:
    explorer = sample.explorer("tasks", "comm=init")
    assert explorer._board.wanted["view"] == "tasks"
    assert set(explorer.frame["comm"]) == {"init"}
    explorer.show("modules")
    assert explorer._board.wanted["n"] == 2
    with pytest.raises(KernlabError, match="modules"):
        explorer.show("modulse")


def test_nonsense_is_answered_and_never_raises(sample: Any) -> None:
    explorer = sample.explorer()
    ask = Asked(explorer)
    for op, args in [
        ("nothing", {}),
        ("page", {"name": "no_such_table"}),
        ("page", {"name": "tasks", "sort": "no_such_column"}),
        ("page", {"name": "tasks", "where": {"nope": 1}}),
        ("page", {"name": "tasks", "search": "pid>x"}),
        ("page", {"colour": "red"}),
        ("page", {"name": "__class__"}),
        ("page", {"name": "close"}),
        ("chosen", {"name": "tasks", "place": 10**9}),
        ("chosen", {"name": "tasks", "place": -1}),
        ("plot", {"name": "_dump"}),
        ("struct", {"type": "struct task_struct", "address": "here"}),
    ]:
        reply = ask(op, **args)
        assert reply.keys() == {"id", "error"}, (op, args)
        assert reply["error"]
    explorer._asked(None, "no question", None)
    explorer._asked(None, {"op": "page"}, None)
    assert not sample._closed


def test_every_plot_listed_can_be_drawn_without_pyplot(sample: Any) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    names = [plot["name"] for plot in views.plots(sample)]
    assert {"slabs", "processes", "maps"} <= set(names)
    for place, name in enumerate(names):
        # In light and dark by turns: tests/plots has each in both.
        drawn = views.picture(sample, name, bool(place % 2))
        assert drawn["png"].startswith("iVBOR")
        assert drawn["alt"]
    assert pyplot.get_fignums() == before


def test_its_repr_is_stable_and_the_bundle_has_a_page_for_where_no_widget_can_be(sample: Any) -> None:
    explorer = sample.explorer()
    assert repr(explorer) == f"<explorer of {sample!r}>"
    assert "0x" not in repr(explorer)
    data = bundle(explorer)
    assert data["text/plain"] == repr(explorer)
    assert "application/vnd.jupyter.widget-view+json" in data
    page = data["text/html"]
    assert "sysrq triggered crash" in page
    for entry in Pages(sample).names(every=True):
        assert entry["code"] in page


class Elements(html.parser.HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_page_holds_hostile_strings_as_text(own: Any) -> None:
    own.log["text"] = own.log["text"].astype(object)
    own.log.loc[len(own.log) - 2, "text"] = HOSTILE
    own.tasks["comm"] = own.tasks["comm"].astype(object)
    own.tasks.loc[0, "comm"] = HOSTILE
    own.info["panic_message"] = HOSTILE
    own.info["release"] = "<script>harm()</script>"
    page = bundle(own.explorer())["text/html"]
    found = Elements(page)
    assert not found.tags & {"img", "script", "iframe", "a", "object", "link"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "&lt;img src=x" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    summary = own.explorer()._board.summary
    said = [summary["title"], summary["why"], *(value for _, value in summary["rows"])]
    assert all(part.isprintable() for part in said)


def test_two_threads_may_ask_at_once(own: Any) -> None:
    pages = Pages(own)
    wrong: list[str] = []

    def work(name: str) -> None:
        for turn in range(30):
            try:
                page = pages.page(name, search="" if turn % 2 else "a", sort="", offset=turn)
                if page["matched"] > page["total"]:
                    wrong.append(name)
            except Exception as error:
                wrong.append(f"{name}: {error!r}")

    threads = [
        threading.Thread(target=work, args=(name,)) for name in ("tasks", "maps", "slabs", "log", "tasks")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_a_damaged_dump_has_an_explorer_that_says_what_is_missing(opened: Callable[[str], Any]) -> None:
    dump = opened("damaged-7.2")
    ask = Asked(dump.explorer())
    for op in ("running", "words", "largest"):
        assert "answer" in ask(op), op
    assert ask.explorer._board.summary["problems"]
    assert ask("page", name="tasks")["answer"]["problems"]


def test_a_closed_dump_says_so_in_every_part(dump_files: Callable[[str], Any]) -> None:
    dump = kernlab.open(dump_files("debian-6.1").vmcore)
    ask = Asked(dump.explorer())
    dump.close()
    assert "closed" in ask("page", name="modules")["error"]
