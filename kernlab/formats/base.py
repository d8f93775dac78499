"""What every dump format gives to the rooms below: page frames by number, and what the file says of itself."""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from kernlab.errors import KernlabWarning, TruncatedDumpWarning
from kernlab.util.closing import Closing

if TYPE_CHECKING:
    from kernlab.formats.source import Source

#: No machine has more bytes of physical addresses: x86-64 and arm64 have 52 bits.
PHYSICAL_END = 1 << 52

#: Machines whose dumps kernlab reads, as uname -m names them.
READ_MACHINES = ("x86_64", "aarch64")
#: The same in a sentence.
READ_MACHINES_ONLY = "kernlab reads dumps of x86_64 and aarch64 (arm64) machines only so far"

#: Other machines of which there are dumps, as uname -m names them: kernlab refuses their dumps by name.
MACHINES = frozenset(
    {
        "alpha",
        "armv6l",
        "armv7l",
        "i386",
        "i486",
        "i586",
        "i686",
        "ia64",
        "loongarch64",
        "m68k",
        "mips",
    }
    | {"mips64", "ppc", "ppc64", "ppc64le", "riscv32", "riscv64", "s390", "s390x", "sparc64"}
)


class FrameStatus(IntEnum):
    """Where a page frame of the machine is."""

    PRESENT = 0
    EXCLUDED = 1  # RAM that the dump was saved without (its dump level)
    ABSENT = 2  # no RAM of this machine, or none that the dump tells of
    LOST = 3  # should be in the file, but the file is cut or damaged there


@dataclass(frozen=True, slots=True)
class Note:
    """One ELF note of the dump; `offset` is where its descriptor lies in the file."""

    name: str
    type: int
    desc: bytes
    offset: int


class DumpFile(Closing):
    """A dump file that has been recognised. Frames with data have indexes from 0 to `frame_count` - 1.

    `format` names what it is and what lies around it ("kdump-zlib", "elf (xz)", "kdump-lzo (split, 3 pieces)"),
    `header` holds what the file itself says (release, nodename, timestamp, dump_level, file_bytes …), `vmcoreinfo`
    the text of that note or None, `problems` a sentence for everything that was found lost so far.
    """

    path: Path
    format: str
    page_size: int
    machine: str
    #: Does the file itself say which machine it is of? Else VMCOREINFO tells.
    names_machine: bool = True
    vmcoreinfo: bytes | None
    header: dict[str, object]
    notes: list[Note]
    problems: list[str]
    frame_count: int
    max_pfn: int

    #: Do its bytes change while they are read, as a running machine's do?
    changes: ClassVar[bool] = False

    #: How often its frames were found to be others than before, and numbered anew.
    generation: int = 0

    def refresh(self) -> None:
        """Of one that changes: look again which frames there are."""

    @abstractmethod
    def find(self, pfns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Page frame numbers uint64[n] to frame indexes int64[n]; -FrameStatus where the file has no data."""

    @abstractmethod
    def present(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """The numbers of the page frames that the file has data of, ascending, at most `most` at a time.

        The work grows with the bytes that the file keeps, not with the machine's memory nor with what the file claims:
        frames that lie in holes of a sparse file as a whole, which are zeros, are left out.
        """

    @property
    def filled_count(self) -> int:
        """How many frames `present` gives: no more than the file keeps bytes of, whatever it claims."""
        return self.frame_count

    @abstractmethod
    def read_into(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Read frames int64[n] into `out` uint8[n, page_size]; returns PRESENT or LOST per row, lost rows zeroed."""

    def repaged(self, page_size: int) -> DumpFile:
        """The same memory in pages of `page_size` bytes: this file, or another one around it.

        Raises DumpFormatError where the file's blocks are no multiple of them.
        """
        if page_size == self.page_size:
            return self
        from kernlab.formats.repaged import Repaged

        return Repaged(self, page_size)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of dump file. Its module has one, as FORMAT, and `recognise.MODULES` names the module.

    `name` is what kernlab.open(format=…) takes, `title` what such files are called in a sentence, in the plural.
    `recognises` is shown a file's first bytes, whatever their number, and `open` makes a DumpFile of a source (its
    second argument is kernlab.open's `zero_excluded`), or raises DumpFormatError; the source stays its caller's then.
    """

    name: str
    title: str
    recognises: Callable[[bytes], bool]
    open: Callable[[Source, bool], DumpFile]


def named(kind: str, *around: str) -> str:
    """A format's name with what lies around it: ("elf", "xz") gives "elf (xz)"."""
    wrappings = ", ".join(filter(None, around))
    return f"{kind} ({wrappings})" if wrappings else kind


COPY_AGAIN = "Copy the dump again if the copy was cut short"


def warn_lost(
    problems: list[str],
    what: str,
    remedy: str = COPY_AGAIN,
    category: type[KernlabWarning] = TruncatedDumpWarning,
) -> None:
    """Note what was found lost at opening among `problems`, and warn of it at the line that called kernlab."""
    problems.append(f"{what}; {remedy[0].lower()}{remedy[1:]}")
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kernlab":
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f'{what}; each table\'s attrs["problems"] says what it misses.\n{remedy}.', category, stacklevel=level
    )
