"""Sockets, devices, neighbours and routes against /proc/net of each network namespace.

The whole server's dump, and captures of the lab's story `net` where there are any (KERNLAB_LAB_CAPTURES): of these all
is exact but what moved between the truth and the crash, which each test names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import net_truth
from support.absent import Absence
from support.captures import captures, dumps_in
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.debuginfo.member_path import resolve

TCP = ("tcp", "tcp6")
INET = (*TCP, "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
STORIES = [folder.name for folder in captures("net-*")]


@pytest.fixture(scope="module", params=["deadlock", "server", *STORIES])
def machine(request: Any, opened: Any, dump_files: Any) -> Iterator[tuple[Any, Truth]]:
    """A dump with its truth: a bundled one, which has little of a network, the whole server's, captures."""
    if request.param == "server":
        yield opened("server"), dump_files("server").truth
        return
    if request.param == "deadlock":
        folder = SAMPLES / "deadlock"
    else:
        folder = next(folder for folder in captures("net-*") if folder.name == request.param)
    with kernlab.open(dumps_in(folder)[0]) as dump:
        yield dump, Truth(folder / "truth.tar.xz")


def of(table: pd.DataFrame, number: int) -> pd.DataFrame:
    return table[table["netns"] == number]


def test_sockets_of_the_internet_are_those_of_proc(machine):
    dump, truth = machine
    seen = 0
    for number, prefix in net_truth.namespaces(truth).items():
        for protocol in INET:
            if prefix + protocol not in truth.files:
                continue
            theirs = net_truth.inet(truth, protocol, prefix)
            ours = of(dump.sockets, number)
            ours = ours[ours["protocol"] == protocol].assign(inode=lambda table: table["inode"].fillna(0))
            # What is neither bound nor connected is in no table of the kernel, only open.
            loose = (ours["state"] == "CLOSE") & ours["local"].str.endswith(":0")
            keys = ["local", "remote", "state", "inode"]
            expected = Counter(map(tuple, theirs[keys].to_numpy().tolist()))
            found = Counter(map(tuple, ours[~loose][keys].to_numpy().tolist()))
            assert found == expected, (protocol, prefix)
            both = theirs.merge(ours, on=keys, suffixes=("_t", ""))
            seen += len(both)
            pairs = [("rx", "rx_queue_bytes"), ("tx", "tx_queue_bytes"), ("uid_t", "uid")]
            if protocol in TCP:
                pairs += [("cwnd_t", "cwnd"), ("ssthresh_t", "ssthresh"), ("timer_t", "timer")]
            elif len(both):
                pairs += [("drops_t", "drops")]
            if protocol == "raw6":
                # It sees what neighbours ask one another.
                pairs.remove(("rx", "rx_queue_bytes"))
            for mine, theirs_column in ((b, a) for a, b in pairs if a in both):
                # A child that nobody accepted has the uid of its listener; /proc says 0. Missing is what neither has.
                known = both[mine].notna() & (both["inode"] != 0 if mine == "uid" else True)
                if mine == "ssthresh":
                    known &= both[theirs_column] != -1
                different = both[known & (both[mine] != both[theirs_column])]
                assert different.empty, (protocol, mine, different[keys].to_numpy().tolist())
    assert seen >= (30 if len(dump.netdevs) > 1 else 0)


def test_other_sockets_are_those_of_proc(machine):
    dump, truth = machine
    for number, prefix in net_truth.namespaces(truth).items():
        mine = of(dump.sockets, number)
        unix, ours = net_truth.unix(truth, prefix), mine[mine["protocol"] == "unix"]
        assert Counter(
            zip(ours["type"], ours["state"] == "LISTEN", ours["inode"], ours["local"], strict=True)
        ) == Counter(zip(unix["type"], unix["listening"], unix["inode"], unix["path"], strict=True))
        packet, ours = net_truth.packet(truth, prefix), mine[mine["protocol"] == "packet"]
        assert sorted(
            zip(ours["type"], ours["local"].str[2:], ours["uid"], ours["inode"], strict=True)
        ) == sorted(zip(packet["type"], packet["protocol"], packet["uid"], packet["inode"], strict=True))
        # What has no port yet is in no table of the kernel. What they received may grow.
        netlink, ours = net_truth.netlink(truth, prefix), mine[mine["protocol"] == "netlink"]
        ports = ours["local"].str.rpartition(":")[2].astype(int)
        assert {*zip(netlink["port"], netlink["inode"], strict=True)} <= {
            *zip(ports, ours["inode"], strict=True)
        }


def test_unix_sockets_point_at_their_peers(machine):
    dump, _ = machine
    unix = dump.sockets[dump.sockets["protocol"] == "unix"]
    pairs = unix[unix["peer_inode"] > 0]
    assert len(pairs) >= 6 or len(dump.netdevs) == 1
    back = pairs.merge(unix, left_on="peer_inode", right_on="inode", suffixes=("", "_peer"))
    assert (back["remote"] == back["local_peer"]).all()
    connected = back[back["peer_inode_peer"].notna() & (back["state"] == "ESTABLISHED")]
    assert (connected["peer_inode_peer"] == connected["inode"]).all()


