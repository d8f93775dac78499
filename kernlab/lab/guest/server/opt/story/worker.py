"""Memory, threads and sockets of the kinds that a server holds: worker.py KIND [NUMBER] [PATH], then it sleeps."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

MIB = 1 << 20
MADV_MERGEABLE, MADV_HUGEPAGE, MAP_HUGETLB = 12, 14, 0x40000


def touched(memory: mmap.mmap, size: int, same: bool = False) -> mmap.mmap:
    """Write to each page: its number, or the same in all."""
    for at in range(0, size, 4096):
        memory[at : at + 8] = b"the same" if same else at.to_bytes(8, "little")
    return memory


def anonymous(size: int, advice: int = 0, flags: int = 0) -> mmap.mmap:
    """Private memory of its own."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags)
    if advice:
        memory.madvise(advice)
    return touched(memory, size, same=advice == MADV_MERGEABLE)


def of_file(path: str, size: int, unlink: bool = False) -> mmap.mmap:
    """A file that is mapped shared; gone from its folder where `unlink`."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(file, size)
    if unlink:
        os.unlink(path)
    return touched(mmap.mmap(file, size), size)


def memfd(size: int) -> mmap.mmap:
    """A memfd without seals."""
    file = os.memfd_create("shop-buffer")
    os.ftruncate(file, size)
    return touched(mmap.mmap(file, size), size)


def connections(count: int) -> list[Any]:
    """Pairs of TCP sockets with bytes that nobody read, a UDP and a unix socket."""
    listener = socket.create_server(("127.0.0.1", 7000), backlog=count)
    pairs = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", 7000))
        other, _ = listener.accept()
        one.sendall(b"an order that nobody read" * 40)
        pairs += [one, other]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 7001))
    named = socket.socket(socket.AF_UNIX)
    named.bind("/run/story/shop.sock")
    named.listen()
    return [listener, *pairs, udp, named]


def threads(count: int) -> list[threading.Thread]:
    """Threads that wait."""
    threading.stack_size(256 << 10)
    made = [threading.Thread(target=threading.Event().wait, name=f"clerk-{i}") for i in range(count)]
    for each in made:
        each.start()
    return made


def main() -> None:
    """Do what the first word says, be called so, and sleep."""
    kind = sys.argv[1]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    path = sys.argv[3] if len(sys.argv) > 3 else ""
    ctypes.CDLL(None).prctl(15, kind.encode())
    known: dict[str, Callable[[], Any]] = {
        "anon": lambda: anonymous(number * MIB),
        "thp": lambda: anonymous(number * MIB, MADV_HUGEPAGE),
        "ksm": lambda: anonymous(number * MIB, MADV_MERGEABLE),
        "hugetlb": lambda: anonymous(number * MIB, flags=MAP_HUGETLB),
        "shared": lambda: touched(mmap.mmap(-1, number * MIB), number * MIB),
        "memfd": lambda: memfd(number * MIB),
        "mapfile": lambda: of_file(path, number * MIB),
        "deleted": lambda: of_file(path, number * MIB, unlink=True),
        "tcp": lambda: connections(number),
        "threads": lambda: threads(number),
    }
    kept = known[kind]()
    with open(f"/run/story/{kind}.ready", "w"):  # the story waits for it
        pass
    while kept is not None:
        signal.pause()


main()
