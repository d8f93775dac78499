"""`Dump` as editors, type checkers and `help` see it, and what an AttributeError inside a table comes out as."""

from __future__ import annotations

import inspect
import os
import pydoc
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import kernlab
from kernlab.contents import Contents
from kernlab.dataframes import registry
from kernlab.dataframes.registry import table
from kernlab.dump import TABLES
from kernlab.errors import MemberNotFoundError

ROOT = Path(kernlab.__file__).parent.parent

#: What somebody writes who uses kernlab: ten tables, `.kern`, views, and the public functions.
SNIPPET = '''
import pandas as pd
import kernlab
from kernlab import KernlabError, relay

def newest(path: str) -> pd.DataFrame:
    with kernlab.open(path, arena_bytes=1 << 20) as dump:
        tasks = dump.tasks
        oom: "pd.Series[int]" = tasks.kern.field("signal->oom_score_adj")
        print(tasks.kern.structs["pid"].values.sum(), oom.max(), dump.info["release"])
        sleeping = tasks[tasks["state"] == "D"].sort_values("start_time").head(3)
        print(sleeping.kern.field("comm", "pid").columns, sleeping.kern.type.upper())
        big = dump.slabs.nlargest(3, "bytes").kern.assign(refs="refcount").kern.where("refcount > 1")
        mine = dump.maps.merge(tasks, on="pid")
        print(len(mine), dump.modules["name"], dump.symbols.shape, dump.log.iloc[0], dump.pages.kern.on("mapping"))
        print(dump.memory.groupby("kind").sum(), dump.zones.columns, dump.meminfo["MemTotal"], big.attrs["source"])
        found = dump.slab_objects(cache="dentry")
        print(dump.search(7, size="object", limit=5).kern.owner(), dump.owner([1, 2]))
        dump.plot.memory(theme="dark").set_title("memory")
        channels = dump.relay.channels["client"].tolist()
        print(dump.ftrace.events("sched_switch").columns, dump.struct("task_struct", "init_task").comm, channels)
        return found.kern.follow("d_inode", "i_ino")

def files() -> "list[str]":
    listed = kernlab.samples()
    print(kernlab.sample("debian-6.1").name, kernlab.plain(listed).columns)
    try:
        with relay.open("trace0") as recorded:
            print(recorded.events().columns)
    except KernlabError as error:
        return [error.words()]
    return []
'''  # fmt: skip

#: What must not pass, line by line.
WRONG = [
    ("kernlab.open(p).taskss", '"Dump" has no attribute "taskss"'),
    ("kernlab.opne(p)", 'Module has no attribute "opne"'),
    ("kernlab.open(p).tasks.kern.feild('comm')", '"KernAccessor" has no attribute "feild"'),
    ("kernlab.open(p).relay.channels.kern.feild('cb')", '"KernAccessor" has no attribute "feild"'),
    ("kernlab.open(p).ftrace.lost.kern.feild('cpu')", '"KernAccessor" has no attribute "feild"'),
    ("kernlab.open(p).search()", 'Missing positional argument "what"'),
    ("kernlab.open(p).search(1, sise=2)", 'Unexpected keyword argument "sise"'),
    ("kernlab.open(p).plot.memroy()", '"Plots" has no attribute "memroy"'),
    ("kernlab.open(p).relay.read(b'')", 'incompatible type "bytes"'),
    ("kernlab.open(p).disassemble()", 'Missing positional argument "what"'),
    ("kernlab.sample(7)", 'incompatible type "int"'),
    ("kernlab.open(7)", 'incompatible type "int"'),
]


