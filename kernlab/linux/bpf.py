"""BPF: programs, maps and links by their numbers, what each program is attached to, and who holds them (kernel/bpf)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.column import Column
from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import EnumType, StructType
from kernlab.errors import KernlabError
from kernlab.linux.containers.cgroups import find_cgroups, has_cgroups
from kernlab.linux.descriptors import descriptors
from kernlab.linux.network.namespaces import net_namespaces
from kernlab.walk.cpus import percpu_many, possible_cpus
from kernlab.walk.lists import chain_nodes, list_entries, list_nodes
from kernlab.walk.strings import c_strings, never_empty
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: A program uses no more maps (MAX_USED_MAPS).
_MOST_MAPS = 64


def has_bpf(kernel: Kernel) -> bool:
    """Was the kernel built with CONFIG_BPF_SYSCALL?"""
    return kernel.find_symbol("prog_idr") is not None and kernel.types.get("struct bpf_prog_aux") is not None


@fact
def programs(kernel: Kernel) -> StructArray:
    """Every struct bpf_prog that has a number, by it."""
    return _numbered(kernel, "prog_idr", "struct bpf_prog", "BPF programs")


@fact
def maps(kernel: Kernel) -> StructArray:
    """Every struct bpf_map that has a number, by it."""
    return _numbered(kernel, "map_idr", "struct bpf_map", "BPF maps")


@fact
def links(kernel: Kernel) -> StructArray:
    """Every struct bpf_link, by number."""
    # Linux commit 70ed506c3bbc ("bpf: Introduce pinnable bpf_link abstraction") (in v5.7), in link_idr since 5.8.
    if kernel.find_symbol("link_idr") is None:
        return StructArray(kernel, "struct list_head", np.zeros(0, dtype=np.uint64))
    return _numbered(kernel, "link_idr", "struct bpf_link", "BPF links")


def _numbered(kernel: Kernel, symbol: str, kind: str, what: str) -> StructArray:
    _, _, pointer = idr_entries(kernel, [kernel.symbol(symbol)], what=what)
    return StructArray(kernel, kind, pointer)


def short_names(column: Column, prefix: str) -> Column:
    """An enum's column as text, without what all enumerators begin with, in small letters: "cgroup_skb"."""
    if not isinstance(column.type, EnumType):
        return Column.texts([None if value is None else str(value) for value in column.tolist()])
    return Column.texts(
        [name and name.removeprefix(prefix).lower() for name in column.names()],
    )


def statistics(program: StructArray) -> tuple[Column, Column]:
    """How often each program ran and for how many ns, all CPUs added; 0 while nobody counts (bpf_stats_enabled)."""
    kernel = program.kernel
    # Linux commit 492ecee892c2 ("bpf: enable program stats") (in v5.1).
    kind = kernel.type_or_none("struct bpf_prog_stats")
    if kind is None:
        return Column.missing(len(program), "int"), Column.missing(len(program), "int")
    # Linux commit 700d4796ef59 ("bpf: Optimize program stats") (in v5.12) took it from the program's other half.
    pointer = program.first("stats", "aux->stats")
    numbers = possible_cpus(kernel)
    where = percpu_many(kernel, pointer.filled(0).astype(np.uint64), numbers)
    rows = np.flatnonzero(pointer.true)
    found = []
    for member in ("cnt", "nsecs"):
        # A number, or since 5.16 a struct of 64 bits around one (u64_stats_t).
        at = np.uint64(resolve(kind, member).hops[-1])
        words, read = kernel.words(where[rows].reshape(-1) + at, what="statistics of BPF programs")
        total = np.zeros(len(program), dtype=np.int64)
        known = np.zeros(len(program), dtype=bool)
        total[rows] = words.view(np.int64).reshape(len(rows), len(numbers)).sum(axis=1)
        known[rows] = read.reshape(len(rows), len(numbers)).all(axis=1)
        found.append(Column.of(total, known))
    return found[0], found[1]


