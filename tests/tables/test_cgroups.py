"""cgroups, cgroup_memory, cgroup_io and pressure against the guests' own files in /sys/fs/cgroup and /proc/pressure.

What nothing moved between the guest's look and its crash is compared exactly: all of every cgroup in which nobody ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from support.captures import captures, dumps_in
from support.cgroup_files import differences, folders, io_lines, io_max, pressure_lines
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.linux.containers.cgroups import find_cgroups

PAGE = 4096
DOCKER, PODMAN = "docker:0123456789ab", "podman:fedcba987654"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice"


@dataclass
class Machine:
    """A dump, and what its guest said of its cgroups."""

    name: str
    dump: Any
    truth: Truth

    def rows(self) -> pd.DataFrame:
        """`cgroups` of version 2 that have folders, by path."""
        table = self.dump.cgroups
        return table[(table["hierarchy"] == "unified") & ~table["dying"].fillna(True)].set_index("path")

    def idle(self) -> set[str]:
        """Those in which nobody ran since the guest looked."""
        rows = self.rows()
        return {
            path
            for path, files in folders(self.truth).items()
            if path != "/"
            and f"usage_usec {rows.loc[path, 'cpu_usage'].value // 1000}" in files["cpu.stat"].split("\n")
        }


@pytest.fixture(scope="module")
def of_server(server: Any, server_files: Any) -> Machine:
    return Machine("server", server, server_files.truth)


@pytest.fixture(
    scope="module", params=captures("containers-*") or [None], ids=lambda folder: folder and folder.name
)
def captured(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The lab's story of containers, on each kernel that it was captured on."""
    folder: Path | None = request.param
    if folder is None:
        pytest.skip("no capture of the story containers is on this machine (KERNLAB_LAB_CAPTURES)")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        yield Machine(folder.name, dump, Truth(folder / "truth.tar.xz"))


def check_idle(machine: Machine) -> int:
    """Every file of every cgroup that nobody ran in; how many cgroups."""
    rows, files, idle = machine.rows(), folders(machine.truth), machine.idle()
    assert set(files) == set(rows.index)
    assert not machine.dump.cgroups.attrs["problems"]
    # Page cache is written back, and objects of slabs are given back, without anybody running.
    wrong = {
        path: found
        for path in idle
        if (
            found := [
                each for each in differences(rows.loc[path], files[path]) if each[0] != "memory.current"
            ]
        )
    }
    assert wrong == {}
    return len(idle)


def check_memory(machine: Machine) -> int:
    """memory.stat of every cgroup that nobody ran in; how many numbers."""
    table, files, idle = machine.dump.cgroup_memory, folders(machine.truth), machine.idle()
    table = table[table["hierarchy"] == "unified"].drop_duplicates("path").set_index("path")
    # 5.10's file lacks what CPUs keep to themselves: 32 pages each, of each cgroup in it.
    slack = 0 if machine.dump.kernel.types.get("struct memcg_vmstats") else 64
    count, wrong, below = 0, [], machine.rows()["descendants"]
    for path in idle & set(table.index):
        numbers = table.loc[path]
        for line in files[path].get("memory.stat", "").split("\n"):
            name, value = line.split(" ")
            ours = numbers[f"{name}_bytes" if f"{name}_bytes" in numbers.index else name]
            unit = PAGE if f"{name}_bytes" in numbers.index else 1
            near = slack * unit * (1 + below[path])
            count += 1
            if abs(int(ours) - int(value)) > near:
                wrong.append((path, name, int(ours), int(value)))
    # Memory that is given back late, by a worker: no more than some.
    assert len(wrong) <= (0 if machine.name != "server" else 30), wrong
    return count


