"""`kernlab.relay`: the relay files of a running kernel, or files saved from them, in; their bytes and events out.

One file per CPU, as debugfs has them (`/sys/kernel/debug/block/vda/trace0`) or as they were saved
(`vda.blktrace.0`, a folder of `kernlab relay record`, pipes). Two ways to read those of a kernel:

| mode | gives | and the kernel |
|---|---|---|
| "read" | what nobody has read yet, without padding, in the order in which it was written | forgets it |
| "mmap" | the whole buffer as it lies in memory, read or not, with padding | keeps it |
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kernlab.errors import KernlabError
from kernlab.escape import show_controls
from kernlab.formats.packed_file import unpacked_file
from kernlab.formats.source import kind_of
from kernlab.traces.blktrace.losses import Counts
from kernlab.traces.blktrace.records import MAGIC7, MAGIC8
from kernlab.traces.blktrace.trace import BlkTrace
from kernlab.traces.relay.clients import register
from kernlab.traces.relay.content import LOOKED_AT, refuse
from kernlab.traces.relay.decoders import Decoder, Streams, as_bytes, blktrace, decode, decoder_of, systemtap
from kernlab.traces.relay.geometry import Geometry
from kernlab.traces.relay.mapped import Mapped, blktrace_of_slots, is_live, slot_chunks
from kernlab.traces.relay.paths import (
    PathLike,
    channel_name,
    find_files,
    has_number,
    is_block_trace,
    more_files,
    read_dropped,
    recorded_dropped,
)
from kernlab.traces.relay.record import record as _record
from kernlab.traces.relay.records import Chunk, hexdump, is_systemtap
from kernlab.util import losses
from kernlab.util.closing import Closing
from kernlab.util.text import Spelt, few

__all__ = ["RelayFiles", "find_files", "open", "record", "register"]

_PIECE = 1 << 20
_BLK_MAGICS = {magic.to_bytes(4, "little") for magic in (MAGIC7, MAGIC8)} | {
    magic.to_bytes(4, "big") for magic in (MAGIC7, MAGIC8)
}


class RelayFiles(Spelt, Closing):
    """The relay files of one channel, one per CPU; a context manager.

    `read` gives new bytes of one CPU, `events` what all bytes so far mean, `blktrace` a whole block trace, `slots`
    the sub-buffers of a mapped buffer. In mode "read" the kernel forgets what was read; this object keeps it.
    """

    _spoken = "a relay channel of files"

    def __init__(self, paths: Mapping[int, Path], mode: str, geometry: Geometry | None):
        self.mode = mode
        self.paths = dict(paths)
        self.name = channel_name(next(iter(self.paths.values())))
        self.problems: list[str] = []
        self._geometry = geometry
        self._kept: dict[int, list[bytes]] = {cpu: [] for cpu in self.paths}
        self._files: dict[int, int] = {}
        self._maps: dict[int, Mapped] = {}
        try:
            for cpu, path in self.paths.items():
                self._files[cpu] = _open_file(path)
                self._look_inside(cpu, path)
                if geometry is not None:
                    self._maps[cpu] = Mapped(self._files[cpu], geometry.bytes, str(path))
        except BaseException:
            self.close()
            raise

    @property
    def channels(self) -> pd.DataFrame:
        """One row per file: name, cpu, path, mode, read_bytes (so far), is_live (a file of debugfs).

        >>> paths = dump.relay.save("vda/trace", "saved")
        >>> kernlab.relay.open("saved").channels[["name", "cpu", "mode", "is_live"]]
                name  cpu  mode  is_live
        0  vda/trace    0  read    False
        1  vda/trace    1  read    False
        """
        cpus = list(self.paths)
        return pd.DataFrame(
            {
                "name": pd.array([self.name] * len(cpus), dtype="str"),
                "cpu": np.array(cpus, dtype=np.int64),
                "path": pd.array([str(self.paths[cpu]) for cpu in cpus], dtype="str"),
                "mode": pd.array([self.mode] * len(cpus), dtype="str"),
                "read_bytes": np.array([sum(map(len, self._kept[cpu])) for cpu in cpus], dtype=np.int64),
                "is_live": np.array(
                    [cpu in self._files and is_live(self._files[cpu]) for cpu in cpus], dtype=bool
                ),
            }
        )

    def _look_inside(self, cpu: int, path: Path) -> None:
        """Unpack a file that is compressed; raise KernlabError for one that is known to be something else."""
        file = self._files[cpu]
        if not stat.S_ISREG(os.fstat(file).st_mode) or is_live(file):
            return
        start = os.pread(file, LOOKED_AT, 0)
        kind = kind_of(start)
        if kind is None:
            refuse(str(path), start)
            return
        # The file that is taken is closed in any case.
        del self._files[cpu]
        whole, lost = unpacked_file(path, file, kind, lambda begin: refuse(str(path), begin, kind))
        with whole:
            self._files[cpu] = os.dup(whole.fileno())
        os.lseek(self._files[cpu], 0, os.SEEK_SET)
        if lost:
            self.problems.append(f"{path}: {lost}; what comes after is missing")

    def _file(self, cpu: int) -> int:
        if cpu not in self.paths:
            known = few([str(known) for known in self.paths])
            raise KernlabError(f"{self.name} has no file of CPU {cpu}; it has: {known}")
        if cpu not in self._files:
            raise KernlabError(f"{self.name} was closed; open it again")
        return self._files[cpu]

    def read(self, cpu: int = 0) -> bytes:
        """Mode "read": what this CPU wrote since the last call, until nothing is left (of a pipe: until its end).

        Mode "mmap": what a reader would get where `counters` were given, else the whole buffer. Raises OSError.

        >>> paths = dump.relay.save("vda/trace", "saved")
        >>> len(kernlab.relay.open("saved").read(cpu=0))
        7472
        """
        file = self._file(cpu)
        if self._geometry is not None:
            counters = self._geometry.counters.get(cpu)
            whole = self._maps[cpu].snapshot()
            if counters is None:
                return whole
            size = self._geometry.subbuf_size
            return b"".join(
                whole[piece.slot * size + piece.start : piece.slot * size + piece.end]
                for piece in counters.pieces()
            )
        parts = []
        while piece := os.read(file, _PIECE):
            parts.append(piece)
            # Kept at once: what the kernel gave it never gives again, whatever happens next.
            self._kept[cpu].append(piece)
        return b"".join(parts)

    def wait(self, seconds: float | None = None) -> list[int]:
        """The CPUs with a whole sub-buffer (or an end) to read, at most `seconds` later; [] when there is none."""
        poll = select.poll()
        of_file = {}
        for cpu, file in self._files.items():
            poll.register(file, select.POLLIN)
            of_file[file] = cpu
        found = poll.poll(None if seconds is None else max(seconds, 0) * 1000)
        return sorted(of_file[file] for file, _ in found)

    def slots(self, cpu: int = 0) -> list[bytes]:
        """Mode "mmap": the sub-buffers as they lie in memory, by slot. Raises KernlabError in mode "read"."""
        if self._geometry is None:
            raise KernlabError('only mode="mmap" shows slots; read() gives bytes without their padding')
        self._file(cpu)
        whole, size = self._maps[cpu].snapshot(), self._geometry.subbuf_size
        return [whole[at : at + size] for at in range(0, size * self._geometry.n_subbufs, size)]

    def _bytes(self, cpu: int) -> bytes:
        """Everything that mode "read" has got of a CPU, new bytes included."""
        self.read(cpu)
        kept = self._kept[cpu]
        if len(kept) > 1:
            kept[:] = [b"".join(kept)]
        return kept[0] if kept else b""

    def _chunks(self, cpu: int | None) -> list[Chunk]:
        found = []
        for number in self.paths if cpu is None else [cpu]:
            if self._geometry is None:
                self._file(number)
                found.append(Chunk(number, 0, np.frombuffer(self._bytes(number), dtype=np.uint8)))
            else:
                slots = self.slots(number)
                found += slot_chunks(number, slots, self._geometry.counters.get(number))
        return found

    def events(
        self,
        type: str | np.dtype[Any] | Any = None,  # noqa: A002
        *,
        cpu: int | None = None,
        header: int = 0,
        dump: Any = None,
    ) -> pd.DataFrame:
        """What was written so far (read() bytes of earlier calls among it), of all CPUs or one.

        Without `type` block traces and SystemTap's bulk records are recognised by what they begin with; all else is
        one row of bytes per file (or slot). `type` is any decoder that `register` takes: with a NumPy dtype, or the C
        name of a struct of an open `dump`, one row per record. `header` bytes at the start of each sub-buffer are no
        record: mode "mmap" only.

        >>> paths = dump.relay.save("vda/trace", "saved")
        >>> kernlab.relay.open("saved").events()["action"].value_counts().head(2)
        action
        C    56
        Q    46
        Name: count, dtype: int64
        """
        if header and self._geometry is None:
            raise KernlabError('read() does not tell where sub-buffers begin: headers need mode="mmap"')
        if type is None and (saved := self._saved_trace(cpu)) is not None:
            return saved.events
        chunks = self._chunks(cpu)
        decoder = self._recognised(chunks) if type is None else decoder_of(type)
        kernel = dump.kernel if dump is not None else None
        with losses.scope(f"relay {self.name}") as here:
            here.lost(*self.problems)
            streams = Streams(
                self.name, lambda: chunks, lambda: self._blktrace(chunks), kernel=kernel, header=header
            )
            frame = decode(decoder, streams)
        frame.attrs["source"] = self.name
        return frame

    def _recognised(self, chunks: Sequence[Chunk]) -> Decoder:
        """How to read it, by what it begins with. Raises KernlabError for what is known to be something else."""
        start = next((c.data[:LOOKED_AT].tobytes() for c in chunks if len(c.data) >= 4), b"")
        # An empty trace is one, too.
        if start[:4] in _BLK_MAGICS or (not start and all(map(is_block_trace, self.paths.values()))):
            return blktrace
        refuse(self.name, start)
        return systemtap if is_systemtap(start) else as_bytes

    def _counted(self, trace: BlkTrace) -> Counts:
        """What the kernel dropped, as its own file beside a running trace or a recording's description tells it."""
        path = next(iter(self.paths.values()))
        live = any(is_live(file) for file in self._files.values())
        dropped, source = (read_dropped(path), "the kernel's own count") if live else recorded_dropped(path)
        return Counts(refused=dropped, source=source)

    def _saved_trace(self, cpu: int | None) -> BlkTrace | None:
        """The block trace in files on a disk, read straight to where it is decoded; None where it is something else."""
        if self._geometry is not None or any(self._kept.values()):
            return None
        files = {number: self._file(number) for number in (self.paths if cpu is None else [cpu])}
        if not all(stat.S_ISREG(os.fstat(file).st_mode) and not is_live(file) for file in files.values()):
            return None
        if not any(os.pread(file, 4, 0) in _BLK_MAGICS for file in files.values()):
            return None
        found = BlkTrace.from_files([(self._cpu(cpu), file) for cpu, file in files.items()], self.name)
        return self._described(found)

    def _described(self, trace: BlkTrace) -> BlkTrace:
        trace.problems += self.problems
        trace.counted = self._counted
        return trace

    def _cpu(self, number: int) -> int | None:
        """The CPU that a file is of by its name, None where it has no number: all CPUs may be in it."""
        return number if has_number(self.paths[number]) else None

    def _blktrace(self, chunks: Sequence[Chunk]) -> BlkTrace:
        if self._geometry is None:
            found = BlkTrace.from_arrays([(self._cpu(chunk.cpu), chunk.data) for chunk in chunks], self.name)
        else:
            found = blktrace_of_slots(chunks, self.name)
        return self._described(found)

    def blktrace(self) -> BlkTrace:
        """Everything so far as a `BlkTrace`: events, blkparse's text, files for blkparse and btt, latencies.

        >>> paths = dump.relay.save("vda/trace", "saved")
        >>> kernlab.relay.open("saved").blktrace().record_count
        218
        """
        return self._saved_trace(None) or self._blktrace(self._chunks(None))

    def hexdump(self, cpu: int = 0, *, limit: int = 4096) -> str:
        """The bytes so far of a CPU as hexdump -C prints them, at most `limit`.

        >>> paths = dump.relay.save("vda/trace", "saved")
        >>> print(kernlab.relay.open("saved").hexdump(cpu=0, limit=16))
        00000000  07 74 61 65 00 00 00 00  16 13 3d 13 03 00 00 00  |.tae......=.....|
        … and 7,456 more bytes
        """
        data = self._bytes(cpu) if self._geometry is None else self.read(cpu)
        return hexdump(data, limit=limit)

    def close(self) -> None:
        """Close the files; what was read stays."""
        for mapped in self._maps.values():
            mapped.close()
        for file in self._files.values():
            os.close(file)
        self._maps, self._files = {}, {}

    def __repr__(self) -> str:
        return f"<relay {show_controls(self.name)}: {len(self.paths):,} files, mode {self.mode!r}>"


