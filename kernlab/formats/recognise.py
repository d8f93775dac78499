"""A path in, the reader for what lies there out: by content, never by name; what is not read is refused by its name."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats.base import DumpFile

_ONLY = "kernlab reads kdump and ELF dumps only"
_UNPACK = "which kernlab does not read yet; unpack it first:"
_VMWARE = (
    "a VMware state file (vmss, vmsn), which kernlab does not read; turn it into an ELF dump with vmss2core"
)
_LKCD = f"an LKCD dump, which kernlab does not read; {_ONLY}"
_S390 = f"an s390 dump (zipl, vmdump), which kernlab does not read; {_ONLY}, of x86_64 machines"
_XEN = f"a Xen dump (xl dump-core), which kernlab does not read; {_ONLY}"
_LIBVIRT = "a libvirt save file, which kernlab does not read; dump the guest with virsh dump --memory-only"
_NAME = "no dump; name the dump file itself"

#: The first bytes of files that are no dump kernlab reads, what they are, and what to do about it.
_KNOWN = [
    (
        b"makedumpfile\0",
        "a flattened dump (makedumpfile -F, or QEMU's dump-guest-memory -z), which kernlab does not read yet; turn it "
        "into a plain one: makedumpfile -R vmcore < FILE",
    ),
    (b"DISKDUMP", f"a diskdump of Linux 2.4 to 2.6, which kernlab does not read; {_ONLY}"),
    # lkcd's dump.h: DUMP_MAGIC_NUMBER, and …cd for live dumps, in either byte order
    ((0xA8190173618F23ED).to_bytes(8, "little"), _LKCD),
    ((0xA8190173618F23ED).to_bytes(8, "big"), _LKCD),
    ((0xA8190173618F23CD).to_bytes(8, "little"), _LKCD),
    ((0xA8190173618F23CD).to_bytes(8, "big"), _LKCD),
    # zdump's df_s390.h: DF_S390_MAGIC, DF_S390_MAGIC_EXT
    ((0xA8190173618F23FD).to_bytes(8, "big"), _S390),
    ((0xA8190173618F23FE).to_bytes(8, "big"), _S390),
    # crash's vmware_vmss.h: CPTDUMP_*_MAGIC_NUMBER
    ((0xBED0BED0).to_bytes(4, "little"), _VMWARE),
    ((0xBED2BED2).to_bytes(4, "little"), _VMWARE),
    ((0xBED3BED3).to_bytes(4, "little"), _VMWARE),
    ((0xBAD1BAD1).to_bytes(4, "little"), _VMWARE),
    ((0xBAD2BAD2).to_bytes(4, "little"), _VMWARE),
    # Xen's xenctrl.h: XC_CORE_MAGIC, XC_CORE_MAGIC_HVM
    ((0xF00FEBED).to_bytes(4, "little"), _XEN),
    ((0xF00FEBEE).to_bytes(4, "little"), _XEN),
    (b"LibvirtQemud", _LIBVIRT),
    (
        b"QEVM",
        "a QEMU migration or suspend file, which kernlab does not read; dump the guest with dump-guest-memory",
    ),
    (
        b"sadump\0\0",
        "a Fujitsu sadump, which kernlab does not read; turn it into a kdump: makedumpfile -c -d 31",
    ),
    (b"EMiL", f"a LiME memory image, which kernlab does not read; {_ONLY}"),
    (b"AVML", f"an AVML memory image, which kernlab does not read; {_ONLY}"),
    (b"PAGEDU", "a crash dump of Windows, which kernlab does not read; open it with WinDbg"),
    (b"\xfd7zXZ\0", f"a file compressed with xz, {_UNPACK} xz -dk FILE"),
    (b"\x1f\x8b", f"a file compressed with gzip, {_UNPACK} gzip -dk FILE"),
    (b"\x28\xb5\x2f\xfd", f"a file compressed with zstd, {_UNPACK} zstd -d FILE"),
    (b"\x04\x22\x4d\x18", f"a file compressed with lz4, {_UNPACK} lz4 -d FILE"),
    (b"\x89LZO\0", f"a file compressed with lzop, {_UNPACK} lzop -d FILE"),
    (b"BZh", f"a file compressed with bzip2, {_UNPACK} bzip2 -dk FILE"),
    (b"PK\x03\x04", f"a zip archive, {_UNPACK} unzip FILE"),
    (b"\xff\xd8\xff", f"a JPEG picture, {_NAME}"),
    (b"\x89PNG", f"a PNG picture, {_NAME}"),
    (b"%PDF", f"a PDF document, {_NAME}"),
]

_LONGEST_SHOWN = 16


def open_dump_file(path: str | os.PathLike[str], *, zero_excluded: bool = False) -> DumpFile:
    """Open a dump file by what it holds.

    Raises DumpFileError (an OSError, too) where there is no file to read, DumpFormatError for what is no dump that
    kernlab reads. `zero_excluded` concerns ELF dumps: what the file has no bytes for is read as zeros.
    """
    where = _one_path(path)
    data = _map(where)
    try:
        kind = detect(where, data)
        if kind == "kdump":
            from kernlab.formats.kdump import KdumpFile

            return KdumpFile(where, data)
        from kernlab.formats.elf import ElfFile

        return ElfFile(where, data, zero_excluded=zero_excluded)
    except BaseException:
        _unmap(data)
        raise


def detect(path: Path, data: mmap.mmap | bytes) -> str:
    """ "kdump" or "elf", by the file's first bytes. Raises DumpFormatError, which names what it is instead."""
    start = bytes(data[:64])
    if start.startswith(b"KDUMP   "):
        return "kdump"
    if start.startswith(b"\x7fELF"):
        return "elf"
    raise DumpFormatError(_refusal(path, data, start))


