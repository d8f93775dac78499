"""That a redacted dump is one: its tables are the original's but for the columns named, and it holds no secret known.

Comes in: the original, the redacted dump and the map of the redaction. Goes out: a `Proof`, which says what it is made
of, and whether it holds.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.dump import Dump
from kernlab.formats.kdump.header import HEADER
from kernlab.redacted_dump.compare import Compared, compare
from kernlab.redacted_dump.search import SHORTEST, search
from kernlab.redaction.frames import Frames, constant
from kernlab.redaction.vocabulary import Vocabulary

#: Kinds of secrets that name a machine by a number, and may stand in memory as one.
_IPV4, _IPV6, _MAC = "IPv4 address", "IPv6 address", "MAC address"
_PATH = "path below home"
#: Names that may be a common word (a host called server): those are replaced in their places only, as tables show.
_NAMES = frozenset(("host name", "user name"))
#: Names by themselves are no proof: files, symbols and threads of the kernel may have the same. The path to one is.
_SHARED = frozenset(("name of a file", "name of a program", "name of a key", "command line"))
#: Bytes of an IPv4 address that other numbers have, too: small numbers and masks.
_COMMON = frozenset((0, 1, 2, 255))


@dataclass(frozen=True)
class Leak:
    """A secret that is still there: its kind (never itself), how it is written, how often, and where at first."""

    kind: str
    form: str
    times: int
    physical: tuple[int, ...]


@dataclass(frozen=True)
class Proof:
    """`tables` compared, `named` the columns that may differ, `leaks` found of `searched` strings."""

    tables: tuple[Compared, ...]
    named: Mapping[str, list[str]]
    searched: int
    leaks: tuple[Leak, ...] = field(default=())

    @property
    def unexpected(self) -> list[tuple[str, str, int]]:
        """(table, column, cells) of all columns that differ and are not named."""
        return [
            (found.table, column, cells)
            for found in self.tables
            for column, cells in found.differ.items()
            if column not in self.named.get(found.table, ())
        ]

    @property
    def holds(self) -> bool:
        """Is every table what it was but for the columns named, and no secret there?"""
        return not self.leaks and not self.unexpected and not any(found.problem for found in self.tables)


def prove(
    original: Dump,
    redacted: Dump,
    redacted_path: Path,
    known: Mapping[str, Any],
    named: Mapping[str, list[str]],
) -> Proof:
    """Compare all tables of both, and look for what the map (`known`, as `write_map` writes it) hides.

    Raises KernlabError where a dump cannot be read at all.
    """
    secrets = dict(needles(known, Vocabulary(original.kernel).has))
    return Proof(
        tuple(compare(original, redacted)),
        named,
        len(secrets),
        tuple(_leaks(redacted, redacted_path, secrets)),
    )


def needles(
    known: Mapping[str, Any], is_common: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, tuple[str, str]]]:
    """What is looked for, with its kind and form: what the map replaced in text, and addresses as numbers, too.

    `is_common` says of a name whether it is a word that stands in dumps of machines with other names.
    """
    for kind, pairs in known.get("seen", {}).items():
        for original, became in pairs.items():
            text = original.encode("utf-8", "surrogateescape")
            if original == became or len(text) < SHORTEST:
                continue
            if kind in _SHARED or (kind == _PATH and "/" not in original):
                continue
            if kind in _NAMES and is_common(text):
                continue
            yield text, (kind, "text")
            yield text.decode("utf-8", "replace").encode("utf-16-le"), (kind, "UTF-16")
            for number, form in _numbers(kind, original):
                yield number, (kind, form)


def _numbers(kind: str, text: str) -> Iterator[tuple[bytes, str]]:
    try:
        if kind == _IPV4:
            packed = ipaddress.IPv4Address(text).packed
            # Four bytes that are as good as any others would be found in every dump.
            if len(_COMMON.intersection(packed)) == 0 and len(set(packed)) == len(packed):
                yield packed, "number"
                yield packed[::-1], "number, host order"
        elif kind == _IPV6:
            yield ipaddress.IPv6Address(text).packed, "number"
        elif kind == _MAC:
            yield bytes.fromhex(text.replace(":", "").replace("-", "")), "number"
    except ValueError:
        return


def _leaks(dump: Dump, path: Path, secrets: Mapping[bytes, tuple[str, str]]) -> Iterator[Leak]:
    file = dump.kernel.file
    # The kernel's code and constants are its distributor's, whose address may well look like a secret.
    frames = Frames.of(file)
    found = search(file, secrets, frames.pfn[constant(dump.kernel, frames)])
    front = _front(path)
    for secret, (kind, form) in secrets.items():
        hit = found.get(secret)
        times, places = (hit.times, tuple(hit.places)) if hit is not None else (0, ())
        # Its header, notes and VMCOREINFO lie in front of the bitmaps.
        times += front.count(secret)
        if times:
            yield Leak(kind, form, times, places)


def _front(path: Path) -> bytes:
    with path.open("rb") as stream:
        fields = HEADER.unpack(stream.read(HEADER.size))
        block, blocks = fields[6], fields[7]
        stream.seek(0)
        return stream.read(block * (1 + blocks))


def read_map(path: Path) -> dict[str, Any]:
    """A map as `dump.redaction.write_map` wrote it."""
    held: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return held
