"""Every page frame of the machine: one row each, from the kernel's own array of page structs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import AddressArray, AddressDtype, element_addresses, frame, table
from kernlab.linux.block.dma import dma_suspects
from kernlab.linux.enum_names import enum_names, names_in
from kernlab.linux.page.chunk_kinds import MAPPED, PageKinds
from kernlab.linux.page.classifier import KIND_NAMES, Kind, complete
from kernlab.linux.page.survey import PageSurvey
from kernlab.linux.zones import zone_names
from kernlab.util.names import distinct

#: The columns' types. Most frames have a value of these, so their memory is asked for in one block of huge pages.
_DENSE: dict[str, npt.DTypeLike] = {
    "pfn": np.int64,
    "flags": np.uint64,
    "head": np.int64,
    "kind": np.int8,
    "order": np.int8,
    "migratetype": np.int8,
    "unmapped": np.bool_,
    "no_slab": np.bool_,
    "valid": np.bool_,
}
#: Of these most frames have a 0, and memory that nobody writes to costs nothing.
_SPARSE: dict[str, npt.DTypeLike] = {
    "mapping": np.uint64,
    "slab_cache": np.uint64,
    "refcount": np.int32,
    "mapcount": np.int32,
}


#: What a pageblock's bits can say, and how the kernel prints enum migratetype (mm/show_mem.c, migratetype_names).
_MOST_TYPES = 8
_MIGRATETYPES = {
    "MIGRATE_UNMOVABLE": "Unmovable",
    "MIGRATE_MOVABLE": "Movable",
    "MIGRATE_RECLAIMABLE": "Reclaimable",
    "MIGRATE_HIGHATOMIC": "HighAtomic",
    "MIGRATE_CMA": "CMA",
    "MIGRATE_ISOLATE": "Isolate",
}


@table(rows="struct page")
def pages(kernel: Kernel) -> pd.DataFrame:
    """One row per page frame of the machine's memory, ascending; holes between memory have none.

    Columns: pfn; flags as they are stored (with node and zone); kind (a categorical, `page_classifier.KIND_MEANING`
    explains each); order of the compound page or free block that the frame is part of, and head, its first frame;
    refcount and mapcount (how often page tables map it, whole huge pages included); mapping: of page cache the
    address_space, of anonymous memory the anon_vma, missing elsewhere; slab_cache: of slab pages the kmem_cache;
    node, zone and migratetype (categoricals); address of the page struct itself; dma_suspect: a device may still have
    written to the frame after the crash (a read of a disk that was in flight, what virtio devices and network cards
    with page pools were given to fill), so that what the dump holds of it may be newer than all else.
    A frame whose page struct is not in the dump has the kind "excluded", and no value that rests on it.
    address takes no memory until it is looked at.
    Built chunk by chunk: besides the table itself at most a few hundred MiB are used, whatever the machine's size.

    >>> dump.pages["kind"].value_counts().head(3)
    kind
    free        78832
    reserved    52596
    shmem       12054
    Name: count, dtype: int64
    >>> dump.pages.query("kind == 'slab'")[["pfn", "order", "slab_cache"]].head(2)
           pfn  order          slab_cache
    4049  4147      0  0xff4719e381034100
    4050  4148      0  0xff4719e381034000
    """
    survey = PageSurvey(kernel)
    # All its columns, before any is made.
    each = sum(np.dtype(dtype).itemsize for dtype in (_DENSE | _SPARSE).values()) + 2
    kernel.budget.room(survey.frames, each, "pages", backed=survey.sections.bytes_held(survey.layout.size))
    columns = _Columns(survey)
    survey.scan(columns.fill)
    columns.complete()
    return _frame(kernel, survey, columns)


class _Columns:
    """The arrays that the table is made of, one value per frame of memory; `columns["pfn"]` is one of them."""

    def __init__(self, survey: PageSurvey):
        self._survey = survey
        names = zone_names(survey.kernel, survey.zone)
        self.zones, self._zone_of = _codes(names, np.arange(len(names)))
        self.nodes, self._node_of = _codes(survey.node.numbers.tolist(), survey.zone_node)
        self._arrays = _together(survey.frames, _DENSE | {"zone": self._zone_of.dtype})
        for name, dtype in (_SPARSE | {"node": self._node_of.dtype}).items():
            self._arrays[name] = np.zeros(survey.frames, dtype=dtype)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def fill(self, chunk: PageKinds, row: int) -> None:
        """Put in what the page structs of a chunk say, whose first frame of memory is `row`."""
        dense = {
            "pfn": chunk.pfns,
            "flags": chunk.flags,
            "head": chunk.head_row + np.int64(chunk.first_pfn),
            "kind": chunk.kind,
            "order": chunk.order,
            "zone": chunk.by_zone(self._zone_of),
            "migratetype": chunk.migratetype,
            "unmapped": ~MAPPED[chunk.kind],
            "no_slab": chunk.kind != Kind.SLAB,
            "valid": chunk.valid,
        }
        sparse = {
            "refcount": chunk.refcount,
            "mapcount": chunk.mapcount,
            "node": chunk.by_zone(self._node_of),
        }
        for piece in chunk.pieces:
            to = slice(row, row + len(piece))
            for name, values in dense.items():
                self[name][to] = values[piece.rows]
            for name, values in sparse.items():
                _put(self[name][to], values[piece.rows])
            for name, nothing, owner in (
                ("mapping", "unmapped", chunk.mapping_of),
                ("slab_cache", "no_slab", chunk.slab_cache_of),
            ):
                rows = np.flatnonzero(~dense[nothing][piece.rows])
                self[name][to][rows] = owner(rows + piece.rows.start)
            row = to.stop

    def complete(self) -> None:
        """Add what lists and mappings know of the frames."""
        survey = self._survey
        (pcp, orders, heads), (owned, kinds) = survey.pcp, survey.owned
        rows, own = survey.rows(pcp), survey.rows(owned)
        known, mine = rows >= 0, own >= 0
        free = complete(
            self["kind"],
            self["order"],
            self["head"],
            self["valid"],
            pcp=(rows[known], orders[known], heads[known]),
            owned=(own[mine], kinds[mine]),
        )
        self["mapping"][free], self["unmapped"][free] = 0, True
        self["slab_cache"][free], self["no_slab"][free] = 0, True


def _together(count: int, dtypes: dict[str, npt.DTypeLike]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of `count` elements each, side by side in memory, the widest first so that all are aligned."""
    sizes = {name: np.dtype(dtype).itemsize for name, dtype in dtypes.items()}
    block = np.empty(count * sum(sizes.values()), dtype=np.uint8)
    found, at = {}, 0
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        found[name] = block[at : at + count * size].view(dtypes[name])
        at += count * size
    return found