def check_pressure(machine: Machine) -> int:
    """The totals of every cgroup that nobody ran in; averages fade by as many periods as all others do."""
    table, files, idle = machine.dump.pressure, folders(machine.truth), machine.idle()
    exact, faded = 0, set()
    for row in table[table["path"].isin(idle)].itertuples():
        text = files[row.path].get(f"{row.resource}.pressure")
        if text is None:
            continue
        theirs = pressure_lines(text)[row.kind]
        assert row.total.value // 1000 == theirs["total"], (row.path, row.resource, row.kind)
        exact += 1
        assert row.avg10 <= theirs["avg10"]
        if theirs["avg10"] > 1:
            steps = round(math.log(row.avg10 / theirs["avg10"], 1677 / 2048))
            faded.add(steps)
            for ours, before, decay in (
                (row.avg60, theirs["avg60"], 1981 / 2048),
                (row.avg300, theirs["avg300"], 2034 / 2048),
            ):
                assert ours == pytest.approx(before * decay**steps, abs=0.1)
    assert not faded or max(faded) - min(faded) <= 1, faded
    return exact


def check_io(machine: Machine) -> int:
    """io.stat and io.max of every cgroup that nobody ran in; how many lines."""
    table, files, count = machine.dump.cgroup_io, folders(machine.truth), 0
    table = table[table["hierarchy"] == "unified"]
    for path in machine.idle():
        mine = table[table["path"] == path]
        for file, ours in (
            ("io.stat", [f"{dev} {line}" for dev, line in io_lines(mine).items()]),
            ("io.max", io_max(mine)),
        ):
            if file in files[path]:
                # Since 6.5 other policies add words of their own behind.
                theirs = [" ".join(line.split()[:7]) for line in files[path][file].split("\n") if " " in line]
                assert sorted(ours) == sorted(theirs), (path, file)
                count += len(theirs)
    return count


def test_the_servers_cgroups_are_its_files(of_server: Machine) -> None:
    assert check_idle(of_server) >= 65
    assert check_memory(of_server) > 4000
    assert check_pressure(of_server) > 100


def test_a_controller_that_was_switched_off_is_not_shown(server: Any) -> None:
    """What it charged keeps its part alive: of a cgroup that lives that is no part of its controller any more."""
    rows = server.cgroups
    at = int(rows.index[rows["path"] == "/system.slice/nginx.service"][0])
    found = find_cgroups(server.kernel)
    memory = found.part("memory", "struct mem_cgroup")
    css, gone = (memory.follow("css").addresses[row] for row in (at, int(rows.index[rows["dying"]][0])))
    overlay = Overlay(server)
    for place in (css, gone):
        where, size = overlay.where("struct cgroup_subsys_state", int(place), "flags")
        overlay.word(where, 0, size)
    part = find_cgroups(overlay.dump().kernel).part("memory", "struct mem_cgroup")
    assert np.flatnonzero(part.valid != memory.valid).tolist() == [at]


def test_memory_by_cgroup_has_the_same_counters(of_server: Machine) -> None:
    """Cgroups that were removed among them: by another walk, through the memory controller's own tree."""
    other = of_server.dump.memory_by_cgroup.set_index("address")
    memory = of_server.dump.cgroup_memory.set_index("address")
    assert set(map(int, other.index)) == set(map(int, memory.index))
    assert len(other) == 100
    mine = of_server.dump.cgroups.drop_duplicates("path").set_index("path")
    rows = other[~other["dying"]].set_index("path")
    names = {
        "usage_bytes": "usage_bytes",
        "swap_bytes": "swap_bytes",
        "limit_bytes": "max_bytes",
        "oom_kill": "oom_kills",
    }
    for theirs, ours in names.items():
        assert mine.loc[rows.index, ours].fillna(-1).tolist() == rows[theirs].fillna(-1).tolist(), ours
    # memory.stat counts with what is below; the pages' own cgroups add up to it. Of the root some are nobody's.
    leaf = mine.index[(mine["descendants"] == 0) & mine["usage_bytes"].notna()]
    kept = memory.drop_duplicates("path").set_index("path").loc[leaf.intersection(rows.index)]
    assert (kept["anon_bytes"] == rows.loc[kept.index, "anon_bytes"]).all()
    assert (kept["shmem_bytes"] == rows.loc[kept.index, "shmem_bytes"]).all()


