"""A decoded trace in, a trace.dat (version 6) out: the file of trace-cmd, KernelShark and LISA.

Layout as trace-cmd.dat(5) describes it: header, formats of the buffer and of all events, symbols, formats of
trace_printk, names of tasks, options, and each CPU's sub-buffers as they lay in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.traces.ftrace.comms import IDLE, Comms
from kernlab.traces.ftrace.formats import Formats
from kernlab.traces.ftrace.load import Trace
from kernlab.traces.ftrace.pages import HEADER, commits, decode
from kernlab.traces.ftrace.rings import Instance, Ring
from kernlab.util.files import whole_file
from kernlab.util.text import few
from kernlab.walk.lists import list_entries
from kernlab.walk.strings import c_strings

_MAGIC = b"\x17\x08\x44tracing"
_VERSION = b"6\0"
_LITTLE_ENDIAN, _LONG = 0, 8

#: Options (trace-cmd's enum): the end, a further instance's buffers, the clock, the machine.
_DONE, _BUFFER, _TRACECLOCK, _UNAME = 0, 3, 4, 5

_HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)

_MOST_PRINTK = 1 << 20


def write(
    path: Path,
    kernel: Kernel,
    trace: Trace,
    rings: Sequence[Ring],
    formats: Formats,
    comms: Comms,
    clocks: str,
) -> Path:
    """Write these rings of a trace. Raises KernlabError where no trace.dat can hold them, OSError."""
    if not rings:
        raise KernlabError("this dump has no ftrace buffers, so there is nothing to save")
    sizes = {ring.subbuf_size for ring in rings}
    if len(sizes) != 1:
        raise KernlabError(
            "the trace instances have sub-buffers of different sizes "
            f"({few([f'{size:,}' for size in sorted(sizes)])} bytes), which one trace.dat cannot hold: "
            "name one of them, instance=…"
        )
    (size,) = sizes
    parts = [
        _MAGIC + _VERSION + bytes([_LITTLE_ENDIAN, _LONG]) + struct.pack("<I", size),
        b"header_page\0" + _sized(_header_page(size), "<Q"),
        b"header_event\0" + _sized(_HEADER_EVENT, "<Q"),
        _event_formats(trace, formats),
        _sized(_symbols(kernel), "<I"),
        _sized(_printk(kernel), "<I"),
        _sized(_names(comms), "<Q"),
    ]
    instances = list({id(ring.instance): ring.instance for ring in rings}.values())
    instances.sort(key=lambda instance: instance.name != "")
    cpus = max(ring.cpu for ring in rings) + 1
    parts.append(struct.pack("<I", cpus))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(b"".join(parts))
        _write_buffers(file, kernel, rings, instances, cpus, size, clocks)
    return path


def _sized(data: str | bytes, kind: str) -> bytes:
    raw = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    return struct.pack(kind, len(raw)) + raw


def _header_page(size: int) -> str:
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{HEADER};\tsize:{size - HEADER};\tsigned:1;\n"
    )


def _event_formats(trace: Trace, formats: Formats) -> bytes:
    """ftrace's own events, then those of the other systems that the trace holds."""
    common = formats.common
    own = [number for number, (_, system) in formats.names.items() if system == "ftrace"]
    held = formats.get([*own, *np.unique(trace.type).tolist()])
    systems: dict[str, list[bytes]] = {"ftrace": []}
    for form in held.values():
        systems.setdefault(form.system, []).append(_sized(form.text(common), "<Q"))
    ftrace = systems.pop("ftrace")
    out = [struct.pack("<I", len(ftrace)), *ftrace, struct.pack("<I", len(systems))]
    for system, events in systems.items():
        out += [_name(system), struct.pack("<I", len(events)), *events]
    return b"".join(out)


