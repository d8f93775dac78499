"""Addresses keep their networks and the length of their text, no two become one, and none stays what it is."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.redaction.addresses import AddressMap, names_a_machine

KEY = bytes(range(32))
KEYS = st.binary(min_size=32, max_size=32)
V4 = st.integers(0, (1 << 32) - 1)
V6 = st.binary(min_size=16, max_size=16)
PRIVATE = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def common_bits(one: int, two: int, bits: int) -> int:
    return bits - (one ^ two).bit_length()


@given(KEYS, V4, V4)
def test_ipv4_keeps_networks_and_lengths(key: bytes, one: int, two: int) -> None:
    known = AddressMap(key)
    new, other = known.ipv4(one), known.ipv4(two)
    assert [len(part) for part in str(ipaddress.IPv4Address(new)).split(".")] == [
        len(part) for part in str(ipaddress.IPv4Address(one)).split(".")
    ]
    assert (new != one) == names_a_machine(one)
    if names_a_machine(one) and names_a_machine(two):
        assert common_bits(new, other, 32) == common_bits(one, two, 32)
    else:
        assert (new == other) == (one == two)


@given(KEYS, st.integers(0, (1 << 24) - 1), st.sampled_from(PRIVATE))
def test_private_stays_private_and_public_public(
    key: bytes, host: int, network: ipaddress.IPv4Network
) -> None:
    known = AddressMap(key)
    inside = int(network.network_address) | host & int(network.hostmask)
    assert ipaddress.IPv4Address(known.ipv4(inside)) in network
    for outside in (host << 8 | 7, host ^ 0xC0000000):
        before = [ipaddress.IPv4Address(outside) in each for each in PRIVATE]
        assert [ipaddress.IPv4Address(known.ipv4(outside)) in each for each in PRIVATE] == before


def test_a_network_maps_to_all_of_itself() -> None:
    known = AddressMap(KEY)
    new = {known.ipv4(10 << 24 | 2 << 8 | host) for host in range(256)}
    assert len(new) == 256
    assert len({address >> 8 for address in new}) == 1


@given(KEYS, V6, V6)
def test_ipv6_keeps_networks_and_zeros(key: bytes, one: bytes, two: bytes) -> None:
    known = AddressMap(key)
    new, other = known.ipv6(one), known.ipv6(two)
    if not one.startswith(b"\0" * 10):
        assert [digit == "0" for digit in new.hex()] == [digit == "0" for digit in one.hex()]
    same = next((at for at in range(32) if one.hex()[at] != two.hex()[at]), 32)
    if one[0] != 0xFF and two[0] != 0xFF and one[0] and two[0]:
        assert new.hex()[:same] == other.hex()[:same]
        assert same == 32 or new.hex()[same] != other.hex()[same]


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8::1",
        "2001:0DB8:0000:0000:0000:0000:0000:ABCD",
        "fe80::5054:ff:fe12:3456",
        "fd00:1234::",
        "::ffff:10.1.2.3",
    ],
)
def test_ipv6_text_keeps_its_spelling(text: str) -> None:
    new = AddressMap(KEY).ipv6_text(text)
    assert new is not None
    assert new != text
    assert len(new) == len(text)
    assert ipaddress.IPv6Address(new).packed == AddressMap(KEY).ipv6(ipaddress.IPv6Address(text).packed)
    assert [char in ":." for char in new] == [char in ":." for char in text]


@pytest.mark.parametrize("text", ["::", "::1", "ff02::1", "0:0:0:0:0:0:0:1"])
def test_what_names_no_machine_stays(text: str) -> None:
    assert AddressMap(KEY).ipv6_text(text) == text


def test_what_is_no_ipv6_address_is_none() -> None:
    assert AddressMap(KEY).ipv6_text("12:34:56") is None


@given(KEYS, st.binary(min_size=6, max_size=6), st.binary(min_size=3, max_size=3))
def test_mac_keeps_its_kind_and_maker(key: bytes, one: bytes, other_end: bytes) -> None:
    known = AddressMap(key)
    new = known.mac(one)
    assert new[0] & 3 == one[0] & 3
    if not one[0] & 1 and any(one):
        assert new[:3] != one[:3]
        assert new[3:] != one[3:]
        other = known.mac(one[:3] + other_end)
        assert other[:3] == new[:3]
        assert (other == new) == (one[3:] == other_end)


def test_group_addresses_hide_the_end_of_a_host() -> None:
    known = AddressMap(KEY)
    assert known.mac(bytes.fromhex("01005e0000fb")) == bytes.fromhex("01005e0000fb")
    assert known.mac(b"\xff" * 6) == b"\xff" * 6
    solicited = bytes.fromhex("3333ff123456")
    assert known.mac(solicited)[:3] == solicited[:3]
    assert known.mac(solicited)[3:] != solicited[3:]
