"""What became of what: the key of a redaction and the names it gave, and the file at home that keeps both."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from kernlab.errors import KernlabError
from kernlab.redaction.addresses import AddressMap
from kernlab.redaction.house_key import KEY_BYTES
from kernlab.redaction.names import Pseudonyms

_FORMAT = "kernlab redaction map 1"


@dataclass
class RedactionMap:
    """A key, and what was replaced so far: `seen` by kind, each original with what it became.

    Who has the key can undo the addresses: it stays at home. The same map gives the same names in every dump.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES))
    names: Pseudonyms = field(init=False)
    addresses: AddressMap = field(init=False)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = Pseudonyms(self.key)
        self.addresses = AddressMap(self.key)

    def note(self, kind: str, original: bytes, became: bytes) -> None:
        """Remember that something of a kind became something else."""
        known = self.seen.setdefault(kind, {})
        known.setdefault(
            original.decode("utf-8", "surrogateescape"), became.decode("utf-8", "surrogateescape")
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> RedactionMap:
        """The map of an earlier redaction. Raises KernlabError for a file that is none or cannot be read."""
        try:
            held = json.loads(Path(path).read_text("utf-8"))
            if held["format"] != _FORMAT:
                raise KeyError("format")
            found = cls(bytes.fromhex(held["key"]))
            if len(found.key) != KEY_BYTES:
                raise ValueError("key")
            names = {
                original.encode("utf-8", "surrogateescape"): became.encode("utf-8", "surrogateescape")
                for original, became in held["names"].items()
            }
            if any(len(original) != len(became) for original, became in names.items()):
                raise ValueError("names")
            found.names = Pseudonyms(found.key, names)
            found.seen = {
                str(kind): {str(name): str(became) for name, became in known.items()}
                for kind, known in held["seen"].items()
            }
        except OSError as error:
            raise KernlabError(
                f"the redaction map {os.fspath(path)} cannot be read: {error.strerror}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KernlabError(
                f"{os.fspath(path)} is no redaction map of kernlab's (it lacks a good {error}); "
                "dump.redaction.write_map makes one"
            ) from error
        return found

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the map, readable by its owner only. Raises KernlabError where that fails."""
        text = json.dumps(
            {
                "format": _FORMAT,
                "warning": "This undoes the redaction: keep it at home.",
                "key": self.key.hex(),
                "names": {
                    original.decode("utf-8", "surrogateescape"): became.decode("utf-8", "surrogateescape")
                    for original, became in self.names.known.items()
                },
                "seen": self.seen,
            },
            indent=1,
        )
        target = Path(path)
        beside = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            # Never readable by others, not even while it is written.
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(text)
            os.replace(beside, target)
        except OSError as error:
            raise KernlabError(f"the redaction map {target} cannot be written: {error.strerror}") from error
