"""Names in, other names of the same length and make out, each always the same one."""

from __future__ import annotations

import hashlib
import re
import string

#: An ending that says what a file is, and nothing of whose it is.
_EXTENSION = re.compile(rb"(?<=[^.])(?:\.tar)?\.[A-Za-z][A-Za-z0-9]{0,3}\Z")
_LOWER, _UPPER, _DIGITS = (
    text.encode() for text in (string.ascii_lowercase, string.ascii_uppercase, string.digits)
)
#: Tries before a name that another has already is given twice: of one letter there are only so many.
_TRIES = 64


class Pseudonyms:
    """`of(name)` gives another name of the same length in bytes: letters for letters, digits for digits, and whatever
    separates them as it is. Different names get different ones, as far as so short ones can.

    `known` maps names to what they became, and `taken` those back.
    """

    def __init__(self, key: bytes, known: dict[bytes, bytes] | None = None):
        self._key = key
        self.known = known if known is not None else {}
        self._taken = set(self.known.values())

    def of(self, name: bytes, *, extension: bool = False) -> bytes:
        """The pseudonym of a name; with `extension` the ending of a file's name stays."""
        ending = _EXTENSION.search(name) if extension else None
        stem = name[: ending.start()] if ending else name
        found = self.known.get(stem)
        if found is None:
            found = self.known[stem] = self._make(stem)
            self._taken.add(found)
        return found + name[len(stem) :]

    def _make(self, name: bytes) -> bytes:
        found = name
        for turn in range(_TRIES):
            found = self._letters(name, turn)
            if found != name and found not in self._taken:
                break
        return found

    def _letters(self, name: bytes, turn: int) -> bytes:
        out = bytearray()
        while len(out) < len(name):
            seed = turn.to_bytes(2, "little") + len(out).to_bytes(4, "little") + name
            digest = hashlib.blake2b(seed, key=self._key, person=b"name").digest()
            for byte, random in zip(name[len(out) :], digest, strict=False):
                out.append(_alike(byte, random))
        return bytes(out)


def _alike(byte: int, random: int) -> int:
    for letters in (_LOWER, _UPPER, _DIGITS):
        if byte in letters:
            # Another one each time: a short name must not come out as it was.
            place = letters.index(byte)
            return letters[(place + 1 + random % (len(letters) - 1)) % len(letters)]
    return _LOWER[random % len(_LOWER)] if byte >= 0x80 else byte
