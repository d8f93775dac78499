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
