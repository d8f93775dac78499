"""`dump.file("/etc/hosts")`: what the page cache held of one file, with its holes marked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.struct import Struct
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import addresses, frame, nullable
from kernlab.display.processes.card import card_html, card_text
from kernlab.errors import FaultError, KernlabError, PageExcluded
from kernlab.linux.cached_file import CachedFile
from kernlab.linux.files import inode_names
from kernlab.linux.lookup import NotCachedError, find_inode
from kernlab.linux.page_cache import WORDS, PageState
from kernlab.util.files import naming, whole_file
from kernlab.util.progress import progress
from kernlab.util.text import few, human_bytes

if TYPE_CHECKING:
    from kernlab.dump import Dump

#: Numbers below this are inode numbers, above it addresses.
_LOWEST_ADDRESS = 1 << 47
_NEAR = 3
_S_IFMT, _S_IFBLK = 0xF000, 0x6000
_NO_FILES = {0x1000: "a named pipe", 0x2000: "a character device", 0x4000: "a directory", 0xC000: "a socket"}


class OpenFile:
    """`dump.file(…)`: one file."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(self, file: Any) -> File:
        """What the page cache held of a file: `.read()`, `.pages`, `.holes`, `.save(path)`.

        file: its path as pid 1 sees it (also one of `dump.memory_by_file`, `(deleted)` included), its inode's number
        where no other file system has it, or the address of a struct inode, file or address_space (or the struct), as
        in `dump.files` and `dump.memory_by_file`. Its bytes are in dumps that were saved with page cache; files of
        tmpfs are there as far as they are not swapped out to a disk. Raises KernlabError where no such file is in
        memory.

        >>> dump.file("/bin/busybox")
        /bin/busybox
        size    1.9 MiB
        cached  1.9 MiB
        >>> dump.file("/bin/busybox").pages.state.unique().tolist()
        ['left out of the dump']
        """
        kernel = self._dump._open_kernel()
        if isinstance(file, str) and file[:2].lower() != "0x":
            return self._of_inode(self._by_path(file), file)
        if isinstance(file, Struct):
            return self._of_address(file.address_)
        number = kernel.address(file)
        if number < _LOWEST_ADDRESS:
            return self._of_inode(self._only("inode", number), None)
        return self._of_address(number)

    def _by_path(self, path: str) -> int:
        try:
            inode = find_inode(self._dump.kernel, path)
            # What lies on a block device is in the page cache of another inode, that of bdev.
            kind = int(inode["i_mode"].filled(0)[0]) & _S_IFMT
            if kind == _S_IFBLK:
                return self._only("path", path)
        except NotCachedError as error:
            try:
                return self._only("path", path)
            except KernlabError:
                raise KernlabError(
                    f"nothing of {path} is known: {error}. dump.memory_by_file lists files in memory"
                ) from None
        # Some file systems keep their directories' entries in a page cache of their own.
        if kind in _NO_FILES and not inode["i_data.nrpages"].true[0]:
            raise KernlabError(f"{path} is {_NO_FILES[kind]}: it has no contents in the page cache")
        return int(inode.addresses[0])

    def _only(self, column: str, wanted: Any) -> int:
        """The one inode in the page cache with this path or number."""
        table = self._dump.memory_by_file
        found = table[(table[column] == wanted).fillna(False)]
        if len(found) == 1:
            return int(found["address"].iloc[0])
        if not len(found):
            raise KernlabError(f"nothing in the page cache has the {column} {wanted}")
        each = [f"dump.file({address:#x})" for address in found["address"].tolist()]
        raise KernlabError(f"{len(found):,} files have the {column} {wanted}: {few(each, _NEAR)}")

    def _of_address(self, address: int) -> File:
        """A struct inode, file, dentry or address_space, told by how they point to each other."""
        kernel = self._dump.kernel
        with kernel.quiet():
            inode = StructArray(kernel, "struct inode", [address])
            if (inode["i_data.host"] == address).true[0]:
                return self._of_inode(address, None)
            for kind, member in (
                ("struct file", "f_mapping"),
                ("struct address_space", ""),
                ("struct dentry", "d_inode"),
            ):
                one = StructArray(kernel, kind, [address])
                if member == "d_inode":
                    host = one.follow("d_inode")
                else:
                    host = (one.follow(member) if member else one).follow("host")
                if host.valid[0] and (host["i_data.host"] == host.addresses).true[0]:
                    return self._of_inode(int(host.addresses[0]), None)
        raise KernlabError(f"no struct inode, file, dentry or address_space lies at {address:#018x}")

    def _of_inode(self, address: int, path: str | None) -> File:
        return File(self._dump, address, path)


