"""Heads of lists and trees in, what hangs on them out: one page at a time, never further than was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import StructType, Type
from kernlab.errors import KernlabError
from kernlab.memory.address_space import fault
from kernlab.struct_browser.conventions import POISON
from kernlab.walk.maple_tree import maple_entries
from kernlab.walk.xarray import idr_entries, xarray_entries

#: Type of a head -> type of the link that its entries embed ('' where it holds pointers to the entries themselves).
HEADS = {
    "struct hlist_bl_head": "struct hlist_bl_node",
    "struct hlist_head": "struct hlist_node",
    "struct hlist_nulls_head": "struct hlist_nulls_node",
    "struct idr": "",
    "struct list_head": "struct list_head",
    "struct llist_head": "struct llist_node",
    "struct maple_tree": "",
    "struct radix_tree_root": "",
    "struct rb_root": "struct rb_node",
    "struct rb_root_cached": "struct rb_node",
    "struct xarray": "",
}
_DEEPEST = 64
#: Entries of one list or tree that are walked one by one.
LONGEST = 1 << 20


def is_head(kind: Type) -> bool:
    """Is this the type of a list's or a tree's head?"""
    return isinstance(kind, StructType) and kind.c_name in HEADS


@dataclass
class Entries:
    """What hangs on one head, as far as it was asked for.

    `found` holds (key, address of the link or of the entry itself); `ended` says whether that is all, `problem` why
    the walk could not go on.
    """

    steps: Iterator[tuple[str, int]]
    found: list[tuple[str, int]] = field(default_factory=list)
    ended: bool = False
    problem: str = ""

    def upto(self, count: int) -> list[tuple[str, int]]:
        """The first `count` entries, or as many as there are."""
        while len(self.found) < count and not self.ended:
            try:
                self.found.append(next(self.steps))
            except StopIteration:
                self.ended = True
            except KernlabError as error:
                self.ended, self.problem = True, str(error)
        return self.found[:count]


def entries(kernel: Kernel, kind: Type, address: int) -> Entries:
    """The entries of the head of type `kind` at `address`; nothing is read yet."""
    return Entries(_STEPS[kind.strip().c_name](kernel, address))


def _word(kernel: Kernel, address: int, what: str) -> int:
    rows, status = kernel.gather([address % (1 << 64)], 8, "")
    if status[0]:
        raise KernlabError(f"{what} cannot be read: {fault(int(status[0]), address)}")
    return int(rows.view("<u8")[0, 0])


def _check(kernel: Kernel, pointer: int, what: str) -> None:
    """Raise for a pointer that no link can have."""
    if pointer in POISON:
        raise KernlabError(f"{what} is {pointer:#x} ({POISON[pointer]})")
    if not pointer:
        raise KernlabError(f"{what} is NULL: this list was never set up, or is damaged")
    if pointer & 7 or pointer < kernel.arch.kernel_start:
        raise KernlabError(f"{what} is {pointer:#x}, which is not the address of a kernel object: damaged")


def _seen(seen: dict[int, int], pointer: int) -> None:
    if len(seen) >= LONGEST:
        raise KernlabError(f"more than {LONGEST:,} entries: the walk ends here")
    if pointer in seen:
        raise KernlabError(
            f"entry {len(seen) - 1:,} leads back to entry {seen[pointer]:,} ({pointer:#018x}) and never to the end: "
            "the list is damaged"
        )
    seen[pointer] = len(seen)


def _list(kernel: Kernel, head: int) -> Iterator[tuple[str, int]]:
    """include/linux/list.h: a ring of which the head is one."""
    current, seen, what = head, dict[int, int](), "the head's next"
    while (following := _word(kernel, current, what)) != head:
        _check(kernel, following, what)
        _seen(seen, following)
        yield f"[{len(seen) - 1}]", following
        current, what = following, f"the next of entry {len(seen) - 1:,}"


def _chain(mask: int, nulls: bool = False) -> Callable[[Kernel, int], Iterator[tuple[str, int]]]:
    """Lists that end in NULL (hlist, llist), or in an odd number (hlist_nulls); `mask` takes off a lock bit."""

    def steps(kernel: Kernel, head: int) -> Iterator[tuple[str, int]]:
        seen = dict[int, int]()
        current, what = _word(kernel, head, "the head's first") & ~mask, "the head's first"
        while current and not (nulls and current & 1):
            _check(kernel, current, what)
            _seen(seen, current)
            yield f"[{len(seen) - 1}]", current
            what = f"the next of entry {len(seen) - 1:,}"
            current = _word(kernel, current, what)

    return steps


def _tree(kernel: Kernel, root: int) -> Iterator[tuple[str, int]]:
    """include/linux/rbtree.h: in order."""
    node_type = kernel.find_type("struct rb_node").strip()
    assert isinstance(node_type, StructType)
    left, right = node_type.member("rb_left").offset, node_type.member("rb_right").offset
    seen = dict[int, int]()
    waiting: list[int] = []
    current, count = _word(kernel, root, "the root"), 0
    while current or waiting:
        while current:
            _check(kernel, current, "a link of the tree")
            _seen(seen, current)
            waiting.append(current)
            if len(waiting) > _DEEPEST:
                raise KernlabError(f"the tree is deeper than {_DEEPEST} at {current:#018x}: damaged")
            current = _word(kernel, current + left, f"the left link of the node at {current:#018x}")
        node = waiting.pop()
        yield f"[{count}]", node
        count += 1
        current = _word(kernel, node + right, f"the right link of the node at {node:#018x}")


def _indexed(walk: Callable[..., tuple[object, ...]]) -> Callable[[Kernel, int], Iterator[tuple[str, int]]]:
    """Trees by index (xarray, idr, maple tree), which are walked as a whole: they hold no more than memory does."""

    def steps(kernel: Kernel, address: int) -> Iterator[tuple[str, int]]:
        with kernel.scope("this tree") as k:
            _, *indexes, pointers = walk(kernel, [address], what="this tree")
        columns = [np.asarray(column).tolist() for column in (*indexes, pointers)]
        for *index, entry in zip(*columns, strict=True):
            yield f"[{'–'.join(f'{i:#x}' if len(index) > 1 else str(i) for i in index)}]", int(entry)
        if k:
            raise KernlabError("; ".join(k.losses))

    return steps


_STEPS: dict[str, Callable[[Kernel, int], Iterator[tuple[str, int]]]] = {
    "struct hlist_bl_head": _chain(1),
    "struct hlist_head": _chain(0),
    "struct hlist_nulls_head": _chain(0, nulls=True),
    "struct idr": _indexed(idr_entries),
    "struct list_head": _list,
    "struct llist_head": _chain(0),
    "struct maple_tree": _indexed(maple_entries),
    "struct radix_tree_root": _indexed(xarray_entries),
    "struct rb_root": _tree,
    "struct rb_root_cached": _tree,
    "struct xarray": _indexed(xarray_entries),
}
