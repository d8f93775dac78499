"""Files in, their SHA-256 out: in pieces, so that a dump of any size needs no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from kernlab.errors import DumpFileError

_PIECE = 4 << 20


def sha256_of(path: Path, wanted: Callable[[], bool] = lambda: True) -> str:
    """The SHA-256 of a file, in hexadecimal; '' when `wanted` says, between two pieces, that nobody waits any more.

    Raises DumpFileError where the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                if not wanted():
                    return ""
                digest.update(piece)
    except OSError as error:
        raise DumpFileError(
            error.errno, f"it cannot be read to its end: {error.strerror}", str(path)
        ) from error
    return digest.hexdigest()
