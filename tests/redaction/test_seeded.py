"""A real dump with secrets written to known places of its memory: none is in any page of the redacted one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from support.overlay import PAGE, Overlay
from support.seed import SEED

from kernlab.core.kernel import Kernel
from kernlab.dump import Dump
from kernlab.redaction import redacted
from kernlab.redaction.redaction import Redaction

pytestmark = pytest.mark.long

HOST, USER, THESIS = b"web01seed", b"carolseed", b"thesisseed"
ADDRESS, OTHER = b"\xcb\x00\x71\x4d", b"\xcb\x00\x71\x58"  # 203.0.113.77, .88
SIX = bytes.fromhex("20010db8007700000000000000000a51")
MAC = bytes.fromhex("525400a1b2c3")
TOKEN = b"wJalrXUtnFEMIseed"
#: Where no text betrays it: binary data, one for each place.
PLACES = (
    *("tmpfs", "anon", "freed", "stack", "fpu", "key", "packet", "terminal", "pipe", "leftover"),
    *("cipher", "console"),
)


def secret(place: str) -> bytes:
    return b"\x91\xe5" + place.encode().ljust(10, b"\x9d") + b"\xf3\x88\x17\xa6"


@dataclass
class Seeded:
    dump: Dump
    hidden: Kernel
    redaction: Redaction
    planted: dict[str, bytes] = field(default_factory=dict)


def _allocated(dump: Any, cache: str) -> list[int]:
    objects = dump.slab_objects(cache)
    return [int(address) for address in objects.loc[objects["allocated"].fillna(False), "address"]]


def _pfns(dump: Any, kind: str) -> list[int]:
    pages = dump.pages
    return [int(pfn) for pfn in pages.loc[pages["kind"] == kind, "pfn"].head(3)]


def _sow(dump: Any) -> Overlay:
    """Write every secret to a place of its own, and those that are text or addresses also where nothing points to."""
    overlay, kernel = Overlay(dump), dump.kernel
    field_of = overlay.where

    def text(type_name: str, address: int, path: str, value: bytes) -> None:
        where, size = field_of(type_name, address, path)
        overlay.write(where, value.ljust(size, b"\0")[:size])

    # The machine's name, an interface's addresses, a socket's.
    text(
        "uts_namespace",
        dump.symbol("init_uts_ns"),
        "name.nodename",
        HOST + b".example.org\0left over " + secret("leftover"),
    )
    (device,) = [at for at in _devices(kernel) if at]
    listed = int(dump.struct("net_device", device)["dev_addrs.list.next"])
    text("netdev_hw_addr", listed, "addr", MAC)
    given = int(dump.struct("net_device", device)["ip_ptr->ifa_list"])
    text("in_ifaddr", given, "ifa_local", OTHER)
    sock = _allocated(dump, "TCPv6")[0]
    text("sock_common", sock, "skc_daddr", ADDRESS)
    overlay.set("sock_common", sock, "skc_family", 10)
    text("sock_common", sock, "skc_v6_daddr", SIX)

    # A file below home: the folders above a mapped program become one.
    shell = dump.maps.loc[dump.maps["path"] == "/bin/busybox", "address"].iloc[0]
    file = int(dump.struct("vm_area_struct", int(shell))["vm_file->f_path.dentry"])
    folder = int(dump.struct("dentry", file)["d_parent"])
    _rename(overlay, dump, folder, b"home")
    _rename(overlay, dump, file, USER)
    for child, name in zip(_children(dump, folder, file), (b"." + THESIS,), strict=False):
        _rename(overlay, dump, child, name)

    # Users' pages: tmpfs, anonymous memory, an environment; a pipe's.
    overlay.write(_pfns(dump, "shmem")[0] * PAGE, secret("tmpfs"), physical=True)
    overlay.write(_pfns(dump, "anon")[0] * PAGE + 64, secret("anon"), physical=True)
    _environment(overlay, dump, b"AWS_SECRET_ACCESS_KEY=" + TOKEN + b"\0HOME=/srv/people/" + USER + b"\0")
    page = next(pfn for pfn in _pfns(dump, "other kernel") if kernel.file.find(np.array([pfn], "u8"))[0] >= 0)
    _pipe(overlay, dump, kernel.vmemmap + page * kernel.find_type("struct page").size)
    overlay.write(page * PAGE + 512, secret("pipe"), physical=True)

    # What is left over: freed objects, stacks, registers, buffers.
    objects = dump.slab_objects("kmalloc-192")
    freed = int(objects.loc[~objects["allocated"].fillna(True), "address"].iloc[0])
    overlay.write(freed + 16, secret("freed"))
    task = dump.structs("task_struct", dump.tasks.loc[dump.tasks["comm"] == "nc", "address"])
    overlay.write(int(task["stack"].values[0]) + 64, secret("stack"))
    state = int(task["thread.fpu.fpstate"].values[0])
    text("fpstate", state, "regs", secret("fpu"))
    for idle in dump.percpu("napi_alloc_cache", "struct napi_alloc_cache").addresses.tolist():
        # All packets of this dump wait to be used again: now they are in use.
        overlay.set("napi_alloc_cache", idle, "skb_count", 0)
    skb = _allocated(dump, "skbuff_head_cache")[0]
    buffer = _allocated(dump, "kmalloc-1k")[0]
    overlay.set("sk_buff", skb, "head", buffer)
    overlay.set("sk_buff", skb, "data", buffer)
    overlay.set("sk_buff", skb, "tail", 256)
    overlay.set("sk_buff", skb, "end", 704)
    overlay.write(buffer + 600, secret("packet"))
    _key(overlay, dump, secret("key"))
    _cipher(overlay, dump, secret("cipher"))
    _console(overlay, dump, secret("console"))
    tty = _terminal(dump)
    text("n_tty_data", tty, "read_buf", secret("terminal"))

    # Once more, in allocated objects that nothing is known of; one lies across the ends of two pages.
    said = b"%s: %s@%s from 203.0.113.77 (52:54:00:a1:b2:c3, 2001:db8:77::a51), key %s, read /" b"home/%s/.%s.pdf" % (
        HOST, USER, HOST, TOKEN, USER, THESIS,
    )  # fmt: skip
    loose = _allocated(dump, "kmalloc-192")
    overlay.write(loose[3], said[:191] + b"\0")
    overlay.write(
        loose[4],
        ADDRESS
        + ADDRESS[::-1]
        + OTHER
        + b"\0\0\0\0"
        + SIX
        + MAC
        + b"\0\0"
        + USER.decode().encode("utf-16-le"),
    )
    for number, whole in enumerate(_allocated(dump, "kmalloc-8k")[:4]):
        overlay.write(whole + PAGE - 3 - number, b"\0" + (HOST, USER, TOKEN, b"203.0.113.77")[number] + b"\0")
    return overlay


def _devices(kernel: Kernel) -> list[int]:
    from kernlab.walk.lists import list_entries

    _, net = list_entries(kernel, [kernel.symbol("net_namespace_list")], "struct net", "list", what="nets")
    _, found = list_entries(
        kernel, net.follow("dev_base_head").addresses, "struct net_device", "dev_list", what="devices"
    )
    return [int(address) for address in found.addresses]


def _rename(overlay: Overlay, dump: Any, dentry: int, name: bytes) -> None:
    start, size = overlay.where("dentry", dentry, "d_iname")
    assert len(name) < size
    overlay.write(start, name.ljust(size, b"\0"))
    overlay.set("dentry", dentry, "d_name.name", start)
    overlay.set("dentry", dentry, "d_name.len", len(name))


def _children(dump: Any, folder: int, but: int) -> list[int]:
    dentries = dump.structs("dentry", _allocated(dump, "dentry"))
    mine = (dentries["d_parent"] == but).true | (dentries["d_parent"] == folder).true
    return [int(at) for at in dentries.addresses[mine] if at not in (folder, but)]


def _environment(overlay: Overlay, dump: Any, text: bytes) -> None:
    """Put an environment into a process's pages, which the dump lacks."""
    mm = dump.structs("mm_struct", dump.tasks.loc[dump.tasks["comm"] == "nc", "mm"])
    start = int(mm["env_start"].values[0])
    table = int(mm["pgd"].values[0]) - dump.kernel.layout.direct_start
    physical, status = dump.kernel.memory.walker.lookup(
        np.array([table], "u8"), np.array([start & ~(PAGE - 1)], "u8"), 4
    )
    assert not status[0]
    overlay.write(int(physical[0]) + start % PAGE, text, physical=True)
    overlay.set("mm_struct", int(mm.addresses[0]), "env_end", start + len(text))


