"""A folder in, a .tar.gz out whose bytes depend on the folder's files alone: no times, owners or order of a machine."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path


def pack(folder: Path, archive: Path) -> Path:
    """Write `folder` as `archive`, below a folder of the archive's own name. Returns the archive."""
    top = archive.name.removesuffix(".tar.gz")
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = tarfile.TarInfo(f"{top}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    return archive
