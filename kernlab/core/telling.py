"""A read tells of itself what it could not read: the scope that is open counts it, by what it is and why."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.memory.address_space import Status
from kernlab.util import losses

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_WHY = {
    Status.EXCLUDED: "on pages that were left out of the dump",
    Status.LOST: "on pages that are cut off or damaged in the file",
    Status.ABSENT: "where the machine had no memory, or the dump holds none of it",
    Status.UNMAPPED: "at addresses that nothing maps",
}


def is_asked() -> bool:
    """Does anybody want to know? Not outside of every table, nor where it is told otherwise (`Kernel.quiet`)."""
    return losses.listens()


def tell(kind: str, member: str, owners: U64, of: int, addresses: U64, status: npt.NDArray[np.uint8]) -> None:
    """Say that `member` of things of `kind` could not be read.

    Parameters: owners uint64[n], the things' own addresses; `of` how many were asked for in all; addresses uint64[n],
    where each read failed; status uint8[n], each one's `Status`, which is not PRESENT.
    """
    why = {_WHY[Status(code)]: owners[status == code] for code in np.unique(status).tolist() if code}
    if why:
        losses.unread(kind, member, of, why, int(addresses[np.flatnonzero(status)[0]]))