def _pipe(overlay: Overlay, dump: Any, page: int) -> None:
    """Make a pipe, which this dump has none of, with one page in it, of the file that was opened last."""
    file = dump.structs("file", _allocated(dump, "filp")[-1:])
    inode = int(file["f_inode"].values[0])
    bytes_of = bytearray(PAGE)
    start = overlay.make(1, lambda number: bytes(bytes_of))
    for type_name, base, path, value in (
        ("pipe_inode_info", start, "bufs", start + PAGE // 2),
        ("pipe_inode_info", start, "ring_size", 1),
        ("pipe_buffer", start + PAGE // 2, "page", page),
    ):
        where, size = overlay.where(type_name, base, path)
        bytes_of[where - start : where - start + size] = value.to_bytes(size, "little")
    overlay.set("inode", inode, "i_mode", 0o010600)
    overlay.set("inode", inode, "i_pipe", start)


def _key(overlay: Overlay, dump: Any, payload: bytes) -> None:
    """Make one of the keyrings a user's key, with a payload."""
    from kernlab.walk.rbtree import rbtree_entries

    kernel = dump.kernel
    _, key = rbtree_entries(
        kernel, [kernel.symbol("key_serial_tree")], "struct key", "serial_node", what="keys"
    )
    where = _allocated(dump, "kmalloc-96")[5]
    overlay.set("key", int(key.addresses[0]), "type", dump.symbol("key_type_user"))
    place, _ = overlay.where("key", int(key.addresses[0]), "payload.data")
    overlay.word(place, where)
    overlay.write(where + 24, payload)


def _cipher(overlay: Overlay, dump: Any, schedule: bytes) -> None:
    """Make an object a cipher: a handle of the crypto API, which names its algorithm, with the key behind."""
    from kernlab.walk.lists import list_entries

    kernel = dump.kernel
    head = kernel.symbol("crypto_alg_list")
    _, algorithm = list_entries(kernel, [head], "struct crypto_alg", "cra_list", what="ciphers")
    where = _allocated(dump, "kmalloc-192")[7]
    overlay.set("crypto_skcipher", where, "base.__crt_alg", int(algorithm.addresses[0]))
    start, _ = overlay.where("crypto_skcipher", where, "base.__crt_ctx")
    overlay.write(start + 8, schedule)


def _console(overlay: Overlay, dump: Any, text: bytes) -> None:
    """Put text on the screen of the first console."""
    (console,) = dump.structs("vc", [dump.symbol("vc_cons")])["d"].values.tolist()
    screen = int(dump.struct("vc_data", console)["vc_screenbuf"])
    overlay.write(screen + 100, text)


def _terminal(dump: Any) -> int:
    files = dump.structs("file", _allocated(dump, "filp"))
    mine = np.isin(
        files["f_op"].filled(0), np.array([dump.symbol("tty_fops"), dump.symbol("console_fops")], "u8")
    )
    private = files[np.flatnonzero(mine)].follow("private_data", "struct tty_file_private")
    data = private.follow("tty")["disc_data"]
    return int(data.values[data.true][0])


@pytest.fixture(scope="module")
def seeded(opened: Any) -> Iterator[Seeded]:
    dump = _sow(opened("debian-6.1")).dump()
    file, redaction = redacted(dump.kernel, dump.kernel.file, "share")
    kernel = Kernel.open(file, vmcoreinfo=dump.kernel.file.vmcoreinfo)
    yield Seeded(dump, kernel, redaction)
    kernel.close()


def _memory(file: Any) -> tuple[bytes, np.ndarray]:
    """All pages of a file, by their numbers, and these; those that it refuses are not among them."""
    parts, numbers = [], []
    for pfns in file.present(1024):
        index = file.find(pfns.astype("u8"))
        out = np.empty((len(index), PAGE), dtype=np.uint8)
        status = file.read_into(index, out)
        assert not status.any()
        parts.append(out)
        numbers.append(pfns)
    return np.concatenate(parts).tobytes(), np.concatenate(numbers)


NEEDLES = {
    **{place: secret(place) for place in PLACES},
    "host": HOST,
    "user": USER,
    "user in UTF-16": USER.decode().encode("utf-16-le"),
    "file": THESIS,
    "token": TOKEN,
    "IPv4": ADDRESS,
    "IPv4, the other way round": ADDRESS[::-1],
    "interface": OTHER,
    "IPv4 as text": b"203.0.113.77",
    "IPv6": SIX,
    "IPv6 as text": b"2001:db8:77::a51",
    "MAC": MAC,
    "MAC as text": b"52:54:00:a1:b2:c3",
    "folder": b"/srv/people/",
}


@pytest.fixture(scope="module")
def after(seeded: Seeded) -> tuple[bytes, dict[str, int]]:
    """The redacted dump's memory, and what the redaction had counted when all of it was read."""
    memory, _ = _memory(seeded.hidden.file)
    return memory, dict(seeded.redaction.counts)


def test_no_secret_is_in_any_page(seeded: Seeded, after: tuple[bytes, dict[str, int]]) -> None:
    before, _ = _memory(seeded.dump.kernel.file)
    assert {name for name, needle in NEEDLES.items() if needle not in before} == set()
    assert {name for name, needle in NEEDLES.items() if needle in after[0]} == set()


def test_the_account_names_what_was_hidden(seeded: Seeded, after: tuple[bytes, dict[str, int]]) -> None:
    first = after[1]
    for kind in (
        "user page",
        "freed slab object",
        "host name",
        "path below home",
        "IPv4 address",
        "IPv6 address",
        "MAC address",
        "password or token",
        "key",
        "packet",
        "state of an FPU",
        "dead part of a stack",
        "set of registers",
        "terminal's buffer",
    ):
        assert first[kind] > 0, kind
    _memory(seeded.hidden.file)
    assert seeded.redaction.counts == first


def test_the_structures_stay(seeded: Seeded) -> None:
    hidden = Dump(seeded.hidden)
    assert hidden.tasks["pid"].tolist() == seeded.dump.tasks["pid"].tolist()
    assert hidden.tasks["comm"].tolist() == seeded.dump.tasks["comm"].tolist()
    assert hidden.info["nodename"].endswith(".org")
    assert len(hidden.info["nodename"]) == len(seeded.dump.info["nodename"])
    problems = [problem for problem in hidden.problems if problem not in seeded.dump.problems]
    assert problems == []


def test_users_pages_are_left_out_not_zero(seeded: Seeded) -> None:
    pfn = np.array([_pfns(seeded.dump, "shmem")[0]], dtype="u8")
    below = seeded.dump.kernel.file.find(pfn)
    assert below[0] >= 0
    assert seeded.hidden.file.find(pfn)[0] == -1
    out = np.ones((1, PAGE), dtype=np.uint8)
    assert seeded.hidden.file.read_into(below, out)[0] == 1
    assert not out.any()


@pytest.mark.parametrize("seed", [3 + 6 * SEED])
def test_damage_costs_no_more_than_itself(opened: Any, seed: int) -> None:
    """Words of a dump's slabs are overwritten: it is redacted as far as that goes, and says what it could not find."""
    below = opened("debian-6.1")
    random, overlay = np.random.default_rng(seed), Overlay(below)
    pages = below.pages
    slabs = pages.loc[pages["kind"] == "slab", "pfn"].to_numpy()
    for pfn, word, value in zip(
        random.choice(slabs, 3000).tolist(),
        random.integers(0, 512, 3000).tolist(),
        random.integers(0, 1 << 63, 3000).tolist(),
        strict=True,
    ):
        overlay.word(pfn * PAGE + 8 * word, value, physical=True)
    dump = overlay.dump()
    file, redaction = redacted(dump.kernel, dump.kernel.file, "strict")
    _memory(file)
    assert redaction.counts["freed slab object"] > 0
    assert redaction.counts["state of an FPU"] > 0
    assert any(problem.startswith("redaction: ") for problem in file.problems)
