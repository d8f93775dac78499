"""What a dump may ask for: every size that it claims is held against what its file holds, in this one place.

    limit = kernel.budget.structs(kind.size)           # no walk finds more different ones
    count = kernel.budget.count(nr, 8, "the CPUs")     # no array has more elements; told where it claims more
    kernel.budget.room(frames, 60, "a row a frame")    # refused where it takes more memory than there can be reason for
    with kernel.budget.walk("the list"): …             # ends where it does more work than anything needs

A word of memory may say anything; what is behind it lies in frames, and those the file has. Kernel data is in a dump
at every dump level, so that no bound here depends on what was left out.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.errors import BudgetError, WorkSpentError
from kernlab.util.text import human_bytes

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel

I64 = npt.NDArray[np.int64]

#: However little a file holds, so many structs are no reason to stop: damage of a small dump costs no more.
FEWEST_STRUCTS = 1 << 12

#: However little it holds, so much memory is no reason to refuse.
LEAST_ROOM = 1 << 30

#: How many times as many frames as the file has the kernel may map, beside its map of all memory.
_FRAMES_LEFT_OUT = 16

#: However little it holds, so many bytes may be made piece by piece.
_LEAST_ALLOWANCE = 1 << 26

#: Bytes of a result for each byte that the file holds: a row has hardly more than the struct that it was made of.
_ROOM_PER_BYTE = 4


class Budget:
    """The bounds of one dump, derived from the frames that its file has data of. `kernel.budget` is its own."""

    def __init__(self, kernel: Kernel):
        self._kernel = kernel
        #: How much memory of the machine the file holds.
        self.bytes = kernel.memory.filled_bytes

    def structs(self, size: int) -> int:
        """How many structs of `size` bytes can lie in what the file holds; at least FEWEST_STRUCTS."""
        return max(FEWEST_STRUCTS, self.bytes // max(size, 1))

    def count(self, claimed: int, size: int, what: str) -> int:
        """How many of `claimed` elements of `size` bytes to look at: no more than the file can hold, and none below 0.

        Tells what was not believed; `what` names the elements, in the plural.
        """
        most = self.structs(size)
        if 0 <= claimed <= most:
            return claimed
        self._kernel.lost(self._disbelief(what, claimed, most if claimed > 0 else 0))
        return most if claimed > 0 else 0

    def counts(self, claimed: I64, size: int, what: str) -> I64:
        """As `count`, of many arrays that do not overlap: int64[n], 0 from the first on with which it is too much."""
        most = self.structs(size)
        highest = int(claimed.max(initial=0))
        if highest * len(claimed) < 1 << 63 and int(claimed.sum()) <= most and claimed.min(initial=0) >= 0:
            return claimed
        # Each is cut first, so that no sum is more than 64 bits hold.
        cut = np.clip(claimed, 0, most + 1)
        fits = np.cumsum(cut.astype(np.float64)) <= most
        fits &= claimed >= 0
        if fits.all():
            return claimed
        self._kernel.lost(self._disbelief(what, int(claimed[~fits].max()), most))
        return np.where(fits, claimed, 0)

    def frames(self, claimed: I64, what: str) -> I64:
        """As `counts`, of frames that something of the kernel covers or maps, each once: int64[n].

        They may be user programs' own, which a dump level leaves out, and then more than the file has.
        """
        return self.counts(claimed, self._kernel.file.page_size // _FRAMES_LEFT_OUT, what)

    def allowance(self, what: str) -> Allowance:
        """Bytes for something that is made piece by piece, of what the file holds, such as all paths of a tree."""
        return Allowance(self._kernel, max(_LEAST_ALLOWANCE, self.bytes), what)

    def _disbelief(self, what: str, claimed: int, most: int) -> str:
        return (
            f"{what}: there should be {claimed:,}, which is damage: what the file holds ({human_bytes(self.bytes)}) "
            f"has room for {most:,}, and no more were looked at"
        )

    def holds(self, count: int, size: int) -> bool:
        """Can the file hold `count` structs of `size` bytes?"""
        return 0 <= count <= self.structs(size)

    def room(self, count: int, size: int, what: str, *, backed: int | None = None) -> None:
        """See to it that there is reason, and memory, for `count` things of `size` bytes in a result.

        `backed`: how much memory of the dump's machine is known to be behind them, where that may be more than the file
        holds. Raises BudgetError, which says how much it would take; `what` names the result.
        """
        wanted = count * size
        take = f"{what} would take {human_bytes(wanted)} ({count:,} × {size:,} bytes)"
        reason = max(LEAST_ROOM, _ROOM_PER_BYTE * max(self.bytes, backed or 0))
        if wanted > reason:
            raise BudgetError(
                f"{take}, and the file holds no more than {human_bytes(self.bytes)} of memory in all: most of it would "
                "say that something is missing"
            )
        here = machine_memory()
        if wanted > max(LEAST_ROOM, here):
            raise BudgetError(f"{take}, and this machine has {human_bytes(here)}")

    @contextmanager
    def walk(self, what: str) -> Iterator[None]:
        """End the walk in the block where it does more work than anything needs, and tell it; what it found stays."""
        try:
            yield
        except WorkSpentError as error:
            self._kernel.lost(f"{what}: {error}; what was found before is here")


@dataclass(slots=True)
class Allowance:
    """What is left to be taken, piece by piece; that no more is given it tells once."""

    _kernel: Kernel
    _left: int
    _what: str

    def take(self, size: int) -> bool:
        """Take `size` bytes, where there are as many left."""
        if 0 <= self._left < size:
            self._kernel.lost(
                f"{self._what}: all together are larger than what the file holds; the rest is missing"
            )
            self._left = -1
        if self._left < 0:
            return False
        self._left -= size
        return True


def machine_memory() -> int:
    """How many bytes of memory this process may have: of the machine, or of a limit that was set (`ulimit -v`)."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min([there, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
