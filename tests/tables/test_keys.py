"""Keys against /proc/keys, exactly, and keys that are made up: revoked, expired, negative."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from support.absent import Absence
from support.overlay import Overlay

LINE = re.compile(r"(\w{8}) (\S{7}) +(\d+) (\S+) (\w{8}) +(-?\d+) +(-?\d+) (\S+) +(.*)")


@pytest.mark.parametrize("name", ["hung", "io", "oom", "oops", "panic"])
def test_keys_are_those_of_proc(machine_of, name):
    """It lists those that its reader may see, by serial; the description goes on with what the type says of itself."""
    machine = machine_of(name)
    rows = machine.dump.keys
    theirs = [LINE.fullmatch(line) for line in machine.truth.lines("keys")]
    assert all(theirs)
    assert len(theirs) >= 8
    shown = {int(line[1], 16): line for line in theirs}
    ours = rows[rows["serial"].isin(shown)]
    assert ours["serial"].tolist() == list(shown)
    for row in ours.to_dict("records"):
        line = shown[row["serial"]]
        assert row["flags"] == line[2]
        assert (line[4] == "perm") == pd.isna(row["expires"])
        assert row["permissions"] == line[5]
        # What is nobody's group is shown as the overflow gid.
        assert [row["uid"], min(row["gid"], 65534)] == [int(line[6]), int(line[7])]
        assert row["type"].startswith(line[8])
        assert line[9].startswith(f"{row['description']}: ")
        if row["type"] == "keyring":
            count = row["keys"]
            assert line[9] == f"{row['description']}: {count or 'empty'}"
        else:
            assert pd.isna(row["keys"])
    # What it does not list is what it may not: the reader has no permission, or it is gone.
    assert len(rows) - len(ours) <= 3
    assert rows.attrs["problems"] == []


def test_states(opened):
    below = opened("debian-6.1")
    rows = below.keys
    revoked, negative, expiring, gone = (int(address) for address in rows["address"].iloc[:4])
    overlay, kind = Overlay(below), "struct key"
    overlay.set(kind, revoked, "flags", 0b110).set(kind, revoked, "expiry", 1_700_000_000)
    overlay.set(kind, negative, "state", -126)
    overlay.set(kind, expiring, "expiry", 1_800_000_000)
    overlay.set(kind, gone, "flags", 1 << 5).set(kind, gone, "expiry", (1 << 63) - 1).set(
        kind, gone, "state", 0
    )
    with overlay.dump() as dump:
        found = dump.keys
        assert found["flags"].iloc[:4].tolist() == ["IR-Q---", "I--Q-N-", "I------", "------i"]
        assert found["expires"].notna().tolist()[:4] == [False, False, True, False]
        assert found["expires"].iloc[2] == pd.Timestamp(1_800_000_000, unit="s", tz="UTC")


def test_without_keys(opened):
    below = opened("debian-6.1")
    found = Absence(symbols=("key_serial_tree",)).of(below).keys
    assert not len(found)
    assert list(found.dtypes.astype(str)) == list(below.keys.dtypes.astype(str))
    assert any("CONFIG_KEYS" in problem for problem in found.attrs["problems"])


def test_a_damaged_tree(opened):
    """A key whose node leads into itself costs what is below it, and is said to."""
    below = opened("debian-6.1")
    root = int.from_bytes(below.read(below.symbol("key_serial_tree"), 8), "little")
    with Overlay(below).word(root + 8, root).word(root + 16, 0xDEAD0000).dump() as dump:
        found = dump.keys
        assert 1 <= len(found) < len(below.keys)
        assert any("tree of keys" in problem for problem in found.attrs["problems"])
