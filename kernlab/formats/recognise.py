"""A path in, the reader for what lies there out: by content, never by name; what is not read is refused by its name.

A format is one module with a FORMAT (base.Format), and one line of MODULES.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats.base import DumpFile, Format
from kernlab.formats.regular_file import open_regular
from kernlab.formats.source import SIGNATURE, Source, kind_of, open_source
from kernlab.util.text import nearest

#: Every format there is, in the order in which they are asked; no two recognise one file.
MODULES = (
    "kernlab.formats.kdump.file",
    "kernlab.formats.elf",
    "kernlab.formats.lime",
    "kernlab.formats.avml",
    "kernlab.formats.vmware",
    "kernlab.formats.qemu_saved",
    "kernlab.formats.raw",
)

_ONLY = "kernlab reads FORMATS only"
_UNPACK = "which kernlab does not unpack; do so first:"
_LKCD = f"an LKCD dump, which kernlab does not read; {_ONLY}"
_S390 = f"an s390 dump (zipl, vmdump), which kernlab does not read; {_ONLY}, all of x86_64 machines"
_XEN = f"a Xen dump (xl dump-core), which kernlab does not read; {_ONLY}"
_NAME = "not a dump; name the dump file itself"

#: The first bytes of files that are not dumps kernlab reads, what they are, and what to do about it.
_KNOWN = [
    (b"DISKDUMP", f"a diskdump of Linux 2.4 to 2.6, which kernlab does not read; {_ONLY}"),
    # lkcd's dump.h: DUMP_MAGIC_NUMBER, and …cd for live dumps, in either byte order
    ((0xA8190173618F23ED).to_bytes(8, "little"), _LKCD),
    ((0xA8190173618F23ED).to_bytes(8, "big"), _LKCD),
    ((0xA8190173618F23CD).to_bytes(8, "little"), _LKCD),
    ((0xA8190173618F23CD).to_bytes(8, "big"), _LKCD),
    # zdump's df_s390.h: DF_S390_MAGIC, DF_S390_MAGIC_EXT
    ((0xA8190173618F23FD).to_bytes(8, "big"), _S390),
    ((0xA8190173618F23FE).to_bytes(8, "big"), _S390),
    # Xen's xenctrl.h: XC_CORE_MAGIC, XC_CORE_MAGIC_HVM
    ((0xF00FEBED).to_bytes(4, "little"), _XEN),
    ((0xF00FEBEE).to_bytes(4, "little"), _XEN),
    # trace-cmd.dat(5)
    (b"\x17\x08\x44tracing", "a trace of trace-cmd, not a dump: kernlab.ftrace.open('FILE') reads it"),
    (
        b"sadump\0\0",
        "a Fujitsu sadump, which kernlab does not read; turn it into a kdump: makedumpfile -c -d 31",
    ),
    # dissect.hypervisor's c_hyperv.py: SIGNATURE_STORAGE_HEADER
    (
        (0x01282014).to_bytes(4, "little"),
        "a saved Hyper-V machine (vmrs), which kernlab does not read; capture the guest with its own kdump",
    ),
    (b"PAGEDU", "a crash dump of Windows, which kernlab does not read; open it with WinDbg"),
    (b"\x04\x22\x4d\x18", f"a file compressed with lz4, {_UNPACK} lz4 -d FILE"),
    (b"\x89LZO\0", f"a file compressed with lzop, {_UNPACK} lzop -d FILE"),
    (b"PK\x03\x04", f"a zip archive, {_UNPACK} unzip FILE"),
    (b"\xff\xd8\xff", f"a JPEG picture, {_NAME}"),
    (b"\x89PNG", f"a PNG picture, {_NAME}"),
    (b"%PDF", f"a PDF document, {_NAME}"),
]

_LONGEST_SHOWN = 16
#: Of a file's beginning, in bytes: tar has its mark at 257, a dump on a raw disk its header at 4,096.
_LOOKED_AT = 4096 + 64
#: makedumpfile splits as many ways as it is given names; this many files one process may have open everywhere.
_MOST_PIECES = 256


@functools.cache
def formats() -> dict[str, Format]:
    """Every format by its name, in the order in which they are asked."""
    entries: list[Format] = [importlib.import_module(module).FORMAT for module in MODULES]
    return {entry.name: entry for entry in entries}


def open_dump_file(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,  # noqa: A002
    zero_excluded: bool = False,
) -> DumpFile:
    """Open a dump by what its file holds, or by its files if it was split (in any order).

    `format` names its format ("kdump", "elf", "lime", "avml", "vmware", "qemu-saved", "raw"), for a file that is not
    recognised. `zero_excluded` concerns formats that leave out memory: what the file has no bytes for is read as zeros.
    Raises DumpFileError (an OSError, too) where there is no file to read, DumpFormatError for what is not a dump that
    kernlab reads, and for a name of a format that is none.
    """
    if format is not None and format not in formats():
        raise DumpFormatError(
            f"there is no format {format!r}; the formats are {', '.join(formats())}{nearest(str(format), formats())}"
        )
    paths = _paths(path)
    with ExitStack() as opened:
        files = [opened.enter_context(_open_one(each, format, zero_excluded)) for each in paths]
        whole = files[0]
        if len(files) > 1 or getattr(whole, "piece", None) is not None:
            from kernlab.formats.split import SplitDump

            whole = SplitDump(files)
        opened.pop_all()
    return whole


def _open_one(path: Path, name: str | None, zero_excluded: bool) -> DumpFile:
    source = _source(path, name)
    try:
        entry = detect(path, source.read(0, _LOOKED_AT), source.size, name=name)
        return entry.open(source, zero_excluded)
    except BaseException:
        source.close()
        raise


def _source(path: Path, name: str | None = None) -> Source:
    """The dump's bytes, out of what may lie around them: a compressed file, a flattened one."""
    descriptor, size, start = open_regular(path, _LOOKED_AT)
    kind = kind_of(start)
    if kind is None:
        source = open_source(path, descriptor, size)
    else:
        from kernlab.formats.packed_file import unpacked

        source = unpacked(path, descriptor, kind, lambda start: _refuse_packed(path, kind, start, name))
    if not source.read(0, len(SIGNATURE)).startswith(SIGNATURE):
        return source
    try:
        from kernlab.formats.flattened import FlattenedFile

        return FlattenedFile(source)
    except BaseException:
        source.close()
        raise


