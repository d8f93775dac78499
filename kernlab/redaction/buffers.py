"""Users' data that the kernel holds for a moment: in packets, pipes, messages and terminals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.page.classifier import Kind
from kernlab.linux.page.layout import PageLayout
from kernlab.linux.page.network import NetworkPages, NetworkSearch
from kernlab.linux.page.vmemmap import page_chunks
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.found import Found
from kernlab.redaction.reading import complete_type
from kernlab.walk.lists import chain_nodes, list_entries
from kernlab.walk.xarray import idr_entries

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: An sk_buff's own buffer is no longer: kmalloc ends at 4 MiB.
_LONGEST_BUFFER = 4 << 20
_FIFO, _FORMAT_BITS = 0o010000, 0o170000
#: pipe_inode_info rings are no longer (pipe-max-size is 1 MiB unless an administrator raised it: 2^31 bytes at most).
_MOST_SLOTS = 1 << 19
#: MAX_NR_CONSOLES; no screen is larger, and none has more lines or letters in one.
_CONSOLES, _LARGEST_SCREEN, _MOST_LINES = 63, 4 << 20, 1 << 10
#: struct pgv: a pointer.
_BLOCK = 8
#: struct input_event, and the most that a reader has waiting.
_EVENT, _MOST_EVENTS = 24, 1 << 14
#: ipc/util.h
_MESSAGES = 1
#: A message's first piece is a page with its head, and each of the others (ipc/msgutil.c).
_HEAD = 48


def packets(found: Found) -> None:
    """What sk_buffs carry in buffers of their own: between the head and the shared info, which says what is where."""
    kernel = found.kernel
    if kernel.types.get("struct sk_buff") is None:
        return
    search = NetworkSearch(kernel, PageLayout(kernel))
    if not all(map(len, search.caches)):
        kernel.lost("where packets are is not known: no variable points to their slab caches")
    pages: list[NetworkPages] = [search.pages(chunk) for chunk in page_chunks(kernel)]
    skb = search.sk_buffs(pages)
    head, end = skb["head"], skb["end"]
    size = end.values.astype(np.int64)
    good = head.true & end.valid & (size > 0) & (size <= _LONGEST_BUFFER)
    start, first = np.unique(head.values[good].astype(np.uint64), return_index=True)
    found.edits.zero(start, size[good][first], "packet")
    # The head of each names protocols and users; its own room (cb) may hold a copy of the data.
    at = resolve(skb.type, "cb")
    found.edits.zero(skb.addresses + np.uint64(at.hops[-1]), at.type.size)


def pipes(found: Found) -> None:
    """The pages of pipes: their frames are dropped like users' own."""
    kernel = found.kernel
    file = found.files
    inode = file.follow("f_inode")
    inode = StructArray(kernel, "struct inode", np.unique(inode.addresses[inode.valid]))
    fifo = ((inode["i_mode"] & _FORMAT_BITS) == _FIFO).true
    pipe = inode[np.flatnonzero(fifo)].follow("i_pipe")
    pipe = StructArray(kernel, "struct pipe_inode_info", np.unique(pipe.addresses[pipe.valid]))
    # Linux commit 8cefc107ca54 ("pipe: Use head and tail pointers for the ring") (in v5.5) made buffers ring_size.
    slots = pipe.first("ring_size", "buffers").int64.filled(0)
    size = kernel.find_type("struct pipe_buffer").size
    slots = kernel.budget.counts(np.where(slots <= _MOST_SLOTS, slots, 0), size, "slots of pipes")
    owner = np.repeat(np.arange(len(pipe)), slots)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(slots) - slots, slots)
    first = pipe["bufs"].filled(0).astype(np.uint64)
    buffer = StructArray(
        kernel, "struct pipe_buffer", first[owner] + step.astype(np.uint64) * np.uint64(size)
    )
    page = buffer["page"]
    pages = [page.values[page.true].astype(np.uint64)]
    if pipe.has("tmp_page"):
        # A pointer, and since v6.15 two of them.
        spare = resolve(pipe.type, "tmp_page")
        for place in range(0, spare.type.size, 8):
            values, read = kernel.words(pipe.addresses + np.uint64(spare.hops[-1] + place), what="")
            pages.append(values[read & (values != 0)])
    drop_pages(found, np.concatenate(pages), Kind.SHMEM)


