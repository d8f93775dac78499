"""The examples in public docstrings run on a bundled dump and print what they say; nothing public goes without one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import pytest

#: What users call by name.
FUNCTIONS = (
    "kernlab.dump:open",
    "kernlab.sample_dumps:sample",
    "kernlab.sample_dumps:samples",
    "kernlab.dataframes.plain:plain",
    "kernlab.display.grid:show",
    "kernlab.oops:parse",
    "kernlab.oops:signature",
    "kernlab.oops:stack",
    "kernlab.oops:stack_signature",
    "kernlab.verdict:lines",
    "kernlab.verdict:of_log",
    "kernlab.traces.relay.files:open",
    "kernlab.traces.ftrace.files:open",
)
#: What users hold, and what of it needs no example here.
CLASSES = {
    "kernlab.dump:Dump": (),
    "kernlab.dataframes.accessor:KernAccessor": (),
    "kernlab.plots:Plots": (),
    "kernlab.tables.processes.stacks:Stacks": (),
    "kernlab.traces.relay.view:Relay": (),
    # wait and slots are of the running kernel's files.
    "kernlab.traces.relay.files:RelayFiles": ("wait", "slots", "close"),
    "kernlab.traces.ftrace.view:Ftrace": (),
    "kernlab.traces.ftrace.files:FtraceFile": ("path", "close"),
    "kernlab.traces.ftrace.text_view:FtraceText": ("close",),
    "kernlab.traces.blktrace.latency:Latencies": (),
    "kernlab.replay.replay:Replay": (),
}
#: Views of a dump that are called.
CALLED = (
    "kernlab.replay.opening:OpenReplay",
    "kernlab.struct_browser.entries:Entries",
    "kernlab.struct_browser.explore:Explore",
    "kernlab.struct_browser.find:FindSymbols",
    "kernlab.struct_browser.find:TypeLayout",
    "kernlab.struct_browser.identify:Identify",
    "kernlab.struct_browser.disassembly:Disassemble",
    "kernlab.dashboard.explorer:OpenExplorer",
    "kernlab.display.stacks.stack:OpenStack",
    "kernlab.display.processes.file:OpenFile",
    "kernlab.display.processes.process:OpenProcess",
)
#: Of a block trace, what is not for the modules that read it.
BLOCK_TRACE = ("events", "latencies", "text", "export", "processes", "losses")
#: Of structs in columns, what an analysis uses most.
STRUCTS = {
    "kernlab.core.struct_array:StructArray": ("has", "first", "follow", "frame"),
    "kernlab.core.column:Column": ("has", "filled", "tolist"),
}
#: Libraries that an example needs beyond those that kernlab always has.
NEEDS = {
    "kernlab.display.grid:show": "itables",
    "kernlab.struct_browser.explore:Explore": "anywidget",
    "kernlab.struct_browser.disassembly:Disassemble": "capstone",
    "kernlab.dashboard.explorer:OpenExplorer": "ipywidgets",
    "kernlab.dataframes.accessor:KernAccessor": "anywidget",
}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def public(kind: type) -> dict[str, Any]:
    """What a class defines itself under a public name: functions, properties, what is cached."""
    kinds = (FunctionType, property, cached_property, classmethod, staticmethod)
    return {name: each for name, each in vars(kind).items() if name[0] != "_" and isinstance(each, kinds)}


def examples_of(name: str, documented: Any) -> doctest.DocTest:
    text = inspect.getdoc(documented) or ""
    return doctest.DocTestParser().get_doctest(text, {}, name, None, 0)


@pytest.fixture
def run(opened: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run the example of something documented, in a folder of its own, with `kernlab` and `dump` at hand."""
    import kernlab

    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    names = {"kernlab": kernlab, "dump": opened("debian-6.1"), "pd": pd}

    def run_one(name: str, documented: Any) -> None:
        test = examples_of(name, documented)
        assert test.examples, f"{name} has no example"
        test.globs = dict(names)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner.run(test, out=said.append)
        assert not said, "".join(said)

    with pd.option_context("display.width", 100, "display.max_columns", 20):
        yield run_one
    plt.close("all")


@pytest.mark.parametrize("place", FUNCTIONS)
def test_functions(run: Any, place: str) -> None:
    pytest.importorskip(NEEDS.get(place, "kernlab"))
    run(place, load(place))


@pytest.mark.parametrize("place", CLASSES)
def test_classes(run: Any, place: str) -> None:
    pytest.importorskip(NEEDS.get(place, "kernlab"))
    for name, each in public(load(place)).items():
        if name not in CLASSES[place]:
            run(f"{place}.{name}", each)


@pytest.mark.parametrize("place", CALLED)
def test_called_views(run: Any, place: str) -> None:
    pytest.importorskip(NEEDS.get(place, "kernlab"))
    run(place, load(place).__call__)


@pytest.mark.parametrize("place", STRUCTS)
def test_structs(run: Any, place: str) -> None:
    for name in STRUCTS[place]:
        run(f"{place}.{name}", inspect.getattr_static(load(place), name))


def test_block_trace(run: Any) -> None:
    kind = load("kernlab.traces.blktrace.trace:BlkTrace")
    for name in BLOCK_TRACE:
        run(f"BlkTrace.{name}", inspect.getattr_static(kind, name))


def table_names() -> list[str]:
    from kernlab.dump import TABLES

    return sorted(TABLES)


@pytest.mark.parametrize("name", table_names())
def test_tables(run: Any, name: str) -> None:
    """Through the dump's class, as help() and an editor see them."""
    run(name, getattr(load("kernlab.dump:Dump"), name))


def test_an_example_that_lies_fails(run: Any) -> None:
    def lies() -> None:
        """Wrong.

        >>> dump.symbol("init_task")
        0
        """

    with pytest.raises(AssertionError, match="Expected"):
        run("lies", lies)
