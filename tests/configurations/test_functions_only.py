"""A kernel whose symbols are functions only (CONFIG_KALLSYMS_ALL=n): what is known is told, the rest is unknown."""

from __future__ import annotations

import numpy as np
import pytest
from configurations.test_options import TABLES, build, values
from support.absent import Absence
from support.overlay import Overlay

from kernlab.debuginfo.btf_search import find_btf
from kernlab.display.summary import summary
from kernlab.errors import KernlabError, SymbolNotFoundError

DUMPS = ("debian-5.10", "debian-6.1", "debian-7.2")
_WHY = "names functions only (CONFIG_KALLSYMS_ALL is off)"


@pytest.fixture(scope="module", params=DUMPS)
def pair(request, opened):
    """The dump of such a kernel, and the same with all symbols."""
    below = opened(request.param)
    return Absence(functions_only=True).of(below), below


def test_types_are_found_by_their_shape(pair):
    dump, below = pair
    found = find_btf(below.kernel.memory, below.kernel.vmcoreinfo)
    start, stop = below.symbol("__start_BTF"), below.symbol("__stop_BTF")
    assert found == below.read(start, stop - start)
    assert dump.kernel.types.names("struct") == below.kernel.types.names("struct")


def test_memory_is_mapped_where_it_is(pair):
    dump, below = pair
    assert dump.kernel.memory.layout.direct_start == below.kernel.memory.layout.direct_start
    assert dump.kernel.vmemmap == below.kernel.vmemmap
    assert below.kernel.vmemmap == int.from_bytes(below.read(below.symbol("vmemmap_base"), 8), "little")


def test_what_vmcoreinfo_names_is_known(pair):
    dump, below = pair
    assert values(dump.log["text"]).equals(values(below.log["text"]))
    for fact in ("release", "version", "nodename", "crash_time", "panic_message", "slab_frames_absent"):
        assert dump.info[fact] == below.info[fact], fact
    assert dump.buddyinfo.astype(str).equals(below.buddyinfo.astype(str))


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_right_or_says_why_it_is_not_known(pair, table):
    """Never empty, which would say that there is nothing."""
    dump, below = pair
    whole = build(below, table)
    found, why = _built(dump, table)
    if found is None:
        assert _WHY in why
        return
    if table == "vmalloc" and len(found) != len(whole):
        assert any("freed, but not yet unmapped" in problem for problem in found.attrs["problems"])
        assert set(values(found["start"])) < set(values(whole["start"]))
        return
    assert len(found) == len(whole)
    if table == "verdict":
        # The log tells it; what the stacks would add is said to be unknown.
        assert found[["finding", "subject", "role"]].equals(whole[["finding", "subject", "role"]])
        assert any(_WHY in problem for problem in found.attrs["problems"])
        return
    for name in found.columns:
        known = found[name].notna().to_numpy()
        # Of clocks that are not known it says why.
        if name not in ("caller", "file") and (table, name) != ("clocks", "source"):
            assert (values(found[name])[known] == values(whole[name])[known]).all(), name
        if not known.all():
            assert any(_WHY in problem for problem in found.attrs["problems"])


def _built(dump, table):
    try:
        return build(dump, table), ""
    except KernlabError as error:
        return None, str(error)


def test_unknown_is_not_no(pair):
    dump, _ = pair
    told = summary(dump)
    facts = dict(told.rows)
    assert facts["running"].startswith("unknown (where 'panic_cpu' lies is not known")
    assert _WHY in facts["machine"]
    assert "memory unknown of memory" not in facts["machine"]
    assert _WHY in facts["command line"]
    assert "taint: unknown (" in facts["kernel"]
    assert not any("built without CONFIG_DEBUG_INFO_BTF" in problem for problem in told.problems)
    assert set(dump.info.attrs["unknown"]) >= {
        "panic_cpu",
        "uptime",
        "cpus",
        "memory_bytes",
        "cmdline",
        "taint",
    }


def test_the_log_that_cannot_be_read_names_no_cause_and_denies_none(opened):
    below = opened("debian-6.1")
    gone = Absence(vmcoreinfo=("SYMBOL(prb)",), functions_only=True).of(below)
    assert summary(gone).why.startswith("Why the machine died is unknown: where 'prb' lies is not known")


def test_a_variable_is_not_said_to_be_absent(pair):
    dump, _ = pair
    with pytest.raises(SymbolNotFoundError, match="where 'jiffies' lies is not known") as raised:
        dump.symbol("jiffies")
    assert _WHY in str(raised.value)


def test_data_is_not_named_after_the_last_function(pair):
    """Between the kernel's functions and those of its start lie megabytes of data that no symbol covers."""
    dump, below = pair
    address = below.symbol("init_task") + 64
    assert dump.kernel.symbols.symbolize(np.array([address], dtype=np.uint64)) == [None]
    assert dump.symbolize(below.symbol("schedule") + 4).startswith("schedule+0x4/")


def test_without_types_the_error_says_so(opened):
    """The same table, and nothing in the image that looks like type information."""
    below = opened("debian-6.1")
    changes = Overlay(below).write(below.symbol("__start_BTF"), bytes(4))
    dump = Absence(functions_only=True).of(below, changes)
    with pytest.raises(
        KernlabError, match=r"no type information .BTF. was found in the kernel image"
    ) as raised:
        dump.kernel.types  # noqa: B018
    assert _WHY in str(raised.value)
    assert "built without CONFIG_DEBUG_INFO_BTF, or the dump lacks pages" in str(raised.value)
