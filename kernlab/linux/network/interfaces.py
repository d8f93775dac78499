"""Network devices of every network namespace, and their names by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.network.namespaces import net_namespaces, numbers
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interfaces:
    """All devices, of equal lengths n, by namespace and in the order of /proc/net/dev.

    `device` is struct net_device, `net` the struct net that each is in, `netns` that namespace's number.
    """

    device: StructArray
    net: U64
    netns: Column

    def __len__(self) -> int:
        return len(self.device)


@fact
def interfaces(kernel: Kernel) -> Interfaces:
    """Every network device; none for a kernel without CONFIG_NET (net/core/dev.c)."""
    net = net_namespaces(kernel)
    kind = kernel.types.get("struct net_device")
    if not len(net) or kind is None:
        return Interfaces(net[:0], np.zeros(0, dtype=np.uint64), Column.missing(0, "int"))
    heads = net.follow("dev_base_head").addresses
    owner, device = list_entries(
        kernel, heads, "struct net_device", "dev_list", what="devices of network namespaces"
    )
    return Interfaces(device, net.addresses[owner], numbers(net)[owner])


def device_names(kernel: Kernel, net: U64, index: Column) -> Column:
    """The name of the device with a number in a namespace (struct net uint64[n]): '' for 0 and for one that is gone."""
    every = interfaces(kernel)
    names: dict[tuple[int, int], str] = {}
    if len(every):
        number, name = every.device["ifindex"], every.device["name"].text
        names = {
            (space, which): word
            for space, which, word in zip(every.net.tolist(), number.tolist(), name.tolist(), strict=True)
            if which is not None and word is not None
        }
    unique, of = np.unique(
        np.stack([net, index.int64.filled(0).astype(np.uint64)], axis=1), axis=0, return_inverse=True
    )
    words = np.array([names.get((space, which), "") for space, which in unique.tolist()], dtype=object)
    return Column.of(words[of.reshape(-1)] if len(words) else words, index.valid, "text")
