"""The stack depot (lib/stackdepot.c): handles of stacks that the kernel kept in, their frames and texts out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.errors import MemberNotFoundError

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: DEPOT_STACK_ALIGN: a handle counts offsets in its pool in units of 16 bytes.
_ALIGN = 4

#: Between a frame and the one that called it, in a stack as one text.
CALLED_BY = " < "


@dataclass(frozen=True, slots=True)
class _Depot:
    """Where the pools are, and how a handle names a record in one."""

    pools: int
    count: int
    index: Access
    offset: Access
    #: What is added to a pool's index in a handle.
    base: int
    #: The bits of a handle that name the record, and not what its user keeps there.
    own: int


@fact
def _depot(kernel: Kernel) -> _Depot | None:
    """None in a kernel without CONFIG_STACKDEPOT, or one that switched it off (stack_depot_disable)."""
    # Linux commit 961c949b012f ("lib/stackdepot: rename slab to pool") (in v6.3): stack_slabs before.
    pools = kernel.find_symbol("stack_pools")
    if pools is None:
        pools = kernel.find_symbol("stack_slabs")
    kind = kernel.type_or_none("union handle_parts")
    if pools is None or kind is None:
        return None
    # Linux commit 3ee34eabac2a ("lib/stackdepot: fix first entry having a 0-handle") (in v6.9).
    index, base = next(
        (resolve(kind, name), added)
        for name, added in (("pool_index_plus_1", 1), ("pool_index", 0), ("slabindex", 0))
        if _has(kind, name)
    )
    # The number of pools may be chosen since 6.17 (stack_depot_max_pools=); before, they are an array.
    if kernel.find_symbol("stack_max_pools") is not None:
        claimed = kernel.word("stack_max_pools", 4)
        pools = kernel.word("stack_pools")
        if not pools:
            return None
    else:
        claimed = kernel.symbols.room(pools) // 8
    count = min(kernel.budget.count(claimed, 8, "pools of the stack depot"), 1 << index.bit_size)
    unused = [resolve(kind, "extra")] if _has(kind, "extra") else []
    own = (1 << 32) - 1
    for access in unused:
        own &= ~(((1 << access.bit_size) - 1) << (access.hops[-1] * 8 + access.bit_offset))
    return _Depot(pools, count, index, resolve(kind, "offset"), base, own)


def _has(kind: object, name: str) -> bool:
    try:
        resolve(kind, name)  # type: ignore[arg-type]
    except MemberNotFoundError:
        return False
    return True


def frames(kernel: Kernel, handles: U64) -> tuple[I64, U64, Mask]:
    """The frames of many kept stacks, the innermost first: handles uint64[n] (depot_stack_handle_t; 0 for none).

    Returns (owner int64[m]: index into handles, return addresses uint64[m], bool[n]: False where a handle is 0 or leads
    to no record that bears it). What is damaged is told. Mirrors stack_depot_fetch.
    """
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), np.zeros(len(handles), dtype=bool)
    depot = _depot(kernel)
    if depot is None or not len(handles):
        return nothing
    number = _bits(handles, depot.index).astype(np.int64) - depot.base
    offset = _bits(handles, depot.offset) << np.uint64(_ALIGN)
    inside = (handles != 0) & (number >= 0) & (number < depot.count)
    where = np.uint64(depot.pools) + np.where(inside, number, 0).astype(np.uint64) * np.uint64(8)
    pool, read = kernel.words(where, what="")
    there = inside & read & (pool != 0)
    record = StructArray(kernel, "struct stack_record", pool + offset, there).prefetch("handle", "size")
    with kernel.quiet():
        own, size = record["handle.handle"], record["size"].int64
    # A record bears its own handle: what does not is none.
    mine = there & ((own & depot.own) == (handles & np.uint64(depot.own))).true & size.valid
    array = resolve(record.type, "entries")
    # No record is larger than its pool.
    room = (((1 << depot.offset.bit_size + _ALIGN) - offset.astype(np.int64)) - array.hops[-1]) // 8
    mine &= (size.values >= 0) & (size.values <= room)
    kernel.lost("stacks of the stack depot cannot be found", mask=(handles != 0) & ~mine)
    counts = kernel.budget.counts(np.where(mine, size.values, 0), 8, "frames of kept stacks")
    owner = np.repeat(np.arange(len(handles)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = record.addresses + np.uint64(array.hops[-1])
    address, good = kernel.words(
        start[owner] + place.astype(np.uint64) * np.uint64(8), what="frames of kept stacks"
    )
    mine[owner[~good]] = False
    keep = mine[owner]
    return owner[keep], address[keep], mine


def _bits(handles: U64, access: Access) -> U64:
    """A field of many handles."""
    low = np.uint64(access.hops[-1] * 8 + access.bit_offset)
    found: U64 = handles >> low & np.uint64((1 << access.bit_size) - 1)
    return found


@dataclass(frozen=True, slots=True)
class Stacks:
    """Many rows' stacks, of which few differ: `text[code[row]]`, and no stack where the code is -1."""

    code: I64
    text: list[str]

    @property
    def column(self) -> Column:
        """A text for each row; missing where it has no stack."""
        texts = np.array([*self.text, ""], dtype=object)
        return Column.of(texts[self.code], self.code >= 0, "text")


@dataclass(frozen=True, slots=True)
class Tracks:
    """What is noted of one thing that was done to each of some objects; missing where nothing is.

    `callers` (text) is where the kernel was called from; `when` is the time since boot in ns.
    """

    stacks: Stacks
    callers: Column
    pid: Column
    cpu: Column
    when: Column


def kept_stacks(kernel: Kernel, handles: Column) -> Stacks:
    """The stacks behind depot_stack_handle_t, one a row, as texts."""
    unique, code = np.unique(handles.filled(0).astype(np.uint64), return_inverse=True)
    owner, address, known = frames(kernel, unique)
    text = stack_texts(kernel, owner, address, len(unique))
    return Stacks(np.where(known[code] & handles.valid, code, -1).astype(np.int64), text)


def stack_texts(kernel: Kernel, owner: I64, addresses: U64, count: int) -> list[str]:
    """One text for each of `count` stacks: frames as the kernel prints them (%pS), the innermost first.

    owner int64[m], ascending, says whose each of the return addresses is: "kmalloc_order+0x1c/0x80 < caller+0x4/0x20".
    """
    names, place = _named(kernel, addresses)
    parts: list[list[str]] = [[] for _ in range(count)]
    for row, index in zip(owner.tolist(), place.tolist(), strict=True):
        parts[row].append(names[index])
    return [CALLED_BY.join(part) for part in parts]


def symbols(kernel: Kernel, addresses: Column) -> Column:
    """Return addresses as the kernel prints them (%pS), a text each."""
    names, place = _named(kernel, addresses.filled(0).astype(np.uint64))
    return Column.of(np.array([*names, ""], dtype=object)[place], addresses.valid, "text")


def _named(kernel: Kernel, addresses: U64) -> tuple[list[str], I64]:
    """The symbols of the distinct ones of some addresses, and which of these each is."""
    unique, place = np.unique(addresses, return_inverse=True)
    found = kernel.symbolize(unique)
    names = [name or f"{address:#018x}" for name, address in zip(found, unique.tolist(), strict=True)]
    return names, place.astype(np.int64)
