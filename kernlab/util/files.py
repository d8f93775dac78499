"""Files and folders that appear whole or not at all, and an error that names the one that could not be written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Let what goes wrong inside name the file: what write(2) answers (a full disk) names none.

    `instead_of` is a file that nobody knows of: where it is named, `path` is.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (
            None,
            None if instead_of is None else str(instead_of),
        ):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write instead of `path`, which takes the file's place when all is written and is as before if not.

    A device or a pipe is written to as it is. Raises OSError with the path's name.
    """
    real = Path(os.path.realpath(path))
    if real.exists() and not real.is_file():
        with naming(path):
            yield real
        return
    temporary = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        with naming(path, temporary):
            yield temporary
            temporary.replace(real)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file in one go. Raises OSError with the path's name."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when all is in it; nothing stays if not.

    Where another process was quicker its folder stays, which has the same in it. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield partial
        partial.chmod(0o755)
        try:
            partial.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