def test_containers_of_the_story_are_their_files(captured: Machine) -> None:
    unified = len(folders(captured.truth)) > 1
    if unified:
        assert set(folders(captured.truth)) - captured.idle() == {"/", "/batch", "/batch/night"}
        assert check_idle(captured) == len(folders(captured.truth)) - 3
        assert check_memory(captured) > 400
        assert check_pressure(captured) >= 75
        assert check_io(captured) >= 3


def test_what_happened_in_the_story(captured: Machine) -> None:
    """One throttled, one that may fork no more, one with an OOM, one frozen; who is in which container."""
    rows = captured.dump.cgroups.drop_duplicates("path").set_index("path")
    if POD not in rows.index:
        pytest.skip("this capture has its controllers in hierarchies of version 1")
    engine = next(path for path in rows.index if path.startswith("/system.slice/docker-"))
    assert rows.loc[engine, "throttled_periods"] > 5
    assert rows.loc[engine, "pids"] == rows.loc[engine, "pids_max"] == 12
    assert rows.loc[engine, "pids_max_events"] >= 1
    assert rows.loc[engine, "cpus"] == "1"
    assert rows.loc[POD, "oom_kills"] >= 1
    assert rows.index[rows["frozen"].fillna(False)].tolist() == [
        "/system.slice/paused.service",
        "/winter",
        "/winter/deep",
    ]
    who = captured.dump.tasks.set_index("comm")["container"]
    assert who["nginx"].tolist() == ["web.service"] * 3
    assert who["conmon"] == PODMAN
    assert set(who["dockerd-shim"]) == set(who["many"]) == {DOCKER}
    assert set(who["lxc-start"]) == {"lxc:mail"}
    assert set(who["pause"]) == {"containerd:001122334455"}
    assert who["kthreadd"] is None or pd.isna(who["kthreadd"])


def test_hierarchies_of_version_1_are_those_of_proc(captured: Machine) -> None:
    """/proc/PID/cgroup has a line for each hierarchy; cgroup.procs one for each process."""
    table = captured.dump.cgroups
    lines = captured.truth.lines("p/1/cgroup")
    theirs = {line.split(":")[1] or "unified" for line in lines}
    assert set(table["hierarchy"]) == theirs
    assert {"name=ledger", "net_cls,net_prio", "freezer"} <= theirs
    old = {
        name.removeprefix("cgroup_v1/").removesuffix("/cgroup.procs"): captured.truth.lines(name)
        for name in captured.truth.files
        if name.startswith("cgroup_v1/") and name.endswith("/cgroup.procs") and name.count("/") > 2
    }
    folder = {"ledger": "name=ledger", "net_cls": "net_cls,net_prio", "freezer": "freezer"}
    mine = table.set_index(["hierarchy", "path"])
    checked = 0
    for place, pids in old.items():
        top, _, path = place.partition("/")
        hierarchy = folder.get(top) or next(name for name in theirs if top in name.split(","))
        assert mine.loc[(hierarchy, f"/{path}"), "processes"] == len(pids), place
        checked += 1
    assert checked >= 5