def test_holders_have_the_sockets_open(machine):
    dump, truth = machine
    held = dump.sockets.dropna(subset=["pid"])
    checked = 0
    for row in held.itertuples():
        lines = truth.files.get(f"p/{row.pid}/fd", b"").decode()
        if f" {row.fd} -> socket:[{row.inode}]\n" in lines:
            checked += 1
    assert checked >= 0.95 * len(held)


def test_devices_count_as_proc_says(machine):
    dump, truth = machine
    for number, prefix in net_truth.namespaces(truth).items():
        theirs, ours = net_truth.devices(truth, prefix), of(dump.netdevs, number)
        assert ours["name"].tolist() == list(theirs)
        for row in ours.to_dict("records"):
            for counter, value in theirs[row["name"]].items():
                if pd.isna(row[counter]):
                    assert any(row["name"] in problem for problem in dump.netdevs.attrs["problems"])
                elif counter.endswith(("bytes", "packets", "multicast")):
                    # A few packets more until the crash.
                    assert value <= row[counter] <= value + 6000, (row["name"], counter)
                else:
                    assert value == row[counter], (row["name"], counter)


def test_devices_are_as_sysfs_shows_them(machine):
    dump, truth = machine
    if "link_mtu" not in truth.files:
        pytest.skip("this truth has nothing of /sys/class/net")
    first = dump.netdevs["netns"].iloc[0]
    ours = of(dump.netdevs, first).set_index("name")
    for file, column in (
        ("mtu", "mtu"),
        ("address", "mac"),
        ("ifindex", "index"),
        ("operstate", "operstate"),
    ):
        theirs = dict(net_truth.named_lines(truth, f"link_{file}"))
        assert {name: str(value) for name, value in ours[column].items()} == theirs
    assert ours.loc["dummy0", ["master", "driver", "xdp", "xdp_mode"]].tolist() == [
        "bridge0",
        "dummy",
        "pass_all",
        "skb",
    ]
    assert ours.loc["east0", ["master", "driver", "xdp", "xdp_mode"]].tolist() == [
        "",
        "veth",
        "pass_all",
        "drv",
    ]
    assert ours.loc["bridge0", "ipv4"] == "10.78.0.1/16,10.78.0.2/16"
    assert ours.loc["east0", "ipv6"].startswith("fd77::1/64,fe80::")


def test_neighbours_are_those_of_proc(machine):
    dump, truth = machine
    for number, prefix in net_truth.namespaces(truth).items():
        ours = of(dump.neighbours, number)
        # /proc/net/arp leaves out NOARP.
        four = ours[(ours["family"] == "inet") & (ours["state"] != "NOARP")]
        assert sorted(zip(four["ip"], four["mac"], four["device"], strict=True)) == sorted(
            net_truth.arp(truth, prefix)
        )


def test_routes_are_those_of_proc(machine):
    dump, truth = machine
    for number, prefix in net_truth.namespaces(truth).items():
        ours = of(dump.routes, number)
        four = ours[
            (ours["family"] == "inet")
            & (ours["table"] == 254)
            & (ours["hop"] == 0)
            & ~ours["type"].isin(["broadcast", "multicast"])
        ]
        assert sorted(
            zip(four["device"], four["destination"], four["gateway"], four["metric"], strict=True)
        ) == sorted(net_truth.routes4(truth, prefix))
        six = ours[ours["family"] == "inet6"]
        flags = six["flags6"] | 2 * (six["gateway"] != "")
        # References come and go.
        assert sorted(
            zip(six["device"], six["destination"], six["gateway"], six["metric"], flags, strict=True)
        ) == sorted((*row[:4], row[5]) for row in net_truth.routes6(truth, prefix))


