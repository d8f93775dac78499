"""Addresses of machines in, others of the same network structure and the same length of text out, by a secret key.

Two addresses that share their first n bits (IPv4) or digits (IPv6) share as many afterwards, so that what was one
network stays one. No address becomes itself, but for those that name no machine (0.0.0.0, 127/8, netmasks, multicast).
"""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache

#: IPv4 prefixes (value, bits) that stay what they are: private networks, link-local, carriers' own.
_KEPT = (
    (10 << 24, 8),
    (172 << 24 | 16 << 16, 12),
    (192 << 24 | 168 << 16, 16),
    (169 << 24 | 254 << 16, 16),
    (100 << 24 | 64 << 16, 10),
)
#: Those in which no address names a machine of its own: this host, loopback, multicast and beyond.
_FIXED = ((0, 8), (127 << 24, 8), (224 << 24, 3))

_Shape = tuple["_Shape", "_Shape"] | int


@lru_cache(None)
def _shape(first: int, bits: int) -> _Shape:
    """How many digits the numbers of an octet from `first` on have, as the tree of its last `bits` bits."""
    if not bits:
        return len(str(first))
    half = 1 << bits - 1
    return _shape(first, bits - 1), _shape(first + half, bits - 1)


@lru_cache(None)
def _free(octet: int, bit: int) -> bool:
    """May bit `bit` (0: the highest) of an octet be flipped without a change of its length as text?"""
    bits = 8 - bit
    first = octet >> bits << bits
    low, high = _shape(first, bits) if bits else (0, 1)  # type: ignore[misc]
    return low == high


def _netmasks() -> frozenset[int]:
    return frozenset((0xFFFFFFFF << 32 - bits) & 0xFFFFFFFF for bits in range(33))


_NETMASKS = _netmasks()


def names_a_machine(address: int) -> bool:
    """Can an IPv4 address be one that is worth hiding?"""
    return address not in _NETMASKS and not any(
        address >> 32 - bits == value >> 32 - bits for value, bits in _FIXED
    )


class AddressMap:
    """The mapping of one key: `ipv4`, `ipv6` and `mac`, each one-to-one."""

    def __init__(self, key: bytes):
        self._key = key
        self._v4: dict[int, int] = {}
        self._v6: dict[bytes, bytes] = {}
        self._mac: dict[bytes, bytes] = {}

    def _number(self, kind: bytes, what: bytes, size: int = 8) -> int:
        digest = hashlib.blake2b(what, key=self._key, digest_size=size, person=kind.ljust(16, b"\0")).digest()
        return int.from_bytes(digest, "little")

    def ipv4(self, address: int) -> int:
        """One IPv4 address, as a number in host order."""
        known = self._v4.get(address)
        if known is None:
            known = self._v4[address] = self._ipv4(address) if names_a_machine(address) else address
        return known

    def _ipv4(self, address: int) -> int:
        result = 0
        for bit in range(32):
            prefix, mine = address >> 32 - bit, address >> 31 - bit & 1
            octet = address >> 24 - bit // 8 * 8 & 0xFF
            # A prefix that is kept must not get another's place, so nothing above it moves.
            above = any(bits > bit and value >> 32 - bit == prefix for value, bits in (*_KEPT, *_FIXED))
            if not above and _free(octet, bit % 8):
                # The last bit can always move, and always does: no address stays what it is.
                flip = 1 if bit == 31 else self._number(b"ipv4", bytes([bit]) + prefix.to_bytes(4, "big")) & 1
                mine ^= flip
            result = result << 1 | mine
        return result

    def ipv6(self, address: bytes) -> bytes:
        """One IPv6 address, as its 16 bytes."""
        known = self._v6.get(address)
        if known is None:
            known = self._v6[address] = self._ipv6(address)
        return known

    def _ipv6(self, address: bytes) -> bytes:
        if address[:12] in (b"\0" * 10 + b"\xff\xff", bytes.fromhex("0064ff9b") + b"\0" * 8):
            return address[:12] + self.ipv4(int.from_bytes(address[12:], "big")).to_bytes(4, "big")
        if not any(address[:15]):
            return address  # :: and ::1
        digits = address.hex()
        kept = _kept_digits(address)
        out = digits[:kept]
        for place in range(kept, 32):
            digit = int(digits[place], 16)
            if digit:
                # A zero stays one, and nothing becomes one: the text keeps its length and its "::".
                turn = 1 + self._number(b"ipv6", digits[:place].encode()) % 14
                digit = (digit - 1 + turn) % 15 + 1
            out += f"{digit:x}"
        return bytes.fromhex(out)

    def mac(self, address: bytes) -> bytes:
        """One MAC address, as its 6 bytes; groups' and broadcast addresses stay, but for what they tell of a host's."""
        known = self._mac.get(address)
        if known is None:
            known = self._mac[address] = self._new_mac(address)
        return known

    def _new_mac(self, address: bytes) -> bytes:
        if not any(address) or address == b"\xff" * 6:
            return address
        maker, own = address[:3], int.from_bytes(address[3:], "big")
        if maker[0] & 1:
            if maker != b"\x33\x33\xff":
                return address
            new_maker = maker
        else:
            number = self._number(b"maker", maker)
            low = number & 0xFC ^ maker[0] & 0xFC or 0x54
            new_maker = bytes([maker[0] & 3 | low, number >> 8 & 0xFF, number >> 16 & 0xFF])
            if new_maker == maker:
                new_maker = bytes([maker[0], maker[1] ^ 0x55, maker[2]])
        mask = self._number(b"nic", maker) & 0xFFFFFF or 0x5A5A5A
        return new_maker + (own ^ mask).to_bytes(3, "big")

    def ipv4_text(self, text: str) -> str:
        """A dotted IPv4 address."""
        return str(ipaddress.IPv4Address(self.ipv4(int(ipaddress.IPv4Address(text)))))

    def ipv6_text(self, text: str) -> str | None:
        """An IPv6 address in any spelling, in the same; None for what is none."""
        try:
            address = ipaddress.IPv6Address(text).packed
        except ValueError:
            return None
        new = self.ipv6(address)
        if new == address:
            return text
        head, dotted, tail = text, "", ""
        if "." in text:
            head, _, dotted = text.rpartition(":")
            tail = ":" + str(ipaddress.IPv4Address(new[12:]))
        if len(tail) != (len(dotted) + 1 if dotted else 0):
            return None
        return _respelt(head, new, 12 if dotted else 16) + tail


def _kept_digits(address: bytes) -> int:
    """How many hexadecimal digits of an IPv6 address say what kind it is."""
    if address[0] == 0xFF:
        # ff02::1:ffXX:XXXX bears the end of a host's address; all other groups are well known.
        return 26 if address[1:13] == bytes.fromhex("02000000000000000000 01ff".replace(" ", "")) else 32
    if address[0] == 0xFE:
        return 4
    return 2 if address[0] in (0xFC, 0xFD) else 1


def _respelt(text: str, new: bytes, size: int) -> str:
    """Another address with the digits where `text` has them: its groups, from both ends, without leading zeros."""
    groups = [new[at : at + 2].hex() for at in range(0, size, 2)]
    left, gap, right = text.partition("::")
    before = left.split(":") if left else []
    after = right.split(":") if right else []

    def fitted(group: str, like: str) -> str:
        digits = group[4 - len(like) :]
        return digits.upper() if like.upper() == like else digits

    first = [fitted(groups[at], like) for at, like in enumerate(before)]
    last = [fitted(groups[len(groups) - len(after) + at], like) for at, like in enumerate(after)]
    return ":".join(first) + gap + ":".join(last)