def test_controllers_of_version_1_count_the_same(captured: Machine) -> None:
    """The legacy layout: memory, cpu, cpuacct, pids, cpuset and blkio in hierarchies of their own."""
    files = {
        name: text
        for name, text in captured.truth.files.items()
        if name.startswith("cgroup_v1/memory/docker/")
    }
    if not files:
        pytest.skip("this capture has its controllers in version 2")
    table = captured.dump.cgroups
    truth = captured.truth

    def row(hierarchy: str) -> Any:
        at = (table["hierarchy"] == hierarchy) & table["path"].str.match(r"/docker/[0-9a-f]{64}$")
        return table[at].iloc[0]

    def file(folder: str, name: str) -> str:
        return next(
            truth.text(key).strip()
            for key in truth.files
            if key.startswith(f"cgroup_v1/{folder}/docker/0123") and key.endswith(f"/{name}")
        )

    memory = row("memory")
    assert memory["usage_bytes"] == int(file("memory", "memory.usage_in_bytes"))
    assert memory["peak_bytes"] == int(file("memory", "memory.max_usage_in_bytes"))
    assert memory["max_bytes"] == int(file("memory", "memory.limit_in_bytes")) == 24 << 20
    assert memory["kmem_bytes"] == int(file("memory", "memory.kmem.usage_in_bytes"))
    cpu = row(next(name for name in table["hierarchy"] if "cpuacct" in name))
    assert cpu["cpu_usage"].value == int(file("cpu", "cpuacct.usage"))
    assert cpu["cpu_quota"].value // 1000 == int(file("cpu", "cpu.cfs_quota_us")) == 20000
    assert cpu["cpu_weight"] == 50
    stat = dict(line.split() for line in file("cpu", "cpu.stat").split("\n"))
    assert cpu["periods"] == int(stat["nr_periods"])
    assert cpu["throttled_periods"] == int(stat["nr_throttled"]) > 5
    assert cpu["throttled"].value == int(stat["throttled_time"])
    pids = row("pids")
    assert [pids["pids"], pids["pids_max"]] == [
        int(file("pids", name)) for name in ("pids.current", "pids.max")
    ]
    cpuset = row("cpuset")
    assert [cpuset["cpus"], cpuset["mems"]] == [
        file("cpuset", f"cpuset.effective_{name}") for name in ("cpus", "mems")
    ]
    io = captured.dump.cgroup_io.set_index("hierarchy").loc[["blkio"]]
    io = io[io["path"].str.startswith("/docker/0123")].iloc[0]
    served = dict(
        line.rsplit(" ", 1) for line in file("blkio", "blkio.throttle.io_service_bytes").split("\n")
    )
    assert io["read_bytes"] == int(served[f"{io['dev']} Read"]) >= 48 << 16
    assert io["read_bps"] == 2097152
    assert set(captured.dump.tasks.set_index("comm")["container"]["dockerd-shim"]) == {DOCKER}
    assert set(captured.dump.tasks.set_index("comm")["container"]["pause"]) == {"kubernetes:001122334455"}


def test_root_of_a_sample_is_its_folder() -> None:
    """The only cgroup there; the machine went on, so that times and memory may only have grown or moved a little."""
    with kernlab.open(kernlab.sample("lockup")) as dump:
        check_root(Machine("lockup", dump, Truth(SAMPLES / "lockup" / "truth.tar.xz")))


def check_root(machine: Machine) -> None:
    """What the only cgroup's files and /proc/pressure have."""
    files, row = folders(machine.truth)["/"], machine.rows().loc["/"]
    moved = {file for file, _, _ in differences(row, files)}
    assert moved <= {"cpu.stat", "cgroup.procs", "cgroup.threads"}
    assert row["controllers"] == files["cgroup.controllers"]
    before = int(files["cpu.stat"].split("\n")[0].split(" ")[1])
    assert before <= row["cpu_usage"].value // 1000 <= before + 600_000_000
    stat = machine.dump.cgroup_memory.iloc[0]
    theirs = dict(line.split(" ") for line in files["memory.stat"].split("\n"))
    for key in ("unevictable", "file_thp"):
        assert stat[f"{key}_bytes"] == int(theirs[key])
    assert abs(stat["kernel_stack_bytes"] - int(theirs["kernel_stack"])) <= 1 << 20
    pressure = machine.dump.pressure.set_index(["resource", "kind"])["total"]
    for resource in ("cpu", "io", "memory"):
        for kind, values in pressure_lines(machine.truth.text(f"pressure_{resource}").strip()).items():
            total = pressure[resource, kind].value // 1000
            assert values["total"] <= total <= values["total"] + 600_000_000


def test_a_tree_that_is_a_circle_ends(opened: Any) -> None:
    dump = opened("debian-6.1")
    root = int(dump.cgroups["address"][0])
    overlay = Overlay(dump)
    where, _ = overlay.where("struct cgroup", root, "self.children.next")
    sibling, _ = overlay.where("struct cgroup", root, "self.sibling.next")
    damaged = overlay.word(where, sibling).word(sibling, sibling).dump().cgroups
    assert len(damaged) == 1
    assert damaged.attrs["problems"]


