"""Network namespaces against those that readlink /proc/PID/ns/net showed."""

from __future__ import annotations

import re

from support.absent import Absence

from kernlab.linux.network.namespaces import net_namespaces, numbers


def test_namespaces_of_the_server_are_those_of_its_processes(server, server_files):
    truth = server_files.truth
    theirs = {
        int(match[1])
        for pid in truth.pids
        if (match := re.search(r" net:\[(\d+)\]", truth.files.get(f"p/{pid}/ns", b"").decode()))
    }
    assert len(theirs) == 3
    net = net_namespaces(server.kernel)
    assert net.addresses[0] == server.symbol("init_net")
    assert set(numbers(net).tolist()) == theirs
    assert len(net) == 3


def test_a_kernel_without_a_network_has_none(opened):
    absent = Absence(symbols=("init_net", "net_namespace_list"), types=("struct net",))
    with absent.of(opened("debian-6.1")) as dump:
        net = net_namespaces(dump.kernel)
        assert len(net) == 0
        assert len(numbers(net)) == 0
