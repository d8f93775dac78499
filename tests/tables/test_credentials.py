"""As whom threads act, against /proc/PID/status of every thread that was there before the crash: exact."""

from __future__ import annotations

import pytest
from support.overlay import Overlay
from support.thread_truth import statuses, words_of

from kernlab.debuginfo.member_path import resolve

SETS = {
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
SECCOMP = ("disabled", "strict", "filter")


def test_credentials_are_those_of_proc(machine_or_server):
    """Ids, groups, capabilities, seccomp: nothing of it moves while a thread lives. Each number by a file's own."""
    rows = machine_or_server.dump.credentials
    theirs = statuses(machine_or_server.truth)
    rows = rows[rows["pid"].isin(theirs) & (rows["pid"] > 0)]
    assert len(rows) >= (240 if machine_or_server.name == "server" else 50)
    readable = rows[rows["uid"].notna()]
    assert len(readable) == len(rows) or machine_or_server.name == "damaged-7.2"
    wrong = []
    for row in readable.to_dict("records"):
        said = theirs[row["pid"]]
        if row["comm"] != said["Name"] and not row["comm"].startswith("kworker"):
            continue  # it has run another program since, which may have changed who it is
        ours = {
            "Uid": "\t".join(str(row[name]) for name in ("uid", "euid", "suid", "fsuid")),
            "Gid": "\t".join(str(row[name]) for name in ("gid", "egid", "sgid", "fsgid")),
            "Groups": row["groups"],
            "NoNewPrivs": str(int(row["no_new_privs"])),
            "Seccomp": str(SECCOMP.index(row["seccomp"])),
            "Seccomp_filters": str(row["seccomp_filters"]),
            **{line: f"{row[f'cap_{name}']:016x}" for name, line in SETS.items()},
        }
        wrong += [
            (row["pid"], key, value, said[key])
            for key, value in ours.items()
            if said.get(key, value) != value
        ]
    assert wrong == []


def test_words_of_capabilities(server):
    """As `capsh --decode` has them; a set of all that there are, and none."""
    rows = server.credentials.set_index("comm")
    assert rows["capabilities"]["systemd"].iloc[0] == "all"
    timesyncd = rows.loc[rows["capabilities"] == "wake_alarm"]
    assert (timesyncd["cap_effective"] == 1 << 35).all()
    assert len(timesyncd)
    dbus = rows.loc[rows["capabilities"] == "audit_write"]
    assert dbus["cap_effective"].tolist() == [1 << 29]
    assert set(rows["capabilities"][rows["uid"] == 1000]) == {"", "wake_alarm"}


def test_logins(server, server_files):
    theirs = {pid: int(words[0]) for pid, words in words_of(server_files.truth, "loginuid").items()}
    rows = server.credentials.set_index("pid")
    ours = rows["loginuid"].fillna(0xFFFFFFFF)
    assert len(theirs) > 200
    assert {pid: ours[pid] for pid in theirs if pid in ours} == {
        pid: n for pid, n in theirs.items() if pid in ours
    }


@pytest.mark.parametrize("name", ["debian-6.1", "debian-7.2"])
def test_a_label_with_its_mode(opened, name):
    """A profile that confines says so; one that is stacked on others has no mode of its own."""
    below = opened(name)
    kernel, rows = below.kernel, below.credentials
    assert set(rows["label"]) == {"unconfined"}
    blob = int(below.structs("cred", rows["cred"].head(1))["security"].values[0])
    offset = below.structs("lsm_blob_sizes", [below.symbol("apparmor_blob_sizes")])["lbs_cred"].values[0]
    label = int.from_bytes(below.read(blob + int(offset), 8), "little")
    kind = kernel.find_type("struct aa_label")
    profile = int.from_bytes(below.read(label + resolve(kind, "vec").hops[-1], 8), "little")
    overlay = Overlay(below)
    text = int(below.structs("aa_label", [label])["hname"].values[0])
    overlay.write(text, b"/usr/bin/x").set("struct aa_profile", profile, "mode", 1)
    with overlay.dump() as dump:
        assert set(dump.credentials["label"]) == {"/usr/bin/x (complain)"}
    overlay.set("struct aa_label", label, "size", 2)
    with overlay.dump() as dump:
        assert set(dump.credentials["label"]) == {"/usr/bin/x"}


def test_damaged_groups(opened):
    """A list of groups that cannot be so long is missing, and is said to be."""
    below = opened("debian-6.1")
    first = below.structs("cred", below.credentials["cred"].head(1))
    overlay = Overlay(below).set("struct group_info", int(first["group_info"].values[0]), "ngroups", -1)
    with overlay.dump() as dump:
        rows = dump.credentials
        assert rows["groups"].isna().any()
        assert any("lengths that cannot be" in problem for problem in rows.attrs["problems"])
