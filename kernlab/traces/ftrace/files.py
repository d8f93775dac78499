"""`kernlab.ftrace`: traces of ftrace from files, or of a running kernel, as `dump.ftrace` has those of a dump."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kernlab.errors import DumpFileError, DumpFormatError
from kernlab.escape import show_controls
from kernlab.formats.packed_file import unpacked
from kernlab.formats.source import Source as Bytes
from kernlab.formats.source import kind_of, open_source
from kernlab.traces.ftrace.dat_read import is_trace_dat
from kernlab.traces.ftrace.dat_source import DatSource
from kernlab.traces.ftrace.text_view import FtraceText
from kernlab.traces.ftrace.trace_text import is_trace_text, parse_lines
from kernlab.traces.ftrace.view import Ftrace
from kernlab.util.closing import Closing

__all__ = ["FtraceFile", "FtraceText", "open"]

_LOOKED_AT = 4096


class FtraceFile(Ftrace, Closing):
    """A trace.dat: `all`, `events`, `counts`, `lost`, `instances`, `lines`, `format`, `save` as of `dump.ftrace`.

    `about` is what the file says of itself, `guests` the virtual machines that it names, `problems` what is lost of it.
    A context manager; what was read stays valid after `close`.
    """

    _spoken = "a trace file"

    def __init__(self, source: DatSource):
        super().__init__(source)
        self._file = source
        self.problems[:] = source.told

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.dat.path

    @property
    def about(self) -> pd.Series[Any]:
        """What the file says of itself, by name; what it does not say is None.

        version, compression, byte_order, long_bytes, subbuf_bytes, clock, uname, release, recorder (trace-cmd's
        version), trace_id, offset_ns (added to all times).

        >>> kernlab.ftrace.open(dump.ftrace.save("trace.dat")).about[["version", "byte_order", "clock"]]
        version            6
        byte_order    little
        clock         global
        Name: about, dtype: object
        """
        dat, options = self._file.dat, self._file.options
        used = self._instances[0].clock_id if self._instances else None
        known = {
            "version": dat.version or None,
            "compression": dat.packing,
            "byte_order": dat.machine.order,
            "long_bytes": dat.machine.word,
            "subbuf_bytes": dat.page_size,
            "clock": None if used is None else self._clocks[used][0],
            "uname": options.uname or None,
            "release": options.release or None,
            "recorder": options.version or None,
            "trace_id": options.trace_id,
            "offset_ns": options.offset,
        }
        return pd.Series(known, dtype=object, name="about")

    @property
    def guests(self) -> pd.DataFrame:
        """One row per CPU of each virtual machine that was traced with the host: guest, trace_id, cpu, host_pid.

        >>> kernlab.ftrace.open(dump.ftrace.save("trace.dat")).guests.empty
        True
        """
        rows = [
            (name, number, cpu, pid)
            for name, (number, pids) in self._file.options.guests.items()
            for cpu, pid in pids.items()
        ]
        return pd.DataFrame(
            {
                "guest": pd.array([row[0] for row in rows], dtype="str"),
                "trace_id": np.array([row[1] for row in rows], dtype=np.uint64),
                "cpu": np.array([row[2] for row in rows], dtype=np.int64),
                "host_pid": np.array([row[3] for row in rows], dtype=np.int64),
            }
        )

    def close(self) -> None:
        """Let go of the file; tables stay valid, and texts that were made."""
        self._file.close()

    def __repr__(self) -> str:
        inside = super().__repr__().removeprefix("<ftrace: ")
        what = "trace.dat" if self._file.dat.version else "consumed trace"
        return f"<{what} {show_controls(self.path.name)}: {inside}"


def open(  # noqa: A001 - as kernlab.open
    path: str | os.PathLike[str], *, consume: bool = False
) -> FtraceFile | FtraceText:
    """Open a trace, compressed with xz, gzip, zstd or bzip2 or not, or the folder of a live one.

    A trace.dat of trace-cmd, KernelShark or `dump.ftrace.save`, of version 6 or 7, either byte order, machines of 32
    and 64 bits: an `FtraceFile`. Text of tracefs' file trace, or what `trace-cmd report` prints: an `FtraceText`.
    The folder of tracefs (/sys/kernel/tracing), of an instance in it, or a copy: what its files `trace` say, which
    takes nothing from the buffers, an `FtraceText`, too. With `consume` the events themselves, which the kernel then
    forgets: an `FtraceFile`, which `save` writes as a trace.dat.
    Raises DumpFileError where the file cannot be opened, DumpFormatError where it is not a trace.

    >>> path = dump.ftrace.save("trace.dat")
    >>> kernlab.ftrace.open(path)
    <trace.dat trace.dat: 29 events of 1 instances (global)>
    >>> kernlab.ftrace.open(path).events("sched_switch")[["timestamp", "prev_comm", "next_comm"]].head(2)
                      timestamp  prev_comm    next_comm
    0 0 days 00:00:13.325584627  swapper/0         init
    1 0 days 00:00:13.327828715       init  rcu_preempt
    """
    where = Path(os.fsdecode(path))
    if where.is_dir():
        return _open_folder(where, consume)
    if consume:
        raise DumpFileError(errno.ENOTDIR, "only a live trace is consumed: name tracefs' folder", str(where))
    data = _bytes(where)
    try:
        if not is_trace_dat(data.read(0, _LOOKED_AT)):
            return _text_of(data)
        return FtraceFile(DatSource(data))
    except BaseException:
        data.close()
        raise


def _open_folder(folder: Path, consume: bool) -> FtraceFile | FtraceText:
    from kernlab.traces.ftrace import live

    if not live.is_tracefs(folder):
        raise DumpFileError(
            errno.EISDIR,
            "this folder is not tracefs (it has no trace and per_cpu): name /sys/kernel/tracing",
            str(folder),
        )
    return FtraceFile(DatSource(*live.consume(folder))) if consume else live.open_live(folder)


def _text_of(data: Bytes) -> FtraceText:
    with closing(data):
        lines = data.read(0, data.size).decode("utf-8", "backslashreplace").split("\n")
    return FtraceText(data.path, {"": parse_lines(lines)})


def _bytes(path: Path) -> Bytes:
    """The file's bytes, unpacked where it is compressed. Raises DumpFileError, DumpFormatError."""
    try:
        # A pipe would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DumpFileError(error.errno, f"cannot open the trace: {error.strerror}", str(path)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DumpFileError(errno.EINVAL, "this is not a file of a trace", str(path))
        start = os.pread(descriptor, _LOOKED_AT, 0)
    except BaseException:
        os.close(descriptor)
        raise
    kind = kind_of(start)
    if kind is None:
        _check(path, start)
        return open_source(path, descriptor, status.st_size)
    return unpacked(path, descriptor, kind, lambda begin: _check(path, begin))


def _check(path: Path, start: bytes) -> None:
    if is_trace_dat(start) or is_trace_text(start.decode("utf-8", "backslashreplace")):
        return
    raise DumpFormatError(
        f"{path} is not a trace: neither a trace.dat nor the text of one. It begins with {start[:10]!r}. "
        "A dump is opened with kernlab.open"
    )