def drop_pages(found: Found, pages: U64, kind: Kind) -> None:
    """Have the frames of page structs, uint64[n], left out; what is not one of the machine's is passed over."""
    kernel = found.kernel
    base, size = np.uint64(kernel.vmemmap), np.uint64(kernel.find_type("struct page").size)
    good = (pages >= base) & ((pages - base) % size == 0)
    rows = found.frames.rows(((pages[good] - base) // size).astype(np.int64))
    rows = rows[rows >= 0]
    # Only what nobody else can be known to own: a damaged pointer must not take the kernel's own pages.
    loose = np.isin(found.kind[rows], (Kind.OTHER, Kind.LARGE_KMALLOC))
    found.kind[rows[loose]] = kind


def consoles(found: Found) -> None:
    """What stands on virtual consoles, as cells of a letter and a colour, and as Unicode."""
    kernel = found.kernel
    first = kernel.symbols.get("vc_cons")
    if first is None or kernel.types.get("struct vc") is None:
        return
    size = kernel.find_type("struct vc").size
    each = np.uint64(first) + np.arange(_CONSOLES, dtype=np.uint64) * np.uint64(size)
    console = StructArray(kernel, "struct vc", each).follow("d")
    console = console[np.flatnonzero(console.valid)]
    cells, room = console["vc_screenbuf"], console["vc_screenbuf_size"].int64.filled(0)
    found.edits.zero(cells.filled(0).astype(np.uint64), np.clip(room, 0, _LARGEST_SCREEN), "console")
    if not console.has("vc_uni_lines"):
        return
    # A pointer for each line since v6.2, before in a struct of its own that few consoles have (vc_uni_screen).
    rows, columns = (console[name].int64.filled(0) for name in ("vc_rows", "vc_cols"))
    lines = np.clip(rows, 0, _MOST_LINES)
    owner = np.repeat(np.arange(len(console)), lines)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines)
    start = console["vc_uni_lines"].filled(0).astype(np.uint64)[owner]
    texts, read = kernel.words(start + step.astype(np.uint64) * np.uint64(8), what="")
    letters = np.clip(columns, 0, _MOST_LINES)[owner]
    found.edits.zero(texts[read], letters[read] * 4)


def keystrokes(found: Found) -> None:
    """Keys that were pressed and not yet read: what readers of /dev/input have waiting."""
    kernel = found.kernel
    kind = complete_type(kernel, "struct evdev_client", "evdev_fetch_next_event")
    operations = kernel.symbols.all("evdev_fops")
    if kind is None or not operations:
        return
    file = found.files
    mine = np.flatnonzero(np.isin(file["f_op"].filled(0), np.array(operations, dtype=np.uint64)))
    client = StructArray(kernel, kind, file[mine]["private_data"].filled(0).astype(np.uint64))
    count = np.clip(client["bufsize"].int64.filled(0), 0, _MOST_EVENTS)
    at = resolve(kind, "buffer").hops[-1]
    found.edits.zero(client.addresses + np.uint64(at), count * _EVENT, "keystrokes")


def rings(found: Found) -> None:
    """The pages of rings that sniffers share with the kernel (AF_PACKET)."""
    kernel = found.kernel
    kind = complete_type(kernel, "struct packet_sock", "packet_rcv")
    if kind is None or not len(found.nets):
        return
    # They have no slab cache of their own.
    heads, read = kernel.words(
        found.nets.addresses + np.uint64(resolve(found.nets.type, "packet.sklist").hops[-1]), what=""
    )
    _, nodes = chain_nodes(kernel, heads[read], what="sockets of sniffers")
    sock = StructArray(kernel, kind, nodes - np.uint64(resolve(kind, "sk.__sk_common.skc_node").hops[-1]))
    for ring in ("rx_ring", "tx_ring"):
        first, pages = sock[f"{ring}.pg_vec"], sock[f"{ring}.pg_vec_pages"].int64.filled(0)
        count = np.where(first.true, sock[f"{ring}.pg_vec_len"].int64.filled(0), 0)
        count = kernel.budget.counts(count, _BLOCK, "blocks of rings of packets")
        owner = np.repeat(np.arange(len(sock)), count)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        where = first.filled(0).astype(np.uint64)[owner] + step.astype(np.uint64) * np.uint64(_BLOCK)
        buffer, read = kernel.words(where, what="blocks of rings of packets")
        each = kernel.budget.frames(np.where(read, pages[owner], 0), "pages of rings of packets")
        block = np.repeat(np.arange(len(buffer)), each)
        turn = np.arange(len(block)) - np.repeat(np.cumsum(each) - each, each)
        physical, status = kernel.memory.translate(
            buffer[block] + turn.astype(np.uint64) * np.uint64(kernel.page_size)
        )
        rows = found.frames.rows((physical[status == 0] // np.uint64(kernel.page_size)).astype(np.int64))
        found.kind[rows[rows >= 0]] = Kind.NETWORK


def messages(found: Found) -> None:
    """Messages of System V queues, sent and not yet received."""
    kernel = found.kernel
    if kernel.types.get("struct msg_msg") is None:
        return
    spaces = find_tasks(kernel)["nsproxy->ipc_ns"]
    first = kernel.symbols.get("init_ipc_ns")
    space = np.unique(np.append(spaces.values[spaces.true].astype(np.uint64), np.uint64(first or 0)))
    namespaces = StructArray(kernel, "struct ipc_namespace", space[space != 0])
    _, _, entries = idr_entries(
        kernel, namespaces.follow(f"ids[{_MESSAGES}].ipcs_idr").addresses, what="the message queues"
    )
    queue = StructArray(kernel, "struct msg_queue", np.unique(entries))
    _, message = list_entries(
        kernel, queue.follow("q_messages").addresses, "struct msg_msg", "m_list", what="queues of messages"
    )
    bodies(found, message)


def bodies(found: Found, message: StructArray) -> None:
    """Zero what struct msg_msg carry, and their further pieces."""
    kernel = found.kernel
    page = kernel.page_size
    size = message["m_ts"].int64.filled(0)
    head = message.type.size
    found.edits.zero(message.addresses + np.uint64(head), np.clip(size, 0, page - head), "message")
    following = message["next"]
    _, pieces = chain_nodes(kernel, following.values[following.true], what="pieces of messages")
    found.edits.zero(pieces + np.uint64(8), page - 8)


def terminals(found: Found) -> None:
    """What was typed at terminals and not yet read: of open ones, and of the other ends of their pseudo-terminals."""
    kernel = found.kernel
    names = ("tty_fops", "console_fops", "hung_up_tty_fops")
    operations = [address for name in names for address in kernel.symbols.all(name)]
    file = found.files
    mine = np.isin(file["f_op"].filled(0), np.array(operations, dtype=np.uint64))
    private = file[np.flatnonzero(mine)].follow("private_data", "struct tty_file_private")
    tty = private.follow("tty")
    other = tty["link"]
    every = np.unique(np.concatenate([tty.addresses[tty.valid], other.values[other.true].astype(np.uint64)]))
    tty = StructArray(kernel, "struct tty_struct", every)
    data = tty.follow("disc_data", "struct n_tty_data")
    data = data[np.flatnonzero(data.valid)]
    for member in ("read_buf", "echo_buf"):
        at = resolve(data.type, member)
        found.edits.zero(data.addresses + np.uint64(at.hops[-1]), at.type.size, "terminal's buffer")
    written, count = tty["write_buf"], tty["write_cnt"].int64.filled(0)
    found.edits.zero(written.filled(0).astype(np.uint64), np.clip(count, 0, 1 << 16))
    port = tty.follow("port")
    port = StructArray(kernel, "struct tty_port", np.unique(port.addresses[port.valid]))
    head = port["buf.head"]
    link = resolve(kernel.find_type("struct tty_buffer"), "next").hops[-1]
    _, nodes = chain_nodes(kernel, head.values[head.true], what="buffers of terminals", link=link)
    buffer = StructArray(kernel, "struct tty_buffer", nodes)
    start = buffer.addresses + np.uint64(resolve(buffer.type, "data").hops[-1])
    # Characters, and a flag of each behind them.
    found.edits.zero(start, np.clip(buffer["size"].int64.filled(0) * 2, 0, 1 << 17), "terminal's buffer")
    if port.has("xmit_buf"):
        page = port["xmit_buf"]
        found.edits.zero(page.values[page.true].astype(np.uint64), kernel.page_size)