@pytest.mark.parametrize(
    "table", ["cgroups", "cgroup_memory", "cgroup_io", "pressure", "namespaces", "tasks"]
)
def test_pages_that_are_lost_are_told(opened: Any, table: str) -> None:
    """Without the page of the root cgroup, of its memory, of its CPUs' parts: no exception but KernlabError."""
    dump = opened("debian-6.1")
    whole = getattr(dump, table)
    place = int(whole["address"].iloc[-1])
    damaged = getattr(Overlay(dump).lose(place).dump(), table)
    assert damaged.attrs["problems"]
    assert set(damaged.columns) <= set(whole.columns)


def test_pressure_that_is_off_is_told(opened: Any) -> None:
    dump = opened("debian-6.1")
    off = Overlay(dump).word(dump.symbol("psi_disabled"), 1, 4).dump().pressure
    assert len(off) == 0
    assert [str(kind) for kind in off.dtypes] == [str(kind) for kind in dump.pressure.dtypes]
    assert any("psi=0" in problem for problem in off.attrs["problems"])


def test_what_a_cpu_measured_since_is_weighted_by_its_work(opened: Any) -> None:
    """One CPU that waited 4 s of 8, one idle: all of the 4 s count (collect_percpu_times); two alike count once."""
    dump = opened("debian-6.1")
    kernel = dump.kernel
    group = dump.symbol("psi_system")
    overlay = Overlay(dump)
    parts = int.from_bytes(dump.read(overlay.where("struct psi_group", group, "pcpu")[0], 8), "little")
    state, idle = (kernel.types.enumerator(name) for name in ("PSI_IO_SOME", "PSI_NONIDLE"))
    before = dump.pressure.set_index(["resource", "kind"])["total"]["io", "some"]

    def waited(*shares: int) -> int:
        changed = Overlay(dump)
        where, _ = changed.where("struct psi_group", group, "total")
        base = int.from_bytes(dump.read(where + 8 * state, 8), "little")
        for cpu, seconds in enumerate(shares):
            mine = parts + int(kernel.percpu_offsets[cpu])
            changed.set("struct psi_group_cpu", mine, "state_mask", 0)
            times, width = changed.where("struct psi_group_cpu", mine, "times")
            prev, _ = changed.where("struct psi_group_cpu", mine, "times_prev")
            changed.write(times, bytes(width)).write(prev, bytes(width))
            changed.word(times + 4 * state, seconds * 10**9 // 2, 4)
            # Less than the clock would wrap at: the number of ns is of 32 bits.
            changed.word(times + 4 * idle, seconds * 10**9, 4)
        rest = len(kernel.percpu_offsets) - len(shares)
        assert rest == 0
        total = changed.dump().pressure.set_index(["resource", "kind"])["total"]["io", "some"]
        return total.value - base

    assert before.value > 0
    assert waited(4, 0) == 2 * 10**9
    assert waited(4, 4) == 2 * 10**9
    assert waited(4, 2) == (2 * 4 + 1 * 2) * 10**9 // 6


def test_redacted_strictly_no_name_of_a_cgroup_or_hierarchy_is_left(captured: Machine) -> None:
    """Rows, numbers and their order stay; who is in which container is not told any more."""
    with kernlab.open(captured.dump.info["file"], redact="strict") as hidden:
        for table in ("cgroups", "cgroup_memory", "cgroup_io", "pressure"):
            before, after = getattr(captured.dump, table), getattr(hidden, table)
            different = {
                name
                for name in before.columns
                if before[name].map(repr).tolist() != after[name].map(repr).tolist()
            }
            assert different <= set(hidden.redaction.columns[table]), table
        left = set(hidden.cgroups["hierarchy"]) | set(hidden.cgroups["path"])
        assert not any(word in name for name in left for word in ("ledger", "docker", "night", "web"))
        assert hidden.tasks["container"].isna().all()