@pytest.fixture(scope="module")
def checked(request, tmp_path_factory):
    """mypy --strict on files outside of the checkout, with kernlab as an installed package: its output."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("outside")
    (folder / "right.py").write_text(SNIPPET)
    wrong = ["import kernlab", "p = 'vmcore'", *(line for line, _ in WRONG)]
    (folder / "wrong.py").write_text("\n".join(wrong))
    cache = request.config.cache.mkdir("mypy-outside")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}", "right.py", "wrong.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def test_a_program_of_ten_tables_passes_mypy_strict(checked):
    assert not [line for line in checked if line.startswith("right.py")]


def test_what_is_spelt_wrong_does_not_pass(checked):
    told = {
        int(line.split(":")[1]): line for line in checked if line.startswith("wrong.py") and "error:" in line
    }
    for number, (line, says) in enumerate(WRONG, start=3):
        assert says in told.get(number, "nothing"), line


#: Tables with methods of their own.
WITH_METHODS = {"stacks": "Stacks", "waits": "Waits"}


def test_tables_with_addresses_are_typed_as_having_kern(opened):
    """`Frame` in contents.py is a promise: the built table has addresses; without it has none."""
    dump = opened("debian-6.1")
    for name, entry in TABLES.items():
        if entry.is_method:
            continue
        typed = Contents.__annotations__[name]
        built = getattr(dump, name)
        kind = "Frame" if hasattr(built, "kern") else f"pd.{type(built).__name__}"
        kind = WITH_METHODS.get(name, kind)
        kind += "[Any]" if isinstance(built, pd.Series) else ""
        assert typed == f"lazy[{kind}]", name


def test_what_a_table_is_stands_in_help():
    told = pydoc.plain(pydoc.render_doc(kernlab.Dump))
    for name, entry in TABLES.items():
        said = inspect.getdoc(entry.load().function)
        assert getattr(kernlab.Dump, name).__doc__ == said
        assert said.split("\n")[0] in told
    assert "search(self, what: 'Any', *, size: 'int | str | None' = None, limit: 'int' = 100000)" in told
    assert kernlab.Dump.plot.__doc__.startswith("The plots of one dump.")
    assert kernlab.Dump.disassemble.__doc__.startswith("The instructions of the function")


def test_jedi_knows_what_a_table_is():
    """What completes in editors and in notebooks."""
    jedi = pytest.importorskip("jedi")
    for text, offered in (
        ("dump.tas", "tasks"),
        ("dump.tasks.nlar", "nlargest"),
        ("dump.tasks.kern.fie", "field"),
        ("dump.meminfo.to_di", "to_dict"),
        ("dump.plot.mem", "memory"),
        ("dump.relay.chan", "channels"),
    ):
        script = jedi.Script(
            f"import kernlab\ndump = kernlab.open('vmcore')\n{text}", path=str(ROOT / "x.py")
        )
        assert offered in [one.name for one in script.complete()], text


@pytest.mark.parametrize(
    "raised",
    [
        AttributeError("'NoneType' object has no attribute 'x'"),
        MemberNotFoundError("struct x has no member y"),
    ],
)
def test_an_attribute_error_inside_a_table_is_none_outside(opened, monkeypatch, raised):
    def swap(kernel):
        raise raised

    swap.__module__ = "kernlab.tables.memory.swap"
    TABLES.load("swap")
    monkeypatch.setattr(registry, "_tables", dict(registry._tables))
    table(swap)
    dump = opened("debian-5.10")
    monkeypatch.delitem(dump._built, "swap", raising=False)
    with pytest.raises(kernlab.KernlabError, match="the table swap cannot be made: ") as caught:
        dump.swap  # noqa: B018
    assert not isinstance(caught.value, AttributeError)
    assert caught.value.__cause__ is raised
    assert str(raised) in str(caught.value)
    # hasattr lets out what is no AttributeError, and never says that there is no such table.
    with pytest.raises(kernlab.KernlabError):
        hasattr(dump, "swap")


def test_hasattr_finds_a_table_on_every_dump(opened, any_dump):
    assert hasattr(opened(any_dump.name), "swap")


def test_an_attribute_error_inside_a_view_is_none_outside(opened, monkeypatch):
    import kernlab.plots

    def broken(self, dump):
        raise AttributeError("no such thing")

    monkeypatch.setattr(kernlab.plots.Plots, "__init__", broken)
    with pytest.raises(kernlab.KernlabError, match=r"dump\.plot cannot be made: a fault in kernlab\.plots"):
        opened("debian-5.10").plot  # noqa: B018


def test_an_attribute_error_inside_a_table_of_a_view_is_none_outside(opened, monkeypatch):
    dump = opened("debian-5.10")

    def broken(self):
        raise AttributeError("no such thing")

    monkeypatch.setattr(type(dump.relay), "channels", property(broken))
    monkeypatch.setattr(kernlab.Dump, "problems", property(broken))
    for owner, name in ((dump.relay, "channels"), (dump, "problems")):
        with pytest.raises(kernlab.KernlabError, match=f"'{name}' of .* cannot be made: a fault in kernlab"):
            hasattr(owner, name)


def test_tables_and_views_are_no_place_for_things_of_ones_own(opened):
    dump = opened("debian-5.10")
    for name in ("tasks", "plot"):
        with pytest.raises(AttributeError, match="give yours another name"):
            setattr(dump, name, 7)


def test_the_wheel_says_that_it_is_typed(tmp_path):
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("kernlab is not a checkout here")
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
    ]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert "kernlab/py.typed" in packed.namelist()