class File:
    """One file as the page cache has it; made by `dump.file`.

    `inode` is the address of its struct inode, `path` where it lies (None where nothing leads there any more),
    `size_bytes` its size.
    """

    def __init__(self, dump: Dump, inode: int, path: str | None):
        self._dump, self.inode = dump, inode
        kernel = dump.kernel
        with kernel.watched() as losses:
            array = StructArray(kernel, "struct inode", [inode])
            mapping = array["i_mapping"]
            if not mapping.true[0]:
                raise KernlabError(f"the struct inode at {inode:#018x} cannot be read")
            self._file = CachedFile(kernel, int(mapping.values[0]))
            self.path: str | None = path or inode_names(kernel, array)[0]
        self._told = list(losses.losses)
        self.size_bytes = self._file.cache.size_bytes

    def read(self, offset: int = 0, size: int | None = None, *, fill: bytes | None = None) -> bytes:
        """Bytes of the file from `offset` on, to its end without a `size`; as with every file, fewer where it ends.

        fill: one byte that stands for each that is missing. Without it raises PageExcluded for the first page that the
        dump does not have, saying whether it is on the disk only, swapped out, or left out of the dump.
        """
        self._dump._open_kernel()
        if fill is not None and len(fill) != 1:
            raise KernlabError("fill is one byte, such as b'\\0' or b'?'")
        if offset < 0 or (size is not None and size < 0):
            raise KernlabError("a file is read from 0 on, and forwards")
        if self.size_bytes is None:
            raise PageExcluded("the size of the file is not in the dump", None)
        end = self.size_bytes if size is None else min(offset + size, self.size_bytes)
        if end <= offset:
            return b""
        page = self._dump.kernel.page_size
        first, last = offset // page, -(-end // page)
        if fill is None:
            self._check(first, last)
        self._dump.kernel.budget.room(last - first, page, f"{end - offset:,} bytes of a file")
        parts = []
        for _, rows, state in self._file.blocks(first, last):
            missing = (state != PageState.HERE) & (state != PageState.ZERO)
            if missing.any() and fill is None:
                raise self._fault(int(np.flatnonzero(missing)[0]), state, first)
            if fill is not None:
                rows[missing] = fill[0]
            parts.append(rows.reshape(-1))
            first += len(state)
        data = np.concatenate(parts)
        start = offset - offset // page * page
        return data[start : start + end - offset].tobytes()

    def _check(self, first: int, last: int) -> None:
        """Raise for a page that is surely missing, before any is read."""
        cache = self._file.cache
        low, high = np.searchsorted(cache.index, np.array([first, last], dtype=np.uint64)).tolist()
        if cache.default != PageState.ZERO and high - low < last - first:
            held = cache.index[low:high].astype(np.int64)
            gap = np.flatnonzero(held != np.arange(first, first + len(held)))
            index = first + (int(gap[0]) if len(gap) else len(held))
            raise self._fault(0, np.array([cache.default], dtype=np.uint8), index)

    def _fault(self, row: int, state: npt.NDArray[np.uint8], first: int) -> PageExcluded | FaultError:
        page = self._dump.kernel.page_size
        which = PageState(int(state[row]))
        why = WORDS.get(which, which.name.lower())
        if which == PageState.SWAPPED:
            why += self._file.swapped.why()
        return PageExcluded(
            f"the page at byte {(first + row) * page:,} of {self.path or 'this file'} is {why}; "
            "read(fill=b'\\0') reads what is here",
            None,
        )

    @property
    def pages(self) -> pd.DataFrame:
        """Its pages in the page cache: index, offset_bytes, state, pfn, dirty, writeback, address (struct page).

        state is "here", "swapped out and read" or why its bytes are not here; those that the page cache does not have
        at all are not listed (`holes` has them).
        """
        kernel, cache = self._dump._open_kernel(), self._file.cache
        state = self._file.states()
        framed = cache.state != PageState.SWAPPED
        words = np.array(
            [
                "here"
                if one in (PageState.HERE, PageState.ZERO) and is_framed
                else "swapped out and read"
                if one in (PageState.HERE, PageState.ZERO)
                else WORDS[PageState(one)]
                for one, is_framed in zip(state.tolist(), framed.tolist(), strict=True)
            ],
            dtype=object,
        )
        return frame(
            kernel,
            "pages of a file",
            index=cache.index.astype(np.int64),
            offset_bytes=cache.index.astype(np.int64) * kernel.page_size,
            state=words.tolist(),
            pfn=nullable(cache.frame.astype(np.int64), framed),
            dirty=cache.dirty,
            writeback=cache.writeback,
            address=addresses(kernel, cache.page, framed, "struct page"),
        )

    @property
    def holes(self) -> pd.DataFrame:
        """What of it cannot be read: offset_bytes, size_bytes, reason, one row a run of pages."""
        runs = self._file.holes()
        return frame(
            self._dump._open_kernel(),
            "holes of a file",
            offset_bytes=np.array([start for start, _, _ in runs], dtype=np.int64),
            size_bytes=np.array([end - start for start, end, _ in runs], dtype=np.int64),
            reason=[WORDS.get(state, state.name.lower()) for _, _, state in runs],
        )

    def save(self, path: str | os.PathLike[str]) -> SavedFile:
        """Write what is here of it, each byte at its place; what is missing is a hole of the file, and listed.

        The file takes its place when it is whole; one that was there is replaced. Raises KernlabError where its size
        is not known, OSError.
        """
        self._dump._open_kernel()
        if self.size_bytes is None:
            raise KernlabError("the size of the file is not in the dump")
        target, page = Path(path), self._dump.kernel.page_size
        written = 0
        runs: list[tuple[int, int, PageState]] = []
        with whole_file(target) as partial, naming(target, partial), open(partial, "wb") as stream:
            if not stream.seekable():
                raise KernlabError(f"{target} is no file that can have holes: name one on a disk")
            os.fchmod(stream.fileno(), 0o600)
            with progress("writing the file", len(self._file.cache.index), "page") as bar:
                for index, rows, state in self._file.cached():
                    for at in np.flatnonzero((state == PageState.HERE) | (state == PageState.ZERO)).tolist():
                        start = int(index[at]) * page
                        data = rows[at][: max(self.size_bytes - start, 0)]
                        stream.seek(start)
                        stream.write(data.data)
                        written += len(data)
                    bar.advance(len(index))
            stream.truncate(self.size_bytes)
            runs = self._file.holes()
        return SavedFile(self, target, written, runs)

    @property
    def problems(self) -> list[str]:
        """What could not be read of it, and why."""
        return list(dict.fromkeys([*self._told, *self._file.problems]))

    @property
    def _rows(self) -> list[tuple[str, str]]:
        size = "not known" if self.size_bytes is None else human_bytes(self.size_bytes)
        cache, page = self._file.cache, self._dump.kernel.page_size
        framed = int((cache.state != PageState.SWAPPED).sum())
        rows = [("size", size), ("cached", human_bytes(framed * page))]
        if len(cache.index) - framed:
            rows.append(("swapped", human_bytes((len(cache.index) - framed) * page)))
        return rows

    @property
    def _title(self) -> str:
        return self.path or f"a file without a path, inode {self.inode:#018x}"

    def __repr__(self) -> str:
        return card_text(self._title, self._rows, self.problems)

    def _repr_html_(self) -> str:
        return card_html(self._title, self._rows, self.problems)


class SavedFile:
    """A file that was written: its `path`, `written_bytes`, and `missing_bytes`, which are holes of it; `missing` lists
    them."""

    def __init__(self, file: File, path: Path, written: int, runs: list[tuple[int, int, PageState]]):
        self._file, self._runs = file, runs
        self.path, self.written_bytes = path, written
        self.missing_bytes = sum(end - start for start, end, _ in runs)
        self.problems = file.problems

    @property
    def missing(self) -> pd.DataFrame:
        """`File.holes`."""
        return self._file.holes

    def __repr__(self) -> str:
        return card_text(f"{self._file._title} in {self.path}", self._rows, self.problems)

    @property
    def _rows(self) -> list[tuple[str, str]]:
        missing = human_bytes(self.missing_bytes) if self.missing_bytes else "nothing"
        return [("written", human_bytes(self.written_bytes)), ("missing", missing)]

    def _repr_html_(self) -> str:
        return card_html(f"{self._file._title} in {self.path}", self._rows, self.problems)
