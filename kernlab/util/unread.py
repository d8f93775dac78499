"""What could not be read, counted by what it is: one sentence for all members of one type, whatever was asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

#: Members that a sentence names; of more than these it says how many.
_MOST_NAMED = 4

#: Addresses that are told apart; a count that reaches this is given as "more than".
_MOST_KNOWN = 1 << 22


@dataclass
class _Distinct:
    """Addresses, each counted once."""

    _known: U64 = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    _new: list[U64] = field(default_factory=list)
    _waiting: int = 0

    def add(self, addresses: U64) -> None:
        self._new.append(addresses)
        self._waiting += len(addresses)
        # Merged when they have doubled: a walk may lose one a round.
        if self._waiting > len(self._known) + 1024:
            self.known()

    def known(self) -> U64:
        if self._new:
            self._known = np.unique(np.concatenate([self._known, *self._new]))[:_MOST_KNOWN]
            self._new, self._waiting = [], 0
        return self._known


@dataclass
class Unread:
    """Things of one `kind` ("struct task_struct", "strings") that could not be read, in whole or in part.

    `first` is the address of the first failure, `of` how many things there were each time that any failed.
    """

    kind: str
    first: int
    _members: dict[str, None] = field(default_factory=dict)
    _of: set[int] = field(default_factory=set)
    _why: dict[str, _Distinct] = field(default_factory=dict)

    def add(self, member: str, of: int, why: Mapping[str, U64]) -> None:
        """`member` of some of `of` things: their addresses by why it cannot be read."""
        if member:
            self._members[member] = None
        self._of.add(of)
        for reason, addresses in why.items():
            self._why.setdefault(reason, _Distinct()).add(addresses)

    def merge(self, other: Unread) -> None:
        """Count what `other` has, too."""
        self._members.update(other._members)
        self._of |= other._of
        for reason, addresses in other._why.items():
            self._why.setdefault(reason, _Distinct()).add(addresses.known())

    @property
    def sentence(self) -> str:
        """As "comm of 3 of 120 struct task_struct cannot be read: 2 on …, 1 at …, the first at 0xffff…"."""
        by_why = {why: addresses.known() for why, addresses in self._why.items()}
        count = len(np.unique(np.concatenate(list(by_why.values()))))
        many = f"more than {_MOST_KNOWN:,}" if count >= _MOST_KNOWN else f"{count:,}"
        # Of reads of different numbers of things, no single number is the one that these are of.
        total = next(iter(self._of)) if len(self._of) == 1 else 0
        of = f"{many} of {total:,} {self.kind}" if total >= count else f"{many} {self.kind}"
        reasons = ", ".join(
            why if len(by_why) == 1 else f"{len(addresses):,} {why}" for why, addresses in by_why.items()
        )
        names = list(self._members)
        where = f"{reasons}; the first at {self.first:#018x}" if self.first else reasons
        if len(names) == 1:
            return f"{names[0]} of {of} cannot be read: {where}"
        if not names:
            return f"{of} cannot be read: {where}"
        more = len(names) - _MOST_NAMED
        listed = ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        return f"{of} cannot be read in whole ({listed}): {where}"
