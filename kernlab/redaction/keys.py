"""Key material that the kernel keeps: keyrings, TLS, dm-crypt, WireGuard; zeroed where it lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.errors import KernlabError
from kernlab.redaction.found import Found
from kernlab.redaction.reading import complete_type, text_at
from kernlab.walk.lists import list_nodes
from kernlab.walk.rbtree import rbtree_entries

U64 = npt.NDArray[np.uint64]

KEY = "key"
#: Types of keys that hold other keys, and those that everybody may know.
_OPEN_TYPES = frozenset((b"keyring", b"asymmetric", b".request_key_auth"))
#: struct user_key_payload: an rcu_head and the length stay.
_HEAD = 24
_LONGEST_NAME, _LONGEST_DESCRIPTION = 64, 4096


def keyrings(found: Found) -> None:
    """The payload of every key, and what user keys are called, which often says whose they are."""
    kernel = found.kernel
    tree = kernel.symbols.get("key_serial_tree")
    if tree is None:
        return
    _, key = rbtree_entries(kernel, [tree], "struct key", "serial_node", what="the tree of keys")
    names = text_at(kernel, key.follow("type")["name"].filled(0).astype(np.uint64), _LONGEST_NAME)
    secret = np.array([name not in _OPEN_TYPES and name != b"" for name in names], dtype=bool)
    key = key[np.flatnonzero(secret)]
    _, slot = key.elements("payload.data")
    pointers, read = kernel.words(slot.addresses, what="") if len(slot) else (slot.addresses, slot.valid)
    targets = pointers[read & (pointers != 0)]
    payloads(found, targets)
    described = key["description"]
    where = described.values[described.true].astype(np.uint64)
    for address, text in zip(where.tolist(), text_at(kernel, where, _LONGEST_DESCRIPTION), strict=True):
        if text:
            found.edits.write(address, found.map.names.of(text), "name of a key")


def payloads(found: Found, addresses: U64, head: int = _HEAD) -> None:
    """Zero the objects at some addresses, behind a head of so many bytes."""
    slabs = found.slabs
    slab, _, rest = slabs.locate(addresses)
    there = slab >= 0
    # To the end of the object: what a longer payload left behind goes with it.
    size = slabs.stride[np.maximum(slab, 0)] - rest - head
    found.edits.zero((addresses + np.uint64(head))[there], np.maximum(size, 0)[there], KEY)
    # Large ones are pages of their own.
    found.edits.zero(addresses[~there] + np.uint64(head), found.kernel.page_size - head, KEY)


def tls(found: Found) -> None:
    """Keys of connections that the kernel encrypts itself (CONFIG_TLS)."""
    kernel = found.kernel
    kind = complete_type(kernel, "struct tls_context", "tls_ctx_create")
    if kind is None or not kernel.types.has_member("struct inet_connection_sock", "icsk_ulp_data"):
        return
    sock = StructArray(kernel, "struct inet_connection_sock", found.objects("TCP", "TCPv6"))
    pointer = sock["icsk_ulp_data"]
    # MPTCP and others keep theirs in the same place: only what names the operations of TLS is its.
    named = text_at(kernel, sock.follow("icsk_ulp_ops").addresses + np.uint64(_name_at(found)), _LONGEST_NAME)
    is_tls = pointer.true & np.array([name == b"tls" for name in named], dtype=bool)
    context = StructArray(kernel, kind, pointer.values[is_tls].astype(np.uint64))
    for member in ("crypto_send", "crypto_recv"):
        at = resolve(kind, member)
        found.edits.zero(context.addresses + np.uint64(at.hops[-1] + 4), at.type.size - 4, KEY)


def _name_at(found: Found) -> int:
    return int(resolve(found.kernel.find_type("struct tcp_ulp_ops"), "name").hops[-1])


def disk_keys(found: Found) -> None:
    """Keys of encrypted disks (dm-crypt), as the kernel keeps them beside the cipher."""
    kernel = found.kernel
    kind = complete_type(kernel, "struct crypt_config", "crypt_convert")
    if kind is None:
        return
    private, table = (
        complete_type(kernel, name, "crypt_convert") for name in ("struct mapped_device", "struct dm_table")
    )
    operations = kernel.symbols.get("dm_blk_dops")
    if private is None or table is None or operations is None:
        raise KernlabError("the types of the device mapper are not in the dump")
    disk = _disks(found, operations)
    device = StructArray(kernel, private, disk["private_data"].filled(0).astype(np.uint64))
    tables = StructArray(kernel, table, device["map"].filled(0).astype(np.uint64))
    count, first = tables["num_targets"], tables["targets"]
    target = kernel.find_type("struct dm_target")
    claimed = kernel.budget.counts(count.int64.filled(0), target.size, "targets of dm devices")
    owner = np.repeat(np.arange(len(tables)), claimed)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(claimed) - claimed, claimed)
    every = StructArray(
        kernel,
        target,
        first.filled(0).astype(np.uint64)[owner] + step.astype(np.uint64) * np.uint64(target.size),
    )
    named = text_at(kernel, every.follow("type")["name"].filled(0).astype(np.uint64), _LONGEST_NAME)
    crypt = every[np.flatnonzero(np.array([name == b"crypt" for name in named], dtype=bool))]
    config = StructArray(kernel, kind, crypt["private"].filled(0).astype(np.uint64))
    size, at = config["key_size"].int64.filled(0), resolve(kind, "key").hops[-1]
    found.edits.zero(config.addresses + np.uint64(at), np.clip(size, 0, kernel.page_size), KEY)
    texts = config["key_string"] if config.has("key_string") else None
    if texts is not None:
        for address in texts.values[texts.true].tolist():
            found.edits.zero(
                [address], len(text_at(kernel, np.array([address], dtype=np.uint64), 4096)[0]), KEY
            )


def _disks(found: Found, operations: int) -> StructArray:
    """The gendisks of one kind of block device, by the inodes of block devices in use."""
    kernel = found.kernel
    inode = StructArray(kernel, "struct bdev_inode", found.objects("bdev_cache"))
    disk = inode.follow("bdev.bd_disk")
    unique = np.unique(disk.addresses[disk.valid])
    disk = StructArray(kernel, "struct gendisk", unique)
    return disk[np.flatnonzero((disk["fops"] == operations).true)]


def wireguard(found: Found) -> None:
    """The private keys of WireGuard's interfaces, and what they agreed on with their peers."""
    kernel = found.kernel
    made = "wg_noise_handshake_create_initiation"
    kind, peer = (complete_type(kernel, name, made) for name in ("struct wg_device", "struct wg_peer"))
    if kind is None or peer is None:
        return
    device = StructArray(kernel, "struct net_device", found.devices)
    linked = device.follow("rtnl_link_ops")
    named = text_at(kernel, linked["kind"].filled(0).astype(np.uint64), _LONGEST_NAME)
    mine = device[np.flatnonzero(np.array([name == b"wireguard" for name in named], dtype=bool))]
    size = kernel.find_type("struct net_device").size
    private = StructArray(kernel, kind, mine.addresses + np.uint64(-(-size // 32) * 32))
    at = resolve(kind, "static_identity.static_private")
    found.edits.zero(private.addresses + np.uint64(at.hops[-1]), at.type.size, KEY)
    heads = private.addresses + np.uint64(resolve(kind, "peer_list").hops[-1])
    _, linked_peers = list_nodes(kernel, heads, what="peers of WireGuard")
    peers = StructArray(kernel, peer, linked_peers - np.uint64(resolve(peer, "peer_list").hops[-1]))
    for name in (
        "handshake.ephemeral_private",
        "handshake.hash",
        "handshake.chaining_key",
        "handshake.preshared_key",
        "handshake.precomputed_static_static",
    ):
        if peers.has(name):
            place = resolve(peer, name)
            found.edits.zero(peers.addresses + np.uint64(place.hops[-1]), place.type.size, KEY)
    pair = complete_type(kernel, "struct noise_keypair", made)
    for name in ("current_keypair", "previous_keypair", "next_keypair"):
        pointer = peers[f"keypairs.{name}"]
        pairs = StructArray(kernel, pair or "struct noise_keypair", pointer.filled(0).astype(np.uint64))
        for way in ("sending.key", "receiving.key"):
            place = resolve(pairs.type, way)
            found.edits.zero(pairs.addresses + np.uint64(place.hops[-1]), place.type.size, KEY)
