"""What tables of a dump add to its verdict's story: more of why, of doubt and of what to do, never another cause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Details:
    """Sentences for a story, behind the verdict's own; `whole` says that those of `why` and `next` stand for the
    verdict's, which say the same in fewer words."""

    died: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    #: What follows the verdict's own words of how sure it is.
    sure: str = ""
    doubts: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    whole: bool = False
    #: Do the doubts stand for the one that the verdict always has of such a finding?
    settled: bool = False
