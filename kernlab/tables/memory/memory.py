"""Where the machine's memory is: bytes of each kind on each NUMA node, adding up to all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import frame, nullable, table
from kernlab.linux.page.classifier import KIND_MEANING, KIND_NAMES, Kind
from kernlab.linux.page.survey import PageSurvey

I64 = npt.NDArray[np.int64]

#: Kinds that some kernels do not tell from "other kernel", and the page type that tells them.
_TOLD_BY_TYPE = {Kind.LARGE_KMALLOC: "large_kmalloc", Kind.ZSMALLOC: "zsmalloc"}


@table
def memory(kernel: Kernel) -> pd.DataFrame:
    """One row per kind of memory and NUMA node.

    Columns: kind (a categorical, as in `pages`), node (missing for frames whose node is unknown), bytes, share of the
    whole, meaning. The bytes sum to all memory that the machine has: MemTotal and what is reserved, to the page. A
    kind that this kernel does not tell from others has no bytes (missing, not 0).

    >>> dump.memory.nlargest(3, "bytes")[["kind", "node", "bytes", "share"]]
            kind  node      bytes     share
    0       free     0  322895872  0.481552
    18  reserved     0  215433216  0.321287
    4      shmem     0   49373184  0.073633
    """
    survey = PageSurvey(kernel)
    counts = count(survey)
    _compare(survey, counts)
    numbers = survey.node.numbers
    # What lies on no known node makes rows of its own only where there is some.
    nodes = np.append(numbers, -1)
    node, kind = (grid.reshape(-1) for grid in np.meshgrid(np.arange(len(nodes)), KINDS, indexing="ij"))
    frames = counts[node, kind]
    shown = (node < len(numbers)) | (frames > 0)
    node, kind, frames = node[shown], kind[shown], frames[shown]
    names: Any = list(KIND_NAMES)
    told = np.array([_told(survey, Kind(number)) for number in kind.tolist()], dtype=bool)
    return frame(
        kernel,
        "memory",
        kind=pd.Categorical.from_codes(kind, categories=names),
        node=nullable(nodes[node], node < len(numbers)),
        bytes=nullable(frames * kernel.page_size, told),
        share=np.where(told, frames / max(int(counts.sum()), 1), np.nan),
        meaning=[KIND_MEANING[KIND_NAMES[number]] for number in kind.tolist()],
    )


#: The numbers of all kinds.
KINDS: I64 = np.arange(len(KIND_NAMES))


def count(survey: PageSurvey) -> I64:
    """Frames by node (index into `survey.node`, the last row for those of no known node) and kind: int64[n + 1, k]."""
    width = len(KIND_NAMES)
    counts = np.zeros((len(survey.node) + 1, width), dtype=np.int64)
    # The index -1, of an unknown zone, is the last element: no node.
    node_of_zone = np.append(survey.zone_node, len(survey.node))
    for chunk in survey:
        zone, kinds = chunk.zone_code, chunk.kind
        for piece in chunk.pieces:
            code = node_of_zone[zone[piece.rows]] * width + kinds[piece.rows]
            counts += np.bincount(code, minlength=counts.size).reshape(counts.shape)
    counts[-1, Kind.EXCLUDED] += survey.unheld
    return counts


def _compare(survey: PageSurvey, counts: I64) -> None:
    """Say where the frames that were found are not as many as the kernel's zones have."""
    present = survey.zone["present_pages"]
    offline = int(counts[:, Kind.OFFLINE].sum())
    zones, found = int(present.filled(0).sum()), int(counts.sum())
    # Sections that are plugged in but offline are in no zone; pages of a balloon are.
    if not zones <= found <= zones + offline:
        survey.kernel.lost(
            f"the kernel's zones have {zones:,} pages, {found:,} frames of memory were found: the sum is not exact"
        )


def _told(survey: PageSurvey, kind: Kind) -> bool:
    if kind == Kind.VMAP:
        return survey.areas_known
    name = _TOLD_BY_TYPE.get(kind)
    return name is None or name in survey.layout.types
