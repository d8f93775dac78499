"""Trees by index as kernels of 4.18 and 4.19 have them: radix trees, or XArrays where the types say so.

Built as include/linux/radix-tree.h and lib/radix-tree.c of 4.19 have it; shares no code with kernlab.
"""

from __future__ import annotations

from debuginfo.make_btf import CHAR, Blob
from support.machine import Machine

from kernlab.debuginfo.btf import Btf


def radix_types() -> Btf:
    """BTF of nothing but a radix tree and an idr."""
    blob = Blob()
    byte, word, number = (
        blob.int("unsigned char", 1),
        blob.int("unsigned long", 8),
        blob.int("unsigned int", 4),
    )
    blob.int("char", 1, CHAR)
    pointer = blob.add(2)
    slots, tags = blob.array(pointer, 64), blob.array(word, 3)
    heads = [(name, byte, 8 * at) for at, name in enumerate(("shift", "offset", "count", "exceptional"))]
    blob.struct(
        "radix_tree_node",
        576,
        [
            *heads,
            ("parent", pointer, 64),
            ("root", pointer, 128),
            ("slots", slots, 320),
            ("tags", tags, 4416),
        ],
    )
    root = blob.struct("radix_tree_root", 16, [("gfp_mask", number, 32), ("rnode", pointer, 64)])
    blob.struct("idr", 24, [("idr_rt", root, 0), ("idr_base", number, 128), ("idr_next", number, 160)])
    return Btf(blob.bytes())


class Trees:
    """Writes trees into a machine, by its types."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.is_radix = machine.types.get("struct xarray") is None
        self.node_type = "struct radix_tree_node" if self.is_radix else "struct xa_node"
        self.root_type = "struct radix_tree_root" if self.is_radix else "struct xarray"
        self.head = "rnode" if self.is_radix else "xa_head"
        #: radix_tree_node: node_to_entry; xa_node: xa_mk_node.
        self.mark = 1 if self.is_radix else 2

    def value(self, number: int) -> int:
        """An exceptional entry, or a value entry."""
        return number << 2 | 2 if self.is_radix else number << 1 | 1

    def sibling(self, node: int, slot: int) -> int:
        """An entry that points to another slot of its node."""
        if self.is_radix:
            return node + self.machine.offset(self.node_type, f"slots[{slot}]") | 1
        return slot << 2 | 2

    def fill(self, root: int, entries: dict[int, int]) -> dict[int, int]:
        """Write a tree under a root that lies at an address: index -> entry. Returns its nodes of the lowest level, by
        their first index."""
        lowest: dict[int, int] = {}

        def node(shift: int, first: int, parent: int, part: dict[int, int]) -> int:
            address = self.machine.new(self.node_type, shift=shift, count=min(len(part), 64), parent=parent)
            self.machine.member(self.node_type, address, "root" if self.is_radix else "array", root)
            if not shift:
                lowest[first] = address
            groups: dict[int, dict[int, int]] = {}
            for index, entry in part.items():
                groups.setdefault(index >> shift & 63, {})[index] = entry
            for slot, inside in groups.items():
                begin = first + (slot << shift)
                value = node(shift - 6, begin, address, inside) if shift else next(iter(inside.values()))
                self.machine.member(self.node_type, address, f"slots[{slot}]", value)
            return address | self.mark

        if not entries:
            head = 0
        elif set(entries) == {0}:
            head = entries[0]
        else:
            head = node((max(entries).bit_length() - 1) // 6 * 6, 0, 0, entries)
        self.machine.member(self.root_type, root, self.head, head)
        return lowest

    def tree(self, entries: dict[int, int]) -> int:
        """A tree of its own; its address."""
        root = self.machine.new(self.root_type)
        self.fill(root, entries)
        return root

    def idr(self, address: int, entries: dict[int, int], base: int = 0) -> None:
        """Fill the `struct idr` at an address: id -> pointer."""
        self.fill(
            address + self.machine.offset("struct idr", "idr_rt"),
            {key - base: at for key, at in entries.items()},
        )
        self.machine.member("struct idr", address, "idr_base", base)