def open(  # noqa: A001
    path: PathLike | Iterable[PathLike],
    mode: str = "read",
    *,
    subbuf_size: int | None = None,
    n_subbufs: int | None = None,
    counters: Mapping[int, Mapping[str, Any]] | None = None,
) -> RelayFiles:
    """Open the relay files of one channel.

    Parameters: path: a file, a pattern ("/sys/kernel/debug/block/vda/trace*"), a folder (of `record`, of a device's
    block trace, or on debugfs), the base name of a block trace as blkparse -i takes it ("sda"), or a list of files. The
    number that a name ends in is its CPU; a file without one may hold those of all (blkparse -d, blktrace -o -). What
    is packed (.gz, .xz, .zst, .bz2) is unpacked into the cache. mode "mmap" needs the channel's `subbuf_size` and
    `n_subbufs` (the kernel shows them nowhere); `counters` by CPU (produced, consumed, offset, padding …), as a
    client's control files tell them, make its bytes exactly those that read() would give.
    Raises KernlabError (also for a file that is known to be something else, a trace.dat say), OSError. debugfs maps
    only files that its client made without the usual protection
    (debugfs_create_file_unsafe); block traces are not among them.

    >>> paths = dump.relay.save("vda/trace", "saved")
    >>> with kernlab.relay.open("saved") as files:
    ...     len(files.events())
    205
    """
    paths = find_files(path)
    if mode == "read":
        if counters or subbuf_size or n_subbufs:
            raise KernlabError('a layout is used in mode="mmap" only')
        found = RelayFiles(paths, mode, None)
        if len(paths) == 1 and isinstance(path, str | os.PathLike) and not Path(path).is_dir():
            found.problems += filter(None, [more_files(next(iter(paths.values())))])
        return found
    if mode != "mmap":
        raise KernlabError(f"mode is 'read' or 'mmap', not {mode!r}")
    if subbuf_size is None or n_subbufs is None:
        raise KernlabError(
            'mode="mmap" needs subbuf_size and n_subbufs as the channel was opened with (blktrace -b, -n)'
        )
    return RelayFiles(paths, mode, Geometry(subbuf_size, n_subbufs, counters or {}))


def _open_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise KernlabError(
            f"{path} cannot be opened: {error.strerror}; files of debugfs are root's"
        ) from error
    except OSError as error:
        raise KernlabError(f"{path} cannot be opened: {error.strerror}") from error


def record(
    path: PathLike | Iterable[PathLike], folder: PathLike, *, seconds: float | None = None
) -> dict[str, Any]:
    """Save a channel of the running kernel with its metadata into `folder`; see `relay_record.record`.

    `path` as for `open`. Returns the metadata. Raises KernlabError, OSError.
    """
    return _record(find_files(path), Path(folder), seconds=seconds)
