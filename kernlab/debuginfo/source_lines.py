"""Source lines of instructions, with the functions inlined there: a debug file and addresses in it come in.

Only the units that the addresses lie in are read. What was found is kept in the disk cache by build id.
"""

from __future__ import annotations

import itertools
import posixpath
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo import line_cache
from kernlab.debuginfo.debug_file import DebugFile
from kernlab.debuginfo.dwarf.functions import Function, Functions
from kernlab.debuginfo.dwarf.line_table import LineTable, directories, line_table
from kernlab.debuginfo.dwarf.reading import DebugInfoError, damage
from kernlab.debuginfo.dwarf.unit_index import UnitIndex
from kernlab.debuginfo.dwarf.units import Header, Unit, header, headers

U64 = npt.NDArray[np.uint64]

#: So often does an entry lead to another that has its name; and so many units are asked where the source lies.
_MOST_ORIGINS, _MOST_ASKED = 16, 64
#: A directory that every unit in C of a kernel or a module has files of.
_KNOWN = "/include/linux"


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One function at an address: its name ("" where only the line is known), the file and the line that it is at.

    `file` is counted from the top of the kernel's source, `path` is as the compiler had it; line 0 is no line.
    `inlined`: it has no frame of its own, its code lies within the next one's.
    """

    function: str
    file: str
    line: int
    inlined: bool
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file or "?"


class _OpenUnit:
    """One unit with its functions and lines, read once."""

    def __init__(self, unit: Unit):
        self.unit = unit
        self.functions = Functions(unit)
        self.table: LineTable | None = line_table(unit)


class SourceLines:
    """The lines of one debug file. Addresses count as in the file (`DebugFile`). Threads may share it.

    `problems` has a sentence for each part that could not be read. Raises DebugInfoError for a file without DWARF.
    """

    def __init__(self, file: DebugFile):
        self.file = file
        if not file.has_lines:
            raise DebugInfoError(
                f"{file.path} has no line tables (sections .debug_info and .debug_line): it was stripped. Its debug "
                "package has a file of the same build id that has them"
                + (f" ({file.build_id})" if file.build_id else "")
            )
        self.problems: list[str] = []
        self._lock = threading.RLock()
        self._index: UnitIndex | None = None
        self._units: dict[int, _OpenUnit | None] = {}
        self._found: dict[int, tuple[SourceFrame, ...]] | None = None
        self._names: dict[int, str] = {}
        self._top: tuple[str, str] | None = None

    def lines(self, addresses: U64) -> list[tuple[SourceFrame, ...]]:
        """The functions at each address, the innermost first; () where nothing is known of it."""
        with self._lock:
            if self._found is None:
                self._found = self._from_cache()
            found = self._found
            wanted = np.unique(addresses.astype(np.uint64))
            new = wanted[[address not in found for address in wanted.tolist()]]
            if len(new):
                told = len(self.problems)
                fresh = self._look_up(new)
                found.update(fresh)
                # What damage hid may be there in a better copy of the file.
                if told == len(self.problems):
                    line_cache.keep(self._key, _plain(fresh))
            return [found[address] for address in addresses.tolist()]

    @property
    def _key(self) -> str:
        return f"{self.file.build_id} {self.file.identity}"

    def _from_cache(self) -> dict[int, tuple[SourceFrame, ...]]:
        return {
            address: tuple(SourceFrame(*frame) for frame in frames)
            for address, frames in line_cache.kept(self._key).items()
        }

    def _look_up(self, addresses: U64) -> dict[int, tuple[SourceFrame, ...]]:
        found: dict[int, tuple[SourceFrame, ...]] = dict.fromkeys(addresses.tolist(), ())
        try:
            if self._index is None:
                self._index = UnitIndex(self.file.section, str(self.file.path))
            owner = self._index.find(addresses)
        except DebugInfoError as error:
            self._tell(str(error))
            return found
        finally:
            if self._index is not None:
                self.problems += [text for text in self._index.problems if text not in self.problems]
        for offset in np.unique(owner[owner >= 0]).tolist():
            here = addresses[owner == offset]
            try:
                with damage(f"{self.file.path}: the debug information of the unit at byte {offset:,}"):
                    opened = self._open(offset)
                    found.update(self._in_unit(opened, here))
            except DebugInfoError as error:
                self._tell(f"{error}: lines of {len(here):,} addresses are not known")
        return found

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _open(self, offset: int) -> _OpenUnit:
        if offset not in self._units:
            self._units[offset] = None
            self._units[offset] = _OpenUnit(
                Unit.read(self.file.section, header(self.file.section(".debug_info"), offset))
            )
        opened = self._units[offset]
        if opened is None:
            raise ValueError("it could not be read before")
        return opened

    def _in_unit(self, opened: _OpenUnit, addresses: U64) -> dict[int, tuple[SourceFrame, ...]]:
        table = opened.table
        if table is not None:
            files, lines = (numbers.tolist() for numbers in table.at(addresses))
        else:
            files, lines = [-1] * len(addresses), [0] * len(addresses)
        found: dict[int, tuple[SourceFrame, ...]] = {}
        for address, file, line in zip(addresses.tolist(), files, lines, strict=True):
            function = opened.functions.at(address)
            if function is None and file < 0:
                found[address] = ()
                continue
            found[address] = self._frames(opened, function, address, file, line)
        return found

    def _frames(
        self, opened: _OpenUnit, function: Function | None, address: int, file: int, line: int
    ) -> tuple[SourceFrame, ...]:
        """From the innermost on: the line is the table's for that one, and where each was called for the next."""
        if function is None:
            return (self._frame(opened, "", file, line, False),)
        frames = []
        for call in reversed(opened.functions.calls(function, address)):
            frames.append(self._frame(opened, self._name(opened, call.origin), file, line, True))
            file, line = call.file, call.line
        frames.append(self._frame(opened, self._name(opened, function.entry), file, line, False))
        return tuple(frames)

    def _frame(self, opened: _OpenUnit, function: str, file: int, line: int, inlined: bool) -> SourceFrame:
        path = ""
        if opened.table is not None and 0 <= file < len(opened.table.files):
            path = posixpath.normpath(posixpath.join(*opened.table.files[file]))
        return SourceFrame(function, self._short(opened.unit, path), line if path else 0, inlined, path)

    def _short(self, unit: Unit, path: str) -> str:
        """A path from the top of the source on; as it is where it does not lie there."""
        compiled, top = self._source_top()
        own = unit.text(unit.own.get("comp_dir"))
        if compiled and own.endswith(f"/{compiled}"):
            # Of assembly some builds keep the whole path (-ffile-prefix-map is the compiler's).
            path = path.removeprefix(own.removesuffix(compiled))
        return path.removeprefix(top)

    def _source_top(self) -> tuple[str, str]:
        """Where units in C were compiled, and where the source lay, with a slash at its end; "" where none tells."""
        if self._top is None:
            self._top = "", ""
            try:
                with damage(str(self.file.path)):
                    for one in itertools.islice(headers(self.file.section(".debug_info")), _MOST_ASKED):
                        if found := self._top_of(one):
                            self._top = found
                            break
            except DebugInfoError:
                # Then paths stay as they are.
                pass
        return self._top

    def _top_of(self, one: Header) -> tuple[str, str] | None:
        if not one.has_code:
            return None
        unit = Unit.read(self.file.section, one)
        for directory in directories(unit):
            path = posixpath.normpath(directory)
            if path.endswith(_KNOWN):
                return unit.text(unit.own.get("comp_dir")), path.removesuffix(_KNOWN) + "/"
        return None

    def _name(self, opened: _OpenUnit, entry: int) -> str:
        """The name of an entry of .debug_info: its own, or that of the one which it is an instance of."""
        at = entry
        if entry not in self._names:
            name = ""
            unit = opened.unit
            for _ in range(_MOST_ORIGINS):
                if at < 0:
                    break
                if not unit.header.offset <= at < unit.header.end:
                    assert self._index is not None
                    unit = self._open(self._index.holder(at)).unit
                attributes = unit.entry(at - unit.header.offset)[1]
                name = unit.text(attributes.get("name"))
                origin = attributes.get("abstract_origin", attributes.get("specification"))
                if name or not isinstance(origin, tuple) or origin[0] != "entry":
                    break
                at = origin[1]
            self._names[entry] = name
        return self._names[entry]


def _plain(found: dict[int, tuple[SourceFrame, ...]]) -> line_cache.Kept:
    return {
        address: [(frame.function, frame.file, frame.line, frame.inlined, frame.path) for frame in frames]
        for address, frames in found.items()
    }


def open_lines(path: str, machine: str) -> SourceLines:
    """The lines of a file, which must be of a machine. Raises DebugInfoError."""
    file = DebugFile(path)
    if file.machine != machine:
        raise DebugInfoError(f"{path} is of a {file.machine} machine, the dump of a {machine} one")
    return SourceLines(file)