def _put(column: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    """Write what is not 0 into memory that is, without touching the rest where that is most of it."""
    rows = np.flatnonzero(values)
    if 2 * len(rows) < len(values):
        column[rows] = values[rows]
    else:
        column[:] = values


def _frame(kernel: Kernel, survey: PageSurvey, columns: _Columns) -> pd.DataFrame:
    valid = columns["valid"]
    pfn = columns["pfn"]
    return frame(
        kernel,
        "pages",
        pfn=pfn,
        flags=_where(columns["flags"], valid),
        kind=_categorical(columns["kind"], list(KIND_NAMES)),
        order=_where(columns["order"], valid),
        refcount=_where(columns["refcount"], valid),
        mapcount=_where(columns["mapcount"], valid),
        mapping=_owners(kernel, columns["mapping"], columns["unmapped"], "struct address_space"),
        slab_cache=_owners(kernel, columns["slab_cache"], columns["no_slab"], "struct kmem_cache"),
        node=_categorical(columns["node"], columns.nodes),
        zone=_categorical(columns["zone"], columns.zones),
        migratetype=_categorical(columns["migratetype"], migratetype_names(kernel)),
        head=pd.arrays.IntegerArray(columns["head"], ~valid),
        address=element_addresses(kernel, kernel.vmemmap, pfn, survey.layout.size, "struct page"),
        dma_suspect=_suspects(kernel, survey),
    )


def _suspects(kernel: Kernel, survey: PageSurvey) -> npt.NDArray[np.bool_]:
    """Which frames a device may have written to after the crash; of these there are few."""
    found = np.zeros(survey.frames, dtype=bool)
    rows = survey.rows(np.concatenate([dma_suspects(kernel).frame, survey.pooled]))
    found[rows[rows >= 0]] = True
    return found


def _owners(kernel: Kernel, values: npt.NDArray[Any], missing: npt.NDArray[np.bool_], target: str) -> Any:
    """An address column of arrays that are kept as they are."""
    return AddressArray(values, missing, AddressDtype(kernel.token, target))


def _categorical(codes: npt.NDArray[Any], categories: list[Any]) -> Any:
    """A categorical of codes that are none but -1 and indexes of the categories."""
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories), validate=False)


def _where(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Any:
    """Integers that are missing where not valid, as narrow as they are."""
    return values if valid.all() else pd.arrays.IntegerArray(values, ~valid)


def _codes(names: list[Any], of_zone: npt.NDArray[Any]) -> tuple[list[Any], npt.NDArray[Any]]:
    """Names, each once, and for each zone (and last an unknown one) the index of `names[of_zone]` among them or -1."""
    known = list(dict.fromkeys(names))
    place = np.array([known.index(name) for name in names], dtype=np.int16)
    width = np.int8 if len(known) <= np.iinfo(np.int8).max else np.int16
    return known, np.append(place[of_zone], -1).astype(width)


def migratetype_names(kernel: Kernel) -> Any:
    """The migrate types by number, as /proc/pagetypeinfo names them."""
    count = kernel.types.enumerator_or_none("MIGRATE_TYPES") or _MOST_TYPES
    known = enum_names(kernel, "enum migratetype", count, _MIGRATETYPES, "type")
    names = names_in(kernel, "migratetype_names", known, 32)
    # Bits that no type has can only come from damage.
    return distinct([*names, *(f"type {number}" for number in range(len(names), _MOST_TYPES))])
