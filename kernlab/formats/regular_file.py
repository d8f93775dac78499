"""A path in, an open descriptor out, for regular files only: to open a pipe may block, a device may do something."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kernlab.errors import DumpFileError
from kernlab.formats.live import KCORE, LIVE


def open_regular(path: Path, looked_at: int) -> tuple[int, int, bytes]:
    """The descriptor of a file, its size in bytes as the system tells it, and its first `looked_at` bytes.

    Raises DumpFileError for what cannot be read, and for what is no regular file.
    """
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
        start = os.pread(descriptor, looked_at, 0)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, DumpFileError):
            raise
        raise DumpFileError(error.errno, f"cannot read the dump: {error.strerror}", str(path)) from error
    return descriptor, status.st_size, start


def _refuse_irregular(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        if path.name == KCORE.name and os.path.realpath(path) == str(KCORE):
            raise DumpFileError(
                errno.EINVAL,
                f"this is the running kernel's memory, which changes while it is read: kernlab.open({LIVE!r}), or "
                f"{LIVE} on the command line",
                str(path),
            )
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
    raise DumpFileError(
        errno.EINVAL, f"this is {what}, not a file; copy the dump into a file first", str(path)
    )
