"""SLUB's user tracks (mm/slub.c, struct track): who allocated and who freed each object of caches that note it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.allocations.depot import Stacks, Tracks, kept_stacks, stack_texts, symbols
from kernlab.linux.slab_pages import SlabPages
from kernlab.linux.timekeeping import tick

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: SLAB_STORE_USER of include/linux/slab.h before 6.9: the cache notes who allocates (slub_debug=U).
_STORE_USER = 0x10000

#: enum track_item.
ALLOC, FREE = 0, 1

#: A word, which lies behind the object where the freelist's pointer is not inside of it.
_POINTER = 8


def tracked(slabs: SlabPages) -> Mask:
    """Does the cache note who allocates? bool[n], a row for each slab."""
    # Linux commit cc61eb851444 ("mm, slab: use an enum to define SLAB_ cache creation flags") (in v6.9).
    bit = slabs.kernel.types.enumerator_or_none("_SLAB_STORE_USER")
    flag = _STORE_USER if bit is None else 1 << (bit & 31)
    noting = slabs.caches["flags"].has(flag).true[slabs.cache]
    # KFENCE notes its objects' elsewhere.
    return noting & ~slabs.sampled


def nothing_noted(slabs: SlabPages) -> Tracks:
    """The tracks of objects of which nothing is noted."""
    count = int(slabs.objects.sum())
    nothing = Column.missing(count, "int")
    stacks = Stacks(np.full(count, -1, dtype=np.int64), [])
    return Tracks(stacks, stacks.column, nothing, nothing, nothing)


def tracks(slabs: SlabPages, which: int) -> Tracks:
    """The tracks of every object of some slabs: `which` is ALLOC or FREE; a row per object, slab by slab.

    They lie behind the object (get_info_end, get_track): first what was noted when it was allocated.
    """
    kernel, caches = slabs.kernel, slabs.caches
    known = np.repeat(tracked(slabs), slabs.objects)
    kind = kernel.find_type("struct track")
    inuse, link = caches["inuse"].int64, caches["offset"].int64
    behind = inuse.filled(0) + np.where((link >= inuse).true, _POINTER, 0) + which * kind.size
    known &= np.repeat((inuse.valid & link.valid)[slabs.cache], slabs.objects)
    owner = np.repeat(slabs.cache, slabs.objects)
    track = StructArray(kernel, kind, slabs.addresses() + behind[owner].astype(np.uint64), known)
    track = track.prefetch("addr", "addrs", "handle", "cpu", "pid", "when")
    caller = track["addr"]
    # An object that nothing was done to since its slab was made has a track of zeros (init_tracking).
    noted = caller.true
    return Tracks(
        _stacks(track, noted),
        symbols(kernel, caller.where(noted)),
        track["pid"].int64.where(noted),
        track["cpu"].int64.where(noted),
        since_boot(kernel, track["when"].where(noted)),
    )


def _stacks(track: StructArray, noted: Mask) -> Stacks:
    kernel = track.kernel
    # Linux commit 5cf909c553e9 ("mm/slub: use stackdepot to save stack trace in objects") (in v5.19).
    if track.has("handle"):
        return kept_stacks(kernel, track["handle"].where(noted))
    # Before, up to 16 addresses that end in 0, with CONFIG_STACKTRACE.
    if not track.has("addrs"):
        return Stacks(np.full(len(track), -1, dtype=np.int64), [])
    arrays = track["addrs"]
    good = noted & arrays.valid
    rows = np.ascontiguousarray(arrays.values[good].astype(np.uint64))
    whole = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    _, first, code = np.unique(whole, return_index=True, return_inverse=True)
    distinct = rows[first]
    # What stands behind the first 0 is of an older, longer stack.
    used = np.logical_and.accumulate(distinct != 0, axis=1)
    owner, place = np.nonzero(used)
    text = stack_texts(kernel, owner, distinct[owner, place], len(distinct))
    codes = np.full(len(track), -1, dtype=np.int64)
    codes[good] = code
    return Stacks(codes, text)


def since_boot(kernel: Kernel, when: Column) -> Column:
    """Readings of jiffies as ns since boot (include/linux/jiffies.h, INITIAL_JIFFIES); missing where the length of a
    tick is not known."""
    try:
        length = tick(kernel)
    except KernlabError as error:
        kernel.lost(f"when it was allocated is not known: {error}")
        return Column.missing(len(when), "int")
    # jiffies begins five minutes before its lower half overflows.
    begin = (-300 * (1_000_000_000 // length)) % (1 << 32)
    return (when - begin) * length