def _one_path(path: object) -> Path:
    if isinstance(path, list | tuple):
        pieces = list(path)
        if len(pieces) != 1:
            raise DumpFormatError(
                f"{len(pieces):,} files were named; kernlab does not read the pieces of a split dump yet. Join them: "
                "makedumpfile --reassemble PIECE… FILE"
            )
        return _one_path(pieces[0])
    try:
        return Path(os.fsdecode(path))  # type: ignore[arg-type]
    except TypeError as error:
        raise DumpFileError(
            errno.EINVAL, f"a dump is named by its path, not by a {type(path).__name__}"
        ) from error


def _map(path: Path) -> mmap.mmap:
    try:
        # Looked at before it is opened: to open a pipe may block, and to open a device may do something.
        _refuse_irregular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except DumpFileError:
        raise
    except OSError as error:
        raise DumpFileError(error.errno, f"cannot open the dump: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise DumpFileError(errno.EINVAL, f"cannot open the dump: {error}", str(path)) from error
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(path, status)
        if not status.st_size:
            raise DumpFormatError(f"{path} is empty: no dump was written, or the disk was full when it was")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except DumpFileError:
        raise
    except (OSError, ValueError) as error:
        raise DumpFileError(errno.EIO, f"cannot map the dump into memory: {error}", str(path)) from error
    finally:
        os.close(descriptor)


def _refuse_irregular(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise DumpFileError(errno.EISDIR, "this is a directory; name the dump file in it", str(path))
    if stat.S_ISBLK(mode):
        raise DumpFileError(
            errno.EINVAL,
            "this is a block device; copy the dump from it into a file first, with dd",
            str(path),
        )
    what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise DumpFileError(errno.EINVAL, f"this is {what}, no file; copy the dump into a file first", str(path))


def _unmap(data: mmap.mmap) -> None:
    try:
        data.close()
    except BufferError:
        # An exception's traceback still holds an array over it; the mapping goes with that.
        return


def _refusal(path: Path, data: mmap.mmap | bytes, start: bytes) -> str:
    for magic, what in _KNOWN:
        if start.startswith(magic):
            return f"{path} is {what.replace('FILE', str(path))}"
    if bytes(data[4096:4104]) == b"KDUMP   ":
        return f"{path} holds a kdump header at byte 4,096 instead of 0: its first block is extra; cut it off"
    size = len(data)
    if not any(start):
        return (
            f"{path} begins with zeros ({size:,} bytes in all): the header of the dump is lost, as when the machine "
            "was reset while it was written. Without the header its pages cannot be told apart"
        )
    shown = start[:_LONGEST_SHOWN]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return f"{path} is text ({shown.decode('ascii')!r} …), no dump; kernlab reads kdump (KDUMP) and ELF core files"
    return (
        f"{path} is no dump that kernlab knows: it begins with {shown.hex(' ')} ({size:,} bytes in all); kernlab reads "
        "kdump (KDUMP) and ELF core files"
    )