@pytest.mark.parametrize("name", STORIES)
def test_what_programs_asked_of_their_sockets(name):
    """SO_MEMINFO and TCP_INFO, which the guest's program wrote down of each of its sockets."""
    folder = next(folder for folder in captures("net-*") if folder.name == name)
    truth = Truth(folder / "truth.tar.xz")
    if "sockets-here.read" not in truth.files:
        pytest.skip("an older capture, without what its programs asked")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        ours = dump.sockets[dump.sockets["inode"] > 0].set_index(["netns", "inode"])
        hidden = dump.netdevs["netns"].unique().tolist()
        memory = (
            "rmem_bytes",
            "rcvbuf_bytes",
            "wmem_bytes",
            "sndbuf_bytes",
            "",
            "queued_bytes",
            "",
            "",
            "drops",
        )
        compared = 0
        for number, file in zip(hidden, ("sockets-here.read", "sockets-apart.read"), strict=True):
            for line in truth.lines(file):
                words = line.split()
                row = ours.loc[number, int(words[1])]
                what = words[0].removesuffix("6")
                if what in ("waiting-client", "raw", "netlink-route", "packet-all", "packet-ip"):
                    # They go on trying, or on listening to what others say.
                    continue
                for column, value in zip(memory, map(int, words[2:11]), strict=True):
                    # What is full goes on sending and refusing, and a listener refuses who never answers.
                    moves = what.startswith("full-") and column in ("wmem_bytes", "rmem_bytes")
                    if not column or moves or (column == "drops" and len(words) > 11):
                        continue
                    assert row[column] == value, (words[0], column)
                    compared += 1
                if len(words) > 11 and not pd.isna(row["cwnd"]):
                    assert row["congestion"] == words[11]
                    assert (row["cwnd"], row["mss"]) == (int(words[12]), int(words[17]))
                    if not what.startswith("full-"):
                        assert [row["rtt"].value, row["rttvar"].value] == [
                            1000 * int(word) for word in words[14:16]
                        ]
                    compared += 1
        assert compared > 150
        full = ours.loc[hidden[0]].query("state == 'LISTEN' and backlog > backlog_max")
        assert sorted(full["local"]) == ["/tmp/net/a door", "127.0.0.1:7001"]
        apart = dump.routes.query("destination == '10.91.0.0/16'")
        assert apart[["gateway", "weight"]].to_numpy().tolist() == [["10.77.0.2", 1], ["10.77.0.3", 3]]
        assert dump.routes.query("destination == '10.92.0.0/16'")["nexthop_id"].tolist() == [17]
        states = {0: "NONE", 1: "INCOMPLETE", 32: "FAILED", 64: "NOARP", 128: "PERMANENT"}
        for number, file in zip(hidden, ("neighbours-here.read", "neighbours-apart.read"), strict=True):
            rows = [line.split() for line in truth.lines(file)]
            mine = of(dump.neighbours, number).set_index(["ip", "device"])
            for _, ip, device, state, _, mac in rows:
                assert mine.loc[(ip, device), "mac"] == (mac if mac != "-" else "00:00:00:00:00:00")
                # The others go from one state to the next by themselves.
                if int(state) in (64, 128):
                    assert mine.loc[(ip, device), "state"] == states[int(state)]


def test_a_kernel_without_a_network_has_nothing_and_says_so(opened):
    absent = Absence(
        symbols=("init_net", "net_namespace_list", "arp_tbl", "nd_tbl"),
        types=tuple(f"struct {name}" for name in ("net", "sock", "sock_common", "net_device", "tnode")),
    )
    below = opened("debian-6.1")
    with absent.of(below) as dump:
        for name in ("sockets", "netdevs", "neighbours", "routes"):
            table, whole = getattr(dump, name), getattr(below, name)
            assert len(table) == 0
            assert table.dtypes.map(str).tolist() == whole.dtypes.map(str).tolist()
            assert any("is off" in problem for problem in table.attrs["problems"])


def test_what_is_not_known_or_not_tcps_is_not_taken_for_it(server):
    """NAPI that is held is not scheduled, no answer is no round trip, and states of other families are others."""
    table, devices = server.sockets, server.netdevs
    assert devices.set_index("name").loc["eth0", ["up", "napi", "napi_scheduled"]].tolist() == [False, 2, 0]
    device = server.structs("net_device", devices.loc[devices["name"] == "eth0", "address"])
    napi = int(device["napi_list.next"].values[0])
    tcp = table[table["rtt"].notna()].iloc[0]
    unix = table[table["family"] == "unix"].iloc[0]
    packet = table[table["family"] == "packet"].iloc[0]
    below = server.kernel.find_type("struct napi_struct")
    overlay = (
        Overlay(server)
        .set("struct napi_struct", napi - resolve(below, "dev_list").hops[-1], "state", 1)
        .set("struct tcp_sock", int(tcp["address"]), "srtt_us", 0)
        .set("struct sock_common", int(unix["address"]), "skc_state", 6)
        .set("struct sock_common", int(packet["address"]), "skc_state", 4)
        .set("struct sock_common", int(packet["address"]), "skc_family", 31)
    )
    with overlay.dump() as dump:
        assert dump.netdevs.set_index("name").loc["eth0", "napi_scheduled"] == 1
        ours = dump.sockets.set_index("address")
        assert pd.isna(ours.loc[tcp["address"], "rtt"])
        assert (
            ours.loc[unix["address"], ["inode", "pid", "type"]].tolist()
            == unix[["inode", "pid", "type"]].tolist()
        )
        assert ours.loc[packet["address"], ["family", "state"]].tolist() == ["bluetooth", "LISTEN"]


@pytest.mark.parametrize("lost", ["ehash", "lhash2"])
def test_tables_that_lead_nowhere_are_told_and_cost_no_open_socket(opened, lost):
    """What processes have open is found all the same."""
    below = opened("debian-6.1")
    changed = Overlay(below).set(
        "struct inet_hashinfo", below.symbol("tcp_hashinfo"), lost, 0xDEAD000000000000
    )
    with changed.dump() as dump:
        ours = dump.sockets
        assert len(ours) == len(below.sockets)
        assert any("of tcp" in problem for problem in ours.attrs["problems"])
