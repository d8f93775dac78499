"""Rules that most tests of others need beside them."""

from __future__ import annotations

from kernlab.verdict.registry import Rule, rules

#: All that say how a machine ended.
ENDS: tuple[Rule, ...] = tuple(
    each for each in rules() if each.__module__.rpartition(".")[2] in ("ends", "asked")
)
