"""Where the dumps are, and one fixture per kind of dump. A dump that is not on this machine skips its tests,
saying so.

The dumps lie in ../shared/dumps beside the checkout, or in the folder that KERNLAB_TEST_DUMPS names;
those of samples/ are there by their names, too. The whole server's lies beside that folder, in server/debian-13, as
support sends one: compressed. It costs 3 s and 300 MB of the disk cache: keep its tests in few files.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from support.seed import SEED
from support.truth import DmesgRecord, Truth, read_dmesg

ROOT = Path(__file__).resolve().parent.parent
DUMPS = Path(os.environ.get("KERNLAB_TEST_DUMPS", ROOT.parent / "shared" / "dumps"))
SERVERS = DUMPS.parent / "server"
SAMPLES = ROOT / "samples"
#: What a dump may be called in its folder.
VMCORES = ("vmcore", "vmcore.xz", "vmcore.zst")
#: A dump's name, where it is not its folder's.
FOLDERS = {"server": SERVERS / "debian-13"}

WHOLE_DUMPS = ("debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2")
DAMAGED_DUMPS = ("damaged-7.2",)
ALL_DUMPS = WHOLE_DUMPS + DAMAGED_DUMPS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests that are dealt out each case on one dump. Files of long tests first, then by the number of their tests:
    a long one at the end would run beside nothing.
    """
    if not any("[" in argument for argument in config.args):  # one that is named runs
        config.hook.pytest_deselected(items=[item for item in items if not _has_its_turn(item)])
        items[:] = [item for item in items if _has_its_turn(item)]
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("long") is None, -tests[item.path]))


def _has_its_turn(item: pytest.Item) -> bool:
    """Is a case of a test with the mark `in_turn` on its dump, as KERNLAB_SEED deals them out? All others are."""
    case = getattr(item, "callspec", None)
    if item.get_closest_marker("in_turn") is None or case is None or "whole_dump" not in case.params:
        return True
    name = case.params["whole_dump"]
    place = crc32(item.nodeid.replace(name, "").encode())
    return bool(WHOLE_DUMPS[(place + SEED) % len(WHOLE_DUMPS)] == name)


@dataclass(frozen=True)
class DumpFiles:
    """One captured dump: the vmcore, makedumpfile's log of it, and what the guest said of itself."""

    name: str
    folder: Path

    @property
    def vmcore(self) -> Path:
        return next(self.folder / name for name in VMCORES if (self.folder / name).is_file())

    @property
    def dmesg(self) -> Path:
        return self.folder / "vmcore-dmesg.txt"

    @cached_property
    def truth(self) -> Truth:
        return Truth(self.folder / "truth.tar.xz")

    @cached_property
    def log(self) -> list[DmesgRecord]:
        return read_dmesg(self.dmesg)


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """What a file of tests sets in the environment, the next one on the same worker must not find."""
    before, main = _named(os.environ), sys.modules["__main__"]
    yield
    # IPython's shell puts a module of its own there, of which no process can be started.
    sys.modules["__main__"] = main
    assert _named(os.environ) == before, "tests changed the environment: use monkeypatch.setenv"


def _named(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what pytest, and libraries for themselves (`_RJEM_MALLOC_CONF`), put there."""
    own = ("PYTEST_CURRENT_TEST",)
    return {name: value for name, value in environment.items() if name not in own and name[0] != "_"}


_found: dict[str, DumpFiles] = {}


def find_dump(name: str) -> DumpFiles:
    """The files of a dump by name; skips the test where they are absent."""
    if name not in _found:
        expected = FOLDERS.get(name, DUMPS / name)
        for folder in (expected, SAMPLES / name):
            if any((folder / vmcore).is_file() for vmcore in VMCORES):
                _found[name] = DumpFiles(name, folder)
                break
        else:
            pytest.skip(
                f"dump {name} is not on this machine: expected in {expected} "
                "(KERNLAB_TEST_DUMPS names another folder)"
            )
    return _found[name]


@pytest.fixture(scope="session")
def dump_files() -> Callable[[str], DumpFiles]:
    """`dump_files("debian-6.1")`: the files of one named dump."""
    return find_dump


@pytest.fixture(scope="session", params=WHOLE_DUMPS)
def whole_dump(request: pytest.FixtureRequest) -> DumpFiles:
    """Each of the four whole dumps: .name, .vmcore, .dmesg, .truth, .log."""
    return find_dump(request.param)


@pytest.fixture(scope="session", params=ALL_DUMPS)
def any_dump(request: pytest.FixtureRequest) -> DumpFiles:
    """Each of the four whole dumps, and the damaged one."""
    return find_dump(request.param)


@pytest.fixture(scope="session")
def damaged_dump() -> DumpFiles:
    """damaged-7.2: a dump whose makedumpfile dropped kernel pages."""
    return find_dump("damaged-7.2")


@pytest.fixture(scope="session")
def opened() -> Iterator[Callable[[str], Any]]:
    """`opened("debian-6.1")`: the dump, opened once a session; all tests share its cached tables and must not
    change them.
    """
    dumps: dict[str, Any] = {}
    with ExitStack() as stack:

        def open_once(name: str) -> Any:
            if name not in dumps:
                # Imported here: a broken kernlab fails the tests that use it, not the collection of all.
                import kernlab

                dumps[name] = stack.enter_context(kernlab.open(find_dump(name).vmcore))
            return dumps[name]

        yield open_once


@pytest.fixture(scope="session")
def dump(whole_dump: DumpFiles, opened: Callable[[str], Any]) -> Any:
    """Each of the four whole dumps, opened; `whole_dump` in the same test is its files."""
    return opened(whole_dump.name)


@pytest.fixture(scope="session")
def server_files() -> DumpFiles:
    """The dump of a whole Debian 13 server (6.12): .vmcore, .dmesg, .truth, .log."""
    return find_dump("server")


@pytest.fixture(scope="session")
def server(opened: Callable[[str], Any]) -> Any:
    """The whole server's dump, opened; `server_files` in the same test is its files."""
    return opened("server")
