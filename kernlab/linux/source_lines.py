"""Source lines of addresses in a dump: the debug files of its kernel and modules, found, checked, and placed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError
from kernlab.debuginfo.source_lines import SourceFrame, SourceLines
from kernlab.errors import KernlabError
from kernlab.linux.debug_files import debug_files
from kernlab.linux.kernel_modules import module_ranges

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: What a kernel's image begins with, by preference; and no image is larger.
_BEGINS, _LARGEST_IMAGE = ("_text", "_stext"), 1 << 30


@dataclass(frozen=True, slots=True)
class _Placed:
    """A debug file and where it is in memory: addresses from start to end, uint64[n], lie there in the file at their
    own less `shift`."""

    lines: SourceLines
    start: U64
    end: U64
    shift: U64


class _Files:
    """The debug files of one kernel as source lines need them: each placed when first asked for."""

    def __init__(self, kernel: Kernel):
        self._lock = threading.RLock()
        self._opened: dict[str, _Placed | None] = {}
        self._files = debug_files(kernel)
        self.problems = list(self._files.problems)
        self.may_have_any = self._files.may_have_any

    def of(self, kernel: Kernel, module: str) -> _Placed | None:
        """The file of a module, of the kernel itself for "", where there is one."""
        with self._lock:
            if module not in self._opened:
                self._opened[module] = None
                try:
                    self._opened[module] = self._open(kernel, module)
                except KernlabError as error:
                    self.problems.append(f"source lines of {module or 'the kernel'} are not known: {error}")
            return self._opened[module]

    def all_problems(self) -> list[str]:
        """Of the files that were opened, too."""
        with self._lock:
            opened = [placed for placed in self._opened.values() if placed is not None]
            return [*self.problems, *(text for placed in opened for text in placed.lines.problems)]

    def _open(self, kernel: Kernel, module: str) -> _Placed | None:
        file = self._files.of(kernel, module)
        # What was found for its types only was not given for lines.
        if file is None or not (file.has_lines or kernel.debug_paths):
            return None
        return _place_module(kernel, file, module) if module else _place_kernel(kernel, file)


@fact
def _files(kernel: Kernel) -> _Files:
    return _Files(kernel)


def _place_kernel(kernel: Kernel, file: DebugFile) -> _Placed:
    """By where its text begins here and there: KASLR moved it."""
    symbols = file.symbols(frozenset(_BEGINS))
    there = dict(zip(symbols.names, symbols.addresses.tolist(), strict=True))
    for name in _BEGINS:
        here = kernel.symbols.get(name)
        if here is not None and name in there:
            end = kernel.symbols.get("_end") or here + _LARGEST_IMAGE
            shift = (here - there[name]) % (1 << 64)
            return _placed(file, [(here, end, shift)])
    raise DebugInfoError(
        f"neither the dump nor {file.path} says where {' or '.join(_BEGINS)} lies: they must both"
    )


def _place_module(kernel: Kernel, file: DebugFile, module: str) -> _Placed:
    """By its symbols: most of a section's say where that was loaded (one may be of the same name as another)."""
    kernel.with_modules()
    table = kernel.symbols
    rows = [row for row, of in enumerate(table.modules()) if of == module]
    names = table.names()
    here = {names[row]: int(table.addresses[row]) for row in rows}
    there = file.symbols(frozenset(here))
    section = file.sections_of(there.addresses)
    moved = np.array([here[name] for name in there.names], dtype=np.uint64) - there.addresses
    placed = []
    for number in np.unique(section).tolist():
        shifts, votes = np.unique(moved[section == number], return_counts=True)
        shift = int(shifts[np.argmax(votes)])
        start = (file.address_of_section(number) + shift) % (1 << 64)
        placed.append((start, start + file.size_of_section(number), shift))
    if not placed:
        raise DebugInfoError(f"{file.path} and the dump's module {module!r} have no symbol in common")
    return _placed(file, sorted(placed))


def _placed(file: DebugFile, parts: list[tuple[int, int, int]]) -> _Placed:
    table = np.array(parts, dtype=np.uint64)
    return _Placed(SourceLines(file), table[:, 0], table[:, 1], table[:, 2])


def lines_of(kernel: Kernel, addresses: U64, exact: Mask | None = None) -> list[tuple[SourceFrame, ...]]:
    """The functions and source lines at addresses, the innermost first: what was inlined, then what that lies in.

    `exact`, bool[n], tells instructions yet to be done from addresses to return to (all, without it), whose call lies
    before them. () where no debug file tells: files come from `kernlab.open(…, vmlinux=…)` and KERNLAB_DEBUG_PATH.
    Damage of a file is told to the scope that is open.

    >>> from kernlab.linux.source_lines import lines_of
    >>> lines_of(dump.kernel, [dump.symbol("schedule")])
    [()]
    """
    where = np.array(addresses, dtype=np.uint64)
    where -= (~np.asarray(exact, dtype=bool) if exact is not None else np.ones(len(where))).astype(np.uint64)
    found: list[tuple[SourceFrame, ...]] = [()] * len(where)
    files = _files(kernel)
    if not files.may_have_any:
        return found
    for module, rows in _by_module(kernel, where):
        placed = files.of(kernel, module)
        if placed is None:
            continue
        part = np.searchsorted(placed.start, where[rows], "right") - 1
        inside = (part >= 0) & (where[rows] < placed.end[part])
        rows, part = rows[inside], part[inside]
        for row, frames in zip(
            rows.tolist(), placed.lines.lines(where[rows] - placed.shift[part]), strict=True
        ):
            found[row] = frames
    kernel.lost(*files.all_problems())
    return _named(kernel, where, found)


def source_problems(kernel: Kernel) -> list[str]:
    """What is wrong with the debug files that source lines were asked of so far, one sentence each."""
    return _files(kernel).all_problems()


def _by_module(kernel: Kernel, where: U64) -> Iterable[tuple[str, npt.NDArray[np.int64]]]:
    """The rows of addresses by the module that they lie in; "" for all others."""
    start, end, names = module_ranges(kernel)
    part = np.searchsorted(start, where, "right") - 1
    inside = np.zeros(len(where), dtype=bool)
    if len(start):
        inside = (part >= 0) & (where < end[part])
    if not inside.all():
        yield "", np.flatnonzero(~inside)
    owners = np.array([names[number] for number in part[inside].tolist()], dtype=object)
    rows = np.flatnonzero(inside)
    for name in dict.fromkeys(owners.tolist()):
        yield str(name), rows[owners == name]


def _named(kernel: Kernel, where: U64, found: list[tuple[SourceFrame, ...]]) -> list[tuple[SourceFrame, ...]]:
    """Functions in assembly are not in all debug information: their symbol names them."""
    rows = [row for row, frames in enumerate(found) if frames and not frames[-1].function]
    for row, name in zip(rows, kernel.symbolize(where[rows]) if rows else [], strict=True):
        if name is not None:
            found[row] = (*found[row][:-1], replace(found[row][-1], function=name.partition("+")[0]))
    return found
