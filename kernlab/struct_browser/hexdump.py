"""A place in memory in, its bytes as a hexadecimal dump out, each byte with the member that it belongs to."""

from __future__ import annotations

from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import ArrayType, StructType
from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.struct_browser.page_reader import PageReader
from kernlab.struct_browser.rows import Location

#: Bytes of a line and of a page.
WIDTH, PAGE = 16, 1024
_END = 1 << 64
_MOST_SPANS = 1000


def dumped(kernel: Kernel, place: Location, offset: int = 0) -> dict[str, Any]:
    """One page of bytes from `offset` of a place on (which may be negative: what lies before it), as JSON.

    Lines begin at multiples of 16; bytes that cannot be read are "" and `problems` say why; `spans` are the members
    that the page shows, from and to in bytes from the first line.
    """
    start = (place.address + offset) // WIDTH * WIDTH % _END
    count = min(PAGE, _END - start)
    reader = PageReader(kernel)
    reader.want([(start, count)])
    lines: list[dict[str, Any]] = []
    problems: list[str] = []
    for at in range(start, start + count, WIDTH):
        try:
            raw = reader.read(at, WIDTH)
        except KernlabError as error:
            raw = b""
            # One sentence a page of memory, not one a line.
            if not lines or lines[-1]["hex"] or at % kernel.page_size == 0:
                problems.append(str(error))
        lines.append({"address": f"{at:#018x}", "hex": raw.hex(" "), "text": _text(raw)})
    return {
        "title": f"{place.type.c_name} at {place.address:#018x}",
        "from": start - place.address,
        "size": PAGE,
        "lines": lines,
        "problems": [show_controls(problem) for problem in problems],
        "spans": _spans(place, start, count),
    }


def _text(raw: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in raw)


def _spans(place: Location, start: int, count: int) -> list[list[Any]]:
    """[from, to, name] of the members in a window, each byte once: of a union's members the first."""
    kind, base = place.kind, place.address - start
    found: list[list[Any]] = []
    if isinstance(kind, StructType):
        end = 0
        for name in sorted(kind.member_names(), key=lambda name: kind.member(name).offset):
            member = kind.member(name)
            size = (
                max(member.type.size, 1)
                if not member.bit_size
                else (member.bit_offset % 8 + member.bit_size + 7) // 8
            )
            if member.offset < end:
                continue
            end = member.offset + size
            found.append([base + member.offset, base + end, name])
    elif isinstance(kind, ArrayType) and kind.element.size:
        size = kind.element.size
        first = max(-base // size, 0)
        last = min(kind.count or 0, (count - base) // size + 1)
        found = [[base + i * size, base + (i + 1) * size, f"[{i}]"] for i in range(first, last)]
    else:
        found = [[base, base + kind.size, place.name]]
    shown = [[max(a, 0), min(b, count), show_controls(name)] for a, b, name in found if b > 0 and a < count]
    return shown[:_MOST_SPANS]
