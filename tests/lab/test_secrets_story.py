"""The story `secrets`: what the guest seeded in every place is in its dump, and not in what kernlab lets out of it.

KERNLAB_LAB_CAPTURES names folders with captures (secrets-6.1, …); without any, these tests skip. out/secrets.jsonl of
the truth says what was seeded, how to look for it, and from which level on it has to be gone.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from support.captures import captures, dumps_in
from support.truth import Truth

from kernlab.formats import open_dump_file
from kernlab.redacted_dump import Redacted, redact
from kernlab.redacted_dump.search import search

pytestmark = pytest.mark.long
FOLDERS = captures("secrets-*")


@dataclass(frozen=True)
class Seeded:
    """One capture; `secrets` as the guest listed them."""

    folder: Path

    @property
    def vmcore(self) -> Path:
        return dumps_in(self.folder)[0]

    @cached_property
    def secrets(self) -> list[dict[str, str]]:
        lines = Truth(self.folder / "truth.tar.xz").text("secrets.jsonl").splitlines()
        return [json.loads(line) for line in lines]

    def written(self, level: str) -> Iterator[tuple[bytes, str]]:
        """Every way to write a secret that has to be gone at a level, with its name."""
        for secret in self.secrets:
            if secret["level"] == "share" or secret["level"] == level:
                yield from (
                    (way, f"{secret['name']} ({form})") for way, form in ways(secret["kind"], secret["value"])
                )


def ways(kind: str, value: str) -> Iterator[tuple[bytes, str]]:
    yield value.encode(), "text"
    yield value.encode("utf-16-le"), "UTF-16"
    if kind == "ipv4":
        packed = ipaddress.IPv4Address(value).packed
        yield packed, "number"
        yield packed[::-1], "number, host order"
    elif kind == "ipv6":
        yield ipaddress.IPv6Address(value).packed, "number"
    elif kind == "mac":
        yield bytes.fromhex(value.replace(":", "")), "number"
        yield value.upper().encode(), "capitals"


@pytest.fixture(
    scope="module", params=FOLDERS or [None], ids=lambda folder: folder.name if folder else "none"
)
def seeded(request: pytest.FixtureRequest) -> Seeded:
    if request.param is None:
        pytest.skip("no capture of the story secrets: KERNLAB_LAB_CAPTURES names folders with captures")
    return Seeded(request.param)


@pytest.fixture(scope="module", params=["share", "strict"])
def redacted(
    request: pytest.FixtureRequest, seeded: Seeded, tmp_path_factory: pytest.TempPathFactory
) -> Redacted:
    return redact(seeded.vmcore, tmp_path_factory.mktemp("redacted") / "vmcore", level=request.param)


def found(path: Path, strings: Mapping[bytes, str]) -> dict[str, list[str]]:
    """The names of what is in the pages, the header or the notes of a dump, and where."""
    with open_dump_file(path) as file:
        hits = {strings[text]: [hex(at) for at in hit.places] for text, hit in search(file, strings).items()}
    raw = path.read_bytes()
    # Text is looked for in all of the file as it lies there, too.
    hits |= {name: ["the file"] for text, name in strings.items() if len(text) >= 8 and text in raw}
    return hits


def test_the_dump_has_the_secrets(seeded: Seeded) -> None:
    """Else the tests below would hold without any redaction."""
    names = {name.split(" ")[0] for name in found(seeded.vmcore, dict(seeded.written("strict")))}
    missing = {secret["name"] for secret in seeded.secrets} - names
    # What is in user pages alone is not in a dump that was saved without these.
    with open_dump_file(seeded.vmcore) as file:
        user_pages = not int(str(file.header["dump_level"])) & 8
    if user_pages:
        assert not missing
    else:
        assert missing <= {"ARGV", "ENVIRONMENT", "FILE", "TMPFS", "USER_MEMORY", "GONE_MEMORY"}


def test_none_is_left(seeded: Seeded, redacted: Redacted) -> None:
    level: Any = redacted.manifest["level"]
    assert found(redacted.path, dict(seeded.written(level))) == {}


def test_the_proof_holds(redacted: Redacted) -> None:
    assert redacted.proof is not None
    assert redacted.proof.unexpected == []
    assert redacted.proof.leaks == ()
    assert [one for one in redacted.proof.tables if one.problem] == []
    assert not redacted.path.name.endswith(".unproven")


def test_the_manifest_names_nothing(seeded: Seeded, redacted: Redacted) -> None:
    text = redacted.manifest_path.read_bytes()
    assert not [name for way, name in seeded.written("strict") if len(way) >= 8 and way in text]
    assert str(seeded.folder).encode() not in text
