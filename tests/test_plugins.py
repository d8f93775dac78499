"""Plug-ins: tables and decoders of other distributions, used in a fresh interpreter, and those that are no good."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import kernlab
from kernlab.dataframes import registry
from kernlab.dataframes.lazy import lazy
from kernlab.dump import Dump
from kernlab.traces.relay import clients

ROOT = Path(kernlab.__file__).parent.parent
EXAMPLE = Path(__file__).parent / "plugin_example"


def install(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """What pip leaves of a distribution: its modules, and a .dist-info that names the entry points."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


def run(folder: Path, script: str) -> tuple[dict, str]:
    """A script in a fresh interpreter that has what is installed in `folder`: (the JSON it prints, its stderr)."""
    path = os.pathsep.join([str(folder), str(ROOT), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example package, installed by pip into a folder of its own."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the example package, is not installed")
    folder = tmp_path_factory.mktemp("example")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--target", folder, EXAMPLE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


TABLE = """
import json, kernlab
dump = kernlab.open({path!r})
from kernlab.dump import TABLES
from kernlab.jupyter.completion import suggestions
from kernlab.dashboard.table_view import Pages
listed = dump.tables.set_index("name")
offered = [one.text for one in suggestions("dump.clocksources['ra", {{"dump": dump}})]
group = {{entry["name"]: entry["group"] for entry in Pages(dump).names()}}.get("clocksources")
unbuilt = list(dump._built)
table = dump.clocksources
print(json.dumps(dict(
    names=table["name"].tolist(), rating=table["rating"].tolist(), same=dump.clocksources is table,
    listed=listed.loc["clocksources", "description"], dir="clocksources" in dir(dump),
    has=hasattr(dump, "clocksources"),
    rows=int(dump.tables.set_index("name").loc["clocksources", "rows"]), offered=offered, group=group, unbuilt=unbuilt,
    kern=table.kern.field("name").tolist(), rows_are=TABLES.load("clocksources").rows,
    nearest=str(getattr(dump, "clocksource", None)) if hasattr(dump, "clocksource") else "",
)))
"""


def test_the_table_of_a_plug_in_is_a_table_like_any_other(example, dump_files):
    files = dump_files("debian-6.1")
    found, said = run(example, TABLE.format(path=str(files.vmcore)))
    # The kernel's own words: each clock source says so when it is registered.
    registered = set(re.findall(r"clocksource: ([\w-]+): mask", files.dmesg.read_text()))
    assert registered
    assert registered <= set(found["names"])
    assert found["kern"] == found["names"]
    assert found["rating"] == sorted(found["rating"], reverse=True)
    assert found["listed"] == "Clock sources, one row each, the best first."
    assert found["rows"] == len(found["names"])
    assert found["dir"]
    assert found["has"]
    assert found["same"]
    assert found["offered"] == ["rating"]
    assert found["group"] == "plug-ins"
    assert found["rows_are"] == "struct clocksource"
    assert found["unbuilt"] == []
    assert found["nearest"] == ""
    assert said == ""


def test_the_command_line_prints_the_table_of_a_plug_in(example, dump_files):
    path = os.pathsep.join([str(example), str(ROOT)])

    def kernlab_says(*words: str) -> str:
        command = [sys.executable, "-m", "kernlab", *words]
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    vmcore = str(dump_files("debian-6.1").vmcore)
    assert "clocksources       Clock sources, one row each, the best first." in kernlab_says("tables")
    assert kernlab_says("table", vmcore, "clocksources", "--csv").startswith("name,rating,address\n")


DECODER = """
import json, kernlab
from support.overlay import Overlay
base = kernlab.open({path!r})
# The channel of blktrace, as if the driver of the example had opened it: its callbacks are others.
at = base.symbol("blk_relay_callbacks") + 8
overlay = Overlay(base).set("struct rchan", int(base.relay.channels["address"][0]), "cb", at)
dump = overlay.dump()
dump.kernel.symbols = dump.kernel.symbols.told(["example_callbacks"], [at])
assert "kernlab_example" not in __import__("sys").modules
channels = dump.relay.channels
events = dump.relay.events("vda/trace")
print(json.dumps(dict(
    client=channels["client"].unique().tolist(), callbacks=channels["callbacks"].unique().tolist(),
    columns=list(events.columns), cpu=events["cpu"].tolist(), value=events["value"].tolist(),
    problems=events.attrs["problems"], source=events.attrs["source"],
    traces=dump.relay.block_traces, before=base.relay.block_traces,
)))
"""


def test_the_decoder_of_a_plug_in_is_used_for_its_channels(example, dump_files):
    path = dump_files("debian-6.1").vmcore
    found, _ = run(example, DECODER.format(path=str(path)))
    with kernlab.open(path) as dump:
        streams = {cpu: dump.relay.read("vda/trace", cpu) for cpu in (0, 1)}
    words = {
        cpu: np.frombuffer(data[: len(data) // 16 * 16], "<u4")[2::4].tolist()
        for cpu, data in streams.items()
    }
    assert found["client"] == ["kernlab-example"]
    assert found["callbacks"] == ["example_callbacks"]
    assert found["columns"] == ["cpu", "time", "value", "flags"]
    assert found["value"] == words[0] + words[1]
    assert found["cpu"] == [0] * len(words[0]) + [1] * len(words[1])
    assert found["value"]
    left = [
        f"CPU {cpu}: the last {len(data) % 16} bytes are less than a record"
        for cpu, data in streams.items()
        if len(data) % 16
    ]
    assert [problem for problem in found["problems"] if "less than a record" in problem] == left
    assert found["before"] == ["vda/trace"]
    assert found["traces"] == []


BAD_TABLES = """
[kernlab.tables]
tasks = good:mine
close = good:mine
plot = good:mine
_hidden = good:mine
two-words = good:mine
mine = good:mine
takes = good:takes
plain = good:plain
missing = good:nothing
gone = no_such_module:table
broken = broken:table
exits = exits:table
raises = good:raises
[kernlab.decoders]
blk_relay_callbacks = good:mine
i915.relay_callbacks = good:mine
iosm2.relay_callbacks = broken:decode
"""
GOOD = '''
import pandas as pd
from kernlab.dataframes import frame, table

@table
def mine(kernel):
    """Mine."""
    return frame(kernel, "mine", one=[1])

@table
def takes(kernel, number, *, more=2):
    """Takes a number."""
    return frame(kernel, "takes", number=[number, more])

def plain(kernel):
    """Not declared."""

@table
def raises(kernel):
    """Has a fault."""
    return None.nothing
'''

#: What cannot be imported, and what is raised then.
FAILING = {
    "missing": "AttributeError",
    "gone": "ModuleNotFoundError",
    "broken": "ZeroDivisionError",
    "exits": "SystemExit",
}

SCRIPT = """
import inspect, json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import kernlab
    imported = [str(one.message) for one in caught]
    dump = kernlab.open({path!r})
    listed = dump.tables
    from kernlab.traces.relay import clients
    clients.recognise("relay_callbacks", "iosm2")
def why(ask):
    try:
        return "no error: " + repr(ask())
    except kernlab.KernlabError as error:
        return f"{{error}} <- {{type(error.__cause__).__name__}}"
print(json.dumps(dict(
    imported=imported, warned=[(one.category.__name__, str(one.message)) for one in caught],
    names=listed["name"].tolist(), described=dict(zip(listed["name"], listed["description"])),
    problems=listed.attrs["problems"],
    why={{name: why(lambda: getattr(dump, name)) for name in {names}}},
    mine=dump.mine["one"].tolist(), takes=dump.takes(7, more=8)["number"].tolist(),
    signature=str(inspect.signature(dump.takes)), tasks=len(dump.tasks), swap=hasattr(dump, "swap"),
    decoder=why(lambda: clients.recognise("relay_callbacks", "iosm2").decoder({{}})),
    client=clients.recognise("relay_callbacks", "iosm2").name,
    blktrace=clients.recognise("blk_relay_callbacks", "").name,
)))
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory, dump_files):
    """What comes of distributions that offer what is no good, beside what is."""
    folder = tmp_path_factory.mktemp("bad")
    modules = {"good": GOOD, "broken": "1 / 0", "exits": "import sys; sys.exit(3)"}
    install(folder, "bad-tables", BAD_TABLES, **modules)
    install(folder, "second", "[kernlab.tables]\nmine = good:takes\n")
    found, _ = run(
        folder, SCRIPT.format(path=str(dump_files("debian-6.1").vmcore), names=(*FAILING, "plain", "raises"))
    )
    return found


def test_a_name_that_is_taken_is_refused(bad):
    assert bad["tasks"] > 90
    assert bad["blktrace"] == "blktrace"
    assert bad["imported"] == []
    said = {message for category, message in bad["warned"] if category == "PluginWarning"}
    assert len(said) == len([one for one in bad["warned"] if one[0] == "PluginWarning"]), "each is told once"
    reasons = {
        "tasks": "a dump's own tasks has that name",
        "close": "a dump's own close has that name",
        "plot": "a dump's own plot has that name",
        "_hidden": "a dump cannot have an attribute of that name",
        "two-words": "a dump cannot have an attribute of that name",
    }
    unused = "{} of the plug-in bad-tables (entry point {}) is not used: {}"
    refused = {unused.format(name, "kernlab.tables", why) for name, why in reasons.items()}
    refused.add(
        "mine of the plug-in second (entry point kernlab.tables) is not used: bad-tables has that name already"
    )
    of_decoders = {
        unused.format(name, "kernlab.decoders", "kernlab decodes what has these callbacks itself")
        for name in ("blk_relay_callbacks", "i915.relay_callbacks")
    }
    assert said == refused | of_decoders
    assert refused <= set(bad["problems"])
    assert bad["names"].count("mine") == 1
    assert not {"_hidden", "two-words"} & set(bad["names"])


def test_a_plug_in_that_fails_says_whose_it_is_and_breaks_nothing_else(bad):
    why = bad["why"]
    undeclared = "is not a table: good:plain is not declared with @kernlab.dataframes.table"
    assert f"plain of the plug-in bad-tables {undeclared}" in why["plain"]
    for name, cause in FAILING.items():
        assert why[name].startswith(f"{name} of the plug-in bad-tables cannot be imported from "), name
        assert why[name].endswith(f"<- {cause}"), name
        assert bad["described"][name].startswith(f"{name} of the plug-in bad-tables cannot be imported"), name
        assert any(problem.startswith(f"{name} of the plug-in") for problem in bad["problems"]), name
    assert why["raises"] == "the table raises cannot be made: a fault in good: " + (
        "AttributeError(\"'NoneType' object has no attribute 'nothing'\") <- AttributeError"
    )
    assert bad["mine"] == [1]
    assert bad["takes"] == [7, 8]
    assert bad["signature"] == "(number, *, more=2)"
    assert bad["swap"]
    assert bad["client"] == "bad-tables"
    told = "iosm2.relay_callbacks of the plug-in bad-tables cannot be imported from broken:decode"
    assert bad["decoder"].startswith(told)


def test_importing_kernlab_looks_for_no_plug_ins():
    script = "import sys, json, kernlab; kernlab.Dump; print(json.dumps('importlib.metadata' in sys.modules))"
    found, _ = run(ROOT, script)
    assert found is False


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of a section of CONTRIBUTING.md."""
    path = ROOT / "CONTRIBUTING.md"
    if not path.is_file():
        pytest.skip("kernlab is not a checkout here")
    section = path.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_a_table_is_added_as_contributing_says(tmp_path, monkeypatch, dump_files):
    """One module of at most 40 lines, one line in contents.py."""
    module, line = blocks("Add a table", "python")
    assert len(module.splitlines()) <= 40
    assert len(line.splitlines()) == 1
    file = module.splitlines()[0].removeprefix("# ")
    home = file.removesuffix(".py").replace("/", ".")
    (tmp_path / "clocksources.py").write_text(module)
    spec = importlib.util.spec_from_file_location(home, tmp_path / "clocksources.py")
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(registry, "_tables", dict(registry._tables))
    monkeypatch.setitem(sys.modules, home, made)
    spec.loader.exec_module(made)
    namespace = {"Dump": Dump, "lazy": lazy}
    exec(f"from __future__ import annotations\nclass Door(Dump):\n    {line}", namespace)
    monkeypatch.setattr("kernlab.dump.Dump", namespace["Door"])
    files = dump_files("debian-6.1")
    with kernlab.open(files.vmcore) as dump:
        registered = set(re.findall(r"clocksource: ([\w-]+): mask", files.dmesg.read_text()))
        assert registered
        assert registered <= set(dump.clocksources["name"])
        listed = dump.tables.set_index("name")
        assert listed.loc["clocksources", "description"] == "Clock sources."
        assert listed.loc["clocksources", "rows"] == len(dump.clocksources)
        assert namespace["Door"].clocksources.group == "system"
        assert namespace["Door"].clocksources.__doc__.startswith("One row per clock source")
        assert namespace["Door"].clocksources.load().columns == ("name", "rating", "address")


def test_a_decoder_is_added_as_contributing_says(monkeypatch, dump_files):
    monkeypatch.setattr(clients, "CLIENTS", dict(clients.CLIENTS))
    (text,) = blocks("Add a decoder", "python")
    namespace: dict = {}
    exec(text, namespace)
    example = clients.recognise("example_callbacks", "")
    assert example.name == "example driver"
    assert example.decoder is namespace["decode"]
    kernlab.relay.register("blk_relay_callbacks", "mine", decoder=example.decoder)
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        events = dump.relay.events("vda/trace")
        data = [dump.relay.read("vda/trace", cpu) for cpu in (0, 1)]
    words = [np.frombuffer(part[: len(part) // 16 * 16], "<u4")[2::4].tolist() for part in data]
    assert events["value"].tolist() == words[0] + words[1]


def test_the_entry_points_of_contributing_are_those_of_the_example():
    (text,) = blocks("Add a table", "toml")
    told = tomllib.loads(text)["project"]["entry-points"]
    assert told == tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
