"""What tests of rules share: the bundled samples as cases, each opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import kernlab
from kernlab.dump import Dump
from kernlab.verdict.case import Case


@pytest.fixture(scope="session")
def opened_sample() -> Iterator[Callable[[str], Dump]]:
    """`opened_sample("hung")`: a bundled sample; its tables must not be changed."""
    dumps: dict[str, Dump] = {}
    with ExitStack() as stack:

        def open_once(name: str) -> Dump:
            if name not in dumps:
                dumps[name] = stack.enter_context(kernlab.open(kernlab.sample(name)))
            return dumps[name]

        yield open_once


@pytest.fixture(scope="session")
def sample(opened_sample: Callable[[str], Dump]) -> Callable[[str], Case]:
    """`sample("hung")`: the case of a bundled sample; its tables must not be changed."""
    cases: dict[str, Case] = {}

    def case_of(name: str) -> Case:
        if name not in cases:
            cases[name] = Case(opened_sample(name).kernel)
        return cases[name]

    return case_of
