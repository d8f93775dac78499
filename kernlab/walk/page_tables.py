"""Page tables of many processes in, the entries that map or swap their pages out; all processes go down together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.memory.page_tables import Entries


@dataclass
class PageTables:
    """The page tables of N mms, walked by `entries`; what became known on the way is in the other attributes.

    `lost` are the ranges (owner, start, end) that tables which could not be read would have covered.
    """

    kernel: Kernel
    mm: StructArray
    lost: list[tuple[int, int, int]] = field(default_factory=list)

    def entries(self) -> Iterator[Entries]:
        """All entries that are not empty, in blocks, each mm's by address within one level; `owner` is the mm's row.

        Bounded, as `AddressSpace.walk_tables` is.
        """
        memory = self.kernel.memory
        pgd = self.mm["pgd"]
        physical, status = memory.translate(pgd.filled(0))
        known = pgd.valid & (status == 0)
        end = 1 << self.kernel.arch.half_bits
        self.lost += [(owner, 0, end) for owner in np.flatnonzero(~known & self.mm.valid).tolist()]
        walk = memory.walk_tables(np.flatnonzero(known), physical[known], kernel=False)
        yield from walk
        self.lost += walk.lost
        if walk.repeated:
            self.kernel.lost(f"page tables: {walk.repeated:,} links lead to tables that were met before")
        if walk.beyond:
            self.kernel.lost(
                f"page tables: there are more tables than memory; {walk.beyond:,} were not followed"
            )
        if self.lost:
            self.kernel.lost(
                f"page tables: {len(self.lost):,} tables are not here or lie outside memory; what they map is not known"
            )
