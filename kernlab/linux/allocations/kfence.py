"""KFENCE (mm/kfence): the objects of its pool, each on a page of its own, with who allocated and who freed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.allocations.depot import Stacks, Tracks, stack_texts, symbols
from kernlab.linux.scheduling.optional import optional

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: enum kfence_object_state, as `states` gives it.
UNUSED, ALLOCATED, RCU_FREEING, FREED = range(4)
#: In these somebody may still read the object.
IN_USE = (ALLOCATED, RCU_FREEING)

#: How many of the pool's objects are looked at a time; Debian's kernels have 255.
_PIECE = 256


@fact
def kfence_objects(kernel: Kernel) -> StructArray | None:
    """The struct kfence_metadata of every object of the pool, in its order; None where there is no pool.

    Nothing says how many there are (CONFIG_KFENCE_NUM_OBJECTS), but each names an address on its own page: every other
    one of the pool, from the third on (kfence_init_pool).
    """
    name = kernel.find_symbol("__kfence_pool")
    where = kernel.find_symbol("kfence_metadata")
    if name is None or where is None or not (pool := kernel.word("__kfence_pool")):
        return None
    kind = kernel.find_type("struct kfence_metadata")
    # Linux commit cabdf74e6b31 ("mm: kfence: allocate kfence_metadata at runtime") (in v6.6): an array before.
    first = where if kernel.symbols.room(where) >= kind.size else kernel.word("kfence_metadata")
    page, most = kernel.page_size, kernel.budget.structs(kind.size)
    found: list[U64] = [np.zeros(0, dtype=np.uint64)]
    for start in range(0, most, _PIECE):
        index = np.arange(start, min(start + _PIECE, most), dtype=np.uint64)
        meta = StructArray(kernel, kind, np.uint64(first) + index * np.uint64(kind.size))
        with kernel.quiet():
            address = meta["addr"]
        inside = address.values - (np.uint64(pool) + (index + np.uint64(1)) * np.uint64(2 * page))
        mine = address.valid & (inside < page)
        count = len(mine) if mine.all() else int(mine.argmin())
        found.append(meta.addresses[:count])
        if count < len(mine):
            break
    return StructArray(kernel, kind, np.concatenate(found))


def why_none(kernel: Kernel) -> str:
    """Why there is no pool: what `kfence_objects` gave None for."""
    if kernel.find_symbol("__kfence_pool") is None:
        return "KFENCE is off in this kernel (CONFIG_KFENCE)"
    return "KFENCE is off on this machine: it was given no memory at boot (kfence.sample_interval is 0)"


def states(objects: StructArray) -> Column:
    """The state of each struct kfence_metadata, one of the four above."""
    state = objects["state"].int64
    # Linux commit c36be0cdf63d ("kfence: save freeing stack trace at calling time instead of freeing time") (in v6.12).
    if objects.kernel.types.enumerator_or_none("KFENCE_OBJECT_RCU_FREEING") is not None:
        return state
    return Column.of(np.where(state.values == RCU_FREEING, FREED, state.values), state.valid)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Which pages are of the pool, in which of them an object is in use, and where that lies: N of each."""

    pages: npt.NDArray[np.bool_]
    used: npt.NDArray[np.bool_]
    object: U64


def sampled_pages(kernel: Kernel, pages: U64) -> Sampled:
    """What KFENCE keeps on pages, by their addresses uint64[n]: their page structs say that they are slabs."""
    found = Sampled(np.zeros(len(pages), dtype=bool), np.zeros(len(pages), dtype=bool), pages)
    objects = kfence_objects(kernel)
    if objects is None or not len(objects):
        return found
    place, state = objects["addr"].filled(0), states(objects)
    own = place & ~np.uint64(kernel.page_size - 1)
    row = np.minimum(np.searchsorted(own, pages), len(own) - 1)
    inside = own[row] == pages
    used = inside & np.isin(state.filled(0), IN_USE)[row]
    return Sampled(inside, used, np.where(inside, place[row], pages))


def kfence_tracks(objects: StructArray, member: str, known: npt.NDArray[np.bool_]) -> Tracks:
    """What "alloc_track" or "free_track" notes of objects, where it is of their present life (`known` bool[n]).

    Its times are those of the log (local_clock), in ns.
    """
    kernel = objects.kernel
    track = objects.follow(member)
    count = track["num_stack_entries"].int64
    entries = track["stack_entries"]
    depth = entries.values.shape[1]
    good = known & count.valid & entries.valid & (count.values >= 0) & (count.values <= depth)
    kernel.lost("stacks of KFENCE's objects are damaged", mask=known & ~good)
    used = (np.arange(depth)[None, :] < count.values[:, None]) & good[:, None]
    owner, place = np.nonzero(used)
    text = stack_texts(kernel, owner, entries.values[owner, place].astype(np.uint64), len(objects))
    caller = np.where(good, entries.values[:, 0], 0).astype(np.uint64)
    return Tracks(
        Stacks(np.where(good, np.arange(len(objects)), -1), text),
        symbols(kernel, Column(caller, good & (count.values > 0), "address")),
        track["pid"].int64.where(known),
        # Linux commit 4bbf04aa9aa8 ("kfence: show cpu and timestamp in alloc/free info") (in v5.18).
        optional(track, "cpu").int64.where(known),
        optional(track, "ts_nsec").int64.where(known),
    )
