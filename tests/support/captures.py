"""The lab's captures that are on this machine: folders as `kernlab lab run` makes them.

KERNLAB_LAB_CAPTURES names folders that hold such folders, with a colon between.
"""

from __future__ import annotations

import os
from pathlib import Path


def captures(pattern: str = "*") -> list[Path]:
    """Those whose folder has a name like `pattern`."""
    named = filter(None, os.environ.get("KERNLAB_LAB_CAPTURES", "").split(":"))
    return sorted(
        archive.parent for folder in named for archive in Path(folder).glob(f"{pattern}/truth.tar.xz")
    )


#: What the lab and the repository call a dump, the usual names first.
_NAMES = ("vmcore.xz", "vmcore", "vmcore.zst", "vmcore.zlib", "vmcore.qemu-elf", "vmcore.qemu-kdump-zlib")


def dumps_in(folder: Path) -> list[Path]:
    """The dumps of a capture or a sample: one machine's, in one format or several."""
    return [folder / name for name in _NAMES if (folder / name).is_file()]


def told(samples: Path, story: str) -> list[Path]:
    """The folders of one story: its sample, and its captures on other kernels."""
    return [samples / story, *captures(f"{story}-*")]
