"""Tables are found by name without importing the modules of the others."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import pytest

from kernlab.dataframes import origin
from kernlab.dataframes.registry import Entry, Registry, table
from kernlab.errors import KernlabError


@pytest.fixture
def module(monkeypatch):
    module = types.ModuleType("kernlab_test_tables")

    def pids(kernel):
        return ["pids", kernel]

    def objects(kernel, cache=None):
        return ["objects", cache]

    for function in (pids, objects):
        function.__module__ = module.__name__
    module.pids = table("One row per pid.")(pids)
    module.objects = table("Objects.", name="slab_objects")(objects)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_load_gives_the_function_itself(module):
    registry = Registry(
        {
            "pids": (module.__name__, "One row per pid."),
            "slab_objects": (module.__name__, "Objects.", True),
            "elsewhere": ("no_such_module", "Never imported."),
        }
    )
    assert registry.load("pids").function is module.pids
    assert not registry.load("pids").is_method
    assert registry.load("slab_objects").is_method
    assert registry.load("slab_objects").function(None, cache="dentry") == ["objects", "dentry"]
    assert registry["pids"] == Entry(module.__name__, "One row per pid.", False)
    assert list(registry) == ["pids", "slab_objects", "elsewhere"]
    for name in ("pids", "slab_objects"):
        assert registry.load(name).entry == registry[name]


def test_unknown_names_name_the_nearest(module):
    registry = Registry({"tasks": (module.__name__, "")})
    with pytest.raises(KernlabError, match="did you mean tasks"):
        registry.load("taks")
    with pytest.raises(KernlabError, match="there are: tasks"):
        registry.load("zzz")
    with pytest.raises(KernlabError, match="declares none"):
        registry.load("tasks")


def test_a_table_needs_the_kernel():
    with pytest.raises(TypeError, match="must take the kernel"):
        table("Nothing.")(lambda: None)


def test_the_index_agrees_with_what_modules_declare():
    tables = pytest.importorskip("kernlab.tables")
    for name, entry in tables.INDEX.items():
        assert tables.INDEX.load(name).entry == entry, name


def test_listing_tables_imports_no_pandas():
    code = (
        "import sys, json, kernlab.dataframes, kernlab.dataframes.origin, kernlab.tables as t;"
        "print(json.dumps([len(t.INDEX), [m for m in ('pandas', 'pyarrow', 'IPython') if m in sys.modules]]))"
    )
    count, loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert count
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
