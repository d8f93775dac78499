"""The first bytes of a file in, what it is out, where that is not what a relay channel's client wrote."""

from __future__ import annotations

import re

from kernlab.errors import KernlabError

#: Bytes of a file that are looked at.
LOOKED_AT = 1 << 14

_DUMP = "a kernel dump: kernlab.open(FILE) opens it, and .relay and .ftrace of that read its traces"
_CTF = "a trace in CTF (LTTng, barectf): babeltrace2 or Trace Compass read its folder"
_PERFETTO = "a Perfetto trace: ui.perfetto.dev or trace_processor read it"

#: How other files begin, what they are, and what reads them.
_KNOWN = [
    (
        b"\x17\x08\x44tracing",
        "a trace.dat of trace-cmd: trace-cmd report FILE prints it, KernelShark shows it",
    ),
    (b"PERFILE2", "a perf.data: perf script -i FILE prints it"),
    (b"2ELIFREP", "a perf.data of the other byte order: perf script -i FILE prints it"),
    (b"KDUMP   ", _DUMP),
    (b"makedumpfile\0", _DUMP),
    (b"\x7fELF", _DUMP),
    # CTF's magic numbers of a stream and of packed metadata, in either byte order, and of plain metadata.
    ((0xC1FC1FC1).to_bytes(4, "little"), _CTF),
    ((0xC1FC1FC1).to_bytes(4, "big"), _CTF),
    ((0x75D11D57).to_bytes(4, "little"), _CTF),
    ((0x75D11D57).to_bytes(4, "big"), _CTF),
    (b"/* CTF ", _CTF),
    ((0xA1B2C3D4).to_bytes(4, "little"), "packets that tcpdump wrote: Wireshark reads them"),
    ((0x0A0D0D0A).to_bytes(4, "big"), "packets in pcapng: Wireshark reads them"),
    (b"PAR1", "a parquet file: pandas.read_parquet(FILE) reads it"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PK\x03\x04", "a zip archive: unpack it first, with unzip FILE"),
]

_FTRACE = (
    "the text of ftrace (tracefs' trace, or trace-cmd report), which kernlab does not read: ui.perfetto.dev shows it; "
    "of a dump, dump.ftrace has the same events as tables"
)
_BLKPARSE = "the text that blkparse printed: open the files that it read (FILE.blktrace.0 …)"

#: Lines that are looked at: what tools print before the first event is not more.
_LINES = 8

#: A line of tracefs' trace: who-PID, perhaps its group, [CPU], perhaps latency marks, seconds.
_FTRACE_LINE = re.compile(rb"^ *\S.{0,30}-\d+ +(\( *[-\d]+\) +)?\[\d{3,4}\] +(\S{3,9} +)?\d+\.\d{6,9}: ")
_FTRACE_HEADER = re.compile(rb"^(# tracer: |version = \d+\ncpus=\d+\n|cpus=\d+\n)")
_BLKPARSE_LINE = re.compile(rb"^ *\d+,\d+ +\d+ +\d+ +\d+\.\d{9} +\d+ +[A-Zm]{1,2} +[A-Z]+ ")
_JSON_TRACE = re.compile(rb'^\s*(\{.*"traceEvents"\s*:|\[\s*\{.*"ph"\s*:)', re.DOTALL)


def refuse(name: str, start: bytes, packed: str = "") -> None:
    """Raise KernlabError, which says what to use, where a file that begins so is known to be something else.

    packed: what the file `name` is compressed with, of which `start` is unpacked.
    """
    what = _what(start)
    if what:
        inside = f", unpacked from {packed}," if packed else ""
        plain = name.rsplit(".", 1)[0] if packed else name
        raise KernlabError(f"{name}{inside} is not a relay file but {what.replace('FILE', plain)}")


def _what(start: bytes) -> str:
    for magic, what in _KNOWN:
        if start.startswith(magic):
            return what
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it first, with tar -xf FILE"
    lines = start.split(b"\n", _LINES)[:_LINES]
    if _FTRACE_HEADER.match(start) or any(map(_FTRACE_LINE.match, lines)):
        return _FTRACE
    if any(map(_BLKPARSE_LINE.match, lines)):
        return _BLKPARSE
    if _JSON_TRACE.match(start):
        return "a trace in JSON (Chrome, Perfetto): ui.perfetto.dev or trace_processor read it"
    return _PERFETTO if _is_perfetto(start) else ""


def _is_perfetto(start: bytes) -> bool:
    """Is this a message of packets (field 1), each of which is a message of fields (protos/perfetto/trace)?"""
    at = packets = 0
    while at < len(start) and packets < 8:
        if start[at] != 0x0A:
            return False
        size, body = _varint(start, at + 1)
        if size <= 0 or body < 0:
            return False
        end = min(body + size, len(start))
        if not _are_fields(start[body:end], whole=end == body + size):
            return False
        packets += 1
        at = body + size
    return packets > 0 and (packets > 1 or at >= len(start) > 8)


def _are_fields(data: bytes, *, whole: bool) -> bool:
    """Is this a protobuf message, or the beginning of one, with a time or a sequence as each packet of Perfetto has?"""
    at, numbers = 0, set()
    while at < len(data):
        tag, after = _varint(data, at)
        kind, number = tag & 7, tag >> 3
        # No packet has a field beyond these.
        if after < 0 or not 0 < number < 2048 or kind not in (0, 1, 2, 5):
            return not whole and after < 0
        numbers.add(number)
        if kind == 0:
            _, at = _varint(data, after)
            if at < 0:
                return not whole
        elif kind == 2:
            size, at = _varint(data, after)
            if at < 0:
                return not whole
            at += size
        else:
            at = after + (8 if kind == 1 else 4)
    # TracePacket: timestamp 8, trusted_uid 3, trusted_packet_sequence_id 10, clock_snapshot 6, trace_config 33 …
    return (at == len(data) or not whole) and bool(numbers & {3, 6, 8, 10, 33, 36, 41, 42, 79})


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends), where it ends being -1 where it does not."""
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
    return value, -1
