"""What text looks like that nobody outside shall read: addresses, paths below home, e-mail, passwords, private keys.

A buffer is gone through for the few bytes that each of them must have ('.', ':', '@', '=', '/home/'); only there is it
looked at closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.redaction.literals import Hit
from kernlab.redaction.map_file import RedactionMap

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: The kinds of what is found in text, as they are counted.
IPV4, IPV6, MAC, EMAIL, PATH, SECRET, KEY = (
    "IPv4 address",
    "IPv6 address",
    "MAC address",
    "e-mail address",
    "path below home",
    "password or token",
    "key",
)

_DIGIT = np.isin(np.arange(256), np.frombuffer(b"0123456789", np.uint8))
_ALNUM = np.isin(
    np.arange(256), [c for c in range(256) if chr(c).isascii() and (chr(c).isalnum() or c == 95)]
)
_ALNUM_BYTES = frozenset(np.flatnonzero(_ALNUM).tolist())
#: What stands around a word in text: nothing, blanks, marks.
_AROUND = frozenset(b"\0\t\n\r !\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~")
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(_OCTET + rb"(?:\." + _OCTET + rb"){3}(?![0-9A-Za-z_])(?!\.[0-9])")
#: What four numbers with dots between are after such words.
_VERSION = re.compile(rb"(?:version|ver|rev|revision|release|firmware|fw|bios|driver|v)[ :=(]{0,2}\Z", re.I)
_HEX_PAIRS = {
    separator: re.compile(rb"[0-9A-Fa-f]{2}(?:" + separator + rb"[0-9A-Fa-f]{2}){5,}")
    for separator in (b":", b"-")
}
_IPV6_TEXT = re.compile(rb"[0-9A-Fa-f:.]{3,45}")
_LETTERS, _SHORTEST_IPV6 = re.compile(rb"[A-Fa-f]"), 6
_LOCAL_PART = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
_DOMAIN = re.compile(rb"[A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*")
#: user@host is also how systemd names instances of units, and not all that follows an @ is a host.
_UNIT = re.compile(
    rb"[\w.:\\-]*\.(?:service|slice|scope|socket|mount|automount|timer|target|device|swap|path)\b", re.I
)
_DOTTED = re.compile(rb"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
#: What stands behind the @ of a device tree's nodes, as virtio_mmio@a000800.
_UNIT_ADDRESS = re.compile(rb"(?=[a-f]*[0-9])[0-9a-f]{4,16}")
_PLAIN = re.compile(rb"[a-z][a-z0-9_.-]{2,}")
_NO_HOST = re.compile(rb"(?:tty\w*|[shv]d[a-z]\d*|nvme\w*|plt|got\w*|GLIBC\w*|LIBC\w*|OPENSSL\w*)\Z", re.I)
_SECRET_NAME = re.compile(
    rb"(?:passw(?:or)?d|passphrase|passwd|\bpwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|"
    rb"auth(?:orization)?|\bpsk|\bpass)[A-Za-z0-9_-]{0,24}\Z",
    re.I,
)
_VALUE = re.compile(rb"[^\x00-\x20\x7f\"'&;,)%]{3,512}")
_OPTIONS = (b"--passw", b"--passphrase", b"--token", b"--secret", b"--api-key", b"--access-key")
_OPTION = re.compile(rb"--[a-z-]+(?:[ \0]|=)(" + _VALUE.pattern + rb")")
_COMPONENT = re.compile(rb"[^\x00-\x20\x7f\"'<>|;:,()\[\]{}*?&=\\/]+")
_WHOLE_COMPONENT = re.compile(rb"[^\x00-\x1f/]+")
_PEM = re.compile(rb"PRIVATE KEY-----[\sA-Za-z0-9+/=:,-]{0,4000}")
_HOSTNAME = re.compile(rb"[Hh]ostname(?: set to|:|=) ?<?([A-Za-z0-9][A-Za-z0-9.-]*)")

#: A path has no more components.
_MOST_COMPONENTS = 64


class Patterns:
    """The search for what looks like a secret; `homes` are the folders below which all names are (b"/home/")."""

    def __init__(
        self, known: RedactionMap, homes: tuple[bytes, ...], allowed: frozenset[bytes] = frozenset()
    ):
        self._map = known
        self._homes = homes
        #: E-mail addresses that are everybody's: those of the kernel's own banner.
        self._allowed = allowed

    def hits(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        """Everything in a buffer of rows of `row` bytes (`view` shows the same); nothing crosses two of them."""
        yield from self._ipv4(data, view, row)
        yield from self._colons(data, view, row)
        yield from self._at_signs(data, view, row)
        yield from self._assignments(data, view, row)
        yield from self._found(data, row)

    def _ipv4(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        dots = _between(view, 0x2E, _DIGIT)
        if len(dots) < 3:
            return
        gap = np.diff(dots)
        near: npt.NDArray[np.bool_] = (gap >= 2) & (gap <= 4)
        for dot in dots[:-2][near[:-1] & near[1:]].tolist():
            begin, end = _row(dot, row)
            start = dot
            while start > begin and dot - start < 3 and data[start - 1] in b"0123456789":
                start -= 1
            if start > begin and (data[start - 1] in _ALNUM_BYTES or data[start - 1] == 0x2E):
                continue
            match = _IPV4.match(data, start, end)
            if match is None or not _alone(data, start, match.end(), begin, end):
                continue
            # A driver's version: 1.0.5.0-k.
            if (
                data[match.end() : match.end() + 1] == b"-"
                and not data[match.end() + 1 : match.end() + 2].isdigit()
            ):
                continue
            if _VERSION.search(data, max(begin, start - 12), start):
                continue
            yield from self._changed(match, self._map.addresses.ipv4_text(match[0].decode()), IPV4)

    def _changed(self, match: re.Match[bytes], new: str | None, kind: str) -> Iterator[Hit]:
        if new is not None and new.encode() != match[0]:
            self._map.note(kind, match[0], new.encode())
            yield Hit(match.start(), match.end(), new.encode(), kind)

    def _colons(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        """MAC addresses, with either separator, and IPv6 addresses."""
        for separator in (b":", b"-"):
            marks = np.flatnonzero(view == separator[0])
            gap = np.diff(marks)
            if len(gap) >= 4:
                three: npt.NDArray[np.bool_] = gap == 3
                run: npt.NDArray[np.bool_] = three[:-3] & three[1:-2] & three[2:-1] & three[3:]
                # Only where a run begins; the expression takes all of it.
                run[1:] &= ~three[:-4]
                for mark in marks[:-4][run].tolist():
                    yield from self._mac(data, mark - 2, separator, row)
            if separator == b":" and len(marks) > 1:
                yield from self._ipv6(data, marks, gap, row)

    def _mac(self, data: bytes, start: int, separator: bytes, row: int) -> Iterator[Hit]:
        if start < 0:
            return
        begin, end = _row(start + 2, row)
        match = _HEX_PAIRS[separator].match(data, start, end) if start >= begin else None
        if match is None or (start > begin and data[start - 1] in _ALNUM_BYTES):
            return
        if match.end() < end and (data[match.end()] in _ALNUM_BYTES):
            return
        pairs = match[0].split(separator)
        # Six are an address; fourteen the head of an Ethernet frame, as netfilter logs it: to, from, protocol.
        if len(pairs) not in (6, 14):
            return
        new = list(pairs)
        for first in range(0, len(pairs) - 5, 6):
            old = bytes.fromhex(b"".join(pairs[first : first + 6]).decode())
            digits = self._map.addresses.mac(old).hex().encode()
            for place in range(6):
                two = digits[2 * place : 2 * place + 2]
                new[first + place] = (
                    two.upper() if pairs[first + place].upper() == pairs[first + place] else two
                )
        yield from self._changed(match, separator.join(new).decode(), MAC)

    def _ipv6(self, data: bytes, marks: I64, gap: I64, row: int) -> Iterator[Hit]:
        places = marks[:-1][gap == 1].tolist()
        if len(gap) >= 6:
            near = np.asarray((gap >= 2) & (gap <= 5))
            window = np.lib.stride_tricks.sliding_window_view(near, 6).all(axis=1)
            places += marks[:-6][window].tolist()
        done = -1
        for place in sorted(places):
            if place < done:
                continue
            begin, end = _row(place, row)
            start = place
            while start > begin and place - start < 40 and data[start - 1] in b"0123456789abcdefABCDEF:":
                start -= 1
            match = _IPV6_TEXT.match(data, start, end)
            if match is None:
                continue
            done = match.end()
            text = match[0].rstrip(b".")
            if text.endswith(b":") and not text.endswith(b"::"):
                text = text[:-1]
            last = start + len(text)
            # Shorter ones, and those in both cases, are more often numbers that look like text.
            if len(text) < _SHORTEST_IPV6 or not (
                text.islower() or text.isupper() or not _LETTERS.search(text)
            ):
                continue
            if not _alone(data, start, last, begin, end):
                continue
            new = self._map.addresses.ipv6_text(text.decode())
            if new is not None and new.encode() != text:
                self._map.note(IPV6, text, new.encode())
                yield Hit(start, last, new.encode(), IPV6)

    def _at_signs(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        for place in _between(view, 0x40, _ALNUM).tolist():
            begin, end = _row(place, row)
            right = _DOMAIN.match(data, place + 1, end)
            window = data[max(begin, place - 64) : place]
            left = _LOCAL_PART.search(window)
            if left is None or right is None or _NO_HOST.match(right[0]):
                continue
            whole, start = left[0] + b"@" + right[0], place - len(left[0])
            if whole in self._allowed or not _alone(data, start, right.end(), begin, end):
                continue
            # Without a domain only what can be nothing else; the names of this host and its users are known anyhow.
            if not _DOTTED.fullmatch(right[0]) and not (
                _PLAIN.fullmatch(left[0])
                and _PLAIN.fullmatch(right[0])
                and not _UNIT_ADDRESS.fullmatch(right[0])
            ):
                continue
            if _UNIT.match(data, place + 1, min(end, place + 80)):
                continue
            new = self._map.names.of(left[0]) + b"@" + self.host(right[0])
            self._map.note(EMAIL, whole, new)
            yield Hit(start, right.end(), new, EMAIL)

    def host(self, name: bytes) -> bytes:
        """What a host's or domain's name becomes: each part by itself, and the last of several stays (com, org)."""
        parts = name.split(b".")
        last = len(parts) - (1 if len(parts) > 1 and parts[-1].isalpha() else 0)
        new = [self._map.names.of(part) if part else part for part in parts[:last]]
        return b".".join(new + parts[last:])

    def _assignments(self, data: bytes, view: U8, row: int) -> Iterator[Hit]:
        """What names of passwords and tokens are given: NAME=value, --name value."""
        marks = np.flatnonzero((view == 0x3D) | (view == 0x3A))
        marks = marks[marks > 0]
        for place in marks[_ALNUM[view[marks - 1]]].tolist():
            begin, end = _row(place, row)
            if not _SECRET_NAME.search(data, max(begin, place - 40), place):
                continue
            first = place + 1
            if data[place] == 0x3A:
                # "password: x" is said of passwords; of other things only with a blank behind.
                if data[first : first + 1] != b" ":
                    continue
                first += 1
            value = _VALUE.match(data, first, end)
            if value is not None:
                yield self._secret(value.start(), value.end(), value[0])

    def _secret(self, start: int, end: int, value: bytes) -> Hit:
        new = b"x" * len(value)
        self._map.note(SECRET, value, new)
        return Hit(start, end, new, SECRET)

    def _found(self, data: bytes, row: int) -> Iterator[Hit]:
        """What begins with words of its own."""
        for home in self._homes:
            for place in _places(data, home):
                yield from self._path(data, place, home, row)
        for option in _OPTIONS:
            for place in _places(data, option):
                match = _OPTION.match(data, place, _row(place, row)[1])
                if match is not None:
                    yield self._secret(match.start(1), match.end(1), match[1])
        for place in _places(data, b"PRIVATE KEY-----"):
            match = _PEM.match(data, place, _row(place, row)[1])
            first = place + len(b"PRIVATE KEY-----")
            if match is not None and match.end() - first > 8:
                yield Hit(first, match.end(), b"x" * (match.end() - first), KEY)
        for place in _places(data, b"ostname"):
            begin, end = _row(place, row)
            match = _HOSTNAME.match(data, place - 1, end) if place > begin else None
            if match is not None and match[1] not in (b"localhost", b"none"):
                new = self.host(match[1])
                self._map.note("host name", match[1], new)
                yield Hit(match.start(1), match.end(1), new, "host name")

    def _path(self, data: bytes, place: int, home: bytes, row: int) -> Iterator[Hit]:
        begin, end = _row(place, row)
        start = place + len(home)
        if start > end:
            return
        # What begins as a string does ends as one; in the midst of a text a blank ends it.
        alone = place > begin and data[place - 1] == 0
        component = _WHOLE_COMPONENT if alone else _COMPONENT
        new, at = b"", start
        for _ in range(_MOST_COMPONENTS):
            match = component.match(data, at, end)
            if match is None:
                break
            new += self.component(match[0])
            at = match.end()
            if data[at : at + 1] != b"/" or at >= end:
                break
            new, at = new + b"/", at + 1
        old = data[start:at]
        if new != old:
            self._map.note(PATH, home + old, home + new)
            yield Hit(start, at, new, PATH)

    def component(self, name: bytes) -> bytes:
        """What one part of a path below home becomes."""
        return name if name in (b".", b"..") else self._map.names.of(name, extension=True)


def _alone(data: bytes, start: int, end: int, begin: int, last: int) -> bool:
    """Is what lies from `start` to `end` in a row from `begin` to `last` a word of text by what stands around it?"""
    return (start == begin or data[start - 1] in _AROUND) and (end == last or data[end] in _AROUND)


def _between(view: U8, byte: int, around: npt.NDArray[np.bool_]) -> I64:
    """Where a byte stands between two of a class."""
    marks = np.flatnonzero(view[1:-1] == byte) + 1
    found: I64 = marks[around[view[marks - 1]] & around[view[marks + 1]]]
    return found


def _row(place: int, row: int) -> tuple[int, int]:
    begin = place - place % row
    return begin, begin + row


def _places(data: bytes, text: bytes) -> Iterator[int]:
    place = data.find(text)
    while place >= 0:
        yield place
        place = data.find(text, place + 1)
