"""What tests of rules share: the bundled samples as cases, each opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import kernlab
from kernlab.verdict.case import Case


@pytest.fixture(scope="session")
def sample() -> Iterator[Callable[[str], Case]]:
    """`sample("hung")`: the case of a bundled sample; its tables must not be changed."""
    cases: dict[str, Case] = {}
    with ExitStack() as stack:

        def case_of(name: str) -> Case:
            if name not in cases:
                cases[name] = Case(stack.enter_context(kernlab.open(kernlab.sample(name))).kernel)
            return cases[name]

        yield case_of
