"""Rules by registration: modules of `kernlab.verdict.rules` declare them, and all are asked by the order of names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernlab.verdict.case import Case
    from kernlab.verdict.finding import Finding

Rule = Callable[["Case"], "Iterable[Finding]"]
#: Looks at what all rules found, and gives each finding as it stands then.
Weighing = Callable[["Case", "list[Finding]"], "list[Finding]"]

_rules: dict[str, Rule] = {}
_weighings: dict[str, Weighing] = {}


def rule(function: Rule) -> Rule:
    """Declare a rule: it reads tables and log, and concludes. Its docstring's first line says what from what."""
    _rules[f"{function.__module__}.{function.__name__}"] = function
    return function


def weighing(function: Weighing) -> Weighing:
    """Declare what is asked of all findings together, once every rule has spoken."""
    _weighings[f"{function.__module__}.{function.__name__}"] = function
    return function


def rules() -> list[Rule]:
    """All rules."""
    _load()
    return [_rules[name] for name in sorted(_rules)]


def weighings() -> list[Weighing]:
    """All that weigh."""
    _load()
    return [_weighings[name] for name in sorted(_weighings)]


def _load() -> None:
    package = importlib.import_module("kernlab.verdict.rules")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
