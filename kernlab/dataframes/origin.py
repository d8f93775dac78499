"""Dumps in, tokens out, and back: how a column of addresses finds its dump without keeping it alive."""

from __future__ import annotations

import os
import weakref
from typing import Any

from kernlab.errors import KernlabError

#: The token of a column whose addresses come from more than one dump.
MIXED = "mixed"

_dumps: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_sources: dict[str, str] = {}


def register(dump: Any, source: str = "") -> str:
    """A new token for `dump`, held weakly; `source` is named in the error once it is gone."""
    # Random, because frames travel between processes (pickle), where another dump may be the first one.
    token = f"dump-{os.urandom(8).hex()}"
    _dumps[token] = dump
    _sources[token] = source
    return token


def find(token: str) -> Any:
    """The dump that `token` stands for. Raises KernlabError when there is none, or it is gone."""
    if token == MIXED:
        raise KernlabError(
            "these addresses come from more than one dump; select the rows of one before asking it"
        )
    if not token:
        raise KernlabError(
            "these addresses belong to no dump (they were read from a file or made by hand). "
            "Use dump.structs(type, addresses) of the dump that they belong to."
        )
    dump = _dumps.get(token)
    if dump is None:
        source = _sources.get(token, "")
        raise KernlabError(
            f"the dump of these addresses{f' ({source})' if source else ''} is gone. Open it again, keep it "
            "(dump = kernlab.open(…)), and take the table from it."
        )
    return dump


def alive() -> list[Any]:
    """The dumps of this process that somebody still holds, the oldest first."""
    held = [(token, _dumps.get(token)) for token in _sources]
    return [dump for _, dump in held if dump is not None]


def combine(first: str, second: str) -> str:
    """The token of a column made of two: the one that is known, `MIXED` where both are and differ."""
    if not first or not second or first == second:
        return first or second
    return MIXED
