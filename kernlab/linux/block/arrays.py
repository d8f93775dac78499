"""Arrays of md: level, state, what is rebuilt, and the part that each member plays; `struct mddev`s in, columns out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.types import EnumType
from kernlab.linux.block.disks import disks
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

_LONGEST_NAME = 64
_SECTOR = 512
#: Slots of an array that are drawn; the superblocks of md have no room for more.
_MOST_SLOTS = 1920
#: drivers/md/md.h, enum md_ro_state: 0 can be written, 1 not, 2 not before somebody writes.
_READ_ONLY, _UNTIL_WRITTEN = 1, 2
#: drivers/md/md.h, MD_RESYNC_ACTIVE: a lower curr_resync is a state, not a sector.
_FIRST_SECTOR = 3


@dataclass(frozen=True, slots=True)
class Arrays:
    """N arrays, each column in the words and units of the table `volumes`."""

    level: Column
    state: Column
    disks: Column
    degraded: Column
    roles: Column
    slots: Column
    action: Column
    done: Column
    total: Column


def arrays(kernel: Kernel, own: StructArray) -> Arrays:
    """What /proc/mdstat and /sys/block/md*/md tell of each `struct mddev`.

    Mirrors drivers/md/md.c: array_state_show, md_sync_action, status_resync, md_seq_show.
    """
    asked, number = own["clevel"].text, own["level"].int64
    # Linux commit d3beb7c93b5c ("md: introduce struct md_submodule_head and APIs") (in v6.15).
    name = c_strings(kernel, own.follow("pers").first("head.name", "name"), _LONGEST_NAME)
    level = Column.of(np.where(name.valid, name.values, asked.values), name.valid | asked.valid, "text")
    roles, slots = _members(kernel, own)
    # Stripes and concatenations have nothing to be rebuilt from.
    redundant = own["pers"].true & (number >= 1).true
    action, done, total = _rebuilding(kernel, own)
    return Arrays(
        level.where(level.values != ""),
        _states(kernel, own),
        own["raid_disks"].int64,
        own["degraded"].int64.where(redundant),
        roles,
        slots.where(redundant),
        action.where(redundant),
        done.where(redundant),
        total.where(redundant),
    )


def _bits(kernel: Kernel, *enums: str) -> dict[str, int]:
    """The enumerators of the first of these enums that the types have; of several kinds of flags, only its own."""
    for name in enums:
        kind = kernel.type_anywhere(name)
        if isinstance(kind, EnumType):
            return {word: int(number) for word, number in kind.enumerators.items()}
    return {}


def _flag(flags: Column, bits: dict[str, int], name: str) -> npt.NDArray[np.bool_]:
    bit = bits.get(name)
    return flags.has(1 << bit).true if bit is not None else np.zeros(len(flags), dtype=bool)


def _states(kernel: Kernel, own: StructArray) -> Column:
    """The words of array_state."""
    saved, flags = _bits(kernel, "enum mddev_sb_flags"), _bits(kernel, "enum mddev_flags")
    readable, clean, safe = own["ro"].int64, own["in_sync"].true, own["safemode"].true
    state = np.where(clean, "clean", np.where(safe, "active-idle", "active")).astype(object)
    state[clean & _flag(own["flags"], flags, "MD_BROKEN")] = "broken"
    state[_flag(own["sb_flags"], saved, "MD_SB_CHANGE_PENDING")] = "write-pending"
    state[(readable == _READ_ONLY).true] = "readonly"
    state[(readable == _UNTIL_WRITTEN).true] = "read-auto"
    unused = ~own["raid_disks"].true & ~own["dev_sectors"].true
    stopped = ~own["pers"].true | _flag(own["flags"], flags, "MD_NOT_READY")
    state[stopped] = np.where(unused, "clear", "inactive")[stopped]
    return Column.of(state, own["pers"].valid & own["in_sync"].valid & readable.valid, "text")


def _rebuilding(kernel: Kernel, own: StructArray) -> tuple[Column, Column, Column]:
    """What goes on (in the words of sync_action), and how much of it is done and there is in all, in bytes."""
    flags, bits = own["recovery"], _bits(kernel, "enum recovery_flags")
    action = np.full(len(own), "idle", dtype=object)
    if not bits:
        return Column.missing(len(own)), Column.missing(len(own), "int"), Column.missing(len(own), "int")

    def has(name: str) -> npt.NDArray[np.bool_]:
        return _flag(flags, bits, f"MD_RECOVERY_{name}")

    # A bit that says what to do says so from the moment that it is known until it is done.
    busy = has("RUNNING") | has("NEEDED")
    action[busy & has("RECOVER")] = "recover"
    whole = busy & has("SYNC")
    asked = whole & has("REQUESTED")
    action[whole] = "resync"
    action[asked] = np.where(has("CHECK"), "check", "repair")[asked]
    action[busy & has("RESHAPE")] = "reshape"
    action[has("FROZEN")] = "frozen"
    going = has("RUNNING") & ~np.isin(action, ["idle", "frozen"])
    at = own["curr_resync"].int64
    begun = going & (at >= _FIRST_SECTOR).true
    # What was asked of the members and is not done is not done.
    done = (at - own["recovery_active.counter"]).clip(0) * _SECTOR
    all_of_it = np.isin(action, ["recover"])
    size, own_size = own["resync_max_sectors"].int64, own["dev_sectors"].int64
    total = Column.of(
        np.where(all_of_it, own_size.values, size.values),
        np.where(all_of_it, own_size.valid, size.valid),
    )
    return Column.of(action, flags.valid, "text"), done.where(begun), (total * _SECTOR).where(going)


def _members(kernel: Kernel, own: StructArray) -> tuple[Column, Column]:
    """The members with their numbers and what is the matter with each, and which slots work, as in /proc/mdstat."""
    owner, member = list_entries(
        kernel, own.follow("disks").addresses, "struct md_rdev", "same_set", what="members of md arrays"
    )
    device = member.follow("bdev")
    names = _names(kernel, device)
    bits = _bits(kernel, "enum flag_bits")
    flags, number, slot = member["flags"], member["desc_nr"].int64, member["raid_disk"].int64
    faulty, in_sync = _flag(flags, bits, "Faulty"), _flag(flags, bits, "In_sync")
    journal = _flag(flags, bits, "Journal")
    marks = (
        (_flag(flags, bits, "WriteMostly"), "(W)"),
        (journal, "(J)"),
        (faulty, "(F)"),
        (~faulty & ~journal & (slot < 0).true, "(S)"),
        (~faulty & _flag(flags, bits, "Replacement"), "(R)"),
    )
    count = np.clip(own["raid_disks"].int64.filled(0), 0, _MOST_SLOTS).tolist()
    roles: list[list[str]] = [[] for _ in range(len(own))]
    drawn = [["_"] * slots for slots in count]
    for row, (array, name) in enumerate(zip(owner.tolist(), names, strict=True)):
        place, what = slot.values[row], number.values[row]
        told = "".join(mark for mask, mark in marks if mask[row])
        roles[array].append(f"{name or '?'}[{what if number.valid[row] else '?'}]{told}")
        if slot.valid[row] and in_sync[row] and not faulty[row] and 0 <= place < len(drawn[array]):
            drawn[array][place] = "U"
    parts = Column.texts([" ".join(some) or None for some in roles])
    return parts, Column.of(["".join(some) for some in drawn], own["raid_disks"].valid, "text")


def _names(kernel: Kernel, device: StructArray) -> list[str | None]:
    """The names of disks and partitions."""
    every = disks(kernel)
    known = dict(zip(every.part.addresses.tolist(), every.names().tolist(), strict=True))
    return [known.get(address) for address in device.addresses.tolist()]
