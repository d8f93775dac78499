"""A path in, the reader for what lies there out: by content, never by name; what is not read is refused by its name."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.formats.base import DumpFile

#: The first bytes of files that are no dump kernlab reads, what they are, and what to do about it.
_KNOWN = [
    (b"makedumpfile\0", "a flattened dump (makedumpfile -F)", "turn it into a plain one: makedumpfile -R vmcore < FILE"),
    (b"DISKDUMP", "a diskdump of Linux 2.4/2.6.9", "kernlab reads kdump files of kernels from 5.10 on"),
    (b"\x0e\x05\x08\x07", "an LKCD dump", "kernlab reads kdump and ELF dumps only"),
    (b"\x07\x08\x05\x0e", "an LKCD dump", "kernlab reads kdump and ELF dumps only"),
    (b"\xa8\x19\x0e\x61\x8f\x23\xfd\xe6", "an LKCD dump", "kernlab reads kdump and ELF dumps only"),
    (b"\xd2\xbe\xd2\xbe", "a VMware state file (vmss/vmsn)", "turn it into an ELF dump with vmss2core"),
    (b"\xd0\xbe\xd2\xbe", "a VMware state file (vmss/vmsn)", "turn it into an ELF dump with vmss2core"),
    (b"Libv", "a libvirt save file", "dump the guest with virsh dump --memory-only"),
    (b"LibvirtQemudSave", "a libvirt save file", "dump the guest with virsh dump --memory-only"),
    (b"QEVM", "a QEMU migration stream", "dump the guest with dump-guest-memory instead"),
    (b"EMiL", "a LiME memory image", "kernlab reads kdump and ELF dumps only"),
    (b"AVML", "an AVML memory image", "kernlab reads kdump and ELF dumps only"),
    (b"\x01\x01\x83\xa8", "an s390 dump", "kernlab reads dumps of x86-64 machines only"),
    (b"xenf", "a Xen dump", "kernlab reads kdump and ELF dumps only"),
    (b"\xfd7zXZ\0", "a file compressed with xz", "unpack it first: xz -dk FILE"),
    (b"\x1f\x8b", "a file compressed with gzip", "unpack it first: gzip -dk FILE"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "unpack it first: zstd -d FILE"),
    (b"BZh", "a file compressed with bzip2", "unpack it first: bzip2 -dk FILE"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip FILE"),
    (b"\xff\xd8\xff", "a JPEG picture", "name the dump file itself"),
    (b"\x89PNG", "a PNG picture", "name the dump file itself"),
    (b"%PDF", "a PDF document", "name the dump file itself"),
]

_LONGEST_SHOWN = 16


def open_dump_file(path: str | os.PathLike[str], *, zero_excluded: bool = False) -> DumpFile:
    """Open a dump file by what it holds.

    Raises DumpFileError (an OSError, too) where there is no file to read, DumpFormatError for what is no dump that
    kernlab reads. `zero_excluded` concerns ELF dumps: what the file has no bytes for is read as zeros.
    """
    where = Path(path)
    data = _map(where)
    start = bytes(data[:64])
    try:
        if start.startswith(b"KDUMP   "):
            from kernlab.formats.kdump import KdumpFile

            return KdumpFile(where, data)
        if start.startswith(b"\x7fELF"):
            from kernlab.formats.elf import ElfFile

            return ElfFile(where, data, zero_excluded=zero_excluded)
        raise DumpFormatError(_refusal(where, data, start))
    except BaseException:
        _unmap(data)
        raise


def _map(path: Path) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DumpFileError(error.errno, f"cannot open the dump: {error.strerror}", str(path)) from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise DumpFileError(21, "this is a directory; name the dump file in it", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise DumpFileError(22, "this is no regular file; copy the dump into one first", str(path))
        if not status.st_size:
            raise DumpFormatError(f"{path} is empty: no dump was written, or the disk was full when it was")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        if isinstance(error, DumpFileError):
            raise
        raise DumpFileError(5, f"cannot map the dump into memory: {error}", str(path)) from error
    finally:
        os.close(descriptor)


def _unmap(data: mmap.mmap) -> None:
    try:
        data.close()
    except BufferError:
        # An exception's traceback still holds an array over it; the mapping goes with that.
        return


def _refusal(path: Path, data: mmap.mmap, start: bytes) -> str:
    for magic, what, advice in _KNOWN:
        if start.startswith(magic):
            return f"{path} is {what}, which kernlab does not read; {advice}"
    if bytes(data[4096:4104]) == b"KDUMP   ":
        return f"{path} holds a kdump header at byte 4,096 instead of 0: its first block is extra; cut it off"
    size = len(data)
    if not any(start):
        return (
            f"{path} begins with zeros ({size:,} bytes in all): the header of the dump is lost, as when the machine was "
            "reset while it was written. Without the header its pages cannot be told apart"
        )
    shown = start[:_LONGEST_SHOWN]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return f"{path} is text ({shown.decode('ascii')!r} …), no dump; kernlab reads kdump (KDUMP) and ELF core files"
    return (
        f"{path} is no dump that kernlab knows: it begins with {shown.hex(' ')} ({size:,} bytes in all); kernlab reads "
        "kdump (KDUMP) and ELF core files"
    )
