"""Routes of the tries of real kernels, and known addresses as words of memory."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from kernlab.linux.network.fib4 import fib4
from kernlab.redaction.addresses import AddressMap
from kernlab.redaction.words import Words


def test_the_routes_of_a_machine_with_loopback_only(whole_dump: Any, opened: Any) -> None:
    """Whatever its kernel's slab caches are called, or are merged with."""
    kernel = opened(whole_dump.name).kernel
    with kernel.scope("routes") as scope:
        found = fib4(kernel)
    assert scope.losses == []
    # A trie without branches has a leaf for each of these.
    assert {str(ipaddress.IPv4Address(int(key))) for key in found.keys} == {
        "127.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
    }
    # local: 127.0.0.0/8 and 127.0.0.1; the broadcast address of each.
    assert set(found.alias["fa_slen"].values.tolist()) <= {0, 24}
    assert found.alias["fa_info"].true.all()


def test_the_lower_half_of_a_pointer_is_no_address() -> None:
    """With page tables of four levels kernel pointers begin with ffff, with five with ff."""
    address = int(ipaddress.IPv4Address("10.83.174.94"))
    known = AddressMap(b"k" * 32)
    words = Words([address], known)
    row = np.zeros((1, 64), dtype=np.uint8)
    quads = row.view("<u8")[0]
    quads[0] = 0xFFFF8880 << 32 | address
    quads[1] = 0xFF18FE17 << 32 | address
    quads[2] = address
    quads[3] = address << 32 | 7
    before = quads.copy()
    assert words.replace(row).tolist() == [2]
    new = known.ipv4(address)
    assert quads[:2].tolist() == before[:2].tolist()
    assert quads[2] == new
    assert quads[3] == new << 32 | 7
