"""A real dump whose names are hostile: markup, formulas, terminal escapes, marks of direction, bytes that are no text.

    dump = hostile(opened("debian-6.1"))

Every name that would become an element if it were taken for markup has the id `harm` or sets `window.harm`.
"""

from __future__ import annotations

from typing import Any

from support.overlay import PAGE, Overlay

IMG = b'<img id=harm src=x onerror="window.harm=1">'
LONG = IMG + b"A" * 10_000

#: A task_struct has room for 15 bytes.
COMMS = (
    b"<u id=harm>hi",
    b"</td><script>",
    b"$x^2$ \\(y\\)",
    b"\x1b[31mred\x1b[0m",
    "\u202egnp.exe".encode(),
    b"\xff\xfe\x80bad",
    b"a\r\n\tb\x07\x7f",
    b"&lt;b&gt; \"'`",
)
#: What names point to: file names, slab caches, the command line.
POINTED = (
    LONG,
    IMG,
    b"$$\\frac{x}{y}$$",
    b"\x1b]0;owned\x07\x1b[31m",
    "\u202e\u2066txt.exe".encode(),
    b"\xc3\x28\xff",
)
#: module.name has 56 bytes.
MODULES = (IMG, "\u202e$z$\x1b[1m".encode(), b"\xff\xfe<u id=harm>")
PANIC = b"<u id=harm>x</u> $x$\x1b"


def hostile(below: Any) -> Any:
    """A Dump like `below`, with names of the last tasks, of files, modules and slab caches, of the machine, and the
    cause of its death overwritten."""
    overlay = Overlay(below)
    pages, places = b"", []
    for name in POINTED:
        places.append(len(pages))
        pages += name + b"\0" * (-len(name) % PAGE or PAGE)
    start = overlay.make(len(pages) // PAGE, lambda number: pages[number * PAGE : (number + 1) * PAGE])

    def text(member: tuple[int, int], name: bytes) -> None:
        address, size = member
        assert len(name) < size, name
        overlay.write(address, name.ljust(size, b"\0"))

    for address, name in zip(below.tasks["address"].iloc[-len(COMMS) :], COMMS, strict=True):
        text(overlay.where("task_struct", int(address), "comm"), name)
    for address, name in zip(below.modules["address"], MODULES, strict=False):
        text(overlay.where("module", int(address), "name"), name)
    for address, place in zip(below.slabs["address"], places, strict=False):
        overlay.set("kmem_cache", int(address), "name", start + place)
    for dentry, place, name in zip(_dentries(below), places, POINTED, strict=False):
        overlay.set("struct dentry", dentry, "d_name.name", start + place)
        overlay.set("struct dentry", dentry, "d_name.len", len(name))
    overlay.word(below.symbol("saved_command_line"), start)
    text(overlay.where("uts_namespace", below.symbol("init_uts_ns"), "name.nodename"), IMG)
    said = b"sysrq triggered crash"
    for place in below.search(said)["address"]:
        overlay.write(int(place), PANIC.ljust(len(said)))
    return overlay.dump()


def _dentries(dump: Any) -> list[int]:
    """The dentries of the files that processes have mapped, each once."""
    files = dump.maps.loc[dump.maps["path"].str.startswith("/", na=False), "address"]
    found = dump.structs("vm_area_struct", files)["vm_file->f_path.dentry"]
    return list(dict.fromkeys(int(value) for value in found.values))
