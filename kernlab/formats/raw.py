"""Raw images of physical memory: a file in, one segment out. A byte's physical address is its offset in the file.

They have no header, so that nothing recognises them: they are opened when asked for by name. Such are LiME's
format=padded, QEMU's pmemsave from address 0 on, `avml convert --format raw`, VMware's .vmem of up to 3 GiB. What is
not RAM (the hole for PCI devices below 4 GiB) takes its room in them, as zeros or as a hole in the file. The file
behind a guest's RAM (QEMU's memory-backend-file) is not such an image if the guest has RAM above 4 GiB: there that hole
is left out.
"""

from __future__ import annotations

import numpy as np

from kernlab.errors import DumpFormatError
from kernlab.formats.base import PHYSICAL_END, Format
from kernlab.formats.segments import SEGMENT, SegmentedFile
from kernlab.formats.source import Source


def open_raw(source: Source, zero_excluded: bool = False) -> SegmentedFile:
    """A raw image: every frame up to the file's end is there. `zero_excluded` changes nothing.

    Raises DumpFormatError for a file that is larger than the physical memory of an x86-64 machine can be.
    """
    if source.size > PHYSICAL_END:
        raise DumpFormatError(
            f"{source.path} has {source.size:,} bytes, more than an x86-64 machine has physical addresses"
        )
    return SegmentedFile("raw", source, np.array([(0, 0, source.size, source.size)], dtype=SEGMENT))


FORMAT = Format("raw", "raw memory images", lambda start: False, open_raw)
