"""Files of /proc, tracefs and /run, read whole and written in one piece."""

from __future__ import annotations

import json
import os
from typing import Any


def read_bytes(path: str) -> bytes | None:
    """A file as bytes, None where it is missing or cannot be read."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return b"".join(iter(lambda: stream.read(1 << 16), b""))
    except OSError:
        return None


def read_text(path: str) -> str:
    """A file as text without the space around it, "" where it is missing or cannot be read."""
    return (read_bytes(path) or b"").decode("utf-8", "replace").strip()


def write_text(path: str, text: str) -> None:
    """Write to a file of tracefs in one piece; OSError as the kernel answers."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write_json(path: str, value: Any) -> None:
    """Replace a file in one step."""
    with open(f"{path}.new", "w") as stream:
        json.dump(value, stream)
    os.rename(f"{path}.new", path)
