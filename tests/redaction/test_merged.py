"""Slab caches that SLUB merged with others: their objects are found all the same, or it is told that they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.absent import Absence
from support.overlay import PAGE, Overlay

from kernlab.core.kernel import Kernel
from kernlab.linux.page.classifier import Kind
from kernlab.linux.slab_caches import caches_by_name
from kernlab.redaction import buffers, network
from kernlab.redaction.caches import CacheNames
from kernlab.redaction.edits import Edits
from kernlab.redaction.found import Found
from kernlab.redaction.frames import Frames, kinds_of
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.plan import make_plan

ADDRESS, OTHER, PEER = (203 << 24 | 113 << 8 | last for last in (77, 78, 79))
#: Slab caches of every kernel here, whichever were merged in it.
CACHES = (
    "filp",
    "dentry",
    "mnt_cache",
    "kernfs_node_cache",
    "shmem_inode_cache",
    "uts_namespace",
    "ip_dst_cache",
    "ip6_dst_cache",
    "TCP",
    "UDP",
    "RAW",
    "PING",
    "tw_sock_TCP",
    "request_sock_TCP",
)


def found_in(kernel: Kernel) -> Found:
    frames = Frames.of(kernel.file)
    return Found(
        kernel, "share", RedactionMap(), frames, kinds_of(kernel, frames), Edits(kernel, frames), Literals()
    )


@pytest.fixture(scope="module")
def dump(opened: Any) -> Any:
    return opened("debian-6.1")


@pytest.fixture
def found(dump: Any) -> Iterator[Found]:
    with dump.kernel.scope("test"):
        yield found_in(dump.kernel)


def test_every_kernel_has_them_whatever_they_are_called(whole_dump: Any, opened: Any) -> None:
    kernel = opened(whole_dump.name).kernel
    with kernel.scope("caches") as scope:
        caches = found_in(kernel).caches
        assert {name: len(caches.of(name)) for name in CACHES} == dict.fromkeys(CACHES, 1)
        assert caches.missing == []
    assert scope.losses == []


def test_the_links_of_sysfs_and_the_kernels_variables_agree(dump: Any, found: Found) -> None:
    """Each way by itself: the links are hidden, then all variables are."""
    names = ("mnt_cache", "kernfs_node_cache", "PING", "UDP", "ip_dst_cache")
    variables = ("proto_list", "mnt_cache", "kernfs_node_cache", "ipv4_dst_ops")
    both = {name: found.caches.of(name).tolist() for name in names}
    for hidden in (("slab_kset",), variables):
        kernel = Absence(symbols=hidden).of(dump).kernel
        with kernel.scope("test"):
            known = CacheNames(kernel, found_in(kernel).slabs.caches)
            assert {name: known.of(name).tolist() for name in names} == both
    assert all(both.values())


@pytest.fixture(scope="module")
def nameless(dump: Any) -> Overlay:
    """The cache of struct file bears the name of another."""
    overlay = Overlay(dump)
    caches = caches_by_name(dump.kernel)
    (files,), (other,) = caches["filp"], caches["buffer_head"]
    overlay.set("kmem_cache", files, "name", int(dump.struct("kmem_cache", other)["name"]))
    return overlay


def test_files_are_found_when_their_cache_has_anothers_name(
    dump: Any, found: Found, nameless: Overlay
) -> None:
    kernel = Absence().of(dump, nameless).kernel
    with kernel.scope("test"):
        hidden = found_in(kernel)
        assert "filp" not in caches_by_name(kernel)
        assert hidden.files.addresses.tolist() == found.files.addresses.tolist()
        assert hidden.caches.missing == []
    assert len(found.files) > 10


def test_what_is_found_by_no_way_is_told(dump: Any, nameless: Overlay) -> None:
    kernel = Absence(symbols=("slab_kset", "filp_cachep")).of(dump, nameless).kernel
    told = make_plan(kernel, "share", RedactionMap()).told
    assert told[0] == ("redaction: what lies in the slab caches filp could not be found, so some may be left")


def test_objects_of_other_types_are_no_files(dump: Any, found: Found) -> None:
    """Its cache is merged with three others in this kernel: of all its objects those that are files are taken."""
    (cache,) = found.caches.of("filp").tolist()
    assert found.caches.is_merged(cache, ["filp"])
    files = found.files
    assert files.follow("f_op").valid.all()
    # The files that processes map are among them.
    mapped = {int(at) for at in dump.structs("vm_area_struct", dump.maps["address"])["vm_file"].values if at}
    assert mapped <= set(files.addresses.tolist())
    assert len(mapped) > 3
    stranger = min(set(files.addresses.tolist()) - mapped)
    overlay = Overlay(dump)
    overlay.set("file", stranger, "f_inode", dump.symbol("init_task"))
    kernel = overlay.dump().kernel
    with kernel.scope("test"):
        left = found_in(kernel).files.addresses.tolist()
    assert left == [at for at in files.addresses.tolist() if at != stranger]


def test_a_cached_route_is_told_from_its_neighbours_by_its_operations(dump: Any) -> None:
    overlay, kernel = Overlay(dump), dump.kernel
    with kernel.scope("test"):
        before = found_in(kernel)
        (cache,) = before.caches.of("ip_dst_cache").tolist()
        assert before.caches.is_merged(cache, ["ip_dst_cache", "rtable"])
        route, stranger = before.objects("ip_dst_cache")[:2].tolist()
    for at, value in ((route, ADDRESS), (stranger, OTHER)):
        overlay.set("rtable", at, "rt_gw4", int.from_bytes(value.to_bytes(4, "big"), "little"))
    overlay.set("rtable", route, "dst.ops", dump.symbol("ipv4_dst_ops"))
    kernel = overlay.dump().kernel
    with kernel.scope("test"):
        after = found_in(kernel)
        network.addresses(after)
    assert ADDRESS in after.ipv4
    assert OTHER not in after.ipv4


def test_machines_talked_to_are_found_by_their_tree(dump: Any) -> None:
    """struct inet_peer shares its cache; the tree of the namespace leads to it."""
    overlay, kernel = Overlay(dump), dump.kernel
    start = overlay.make(1, lambda number: bytes(page))
    page = bytearray(PAGE)
    for path, value in (
        ("daddr.family", 2),
        ("daddr.a4.addr", int.from_bytes(PEER.to_bytes(4, "big"), "little")),
    ):
        where, size = overlay.where("inet_peer", start, path)
        page[where - start : where - start + size] = value.to_bytes(size, "little")
    node, _ = overlay.where("inet_peer", start, "rb_node")
    net = dump.struct("net", dump.symbol("init_net"))
    overlay.set("inet_peer_base", int(net["ipv4.peers"]), "rb_root.rb_node", node)
    kernel = overlay.dump().kernel
    with kernel.scope("test") as scope:
        after = found_in(kernel)
        network.addresses(after)
    assert PEER in after.ipv4
    assert scope.losses == []


def test_the_rings_of_sniffers_are_dropped(dump: Any) -> None:
    """A struct packet_sock has no slab cache at all: its namespace's list leads to it, and it to its ring's pages."""
    overlay, kernel = Overlay(dump), dump.kernel
    with kernel.scope("test"):
        before = found_in(kernel)
        row = int(np.flatnonzero(before.kind == Kind.OTHER)[-1])
    pfn = int(before.frames.pfn[row])
    page = bytearray(PAGE)
    start = overlay.make(1, lambda number: bytes(page))
    block = start + PAGE - 8
    page[PAGE - 8 :] = (kernel.layout.direct_start + pfn * PAGE).to_bytes(8, "little")
    for path, value in (
        ("rx_ring.pg_vec", block),
        ("rx_ring.pg_vec_len", 1),
        ("rx_ring.pg_vec_pages", 1),
    ):
        where, size = overlay.where("packet_sock", start, path)
        page[where - start : where - start + size] = value.to_bytes(size, "little")
    node, _ = overlay.where("packet_sock", start, "sk.__sk_common.skc_node")
    overlay.set("net", dump.symbol("init_net"), "packet.sklist.first", node)
    kernel = overlay.dump().kernel
    with kernel.scope("test"):
        after = found_in(kernel)
        buffers.rings(after)
    assert after.kind[after.frames.rows(np.array([pfn]))[0]] == Kind.NETWORK
