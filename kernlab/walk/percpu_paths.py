"""Member paths through per-CPU pointers: structs and a path in, what stands there on each CPU out.

Nothing in a kernel's types says that a pointer is a `__percpu` one (gcc writes no type tags): its value does, which
plus a CPU's offset lies in that CPU's unit of a per-CPU chunk. No other pointer's does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.core.members import read_bytes
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.debuginfo.types import PointerType, StructType
from kernlab.errors import KernlabError
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.percpu_chunks import percpu_units

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Split:
    """Per-CPU pointers uint64[n], which of them are there, and what to read from each CPU's copy on."""

    pointers: U64
    valid: Mask
    rest: Access


def member(structs: Any, path: str) -> Any:
    """`structs[path]`. Raises KernlabError where the path goes through a per-CPU pointer: it leads nowhere itself."""
    if isinstance(structs, StructArray):
        refuse_percpu(structs, path)
    return structs[path]


def refuse_percpu(structs: StructArray, path: str, *, last: bool = False) -> None:
    """Raise KernlabError where a path goes through a per-CPU pointer, or (with `last`) ends in one."""
    access = resolve(structs.type, path)
    if (last or len(access.hops) > 1) and _split(structs, access, last=last) is not None:
        how = "is" if last else "goes through"
        raise KernlabError(
            f"{path!r} of {structs.type.c_name} {how} a per-CPU pointer: each CPU has a copy of its own. "
            f".kern.percpu({path!r}) gives it for every CPU"
        )


def percpu_members(structs: StructArray, path: str) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """What a path that goes through, or ends in, a per-CPU pointer leads to on each possible CPU, ascending.

    Returns (CPU numbers int64[m], m times a Column or StructArray of n). A path that ends in such a pointer gives what
    it points to: numbers, or the structs there. Raises KernlabError where there is no per-CPU pointer on the way.
    """
    found = _split(structs, resolve(structs.type, path), last=True)
    if found is None:
        raise KernlabError(
            f"{path!r} of {structs.type.c_name} goes through no per-CPU pointer, as far as these rows show: "
            f".kern.field({path!r}) reads it"
        )
    kernel = structs.kernel
    numbers = possible_cpus(kernel)
    kernel.budget.room(
        len(numbers) * len(structs), 16, f"{path!r} of {len(structs):,} rows on {len(numbers):,} CPUs"
    )
    every = percpu_many(kernel, found.pointers, numbers)
    valid = np.repeat(found.valid & (found.pointers != 0), len(numbers))
    read = StructArray(kernel, found.rest.type, every.reshape(-1), valid).member(found.rest)
    count = len(numbers)
    return numbers, [read[at::count] for at in range(count)]


def _split(structs: StructArray, access: Access, *, last: bool) -> _Split | None:
    """The first per-CPU pointer on a path (its end counts with `last`), None where there is none."""
    base, valid = structs.addresses, structs.valid
    for at, hop in enumerate(access.hops[:-1]):
        pointers, valid = _pointers(structs.kernel, base + np.uint64(hop), valid)
        base = pointers
        if _are_percpu(structs.kernel, pointers[valid]):
            rest = Access(access.hops[at + 1 :], access.type, access.bit_offset, access.bit_size)
            return _Split(pointers, valid, rest)
    if last and isinstance(access.type, PointerType) and not access.bit_size:
        pointers, valid = _pointers(structs.kernel, base + np.uint64(access.hops[-1]), valid)
        target = access.type.target.strip()
        if _are_percpu(structs.kernel, pointers[valid]) and (isinstance(target, StructType) or target.size):
            return _Split(pointers, valid, Access((0,), target))
    return None


def _pointers(kernel: Kernel, addresses: U64, valid: Mask) -> tuple[U64, Mask]:
    """The pointers at addresses uint64[n] where `valid`: (uint64[n], bool[n] of those that lead somewhere)."""
    rows, read = read_bytes(kernel, addresses, valid, 8)
    pointers = rows.view("<u8")[:, 0]
    return pointers, read & (pointers != 0)


def _are_percpu(kernel: Kernel, pointers: U64) -> bool:
    """Are these all per-CPU pointers?"""
    if not len(pointers):
        return False
    start, end = percpu_units(kernel)
    numbers = possible_cpus(kernel)
    if not len(start) or not len(numbers):
        return False
    place = pointers + kernel.percpu_offsets[numbers[0]]
    at = np.searchsorted(start, place, side="right").astype(np.int64) - 1
    return bool(((at >= 0) & (place < end[at])).all())