def jited_bytes(program: StructArray) -> Column:
    """Bytes of machine code of each, of all its functions (bpf_prog_get_info_by_fd)."""
    kernel = program.kernel
    own = program["jited_len"].int64
    counts = program["aux->func_cnt"].int64
    functions = kernel.budget.counts(counts.filled(0), 8, "functions of BPF programs")
    owner = np.repeat(np.arange(len(program)), functions)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(functions) - functions, functions)
    start = program["aux->func"].filled(0).astype(np.uint64)
    pointer, read = kernel.words(
        start[owner] + index.astype(np.uint64) * np.uint64(8), what="functions of BPF programs"
    )
    parts = StructArray(kernel, "struct bpf_prog", pointer, read)["jited_len"].added_by(owner, len(program))
    several = (counts > 0).true
    return Column.of(np.where(several, parts.values, own.values), np.where(several, parts.valid, own.valid))


def used_maps(program: StructArray) -> tuple[I64, Column]:
    """The numbers of the maps that programs use: (the program's row int64[m], bpf_map.id of m)."""
    kernel = program.kernel
    counts = program["aux->used_map_cnt"].int64.filled(0)
    counts = np.where((counts >= 0) & (counts <= _MOST_MAPS), counts, 0)
    start = program["aux->used_maps"]
    counts = np.where(start.true, counts, 0)
    owner = np.repeat(np.arange(len(program)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = start.filled(0).astype(np.uint64)[owner] + index.astype(np.uint64) * np.uint64(8)
    pointer, read = kernel.words(where, what="lists of BPF programs' maps")
    return owner, StructArray(kernel, "struct bpf_map", pointer, read)["id"].int64


def attachments(kernel: Kernel) -> list[list[str]]:
    """What each of `programs` is attached to, in words: "function eventfd_read", "cgroup /shop ingress", "xdp eth0",
    "link perf_event". What no list of these names (filters of sockets, tc's) is not found."""
    program = programs(kernel)
    row_of = {address: row for row, address in enumerate(program.addresses.tolist())}
    found: list[list[str]] = [[] for _ in range(len(program))]

    def add(address: int, words: str) -> None:
        row = row_of.get(address)
        if row is not None and words not in found[row]:
            found[row].append(words)

    link = links(kernel)
    if len(link):
        function = c_strings(kernel, program["aux->attach_func_name"], 256).tolist()
        kinds = short_names(link["type"], "BPF_LINK_TYPE_").tolist()
        for address, kind in zip(link["prog"].filled(0).tolist(), kinds, strict=True):
            row = row_of.get(address)
            # Of the others the lists below say more.
            if kind in ("cgroup", "xdp") or row is None:
                continue
            name = function[row]
            add(address, f"function {name}" if kind == "tracing" and name else f"link {kind}")
    for address, words in [*_of_cgroups(kernel), *_of_devices(kernel)]:
        add(address, words)
    return found


def _of_cgroups(kernel: Kernel) -> list[tuple[int, str]]:
    """Programs that are attached to cgroups, and the words for it (kernel/bpf/cgroup.c, cgroup_bpf.progs)."""
    if not has_cgroups(kernel) or kernel.type_or_none("struct bpf_prog_list") is None:
        return []
    groups = find_cgroups(kernel)
    if not groups.group.has("bpf.progs"):
        return []
    kinds = kernel.type_or_none("enum cgroup_bpf_attach_type") or kernel.type_or_none("enum bpf_attach_type")
    names = {number: name for name, number in getattr(kinds, "enumerators", {}).items()}
    owner, head = groups.group.elements("bpf.progs")
    kinds_each = len(head) // max(len(groups.group), 1)
    # Linux commit 00442143a2ab ("bpf: convert cgroup_bpf.progs to hlist") (in v6.0).
    if isinstance(head.type, StructType) and head.type.name == "hlist_head":
        index, node = chain_nodes(
            kernel, head["first"].filled(0).astype(np.uint64), what="programs of cgroups"
        )
    else:
        # Those of version 1 take no programs: their lists were never made.
        made = np.flatnonzero(head["next"].filled(1) != 0)
        index, node = list_nodes(kernel, head.addresses[made], what="programs of cgroups")
        index = made[index]
    entry = StructArray(kernel, "struct bpf_prog_list", node)
    direct = entry["prog"]
    # Linux commit af6eea57437a ("bpf: Implement bpf_link-based cgroup BPF program attachment") (in v5.7).
    linked = entry.follow("link")["link.prog"] if entry.has("link") else direct
    paths, found = groups.path.tolist(), []
    for place, one, other in zip(
        index.tolist(), direct.filled(0).tolist(), linked.filled(0).tolist(), strict=True
    ):
        name = names.get(place % kinds_each, "").removeprefix("CGROUP_").removeprefix("BPF_CGROUP_").lower()
        path = paths[owner[place]]
        found.append((one or other, f"cgroup {'?' if path is None else path} {name}".rstrip()))
    return found


def _of_devices(kernel: Kernel) -> list[tuple[int, str]]:
    """Programs that network devices run for each packet (XDP), and the words for it (net_device.xdp_state)."""
    net = net_namespaces(kernel)
    if not len(net) or not net.has("dev_base_head"):
        return []
    _, device = list_entries(
        kernel, net.follow("dev_base_head").addresses, "struct net_device", "dev_list", what="network devices"
    )
    # Linux commit 7f0a838254bd ("bpf, xdp: Maintain info on attached XDP BPF programs in net_device") (in v5.9).
    if not device.has("xdp_state"):
        return []
    names = device["name"].tolist()
    owner, state = device.elements("xdp_state")
    direct, linked = state["prog"], state.follow("link")
    by_link = linked["link.prog"] if linked.has("link.prog") else direct
    return [
        (one or other, f"xdp {names[row]}")
        for row, one, other in zip(
            owner.tolist(), direct.filled(0).tolist(), by_link.filled(0).tolist(), strict=True
        )
        if one or other
    ]


def holders(kernel: Kernel) -> dict[int, list[int]]:
    """The processes that have a descriptor of a program, a map or a link, by its address (private_data), ascending; a
    link's hold its program, too."""
    operations = [kernel.find_symbol(name) for name in ("bpf_prog_fops", "bpf_map_fops", "bpf_link_fops")]
    # Linux commit 61c6fefa92d2 ("bpf: Implement … link poll") (in v6.12) gave some links others.
    operations.append(kernel.find_symbol("bpf_link_fops_poll"))
    try:
        known = descriptors(kernel)
    except KernlabError as error:
        kernel.lost(f"who holds BPF objects is not known: {error}")
        return {}
    file = known.file
    ours = np.isin(file["f_op"].filled(0), [address for address in operations if address is not None])
    rows = np.flatnonzero(ours)
    target = file[rows]["private_data"].filled(0).astype(np.uint64)
    pids = known.pid.int64.filled(0)[rows]
    link = links(kernel)
    program_of = (
        dict(zip(link.addresses.tolist(), link["prog"].filled(0).tolist(), strict=True)) if len(link) else {}
    )
    found: dict[int, set[int]] = {}
    for address, pid in zip(target.tolist(), pids.tolist(), strict=True):
        for held in (address, program_of.get(address)):
            if held:
                found.setdefault(held, set()).add(pid)
    return {address: sorted(numbers) for address, numbers in found.items()}


def names_of(structs: StructArray, path: str) -> Column:
    """The names that user space gave; '' for none."""
    return structs[path].text


def type_names(structs: StructArray, path: str, prefix: str) -> Column:
    """The kind of each program or map: "cgroup_skb", "hash"."""
    return never_empty(short_names(structs[path], prefix))


def joined(owner: I64, numbers: Column, count: int) -> list[str]:
    """Numbers by whose they are, in words: "3,14"; '' for none."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for row, number in zip(owner.tolist(), numbers.tolist(), strict=True):
        parts[row].append("?" if number is None else str(number))
    return [",".join(part) for part in parts]


def held_by(structs: StructArray, by: dict[int, list[int]]) -> list[str]:
    """The pids of the holders of each, in words."""
    return [",".join(map(str, by.get(address, []))) for address in structs.addresses.tolist()]
