"""The service as a program that needs no kernlab: its folder, and that folder as one executable zip archive."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from kernlab.recorder import service

#: Python runs it by its path, as it does the archive.
FOLDER = Path(service.__file__).parent


def archive() -> bytes:
    """The archive's bytes: of the same sources always the same, in order and without times.

    `python3 -m zipapp` makes one that does the same, as extensions/recorder tells.
    """
    held = io.BytesIO()
    held.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(held, "w") as files:
        for path in sorted(FOLDER.glob("*.py")):
            files.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return held.getvalue()
