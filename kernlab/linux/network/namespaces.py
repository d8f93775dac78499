"""Network namespaces: all of them, and their numbers."""

from __future__ import annotations

import numpy as np

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.walk.lists import list_entries


@fact
def net_namespaces(kernel: Kernel) -> StructArray:
    """Every `struct net`, that of pid 1 (init_net) first, then in the kernel's order (net/core/net_namespace.c).

    No rows for a kernel without CONFIG_NET, whose type then says nothing; init_net alone where the list of the others
    cannot be read.
    """
    first, kind = kernel.find_symbol("init_net"), kernel.types.get("struct net")
    if first is None or kind is None:
        return StructArray(kernel, "struct list_head", np.zeros(0, dtype=np.uint64))
    head = kernel.find_symbol("net_namespace_list")
    heads = [] if head is None else [head]
    _, net = list_entries(kernel, heads, "struct net", "list", what="network namespaces")
    others = net.addresses[net.addresses != np.uint64(first)]
    return StructArray(kernel, kind, np.concatenate([np.array([first], dtype=np.uint64), others]))


def numbers(net: StructArray) -> Column:
    """The number of each namespace, as readlink /proc/PID/ns/net has it; missing where it has none."""
    if not len(net):
        return Column.missing(0, "int")
    number = net["ns.inum"]
    return number.where(number.true)


def numbers_of(kernel: Kernel, structs: StructArray, path: str) -> Column:
    """The number of the namespace that each struct belongs to, by the path to its `struct net *`; of a kernel with one
    for all (CONFIG_NET_NS is off) that one's."""
    if not structs.has(path):
        only = numbers(net_namespaces(kernel)[:1])
        return only[np.zeros(len(structs), dtype=np.int64)]
    pointer = structs[path]
    unique, of = np.unique(pointer.filled(0), return_inverse=True)
    return numbers(StructArray(kernel, "struct net", unique))[of.reshape(-1)].where(pointer.true)