def _name(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace").replace(b"\0", b"") + b"\0"


def _symbols(kernel: Kernel) -> str:
    kernel.with_modules()
    known = kernel.symbols
    letters = known.types.astype(np.uint8).tobytes().decode("latin-1")
    return "".join(
        f"{address:016x} {letter} {name}{f'	[{module}]' if module else ''}\n"
        for address, letter, name, module in zip(
            known.addresses.tolist(), letters, known.names(), known.modules(), strict=True
        )
    )


def _printk(kernel: Kernel) -> str:
    """Formats that bprint records point to: the kernel's own (a section of its image), and those of modules."""
    pointers = np.zeros(0, dtype=np.uint64)
    start = kernel.symbols.get("__start___trace_bprintk_fmt")
    stop = kernel.symbols.get("__stop___trace_bprintk_fmt")
    if start is not None and stop is not None and start < stop <= start + 8 * _MOST_PRINTK:
        found, read = kernel.words(
            np.arange(start, stop, 8, dtype=np.uint64), what="pointers to formats of trace_printk"
        )
        pointers = found[read]
    head = kernel.symbols.get("trace_bprintk_fmt_list")
    if head is not None and kernel.types.get("struct trace_bprintk_fmt") is not None:
        _, held = list_entries(
            kernel,
            [head],
            "struct trace_bprintk_fmt",
            "list",
            what="trace_printk formats of modules",
        )
        pointers = np.concatenate([pointers, held["fmt"].values])
    strings = c_strings(kernel, pointers)
    return "".join(
        f'0x{pointer:x} : "{_escaped(value)}"\n'
        for pointer, value in zip(pointers.tolist(), strings, strict=True)
        if value is not None
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace('"', '\\"')


def _names(comms: Comms) -> str:
    # One line a task: what would break it is left out.
    return "".join(
        f"{pid} {''.join(c for c in name if c.isprintable())}\n"
        for pid, name in comms.saved().items()
        if name != IDLE
    )


def _write_buffers(
    file: BinaryIO,
    kernel: Kernel,
    rings: Sequence[Ring],
    instances: list[Instance],
    cpus: int,
    size: int,
    clocks: str,
) -> None:
    """Options and sub-buffers. Where each CPU's lie is written once all sizes are known."""
    data = {ring.address: _subbufs(kernel, ring) for ring in rings}
    options = []
    release = kernel.vmcoreinfo.release or ""
    if clocks:
        options.append((_TRACECLOCK, _name(clocks)))
    options.append((_UNAME, _name(f"Linux {release}")))
    start = file.tell()
    top, others = instances[0], instances[1:]
    section = 10 + 16 * cpus
    length = sum(6 + len(body) for _, body in options) + sum(14 + len(_name(i.name)) for i in others)
    # "options", the options, their end; "flyrecord" and the table of CPUs of each instance.
    sections = start + 10 + length + 2
    for number, instance in enumerate(others, 1):
        options.append((_BUFFER, struct.pack("<Q", sections + number * section) + _name(instance.name)))
    out = [b"options  \0"]
    out += [struct.pack("<HI", kind, len(body)) + body for kind, body in options]
    out.append(struct.pack("<H", _DONE))
    place = -(-(sections + section * len(instances)) // size) * size
    pieces: list[npt.NDArray[np.uint8]] = []
    for instance in (top, *others):
        out.append(b"flyrecord\0")
        held = {ring.cpu: ring for ring in instance.rings if ring.address in data}
        for cpu in range(cpus):
            pages = data[held[cpu].address] if cpu in held else np.zeros((0, size), dtype=np.uint8)
            out.append(struct.pack("<QQ", place, pages.size))
            pieces.append(pages.reshape(-1))
            place += pages.size
    file.write(b"".join(out))
    file.write(b"\0" * (-file.tell() % size))
    for piece in pieces:
        file.write(piece.data)


def _subbufs(kernel: Kernel, ring: Ring) -> npt.NDArray[np.uint8]:
    """A ring's sub-buffers as uint8[n, size]: empty ones left out, of the first what was read already."""
    pages, status = kernel.gather(ring.pages, ring.subbuf_size, "sub-buffers")
    skip = np.zeros(len(pages), dtype=np.int64)
    if len(skip):
        skip[0] = ring.consumed
    length = commits(pages).clip(max=ring.subbuf_size - HEADER)
    used = (status == 0) & (length > skip)
    kept: npt.NDArray[np.uint8] = pages[used]
    skip, length = skip[used], length[used]
    for row in np.flatnonzero(skip).tolist():
        events = decode(kept[row : row + 1], skip[row : row + 1])
        rest = kept[row, HEADER + skip[row] : HEADER + length[row]].copy()
        kept[row] = 0
        kept[row, :8] = np.frombuffer(struct.pack("<Q", int(events.resume[0])), dtype=np.uint8)
        kept[row, 8:16] = np.frombuffer(struct.pack("<Q", len(rest)), dtype=np.uint8)
        kept[row, HEADER : HEADER + len(rest)] = rest
    return kept
