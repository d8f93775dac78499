"""`modules` and `symbols` with modules, against /proc/modules and /proc/kallsyms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kernlab.errors import TypeNotFoundError


@pytest.mark.parametrize("fact", ["base", "size_bytes", "refcount", "state", "used_by", "taint"])
def test_as_proc_modules_prints_them(whole_dump, dump, fact):
    truth = whole_dump.truth.modules()
    ours = dump.modules
    assert list(truth["name"]) == list(ours["name"])
    theirs, mine = truth[fact].tolist(), ours[fact].tolist()
    if fact == "used_by":
        theirs, mine = ([set(users.split(",")) for users in column] for column in (theirs, mine))
    assert theirs == mine


def test_symbols_with_modules_are_kallsyms(whole_dump, dump):
    truth = whole_dump.truth.kallsyms()
    # What bpf and kprobes make up at run time is on other lists; the kernel's and the modules' own are here.
    truth = truth[~truth["module"].str.startswith(("__builtin__", "bpf"))]
    ours = dump.symbols
    theirs = set(zip(truth["address"].tolist(), truth["name"], truth["type"], truth["module"], strict=True))
    mine = set(zip(map(int, ours["address"]), ours["name"], ours["type"], ours["module"], strict=True))
    assert len(theirs & mine) >= 0.999 * len(theirs)
    assert len(mine - theirs) <= 0.001 * len(theirs)
    assert len([symbol for symbol in mine if symbol[3]]) > 500


def test_symbolize_names_module_functions_with_their_module(whole_dump, dump):
    truth = whole_dump.truth.kallsyms()
    inside = truth[(truth["module"] == "null_blk") & truth["type"].isin(["t", "T"])]
    if inside.empty:
        inside = truth[(truth["module"] != "") & truth["type"].isin(["t", "T"])]
    row = inside.iloc[0]
    named = dump.symbolize(int(row["address"]) + 1)
    assert named.startswith(f"{row['name']}+0x1/0x") or "+0x1/0x" in named
    assert named.endswith(f"[{row['module']}]")


def test_symbolize_keeps_shape_and_names_the_unknown_in_hexadecimal(dump):
    start = dump.symbol("schedule")
    assert dump.symbolize(start).startswith("schedule+0x0/0x")
    both = dump.symbolize(np.array([start + 4, 0x1000], dtype=np.uint64))
    assert both[0].startswith("schedule+0x4/0x")
    assert both[1] == "0x0000000000001000"
    assert dump.symbolize(pd.Series([start]))[0].startswith("schedule+0x0")


def test_types_of_modules_join_the_kernels(whole_dump, dump):
    """A struct that only a module has (null_blk's) is known once modules are asked for."""
    kernel = dump.kernel
    if "btf_modules" not in kernel.symbols:
        dump.symbols  # noqa: B018
        # What this kernel never had is no loss of the dump, but who asks is told.
        assert not any("type information" in problem for problem in dump.problems)
        with pytest.raises(TypeNotFoundError, match="keeps no type information of its modules"):
            kernel.find_type("struct nullb_device")
        return
    kind = kernel.find_type("struct nullb_device")
    assert kind.size > 100
    assert "size" in kind.member_names()


def test_damaged_dump_gives_modules_too(damaged_dump, opened):
    ours = opened(damaged_dump.name).modules
    truth = damaged_dump.truth.modules()
    assert set(ours["name"].dropna()) <= set(truth["name"])
    both = truth.merge(ours, on="name", suffixes=("_t", ""))
    assert len(both) >= 0.9 * len(truth)
    assert (both["base_t"].astype(object) == both["base"].to_numpy(dtype=object)).all()
