"""A dump that lost its type information: what is gone is said in one sentence, and what needs no types still works."""

from __future__ import annotations

import pandas as pd
import pytest
from support.overlay import PAGE, Overlay

from kernlab.dump import TABLES
from kernlab.errors import TypesLostError
from kernlab.tables.system.log import log

#: What reads no struct, or structs that VMCOREINFO describes, or says of each row why it is not known.
STILL = {"info", "log", "symbols", "kconfig", "clocks"}
#: Off in the dump's kernel, which its symbols tell.
STILL |= {"page_owner", "allocations", "kfence"}


@pytest.fixture(scope="module", params=["lost", "excluded", "one page"])
def typeless(request, opened):
    whole = opened("debian-6.12")
    start, stop = whole.symbol("__start_BTF"), whole.symbol("__stop_BTF")
    overlay = Overlay(whole)
    if request.param == "one page":
        overlay.lose(stop - PAGE)
    else:
        drop = overlay.lose if request.param == "lost" else overlay.exclude
        drop(*range(start - start % PAGE, stop, PAGE))
    return overlay.dump(fresh=True)


def test_every_table_says_that_the_types_are_gone(typeless):
    for name, entry in TABLES.items():
        if name in STILL or entry.is_method:
            continue
        with pytest.raises(
            TypesLostError, match=r"the kernel's types are gone: .* pages that hold its BTF"
        ) as raised:
            getattr(typeless, name)
        assert "dump.log, info, symbols" in str(raised.value)
        assert "CONFIG_DEBUG_INFO_BTF" not in str(raised.value)


def test_clocks_that_only_structs_tell_say_it(typeless):
    clocks = typeless.clocks.set_index("clock")
    unknown = clocks[clocks["offset"].isna()].drop("counter")
    assert {"mono", "boot", "real"} <= set(unknown.index)
    assert unknown["source"].str.contains("types are gone").all()
    assert any("types are gone" in problem for problem in typeless.clocks.attrs["problems"])


def test_structs_and_views_say_it_too(typeless):
    for use in (
        lambda: typeless.struct("task_struct", "init_task"),
        lambda: typeless.structs("task_struct", [typeless.symbol("init_task")]),
        lambda: typeless.entries("init_task.children"),
        lambda: typeless.variable("init_task"),
        lambda: typeless.layout("task_struct"),
        lambda: typeless.slab_objects("dentry"),
    ):
        with pytest.raises(TypesLostError, match="types are gone"):
            use()


def test_memory_and_symbols_need_none(typeless, opened):
    whole = opened("debian-6.12")
    banner = whole.symbol("linux_banner")
    assert typeless.read("linux_banner", 14) == b"Linux version "
    assert typeless.translate(banner) == whole.translate(banner)
    assert typeless.symbolize(banner + 3) == whole.symbolize(banner + 3)
    assert typeless.identify("init_task").label.tolist() == whole.identify("init_task").label.tolist()
    assert typeless.find_symbols("slab_caches").address.tolist() == [whole.symbol("slab_caches")]
    assert typeless.owner("init_task")["name"] == "init_task"
    assert typeless.symbols.name.tolist()[:1000] == whole.symbols.name.tolist()[:1000]
    found = typeless.search(whole.read(banner, 30))
    assert found.address.tolist() == whole.search(whole.read(banner, 30)).address.tolist()
    assert any("types are gone" in problem for problem in found.attrs["problems"])


def test_info_gives_what_it_can_and_says_what_it_cannot_once(typeless, opened):
    known, whole = typeless.info, opened("debian-6.12").info
    for fact in (
        "release",
        "machine",
        "memory_bytes",
        "cmdline",
        "panic_message",
        "taint",
        "crash_time",
        "cpus",
    ):
        assert known[fact] == whole[fact], fact
    assert known["uptime"] is None
    told = [problem for problem in known.attrs["problems"] if "types are gone" in problem]
    assert 1 <= len(told) <= 2


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_the_log_is_whole_by_what_vmcoreinfo_says_of_it(opened, name):
    whole = opened(name)
    start, stop = whole.symbol("__start_BTF"), whole.symbol("__stop_BTF")
    bare = Overlay(whole).lose(*range(start - start % PAGE, stop, PAGE)).dump(fresh=True)
    pd.testing.assert_frame_equal(bare.log, whole.log)


def test_a_vmcoreinfo_that_does_not_describe_the_log_says_that_types_are_gone(typeless):
    kept = typeless.kernel.vmcoreinfo
    lines = {key: value for key, value in kept.items() if not key.startswith("OFFSET(prb_desc")}
    typeless.kernel.vmcoreinfo = type(kept)(lines)
    try:
        with pytest.raises(TypesLostError, match="types are gone"):
            log(typeless.kernel)
    finally:
        typeless.kernel.vmcoreinfo = kept
