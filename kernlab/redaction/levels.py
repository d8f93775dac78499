"""The levels of redaction, and which columns of which tables each of them may change."""

from __future__ import annotations

from kernlab.errors import KernlabError

NONE, SHARE, STRICT = "none", "share", "strict"

#: From the one that hides nothing to the one that hides most.
LEVELS = (NONE, SHARE, STRICT)


def check_level(level: str) -> str:
    """The level itself. Raises KernlabError, naming the levels, for what is none."""
    if level not in LEVELS:
        raise KernlabError(f"there is no level of redaction {level!r}; choose one of {', '.join(LEVELS)}")
    return level
