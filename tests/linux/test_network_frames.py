"""Frames of the network, against the kernel's own reference counts and /proc/net, and on sk_buffs that were damaged."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.core.struct_array import StructArray
from kernlab.linux.page.network import NetworkSearch
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.page.vmemmap import page_chunks


@pytest.fixture(scope="module")
def search(server):
    """The sk_buffs of the server, as they were found, and their search."""
    survey = PageSurvey(server.kernel)
    found = NetworkSearch(server.kernel, survey.layout)
    slabs = [found.pages(chunk).slabs for chunk in page_chunks(server.kernel)]
    return found, found._skbs(np.concatenate(slabs))


def frags(server, skb) -> StructArray:
    shared = StructArray(
        server.kernel,
        "struct skb_shared_info",
        # Clones share theirs.
        np.unique(skb["head"].values + skb["end"].values.astype(np.uint64)),
    )
    owner, frag = shared.elements("frags")
    index = np.arange(len(frag)) - np.searchsorted(owner, owner)
    return frag[index < shared["nr_frags"].values[owner]]


def pfn_of(server, pages) -> np.ndarray:
    size = server.kernel.find_type("struct page").size
    return ((pages - np.uint64(server.kernel.vmemmap)) // np.uint64(size)).astype(int)


def test_as_many_references_as_the_kernel_counts(server, search):
    """A page of fragments is referred to by each fragment, and by the thread that cuts more from it; none is missed."""
    _, skb = search
    pages = server.pages
    network = pages[pages["kind"] == "network"].set_index("pfn")
    fragments = frags(server, skb)
    assert len(fragments) > 10
    threads = server.tasks.kern.field("task_frag.page").to_numpy(dtype=np.uint64)
    holders = pfn_of(server, threads[threads != 0])
    referring = [*pfn_of(server, fragments["netmem"].values).tolist(), *holders.tolist()]
    heads = Counter(int(network.loc[pfn, "head"]) for pfn in referring if pfn in network.index)
    assert sum(heads.values()) >= len(fragments)
    blocks = network[(network.index == network["head"]) & (network["order"] == 3)]
    assert len(blocks) > 10
    assert {pfn: heads[pfn] for pfn in blocks.index} == blocks["refcount"].astype(int).to_dict()


def test_there_is_what_the_sockets_queues_hold(server, server_files, search):
    _, skb = search
    lines = [line.split()[4].split(":") for line in server_files.truth.lines("net_tcp")[1:]]
    # A listening socket counts connections there.
    queued = sum(int(sent, 16) + int(received, 16) for sent, received in lines if int(received, 16) > 1000)
    assert queued > 200_000
    fragments = frags(server, skb)
    assert fragments["len"].values.sum() >= queued
    pages = server.memory[server.memory["kind"] == "network"]["bytes"].sum()
    (told,) = [line for line in server_files.truth.lines("net_sockstat") if line.startswith("TCP:")]
    accounted = int(told.split("mem ")[1]) * 4096
    # Sockets are charged for more than whole pages: slabs, and room for what they may still be sent.
    assert queued < pages < accounted


def test_memory_adds_up_with_them(server):
    memory = server.memory
    assert memory["bytes"].sum() == len(server.pages) * 4096
    assert not memory.attrs["problems"]
    assert (memory[memory["kind"] == "network"]["bytes"].sum()) == (
        (server.pages["kind"] == "network").sum() * 4096
    )
    found = server.owner(server.kernel.memory.layout.direct_start + int(network_pfns(server)[0]) * 4096)
    assert found["kind"] == "network"


def network_pfns(dump) -> np.ndarray:
    pages = dump.pages
    return pages.loc[pages["kind"] == "network", "pfn"].to_numpy(dtype=np.int64)


def test_what_damage_makes_of_an_sk_buff_ends_and_counts_as_other_memory(server, search):
    _, skb = search
    fragments = frags(server, skb)
    head, end = skb["head"].values, skb["end"].values.astype(np.uint64)
    overlay = Overlay(server)
    number, _ = overlay.where("struct skb_shared_info", int(head[0] + end[0]), "nr_frags")
    offset = number - int(head[0] + end[0])
    for shared in (head + end).tolist():
        # 255 fragments, of which there can be no more than 17, and those all lead to nowhere.
        overlay.word(int(shared) + offset, 0xFF, 1)
    for fragment in fragments.addresses.tolist():
        overlay.word(fragment, 0xDEAD_0000_0000_1232)
    with overlay.dump() as damaged:
        left, before = set(network_pfns(damaged).tolist()), set(network_pfns(server).tolist())
        assert left < before
        moved = damaged.pages.set_index("pfn").loc[sorted(before - left), "kind"]
        assert set(moved) == {"other kernel"}
        assert damaged.memory["bytes"].sum() == server.memory["bytes"].sum()


def test_an_sk_buff_that_is_of_a_device_or_out_of_bounds_is_left_alone(server, search):
    _, skb = search
    overlay = Overlay(server)
    for address in skb.addresses.tolist():
        overlay.set("struct sk_buff", int(address), "end", 0xFFFFFFFF)
    with overlay.dump() as damaged:
        assert len(network_pfns(damaged)) < len(network_pfns(server))
        assert damaged.pages.attrs["problems"] == server.pages.attrs["problems"]
    # NET_IOV: no page of the machine's memory.
    device = Overlay(server)
    for address, page in zip(
        frags(server, skb).addresses.tolist(), frags(server, skb)["netmem"].values.tolist(), strict=True
    ):
        device.word(int(address), int(page) | 1)
    with device.dump() as other:
        assert len(network_pfns(other)) < len(network_pfns(server))


@pytest.mark.parametrize("index", [0, 1, 0xFFFFFFFF])
def test_pages_of_a_page_pool_bear_its_mark(opened, index):
    """Since 6.16 with an index for DMA in it. The four dumps' drivers use none: one is made of a page without owner."""
    dump = opened("debian-6.1")
    pages = dump.pages
    alone = pages[(pages["kind"] == "other kernel") & (pages["order"] == 0)].iloc[3]
    overlay = Overlay(dump).set(
        "struct page", int(alone["address"]), "pp_magic", 0xDEAD000000000040 | index << 7 | 2
    )
    # What was freed has the list's poison in the same place.
    freed = pages[(pages["kind"] == "other kernel") & (pages["order"] == 0)].iloc[4]
    overlay.set("struct page", int(freed["address"]), "pp_magic", 0xDEAD000000000100)
    with overlay.dump() as pooled:
        assert network_pfns(pooled).tolist() == [*sorted({*network_pfns(dump).tolist(), int(alone["pfn"])})]
