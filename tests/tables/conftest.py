"""Dumps for what must hold on every one: the four whole dumps, the damaged one and the samples of crash stories.

KERNLAB_TEST_MACHINES names more of them: folders as `kernlab lab run` makes them, with a colon between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from conftest import ALL_DUMPS, SAMPLES, find_dump
from support.truth import Truth

#: Samples of a crash story; in some of them much happens between the truth and the end.
STORIES = ("hung", "io", "oom", "oops", "panic", "arm64")


#: Captures from elsewhere: NUMA nodes, huge pages and more that no dump of the checkout has.
CAPTURES = tuple(filter(None, os.environ.get("KERNLAB_TEST_MACHINES", "").split(":")))


@dataclass(frozen=True)
class Machine:
    """A dump that is open, and what its guest said of itself before the crash."""

    name: str
    dump: Any

    @cached_property
    def truth(self) -> Truth:
        if self.name in STORIES:
            return Truth(SAMPLES / self.name / "truth.tar.xz")
        if self.name in CAPTURES:
            return Truth(Path(self.name) / "truth.tar.xz")
        return find_dump(self.name).truth


@pytest.fixture(scope="session")
def machine_of(opened: Callable[[str], Any]) -> Iterator[Callable[[str], Machine]]:
    """`machine_of("oom")`: a dump or a sample by its name, opened once a session."""
    machines: dict[str, Machine] = {}
    with ExitStack() as stack:

        def open_once(name: str) -> Machine:
            if name not in machines:
                import kernlab

                if name in STORIES:
                    if not (SAMPLES / name).is_dir():
                        pytest.skip(f"sample {name} is not on this machine: expected in {SAMPLES / name}")
                    machines[name] = Machine(name, stack.enter_context(kernlab.open(kernlab.sample(name))))
                elif name in CAPTURES:
                    vmcore = min(path for path in Path(name).glob("vmcore*") if path.suffix != ".txt")
                    machines[name] = Machine(name, stack.enter_context(kernlab.open(vmcore)))
                else:
                    machines[name] = Machine(name, opened(name))
            return machines[name]

        yield open_once


@pytest.fixture(scope="session", params=ALL_DUMPS + STORIES + CAPTURES)
def machine(request: pytest.FixtureRequest, machine_of: Callable[[str], Machine]) -> Machine:
    """Every dump that is here: .name, .dump, .truth."""
    return machine_of(request.param)


@pytest.fixture(scope="session", params=(*ALL_DUMPS, *STORIES, *CAPTURES, "server"))
def machine_or_server(request: pytest.FixtureRequest, machine_of: Callable[[str], Machine]) -> Machine:
    """Every dump, and the whole server's: two nodes, swap, huge pages, thousands of threads."""
    return machine_of(request.param)
