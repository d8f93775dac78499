"""Every way out of a dump whose names are hostile: text stays text. `tests/browser/test_hostile_*` does it in browsers.

The dump is the sample `flight`, which has all there is: tables, a log, ftrace, relay channels, a replay; see
support/hostile.py for the names and where they are.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import warnings
import zipfile

import pandas as pd
import pytest
from support.hostile import ACTING, COMMS, FORMULA, IMG, MORE_COMMS, POINTED, hostile
from support.inert import inert_html, inert_text
from support.seed import SEED

import kernlab
from kernlab.commands.main import main
from kernlab.dump import TABLES
from kernlab.formats.kdump.writer import write_kdump

pytestmark = pytest.mark.long

PLAIN_TABLES = sorted(name for name, entry in TABLES.items() if not entry.is_method)
#: Of a hundred thousand rows and more, what is shown of them is enough.
LARGE = {"symbols", "pages", "stacks"}


@pytest.fixture(scope="module")
def dump():
    with kernlab.open(kernlab.sample("flight")) as below:
        yield hostile(below)


@pytest.fixture(scope="module")
def vmcore(dump, tmp_path_factory):
    """The same dump as a file."""
    path = tmp_path_factory.mktemp("hostile") / "vmcore"
    file = dump.kernel.file
    write_kdump(file, path, vmcoreinfo=file.below.vmcoreinfo)
    return path


def of(dump, name):
    """A table as a DataFrame, the large ones in part."""
    found = getattr(dump, name)
    found = found.to_frame("value") if isinstance(found, pd.Series) else found
    return found.tail(300) if name in LARGE else found


def harmful(dump):
    """Rows of processes with hostile names: (pid, comm)."""
    names = {name.decode("utf-8", "backslashreplace") for name in (*COMMS, *MORE_COMMS)}
    tasks = dump.tasks
    return tasks[tasks["comm"].isin(names)]


def with_maps(dump):
    """A process with a hostile name that has a memory of its own."""
    return harmful(dump)["pid"][harmful(dump)["pid"].isin(dump.maps["pid"])].iloc[-1]


def test_the_dump_is_hostile(dump):
    assert len(harmful(dump)) == len(COMMS) + len(MORE_COMMS)
    assert dump.slabs["name"].str.contains("javascript:").any()
    assert dump.ftrace.all["text"].str.contains("</script><img").any()
    assert dump.symbols["name"].str.contains("<u id=harm>", regex=False).any()
    assert dump.log["text"].str.contains("<u id=harm>", regex=False).any()
    assert "<u id=harm>" in dump.info["panic_message"]


class TestTerminal:
    @pytest.mark.parametrize("name", PLAIN_TABLES)
    def test_tables(self, dump, name):
        from kernlab.display.plain_text import to_text

        table = of(dump, name)
        with pd.option_context("display.max_columns", None, "display.max_rows", 500, "display.width", 1000):
            inert_text(repr(table))
            inert_text(to_text(table))
            inert_text(to_text(table.head(5)))

    @pytest.mark.parametrize(
        "view",
        [
            lambda d: d,
            lambda d: d.ftrace,
            lambda d: d.relay,
            lambda d: d.replay(),
            lambda d: d.replay().at(-1),
            lambda d: d.stack.of_panic(),
            lambda d: d.stack(int(harmful(d)["pid"].iloc[0])),
            lambda d: d.process(int(with_maps(d))),
            lambda d: d.file(int(d.memory_by_file["address"].iloc[0])),
            lambda d: d.stacks.groups(),
            lambda d: d.waits.graph(),
            lambda d: d.struct("task_struct", harmful(d)["address"].iloc[-4]),
            lambda d: d.struct("module", d.modules["address"].iloc[0]),
            lambda d: d.explore(d.struct("task_struct", harmful(d)["address"].iloc[-4])),
            lambda d: d.explore("slab_caches"),
            lambda d: kernlab.show(d.modules),
            lambda d: d.owner(int(harmful(d)["address"].iloc[-4])),
            lambda d: d.timeline(since=-2).tail(500),
            lambda d: d.tables,
        ],
    )
    def test_views(self, dump, view):
        inert_text(repr(view(dump)))
        inert_text(str(view(dump)))

    @pytest.mark.parametrize(
        "fault",
        [
            lambda d: d.stack("\x1b]0;x\x07\u202e"),
            lambda d: d.symbol("\x1b]0;x\x07"),
            lambda d: d.tasks.kern.field("\x1b[31m"),
            lambda d: d.slab_objects("\x1b[31m"),
            lambda d: d.ftrace.events("\x1b[31m"),
            lambda d: d.explore("\x1b[31m"),
            lambda d: d.struct("task\x1b[31m", 0),
            lambda d: kernlab.open("/nowhere/\x1b[31m\u202e"),
        ],
    )
    def test_errors(self, dump, fault):
        with pytest.raises(kernlab.KernlabError) as raised:
            fault(dump)
        inert_text(str(raised.value))
        inert_text("\n".join(raised.value._render_traceback_()))

    @pytest.mark.parametrize("width", [None, 60])
    def test_the_story(self, dump, width):
        """Of what the machine died of, and of each finding alone, which is told first then."""
        from kernlab.verdict.story import story

        verdict = dump.verdict
        inert_text(story(verdict, width=width))
        for row in range(len(verdict)):
            inert_text(story(verdict.iloc[row : row + 1].assign(role="end"), width=width))

    def test_problems(self, dump):
        inert_text("\n".join(dump.problems))
        for name in PLAIN_TABLES:
            inert_text("\n".join(map(str, getattr(dump, name).attrs.get("problems", []))))


class TestPages:
    @pytest.mark.parametrize("name", PLAIN_TABLES)
    def test_tables(self, dump, name):
        from kernlab.display.html import to_html

        table = of(dump, name)
        inert_html(to_html(table, max_rows=None))
        inert_html(table._repr_html_())
        inert_html(table.tail(100).style._repr_html_())

    @pytest.mark.parametrize(
        "name", ["tasks", "slabs", "modules", "iomem", "verdict", "suspects", "waits", "maps"]
    )
    def test_grids(self, dump, name):
        html = kernlab.show(getattr(dump, name))._repr_html_()
        # What the grid's script reads lies in a script: a name must not end it.
        assert html.count("</script>") == html.count("<script")
        inert_html(html)

    @pytest.mark.parametrize(
        "view",
        [
            lambda d: d,
            lambda d: d.stack.of_panic(),
            lambda d: d.stack(int(harmful(d)["pid"].iloc[0])),
            lambda d: d.process(int(with_maps(d))),
            lambda d: d.file(int(d.memory_by_file["address"].iloc[0])),
            lambda d: d.waits.graph(),
            lambda d: d.struct("task_struct", harmful(d)["address"].iloc[-4]),
            lambda d: d.struct("module", d.modules["address"].iloc[0]),
            lambda d: d.layout("task_struct"),
            lambda d: d.explore(d.struct("task_struct", harmful(d)["address"].iloc[-4])),
            lambda d: d.explore("slab_caches"),
            lambda d: d.explorer(),
            lambda d: d.replay(),
            lambda d: d.replay().at(-1),
            lambda d: d.player(),
        ],
    )
    def test_views(self, dump, view):
        shown = view(dump)
        if hasattr(shown, "_repr_html_"):
            html = shown._repr_html_()
        else:
            bundle = shown._repr_mimebundle_()
            html = (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
        page = inert_html(html)
        assert len(page.text) > 30

    def test_flames(self, dump):
        figure = dump.plot.stacks().figure
        bundle = figure._repr_mimebundle_()
        html = (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
        page = inert_html(html)
        assert html.count("</script>") == html.count("<script")
        assert "script" in page.tags


def plots(dump):
    return {
        "memory": lambda theme: dump.plot.memory(theme=theme),
        "zones": lambda theme: dump.plot.zones(theme=theme),
        "slabs": lambda theme: dump.plot.slabs(theme=theme),
        "processes": lambda theme: dump.plot.processes(theme=theme),
        "maps": lambda theme: dump.plot.maps(int(with_maps(dump)), theme=theme),
        "stacks": lambda theme: dump.plot.stacks(theme=theme),
        "io_offsets": lambda theme: dump.plot.io_offsets(theme=theme),
        "io_latency": lambda theme: dump.plot.io_latency(theme=theme),
        "replay": lambda theme: dump.plot.replay(theme=theme),
    }


#: Both themes draw the same text: the dark one is tried where a page of its own is made of it.
PLOTS = ["memory", "zones", "slabs", "processes", "maps", "stacks", "io_offsets", "io_latency", "replay"]


@pytest.mark.parametrize(
    ("name", "theme"), [*((name, "light") for name in PLOTS), ("stacks", "dark"), ("slabs", "dark")]
)
def test_plots(dump, name, theme):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A font lacks glyphs of names in other scripts; that is all there may be to say.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        axes = plots(dump)[name](theme)
        figure = (axes[0] if isinstance(axes, list | tuple) else getattr(axes, "flat", [axes])[0]).figure
        width, height = figure.get_size_inches()
        for form in ("png", "svg"):
            out = io.BytesIO()
            figure.savefig(
                out, format=form, bbox_inches="tight", metadata={"Title": "t"} if form == "svg" else None
            )
            if form == "svg":
                inert_html(out.getvalue().decode(), math=False)
            else:
                whole = matplotlib.image.imread(io.BytesIO(out.getvalue()))
                assert whole.shape[1] <= 2.2 * width * figure.dpi, "a label of any length widens the picture"
                assert whole.shape[0] <= 2.2 * height * figure.dpi
    for text in figure.findobj(Text):
        said = text.get_text()
        assert text._preprocess_math(said)[1] is False, said
        inert_text(said)
        assert len(said) < 500
    for each in figure.axes:
        inert_text(each.get_label())
        assert len(each.get_label()) < 4000


#: kernlab's verbs, what they print, and what may be in it.
SAID = {
    "info": ["info"],
    "info json": ["info", "--json"],
    "bt": ["bt"],
    "bt of a task": ["bt", "PID"],
    "tables": ["tables"],
    "tasks": ["table", "tasks"],
    "slabs": ["table", "slabs"],
    "iomem": ["table", "iomem", "--format", "table"],
    "log": ["table", "log"],
    "tasks as json": ["table", "tasks", "--format", "json"],
    "tasks as lines": ["table", "tasks", "--format", "jsonl"],
    "tasks as csv": ["table", "tasks", "--format", "csv"],
    "log as csv": ["table", "log", "--format", "csv"],
    "traces as csv": ["table", "ftrace.all", "--format", "csv", "--limit", "20000"],
    "a fault": ["table", "\x1b[31mno"],
    "a fault of a column": ["table", "tasks", "--columns", "\x1b[31m"],
    "a fault of a filter": ["table", "tasks", "--where", "\x1b[31m == 1"],
    "a fault of a thread": ["bt", "\x1b[31m"],
}


def run(words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("verb", SAID)
def test_command_line(dump, vmcore, verb):
    name, *rest = SAID[verb]
    rest = [str(harmful(dump)["pid"].iloc[0]) if word == "PID" else word for word in rest]
    status, said, told = run([name, str(vmcore), *rest])
    assert status == (2 if "fault" in verb else 0), told
    inert_text(told)
    assert said or status
    inert_text(said)
    if "csv" in verb:
        rows = list(csv.reader(io.StringIO(said)))
        texts = [cell for row in rows for cell in row if FORMULA.match(cell)]
        # Numbers below zero are numbers.
        assert [cell for cell in texts if not is_number(cell)] == []
    if "json" in verb:
        found = json.loads(said)
        assert found


def is_number(cell):
    with contextlib.suppress(ValueError):
        float(cell)
        return True
    return False


class TestFiles:
    @pytest.mark.parametrize("name", ["tasks", "slabs", "modules", "iomem", "suspects", "log"])
    def test_excel(self, dump, name, tmp_path):
        openpyxl = pytest.importorskip("openpyxl")
        getattr(dump, name).to_excel(tmp_path / "t.xlsx")
        with zipfile.ZipFile(tmp_path / "t.xlsx") as parts:
            inside = b"".join(parts.read(part) for part in parts.namelist() if "sheet" in part)
        assert b"<f>" not in inside
        assert b"<hyperlink" not in inside
        sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
        cells = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
        assert {cell.data_type for cell in cells} <= {"s", "n", "b", "d"}
        assert not any(ACTING.search(cell.value) for cell in cells if cell.data_type == "s")

    @pytest.mark.parametrize("kind", ["parquet", "feather"])
    def test_columns_are_exact(self, dump, kind, tmp_path):
        pytest.importorskip("pyarrow")
        for name in ("tasks", "slabs", "log"):
            table = kernlab.plain(getattr(dump, name))
            getattr(table, f"to_{kind}")(tmp_path / name)
            back = getattr(pd, f"read_{kind}")(tmp_path / name)
            for column in table.columns[table.dtypes == "str"]:
                assert back[column].tolist() == table[column].tolist()

    def test_csv_is_exact_for_who_asks(self, vmcore, dump):
        _, said, _ = run(["table", str(vmcore), "slabs", "--columns", "name", "--format", "csv-exact"])
        assert [row[0] for row in csv.reader(io.StringIO(said))][1:] == dump.slabs["name"].tolist()

    def test_the_explorer_exports_csv_for_spreadsheets(self, dump):
        from kernlab.dashboard.export import make

        rows = list(csv.reader(io.StringIO(make("slabs", dump.slabs, "csv").content.decode())))
        assert not any(FORMULA.match(cell) for row in rows for cell in row if not is_number(cell))
        assert any(IMG.decode() in cell for row in rows for cell in row), "shown as it is all the same"

    def test_perfetto(self, dump, tmp_path):
        protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
        dump.timeline(since=-3).to_perfetto(tmp_path / "t.pftrace", dump.replay())
        trace = protos.Trace()
        trace.ParseFromString((tmp_path / "t.pftrace").read_bytes())
        names = str(trace)
        assert "id=harm" in names
        strings = [value for packet in trace.packet for value in _strings(packet)]
        assert not any(ACTING.search(value) for value in strings)


def _strings(message):
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        for each in values:
            if field.message_type is not None:
                yield from _strings(each)
            elif isinstance(each, str):
                yield each


#: Reports in which a log has names of its own: of threads, disks, networks, cgroups, files, and a driver's last words.
LOGS = (
    "BUG: kernel NULL pointer dereference, address: 0000000000000018\n"
    "Oops: Oops: 0002 [#1] SMP\n"
    "CPU: 3 UID: 0 PID: 812 Comm: {0} Tainted: G           OE       6.12.9-test #1\n"
    "RIP: 0010:shop_total+0x1c/0x30 [shop]\n"
    "Kernel panic - not syncing: Fatal exception",
    "Kernel panic - not syncing: {0}",
    "INFO: task {0}:12 blocked for more than 120 seconds.\nINFO: task {0}:13 blocked for more than 120 seconds.\n"
    "Kernel panic - not syncing: hung_task: blocked tasks",
    "watchdog: BUG: soft lockup - CPU#2 stuck for 23s! [{0}:143]\n"
    "Kernel panic - not syncing: softlockup: hung tasks",
    "{0} invoked oom-killer: gfp_mask=0x1(A), order=0, oom_score_adj=0\n"
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/{0},task_memcg=/{0}\n"
    "Memory cgroup out of memory: Killed process 165 ({0}) total-vm:131kB\n"
    "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
    "I/O error, dev {1}, sector 77 op 0x0:(READ)\nEXT4-fs error (device {1}): shop:77: inode #2: comm {0}: {0}",
    "BUG: KASAN: slab-use-after-free in shop_total+0x1/0x2 [shop]\nRead of size 8 at addr ffff by task {0}/7\n"
    " shop_total+0x1/0x2 [shop]",
    "NETDEV WATCHDOG: {1} ({1}): transmit queue 0 timed out",
)


@pytest.mark.parametrize(("place", "log"), enumerate(LOGS), ids=[log[:24] for log in LOGS])
def test_a_log_alone(place, log, capsys, tmp_path):
    """The titles of its reports, its verdict, its story and its signature, on a terminal and on a page."""
    from kernlab.display.html import to_html

    names = [*COMMS, *MORE_COMMS, *POINTED]
    for name in names[(SEED + place) % 12 :: 12]:
        said = name.decode("utf-8", "backslashreplace").replace("\n", " ").replace("\r", " ")
        text = "random: crng init done\n" * 20 + log.replace("{0}", said)
        # No device has a name with blanks or brackets, or a long one.
        text = text.replace("{1}", re.sub(r"[\s():]", "", said)[:32] or "x")
        found = kernlab.oops.parse(text)
        verdict = kernlab.verdict.of_log(text)
        assert len(verdict)
        for table in (found, verdict):
            inert_html(to_html(table, max_rows=None))
            inert_text(repr(table))
        inert_text(kernlab.verdict.story(verdict))
        signature = verdict.attrs["signature"]
        assert len(signature) < 1000
        assert len(signature.split()) == 1
        path = tmp_path / "vmcore-dmesg.txt"
        path.write_text(text, "utf-8", "backslashreplace")
        assert main(["verdict", str(path)]) == 0
        captured = capsys.readouterr()
        inert_text(captured.out)
        inert_text(captured.err)
