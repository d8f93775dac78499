"""zones, nodes, buddyinfo, meminfo and vmstat: against the guests' own files.

The truth was taken before the crash, and then written to a disk: page cache grew, free pages fell, slabs of inodes and
dentries came. What that moves is compared closely here, and exactly with the page structs in test_memory.py.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.overlay import Overlay

from kernlab.walk.lists import list_entries

PAGE = 4096
#: Dumps whose guest did nothing between the truth and the crash but write the truth down.
QUIET = ("debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2", "damaged-7.2")

#: Keys of /proc/meminfo that writing a file of some MB moves by more than 1 % of a small guest's memory.
MOVED = {"MemFree", "MemAvailable", "Cached", "Active", "Inactive", "Inactive(file)"}

#: Keys of which no process and no file that comes or goes changes anything.
STILL = {
    "MemTotal",
    "SwapTotal",
    "SwapFree",
    "SwapCached",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "CommitLimit",
    "VmallocTotal",
    "VmallocChunk",
    "Percpu",
    "HardwareCorrupted",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "CmaTotal",
    "CmaFree",
    "HugePages_Total",
    "HugePages_Free",
    "HugePages_Rsvd",
    "HugePages_Surp",
    "Hugepagesize",
    "Hugetlb",
    "DirectMap4k",
    "DirectMap2M",
    "DirectMap1G",
    "Zswap",
    "Zswapped",
    "Unaccepted",
    "Balloon",
}


@pytest.fixture(scope="module")
def paired(machine) -> pd.DataFrame:
    ours = machine.dump.zones.set_index(["node", "zone"])
    theirs = machine.truth.zoneinfo().set_index(["node", "zone"])
    assert ours.index.tolist() == theirs.index.tolist()
    return ours.join(theirs.add_suffix("_t"))


@pytest.mark.parametrize("fact", ["present", "spanned", "managed", "cma", "min", "low", "high", "start_pfn"])
def test_zones_are_zoneinfos(paired, fact):
    if f"{fact}_t" not in paired:
        pytest.skip("this kernel's /proc/zoneinfo has no such line")
    ours, theirs = paired[fact], paired[f"{fact}_t"]
    # The file says nothing of zones that are empty.
    known = theirs.notna() & (paired["present"] > 0)
    assert known.any()
    assert ours[known].tolist() == theirs[known].tolist()


def test_free_pages_drift_no_further_than_what_was_written(machine, paired):
    if machine.name not in QUIET:
        pytest.skip("much happened to this guest after the truth was taken")
    assert ((paired["free"] - paired["free_t"]).abs() <= 0.02 * paired["managed"].sum()).all()


def test_counters_of_zones_are_all_there(machine, paired):
    names = [
        name.removesuffix("_t")
        for name in paired
        if name.startswith(("nr_", "numa_")) and name.endswith("_t")
    ]
    assert len(names) >= 5
    if machine.name not in QUIET:
        return
    for name in names:
        ours, theirs = paired[name], paired[f"{name}_t"]
        known = theirs.notna()
        if name.startswith("numa_"):
            assert (ours[known] >= theirs[known]).all(), name
        else:
            assert ((ours - theirs)[known].abs() <= 0.025 * paired["managed"].sum()).all(), name


def test_counters_of_nodes_are_zoneinfos(machine):
    theirs = machine.truth.node_stats()
    ours = machine.dump.nodes.set_index("node")
    assert ours.index.tolist() == theirs.index.tolist()
    missing = [name for name in theirs if name not in ours]
    assert not missing
    if machine.name not in QUIET:
        return
    # Sizes of what is there now; the others count events, which only grow.
    sizes = ["nr_anon_pages", "nr_mapped", "nr_shmem", "nr_unevictable", "nr_kernel_stack", "nr_active_file"]
    for name in [each for each in sizes if each in theirs]:
        assert ((ours[name] - theirs[name]).abs() <= 64).all(), name
    for name in [
        each for each in theirs if each.startswith(("workingset_refault", "nr_vmscan", "nr_written"))
    ]:
        assert (ours[name] >= theirs[name]).all(), name


def test_buddyinfo(machine):
    ours, theirs = machine.dump.buddyinfo, machine.truth.buddyinfo()
    assert ours[["node", "zone"]].to_numpy().tolist() == theirs[["node", "zone"]].to_numpy().tolist()
    assert [name for name in ours if isinstance(name, int)] == list(range(11))
    if machine.name in QUIET:
        drift = ours[list(range(11))].to_numpy(dtype=np.int64) - theirs[list(range(11))].to_numpy(
            dtype=np.int64
        )
        pages = np.abs((drift << np.arange(11)).sum(axis=1))
        assert (pages <= 0.02 * machine.dump.zones["managed"].sum()).all()
        # The zone that nobody allocates from does not move at all.
        assert ours.loc[ours["zone"] == "DMA", list(range(11))].equals(
            theirs.loc[theirs["zone"] == "DMA", list(range(11))].astype("Int64")
        )


# meminfo


def test_keys_are_those_of_the_file_in_its_order(machine_or_server):
    assert machine_or_server.dump.meminfo.index.tolist() == machine_or_server.truth.meminfo().index.tolist()


def test_what_nothing_moves_is_exact(machine_or_server):
    ours, theirs = machine_or_server.dump.meminfo, machine_or_server.truth.meminfo()
    keys = [key for key in theirs.index if key in STILL]
    assert len(keys) >= 15
    assert ours[keys].tolist() == theirs[keys].tolist()


def test_the_rest_is_within_one_percent_of_memory(machine_or_server):
    if machine_or_server.name not in QUIET:
        pytest.skip("much happened to this guest after the truth was taken")
    ours, theirs = machine_or_server.dump.meminfo, machine_or_server.truth.meminfo()
    far = (ours - theirs).dropna().abs() / theirs["MemTotal"]
    assert far.drop(MOVED & set(far.index)).max() <= 0.01
    assert far.max() <= 0.03


def test_nothing_is_missing_but_where_the_dump_lacks_it(machine_or_server):
    ours = machine_or_server.dump.meminfo
    if machine_or_server.name == "damaged-7.2":
        assert ours.isna().any()
        assert any("cannot be known" in problem for problem in ours.attrs["problems"])
    else:
        assert ours.notna().all()
        assert not ours.attrs["problems"]


def test_keys_agree_with_each_other_as_in_the_file(machine):
    info = machine.dump.meminfo
    assert info["Active"] == info["Active(anon)"] + info["Active(file)"]
    assert info["Inactive"] == info["Inactive(anon)"] + info["Inactive(file)"]
    assert info["Slab"] == info["SReclaimable"] + info["SUnreclaim"]
    memory = machine.dump.memory.groupby("kind", observed=True)["bytes"].sum()
    assert info["MemFree"] == memory["free"]
    assert info["Shmem"] == memory["shmem"]
    assert info["PageTables"] == memory["page table"]
    if pd.notna(info["Cached"]):
        # Anonymous memory lies in the swap cache, too; none of these guests has swap.
        assert info["Cached"] + info["Buffers"] == memory.get("file", 0) + memory["shmem"]


# vmstat


def test_vmstat_has_the_files_names_in_their_order(machine_or_server):
    ours = machine_or_server.dump.vmstat
    names = [line.split()[0] for line in machine_or_server.truth.lines("vmstat")]
    assert ours.index.tolist() == names


def test_events_only_grow(machine_or_server):
    ours = machine_or_server.dump.vmstat
    theirs = pd.Series(
        {line.split()[0]: int(line.split()[1]) for line in machine_or_server.truth.lines("vmstat")}
    )
    events = [name for name in theirs.index if not name.startswith("nr_") and pd.notna(ours[name])]
    assert len(events) > 60
    back = [name for name in events if ours[name] < theirs[name]]
    # What is shown of direct maps and of swap in use can fall, and so can the count of xarray nodes with shadows.
    assert not [name for name in back if not name.startswith(("direct_map", "swap", "workingset_nodes"))]
    still = [
        name
        for name in ("pgmigrate_fail", "oom_kill", "compact_fail")
        if name in theirs and machine_or_server.name in QUIET
    ]
    assert all(ours[name] == theirs[name] for name in still)


def test_what_was_read_and_written_is_in_kib(machine_or_server):
    """The kernel counts sectors there, and prints half of them; little was read after the truth was taken."""
    ours, theirs = machine_or_server.dump.vmstat, machine_or_server.truth.vmstat()
    if machine_or_server.name not in (*QUIET, "server"):
        pytest.skip("much happened to this guest after the truth was taken")
    assert theirs["pgpgin"] <= ours["pgpgin"] <= 1.01 * theirs["pgpgin"] + 256
    assert theirs["pgpgout"] <= ours["pgpgout"]


def test_zswaps_pool_is_that_of_its_allocator(server, server_files):
    """Its pool hangs behind zpool before 6.18; the count of what it holds is 4 bytes before 6.13."""
    ours, theirs = server.meminfo, server_files.truth.meminfo()
    assert theirs["Zswap"] == 11928 << 10
    assert ours["Zswap"] == theirs["Zswap"]
    assert ours["Zswapped"] == theirs["Zswapped"]


def test_an_allocator_that_nobody_knows_is_named(server):
    _, pool = list_entries(
        server.kernel, [server.symbol("zswap_pools")], "struct zswap_pool", "list", what="pools"
    )
    name = int(pool["zpool->driver->type"].values[0])
    broken = Overlay(server).write(name, b"zturbo\0\0").dump()
    assert broken.meminfo["Zswap"] is pd.NA
    assert broken.meminfo["Zswapped"] == server.meminfo["Zswapped"]
    assert any("its allocator 'zturbo' is not known" in told for told in broken.meminfo.attrs["problems"])


# Damage


def test_a_cpus_counters_that_are_gone_make_the_sums_missing(opened):
    """A sum of which a part is not known is no sum."""
    dump = opened("debian-6.1")
    node = int(dump.nodes["address"].iloc[0])
    stats = int(dump.struct("pglist_data", node).per_cpu_nodestats)
    offsets = dump.percpu("this_cpu_off")
    where = (stats + int(offsets.values[1])) % (1 << 64)
    broken = Overlay(dump).exclude(where).dump()
    assert broken.meminfo["AnonPages"] is pd.NA
    assert any("cannot be known" in problem for problem in broken.meminfo.attrs["problems"])
    assert broken.nodes["nr_anon_pages"].isna().all()


def test_what_lies_behind_the_table_of_swap_caches_is_not_read(opened):
    """Before 5.12 they are counted one by one; the table has room for fewer than 32 areas."""
    dump = opened("debian-5.10")
    counts, spaces = dump.symbol("nr_swapper_spaces"), dump.symbol("swapper_spaces")
    inode = next(
        each
        for each in dump.structs("inode", dump.slab_objects("bdev_cache")["address"])
        if each.i_data.nrpages
    )
    overlay = Overlay(dump).word(counts + 31 * 4, 1, 4).word(spaces + 31 * 8, inode.i_data.address_)
    assert overlay.dump().meminfo["SwapCached"] == 0
