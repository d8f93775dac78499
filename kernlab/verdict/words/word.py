"""A pattern of a sentence and what is known in, the sentence out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")

#: What a pattern can name: see `kernlab.verdict.told.fields`.
FIELDS = (
    *("subject", "who", "what", "during", "pid", "module", "function", "where", "device", "maintainer"),
    *("lock", "queue", "borrowed", "times", "earlier", "circle", "panic", "dump", "counted"),
)


@dataclass(frozen=True, slots=True)
class Word:
    """What a finding is in plain words. All are patterns, as `filled` takes them.

    `title` heads a page; `because` goes on from "The machine stopped because", and is a sentence of its own where it
    begins with a capital; `steps` are what to do next; `sure` is by what it is known; `doubt` is what always speaks
    against it; `lost` is what may be lost; `noticed` is how the kernel noticed, where something else is the cause.
    """

    title: str
    because: str
    steps: tuple[str, ...] = ()
    sure: str = ""
    doubt: str = ""
    lost: str = ""
    noticed: str = ""


def filled(pattern: str, known: Mapping[str, str]) -> str:
    """A pattern with what is known. `{field}` is a field; of `[a|b]` the first is taken whose fields are all known. A
    field that is not known, and in no choice, is "something".

    >>> from kernlab.verdict.words.word import filled
    >>> filled("A NULL pointer[ in {where}]", {"where": "shop_check"})
    'A NULL pointer in shop_check'
    >>> filled("A NULL pointer[ in {where}]", {})
    'A NULL pointer'
    """
    chosen = _CHOICE.sub(lambda choice: _first(choice[1], known), pattern)
    return _FIELD.sub(lambda field: known.get(field[1]) or "something", chosen)


def _first(choice: str, known: Mapping[str, str]) -> str:
    for each in choice.split("|"):
        if all(known.get(field) for field in _FIELD.findall(each)):
            return each
    return ""