def _refuse_packed(path: Path, kind: str, start: bytes, name: str | None) -> None:
    """Raise DumpFormatError for what is not a dump, before gigabytes of it are unpacked."""
    if not start.startswith(SIGNATURE):
        detect(path, start, None, packed=kind, name=name)


def detect(
    path: Path, start: bytes, size: int | None, *, packed: str | None = None, name: str | None = None
) -> Format:
    """The format of a file by its first bytes, or the one that is called `name` if they tell of no other.

    Raises DumpFormatError, which says what the file is instead.
    """
    entry = next((entry for entry in formats().values() if entry.recognises(start)), None)
    where = str(path) if packed is None else f"{path}, unpacked from {packed},"
    if name is None:
        if entry is None:
            raise DumpFormatError(f"{where} {_refusal(path, start, size)}")
        return entry
    if entry is not None and entry.name != name:
        raise DumpFormatError(
            f"{where} is one of the {entry.title}, not of the {formats()[name].title}: leave out format={name!r}"
        )
    return formats()[name]


def _paths(path: object) -> list[Path]:
    if isinstance(path, list | tuple):
        if not path:
            raise DumpFileError(errno.EINVAL, "no file was named")
        if len(path) > _MOST_PIECES:
            raise DumpFileError(errno.EINVAL, f"{len(path):,} files were named; no dump has that many pieces")
        return [_paths(piece)[0] for piece in path]
    try:
        return [Path(os.fsdecode(path))]  # type: ignore[arg-type]
    except TypeError as error:
        raise DumpFileError(
            errno.EINVAL, f"a dump is named by its path, not by a {type(path).__name__}"
        ) from error


def _readable() -> str:
    """The formats by what such files are called."""
    *most, last = (entry.title for entry in formats().values())
    return f"{', '.join(most)} and {last}"


def _refusal(path: Path, start: bytes, size: int | None) -> str:
    """What a file that begins so "is …", for its name to stand before; `size` in bytes, None where not known."""
    for magic, what in _KNOWN:
        if start.startswith(magic):
            return f"is {what.replace('FORMATS', _readable()).replace('FILE', str(path))}"
    packed = kind_of(start)
    if packed is not None:
        return f"is a file compressed with {packed} inside another, which kernlab does not unpack twice"
    if start[257:262] == b"ustar":
        return f"is a tar archive, {_UNPACK} tar -xf {path}"
    if start[4096:4104] == b"KDUMP   ":
        return "holds a kdump header at byte 4,096 instead of 0: its first block is extra; cut it off"
    if path.suffix == ".vmem":
        beside = [path.with_suffix(end) for end in (".vmss", ".vmsn")]
        state = next(
            (str(each) for each in beside if each.exists()), "the .vmss or .vmsn that lies beside it"
        )
        return (
            f"is the memory of a VMware machine (by its name), which does not say where it lies: open {state}"
        )
    long = "" if size is None else f" ({size:,} bytes in all)"
    start = start[:64]
    raw = "A raw image of physical memory, which begins with anything, is opened with format='raw'"
    if not any(start):
        return (
            f"begins with zeros{long}: the header of the dump is lost, as when the machine was reset while it "
            f"was written. Without the header its pages cannot be told apart. {raw}"
        )
    shown = start[:_LONGEST_SHOWN]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return f"is text ({shown.decode('ascii')!r} …), not a dump; kernlab reads {_readable()}"
    return f"is not a dump that kernlab knows: it begins with {shown.hex(' ')}{long}; it reads {_readable()}. {raw}"
