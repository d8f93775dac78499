"""Lists, trees and chains of thousands of copies of one struct, in pages behind the machine's memory.

copies:6.12:modules:lists:struct module.list@0xffffffff82c0a180>0xffffffffc0201008:8000
copies:6.12:iomem:chain:resource.sibling@0xffff888000097f00:65536
"""

from __future__ import annotations

import random

import numpy as np
from support.overlay import PAGE, Overlay

from fuzz.cases import NONE, Damaged, Kind, site_step, within
from fuzz.subjects import Subject
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import PointerType, StructType
from kernlab.errors import KernlabError

SECONDS = 0.4
COUNTS = (100, 100, 100, 2_000, 2_000, 2_000, 8_000, 65_536)
#: Of so many copies no other step but the one aimed at is done.
MANY = 8_000
#: Bytes of all copies together.
ROOM = 256 << 20
#: Bytes of a struct that is worth copying so often.
LARGEST = 1 << 15


def _virtual(subject: Subject, physical: int) -> int:
    """The kernel virtual address of a physical one: of the image where it lies there."""
    layout = subject.dump.kernel.layout
    inside = (physical - layout.image_offset) % (1 << 64)
    return inside if layout.image_start <= inside < layout.image_end else layout.direct_start + physical


def _chains(subject: Subject, step: str) -> list[tuple[str, int]]:
    """Members that point to a struct of their own type, and where such a member lies."""
    found = []
    for site in subject.reads[step].sites:
        owner, _, path = site.label.partition(".")
        if site.size != 8 or not path or " " in site.label or "->" in path:
            continue
        try:
            kind = subject.dump.kernel.find_type(f"struct {owner}").strip()
            access = resolve(kind, path)
        except KernlabError:
            continue
        target = access.type.strip()
        if isinstance(target, PointerType) and target.target.strip() == kind and len(access.hops) == 1:
            found += [(site.label, _virtual(subject, at) - int(access.hops[0])) for at in site.addresses[:8]]
    return found


def draw(subject: Subject, chance: random.Random) -> str | None:
    step = site_step(subject, chance)
    reads = subject.reads[step]
    walks, chains = reads.walks, _chains(subject, step)
    if not walks and not chains:
        return None
    count = chance.choice(COUNTS)
    start = f"copies:{subject.name}:{step}"
    if chains and (not walks or chance.random() < 0.4):
        label, owner = chance.choice(chains)
        return f"{start}:chain:{label}@{owner:#x}:{count}"
    walk = chance.choice(walks)
    node = chance.choice(walk.nodes)
    return f"{start}:{walk.kind}:{walk.type_name}.{walk.member}@{walk.head:#x}>{node:#x}:{count}"


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    step, kind, place, many = rest
    label, _, where = place.partition("@")
    type_name, _, member = label.partition(".")
    head, _, node = where.partition(">")
    dump = subject.dump
    struct = dump.kernel.find_type(type_name if " " in type_name else f"struct {type_name}").strip()
    assert isinstance(struct, StructType)
    at = int(resolve(struct, member).hops[0])
    template = int(head, 16) if kind == "chain" else int(node, 16) - at
    size = min(struct.size, LARGEST)
    stride = -(-size // 64) * 64
    count = max(min(int(many), ROOM // stride), 1)
    overlay = Overlay(dump)
    try:
        data = np.frombuffer(dump.read(template, size - size % 8), dtype="<u8")
    except KernlabError:
        return Damaged(overlay.dump, ())
    count_pages = -(-count * stride // PAGE)
    start = overlay.make(count_pages, lambda number: pages[number * PAGE : (number + 1) * PAGE].tobytes())
    copies = np.zeros((count, stride // 8), dtype=np.uint64)
    copies[:, : len(data)] = data
    number = np.arange(count, dtype=np.uint64)
    address = np.uint64(start) + number * np.uint64(stride)
    # Pointers into the struct itself are heads of empty lists: those of a copy point into the copy.
    own = np.flatnonzero((data >= np.uint64(template)) & (data < np.uint64(template + size)))
    copies[:, own] += (address - np.uint64(template))[:, None]
    link, top = address + np.uint64(at), np.uint64(int(head, 16))
    slot_at = at // 8
    if kind == "chain":
        copies[:, slot_at] = np.append(address[1:], np.uint64(0))
    elif kind == "rbtree":
        # As a heap is laid out: no deeper than a real tree.
        copies[:, slot_at] = 1
        for word, child in (
            (slot_at + 1, 2 * number + np.uint64(2)),
            (slot_at + 2, 2 * number + np.uint64(1)),
        ):
            below = np.uint64(start + at) + child * np.uint64(stride)
            copies[:, word] = np.where(child < count, below, np.uint64(0))
    else:
        copies[:, slot_at] = np.append(link[1:], top)
        copies[:, slot_at + 1] = np.append(top, link[:-1])
    pages = np.zeros(count_pages * PAGE, dtype=np.uint8)
    pages[: copies.nbytes] = copies.reshape(-1).view(np.uint8)

    if kind == "chain":
        overlay.word(template + at, start)
        changed = [template + at]
    elif kind == "rbtree":
        overlay.word(int(head, 16), start + at)
        changed = [int(head, 16)]
    else:
        overlay.word(int(head, 16), start + at).word(int(head, 16) + 8, int(link[-1]))
        changed = [int(head, 16)]
    readers = {name for one in changed for name in subject.that_read(int(dump.translate(one)), 8)}
    seconds = SECONDS if count < MANY else 0.0
    return Damaged(overlay.dump, within(subject, sorted(readers), step, ":".join(rest), seconds), NONE)


KIND = Kind("copies", 8, draw, apply)
