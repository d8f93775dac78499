"""A real dump whose names are hostile: markup, formulas, terminal escapes, marks of direction, bytes that are no text.

    dump = hostile(opened("debian-6.1"))

Every name that would become an element if it were taken for markup has the id `harm` or sets `window.harm`. What a view
must not hold any more, whatever it is, is `ACTING`; `FORMULA` is what a spreadsheet would compute.
"""

from __future__ import annotations

import re
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
#: The same for the tasks before those: spreadsheets, templates, paths, labels of legends, letters from right to left,
#: a flood of marks, letters that nobody sees.
MORE_COMMS = (
    b"=1+cmd|'/C'!A0",
    b"+1;=1+1",
    b"@SUM(1)",
    b"-1+2",
    b"{{7*7}}{%raw%}",
    b"%s{0.__class__}",
    b"../../etc/x",
    b"_private",
    "\u05e9\u05dc\u05d5\u05dd 12".encode(),
    b"e" + "\u0301".encode() * 7,
    "a\u3164\u200b\u2800b".encode(),
    b"</script>",
    b"$}{\\frac$",
    b"![x](//a.b)",
)
#: What names point to: file names, slab caches, the command line.
POINTED = (
    LONG,
    IMG,
    b"$$\\frac{x}{y}$$",
    b"\x1b]0;owned\x07\x1b[31m",
    "\u202e\u2066txt.exe".encode(),
    b"\xc3\x28\xff",
    b'=HYPERLINK("http://a.invalid/","click")',
    b"$\\href{javascript:window.harm=1}{x}$ </style><script>window.harm=1</script>",
    b"\x1b]52;c;b3duZWQ=\x07\x1b]8;;http://a.invalid/\x1b\\link\x9b2J",
    "\u05d0\u05d1\u05d2 12 \u0627\u0644\u0639".encode(),
    b"Z" + "\u0335\u0301".encode() * 300,
    b"../../../etc/passwd\n[x](javascript:window.harm=1) `|` {{7*7}}",
)
#: module.name has 56 bytes.
MODULES = (IMG, "\u202e$z$\x1b[1m".encode(), b"\xff\xfe<u id=harm>")
PANIC = b"<u id=harm>x</u> $x$\x1b"
#: What a module calls a function of its own (16 bytes), and what programs write into the trace.
SYMBOL = b"<u id=harm>$x$\x1b["
MARKER = b"</script><img id=harm src=x onerror=window.harm=1> $x$ \x1b[31m\xe2\x80\xae"

#: Characters that act instead of showing; line feeds and tabs are a view's own.
ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\u3164]|[\u0300-\u036f]{5}"
)
FORMULA = re.compile(r"\s*[=+\-@]|\r")


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

    comms = (*MORE_COMMS, *COMMS)
    for address, name in zip(below.tasks["address"].iloc[-len(comms) :], comms, strict=True):
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
    for address, place in zip(below.iomem["address"].dropna(), places, strict=False):
        overlay.set("struct resource", int(address), "name", start + place)
    said = below.info["panic_message"].rpartition("syncing: ")[2].encode()
    _replace(overlay, said, PANIC)
    _replace(overlay, b"inventory_thread\0", SYMBOL + b"\0")
    _traced(overlay, comms)
    return overlay.dump()


def _replace(overlay: Overlay, said: bytes, name: bytes) -> None:
    """Wherever memory has these bytes, the others, filled up with blanks."""
    for place in overlay.below.search(said)["address"].dropna():
        overlay.write(int(place), name.ljust(len(said)))


def _traced(overlay: Overlay, comms: tuple[bytes, ...]) -> None:
    """What ftrace keeps of names, what programs wrote into it, and the names of relay's files."""
    below = overlay.below
    if not len(below.ftrace.counts):
        return
    saved = int.from_bytes(below.read(below.symbol("savedcmd"), 8), "little")
    names, _ = overlay.where("struct saved_cmdlines_buffer", saved, "saved_cmdlines")
    count = int(below.struct("saved_cmdlines_buffer", saved)["cmdline_num"])
    # The recorder is found by its name.
    kept = [below.read(names + 16 * slot, 16) for slot in range(count)]
    for slot in range(0, count, 2):
        if not kept[slot].startswith(b"kernlab"):
            overlay.write(names + 16 * slot, comms[slot // 2 % len(comms)].ljust(16, b"\0"))
    every = below.ftrace.all
    written = [text for text in every["text"][every["event"] == "print"] if len(text) > len(MARKER)]
    for text in written[1:3]:
        _replace(overlay, text.rpartition(": ")[2].rstrip().encode(), MARKER)


def _dentries(dump: Any) -> list[int]:
    """The dentries of the files that processes have mapped, each once."""
    files = dump.maps.loc[dump.maps["path"].str.startswith("/", na=False), "address"]
    found = dump.structs("vm_area_struct", files)["vm_file->f_path.dentry"]
    return list(dict.fromkeys(int(value) for value in found.values))
