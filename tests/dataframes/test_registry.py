"""Tables are found by name without importing the modules of the others."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
import types

import pytest

from kernlab import replay, tables, traces, verdict
from kernlab.dataframes import origin
from kernlab.dataframes import registry as registry_module
from kernlab.dataframes.lazy import lazy, method
from kernlab.dataframes.registry import Registry, declared, table
from kernlab.dump import TABLES
from kernlab.errors import KernlabError


@pytest.fixture
def module(monkeypatch):
    module = types.ModuleType("kernlab_test_tables")

    def pids(kernel):
        return ["pids", kernel]

    def objects(kernel, cache=None):
        """Objects of one cache."""
        return ["objects", cache]

    for function in (pids, objects):
        function.__module__ = module.__name__
    module.pids = table(pids)
    module.objects = table(rows="struct cached")(objects)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


class Some:
    pids = lazy("kernlab_test_tables:pids", "One row per pid.")
    elsewhere = lazy("no_such_module:no_table", "Never imported.")
    undeclared = lazy("json:loads", "No table.")
    nothing = None

    @method("kernlab_test_tables:objects")
    def objects(self, cache=None):
        """Objects."""

    def _open_kernel(self):
        return "the kernel"

    def _table(self, entry):
        return entry.load().function(self._open_kernel())


def test_a_line_names_the_table_and_says_what_it_is(module):
    registry = Registry(Some)
    assert list(registry) == ["pids", "elsewhere", "undeclared", "objects"]
    assert [entry.is_method for entry in registry.values()] == [False, False, False, True]
    assert registry["pids"].description == "One row per pid."
    assert registry["objects"].description == "Objects."
    assert registry.load("pids").function is module.pids
    assert registry.load("objects").rows == "struct cached"
    assert not registry.load("pids").is_method
    assert registry.load("objects").is_method


def test_the_line_is_an_attribute_that_makes_the_table(module):
    some = Some()
    assert some.pids == ["pids", "the kernel"]
    assert some.objects("dentry") == ["objects", "dentry"]
    assert some.objects(cache=7) == ["objects", 7]
    assert Some.objects.__doc__ == "Objects of one cache."
    assert str(inspect.signature(some.objects)) == "(cache=None)"
    with pytest.raises(AttributeError, match="give yours another name"):
        some.pids = 7


def test_unknown_tables_name_the_nearest(module):
    registry = Registry(Some)
    with pytest.raises(KernlabError, match="did you mean pids"):
        registry.load("pid")
    with pytest.raises(KernlabError, match="there are: elsewhere"):
        registry.load("zzz")


def test_a_line_whose_module_declares_no_such_table_says_so(module):
    with pytest.raises(
        KernlabError, match=r"undeclared should be the table 'loads' of json, which declares none"
    ):
        Registry(Some).load("undeclared")


def test_a_table_needs_the_kernel():
    with pytest.raises(TypeError, match="must take the kernel"):
        table(lambda: None)


def test_every_line_has_its_table_and_every_table_its_line():
    """What a module declares in a room that has tables, and nobody named, would never be found."""
    listed = set()
    for name, entry in TABLES.items():
        known = entry.load()
        assert known.is_method == entry.is_method, name
        listed.add((entry.module, entry.attribute))
    modules = [
        found.name
        for room in (tables, traces, replay, verdict)
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ]
    written = {(name, one) for name in modules for one in declared(name)}
    assert written == listed, "kernlab/contents.py names each table, and no more"


def test_a_forgotten_line_is_seen(monkeypatch):
    """The test above can fail: a declared table without a line is told from one with it."""
    monkeypatch.setattr("kernlab.dataframes.registry._tables", dict(registry_module._tables))

    def forgotten(kernel):
        return kernel

    forgotten.__module__ = "kernlab.tables.memory.swap"
    table(forgotten)
    assert "forgotten" in declared("kernlab.tables.memory.swap")
    with pytest.raises(AssertionError, match="names each table"):
        test_every_line_has_its_table_and_every_table_its_line()


@pytest.mark.parametrize("name", [name for name, entry in TABLES.items() if entry.is_method])
def test_a_method_takes_what_its_table_function_takes(name):
    entry = TABLES[name]
    _, *of_function = inspect.signature(entry.load().function).parameters.values()
    _, *of_line = entry.__signature__.parameters.values()
    assert of_line == of_function


def test_listing_tables_imports_no_pandas():
    code = (
        "import sys, json, kernlab.dataframes, kernlab.dataframes.origin; from kernlab.dump import TABLES as t;"
        "print(json.dumps([[e.description for e in t.values()],"
        "[m for m in ('pandas', 'pyarrow', 'IPython') if m in sys.modules]]))"
    )
    described, loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert all(described)
    assert loaded == []


class Dump:
    pass


def test_tokens_of_two_processes_differ():
    code = "from kernlab.dataframes import origin; print(origin.register(type('Dump', (), {})()))"
    assert len({subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}) == 2


def test_tokens_find_dumps_and_do_not_keep_them():
    dump, other = Dump(), Dump()
    token, second = origin.register(dump, "a.vmcore"), origin.register(other)
    assert token != second
    assert origin.find(token) is dump
    del dump
    with pytest.raises(KernlabError, match=r"a\.vmcore.*is gone"):
        origin.find(token)
    with pytest.raises(KernlabError, match="more than one dump"):
        origin.find(origin.combine(token, second))
    with pytest.raises(KernlabError, match="belong to no dump"):
        origin.find("")
    assert origin.combine("", second) == origin.combine(second, "") == second
