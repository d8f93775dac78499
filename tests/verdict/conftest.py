"""What tests of rules share: the bundled samples as cases, each opened once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kernlab.verdict.case import Case


@pytest.fixture(scope="session")
def sample(opened: Callable[[str], Any]) -> Callable[[str], Case]:
    """`sample("hung")`: the case of a bundled sample; its tables must not be changed."""
    cases: dict[str, Case] = {}

    def case_of(name: str) -> Case:
        if name not in cases:
            cases[name] = Case(opened(name).kernel)
        return cases[name]

    return case_of
