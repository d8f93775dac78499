"""Every page frame of the machine: one row each, from the kernel's own array of page structs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.frames import addresses, frame, table
from kernlab.kernel import Kernel
from kernlab.tables.page_classifier import KIND_NAMES, complete
from kernlab.tables.page_kinds import PageKinds, PageSurvey
from kernlab.walk.strings import c_strings
from kernlab.walk.zones import zone_names

#: What each column is gathered in, chunk by chunk.
_DTYPES: dict[str, npt.DTypeLike] = {
    "pfn": np.int64,
    "flags": np.uint64,
    "kind": np.int8,
    "order": np.int8,
    "refcount": np.int32,
    "mapcount": np.int32,
    "mapping": np.uint64,
    "mapped": np.bool_,
    "slab_cache": np.uint64,
    "is_slab": np.bool_,
    "zone": np.int16,
    "migratetype": np.int8,
    "head": np.int64,
    "valid": np.bool_,
}


@table("Page frames, one row each: what every page of memory is used for.")
def pages(kernel: Kernel) -> pd.DataFrame:
    """One row per page frame of the machine's memory, ascending; holes between memory have none.

    Columns: pfn; flags as they are stored (with node and zone); kind (a categorical, `page_classifier.KIND_MEANING`
    explains each); order of the compound page or free block that the frame is part of, and head, its first frame;
    refcount and mapcount (how often page tables map it, whole huge pages included); mapping: of page cache the
    address_space, of anonymous memory the anon_vma, missing elsewhere; slab_cache: of slab pages the kmem_cache;
    node, zone and migratetype (categoricals); address of the page struct itself.
    A frame whose page struct is not in the dump has the kind "excluded", and no value that rests on it.
    Built chunk by chunk: besides the table itself at most a few hundred MiB are used, whatever the machine's size.
    """
    problems: list[str] = []
    survey = PageSurvey(kernel, problems)
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.empty(survey.frames, dtype=dtype) for name, dtype in _DTYPES.items()
    }

    def fill(chunk: PageKinds, row: int) -> None:
        values = _values(chunk)
        for piece in chunk.pieces:
            rows = slice(row, row + len(piece))
            for name, column in columns.items():
                column[rows] = values[name][piece.rows]
            row = rows.stop

    survey.scan(fill)
    _complete(survey, columns)
    return _frame(kernel, survey, columns, problems)


def _complete(survey: PageSurvey, columns: dict[str, npt.NDArray[Any]]) -> None:
    """Add what lists and mappings know of the frames."""
    (pcp, orders, heads), (owned, kinds) = survey.pcp, survey.owned
    rows, own = survey.rows(pcp), survey.rows(owned)
    known, mine = rows >= 0, own >= 0
    free = complete(
        columns["kind"],
        columns["order"],
        columns["head"],
        columns["valid"],
        pcp=(rows[known], orders[known], heads[known]),
        owned=(own[mine], kinds[mine]),
    )
    columns["mapping"][free], columns["mapped"][free] = 0, False
    columns["slab_cache"][free], columns["is_slab"][free] = 0, False


def _values(chunk: PageKinds) -> dict[str, npt.NDArray[Any]]:
    mapping, mapped = chunk.mapping
    slab_cache, is_slab = chunk.slab_cache
    return {
        "pfn": chunk.pfns,
        "flags": chunk.flags,
        "kind": chunk.kind,
        "order": chunk.order,
        "refcount": chunk.refcount,
        "mapcount": chunk.mapcount,
        "mapping": mapping,
        "mapped": mapped,
        "slab_cache": slab_cache,
        "is_slab": is_slab,
        "zone": chunk.zone_code,
        "migratetype": chunk.migratetype,
        "head": chunk.head_row + np.int64(chunk.first_pfn),
        "valid": chunk.valid,
    }


def _frame(
    kernel: Kernel, survey: PageSurvey, columns: dict[str, npt.NDArray[Any]], problems: list[str]
) -> pd.DataFrame:
    valid = columns["valid"]
    lost = int((~valid).sum())
    if lost:
        problems.append(
            f"the page structs of {lost:,} of {len(valid):,} frames are not in the dump (or offline): what they hold "
            "is unknown"
        )
    pfn = columns["pfn"]
    kinds: Any = list(KIND_NAMES)
    zone = columns["zone"]
    address = pfn.astype(np.uint64)
    address *= np.uint64(survey.layout.size)
    address += np.uint64(kernel.vmemmap)
    return frame(
        kernel,
        "pages",
        problems=problems,
        pfn=pfn,
        flags=_where(columns["flags"], valid),
        kind=pd.Categorical.from_codes(columns["kind"], categories=kinds),
        order=_where(columns["order"], valid),
        refcount=_where(columns["refcount"], valid),
        mapcount=_where(columns["mapcount"], valid),
        mapping=addresses(kernel, columns["mapping"], columns["mapped"], "struct address_space"),
        slab_cache=addresses(kernel, columns["slab_cache"], columns["is_slab"], "struct kmem_cache"),
        node=_nodes(survey, zone),
        zone=_zones(kernel, survey, zone),
        migratetype=pd.Categorical.from_codes(columns["migratetype"], categories=migratetype_names(kernel)),
        head=_where(columns["head"], valid),
        address=addresses(kernel, address, None, "struct page"),
    )


def _where(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Any:
    """Integers that are missing where not valid, as narrow as they are."""
    return values if valid.all() else pd.arrays.IntegerArray(values, ~valid)


def _nodes(survey: PageSurvey, zone: npt.NDArray[np.int16]) -> pd.Categorical:
    """The NUMA node of each frame by the index of its zone."""
    numbers: Any = survey.node["node_id"].values.tolist()
    index = np.append(survey.zone_node, -1).astype(np.int16)
    return pd.Categorical.from_codes(index[zone], categories=numbers)


def _zones(kernel: Kernel, survey: PageSurvey, zone: npt.NDArray[np.int16]) -> pd.Categorical:
    """The name of each frame's zone; zones of several nodes share theirs."""
    names = zone_names(kernel, survey.zone)
    known: Any = list(dict.fromkeys(names))
    index = np.array([known.index(name) for name in names] + [-1], dtype=np.int8)
    return pd.Categorical.from_codes(index[zone], categories=known)


def migratetype_names(kernel: Kernel) -> Any:
    """The migrate types by number, as /proc/pagetypeinfo names them."""
    count = kernel.types.enumerator_or_none("MIGRATE_TYPES") or 8
    symbol = kernel.symbols.get("migratetype_names")
    names: list[str] = []
    if symbol is not None:
        pointers, read = kernel.words(np.uint64(symbol) + np.arange(count, dtype=np.uint64) * np.uint64(8))
        text = c_strings(kernel, np.where(read, pointers, np.uint64(0)), 32)
        if text.valid.all():
            names = text.values.tolist()
    # Bits that no type has can only come from damage.
    return [*names, *(f"type {number}" for number in range(len(names), 8))]
