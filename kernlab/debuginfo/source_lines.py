"""Source lines of instructions, with the functions inlined there: a debug file and addresses in it come in.

Only the units that the addresses lie in are read. What was found is kept in the disk cache by build id.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo import line_cache
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError, damage

if TYPE_CHECKING:
    from kernlab.debuginfo.dwarf import Dwarf, UnitIndex
    from kernlab.debuginfo.dwarf_unit import Unit

U64 = npt.NDArray[np.uint64]

#: So many units are kept open, and so many are asked where the source lies.
_MOST_OPEN, _MOST_ASKED = 64, 64
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
        self._dwarf: Dwarf | None = None
        self._index: UnitIndex | None = None
        self._units: OrderedDict[int, Unit] = OrderedDict()
        self._found: dict[int, tuple[SourceFrame, ...]] | None = None
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
            owner = self._opened().find(addresses)
        except DebugInfoError as error:
            self._tell(str(error))
            return found
        finally:
            if self._index is not None:
                self.problems += [text for text in self._index.problems if text not in self.problems]
        lost: list[tuple[str, int]] = []
        for offset in np.unique(owner[owner >= 0]).tolist():
            here = addresses[owner == offset]
            try:
                with damage(f"{self.file.path}: the debug information of the unit at byte {offset:,}"):
                    found.update(self._in_unit(self._unit(offset), here))
            except DebugInfoError as error:
                self._units.pop(offset, None)
                lost.append((str(error), len(here)))
        if lost:
            more = f" (so are {len(lost) - 1:,} more units)" if len(lost) > 1 else ""
            self._tell(f"{lost[0][0]}{more}: lines of {sum(n for _, n in lost):,} addresses are not known")
        return found

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _opened(self) -> UnitIndex:
        """The index of units, with work allowed for what is asked of the file now."""
        from kernlab.debuginfo.dwarf import Dwarf, UnitIndex

        if self._dwarf is None:
            self._dwarf = Dwarf(self.file)
        self._dwarf.allow()
        if self._index is None:
            self._index = UnitIndex(self._dwarf)
        return self._index

    def _unit(self, offset: int) -> Unit:
        from kernlab.debuginfo.dwarf_unit import Unit

        assert self._dwarf is not None
        unit = self._units.pop(offset, None) or Unit(self._dwarf, offset)
        self._units[offset] = unit
        while len(self._units) > _MOST_OPEN:
            self._units.popitem(last=False)
        return unit

    def _in_unit(self, unit: Unit, addresses: U64) -> dict[int, tuple[SourceFrame, ...]]:
        unit.begin()
        table = unit.table
        unit.begin()
        if table is not None:
            files, lines = (numbers.tolist() for numbers in table.at(addresses))
        else:
            files, lines = [-1] * len(addresses), [0] * len(addresses)
        return {
            address: self._frames(unit, address, file, line)
            for address, file, line in zip(addresses.tolist(), files, lines, strict=True)
        }

    def _frames(self, unit: Unit, address: int, file: int, line: int) -> tuple[SourceFrame, ...]:
        """From the innermost on: the line is the table's for that one, and where each was called for the next."""
        function = unit.function(address)
        if function is None:
            return (self._frame(unit, "", file, line, False),) if file >= 0 else ()
        frames = []
        for call in reversed(unit.calls(function, address)):
            frames.append(self._frame(unit, call.function, file, line, True))
            file, line = call.file, call.line
        frames.append(self._frame(unit, function.name, file, line, False))
        return tuple(frames)

    def _frame(self, unit: Unit, function: str, file: int, line: int, inlined: bool) -> SourceFrame:
        known = unit.table is not None and 0 <= file < len(unit.table.files)
        path = unit.table.files[file] if unit.table is not None and known else ""
        return SourceFrame(function, self._short(unit, path), line if path else 0, inlined, path)

    def _short(self, unit: Unit, path: str) -> str:
        """A path from the top of the source on; as it is where it does not lie there."""
        compiled, top = self._source_top()
        if compiled and unit.directory.endswith(f"/{compiled}"):
            # Of assembly some builds keep the whole path (-ffile-prefix-map is the compiler's).
            path = path.removeprefix(unit.directory.removesuffix(compiled))
        return path.removeprefix(top)

    def _source_top(self) -> tuple[str, str]:
        """Where units in C were compiled, and where the source lay, with a slash at its end; "" where none tells."""
        if self._top is None:
            assert self._index is not None
            asked = itertools.islice(self._index.units(), _MOST_ASKED)
            self._top = next(filter(None, map(self._top_of, asked)), ("", ""))
        return self._top

    def _top_of(self, offset: int) -> tuple[str, str] | None:
        try:
            with damage(str(self.file.path)):
                unit = self._unit(offset)
                tops = [path for path in unit.directories if path.endswith(_KNOWN)]
        except DebugInfoError:
            return None
        return (unit.directory, tops[0].removesuffix(_KNOWN) + "/") if tops else None


def _plain(found: dict[int, tuple[SourceFrame, ...]]) -> line_cache.Kept:
    return {
        address: [(frame.function, frame.file, frame.line, frame.inlined, frame.path) for frame in frames]
        for address, frames in found.items()
    }
