"""An initial RAM disk: files, folders and links in, a cpio archive (newc, as the kernel unpacks it) out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

_FOLDER, _FILE, _LINK, _DEVICE = 0o040000, 0o100000, 0o120000, 0o020000


def write_cpio(path: Path, files: Mapping[str, Path | bytes | str], folders: tuple[str, ...] = ()) -> None:
    """Write an archive. `files`: path in the guest → a file to copy, bytes, or (str) where a link points.

    Everything belongs to root; files and folders have mode 755. /dev/console is there, for messages before /dev is.
    """
    with open(path, "wb") as stream:
        archive = _Archive(stream)
        for folder in _all_folders([*files, *(f"{folder}/x" for folder in (*folders, "dev"))]):
            archive.header(folder, _FOLDER | 0o755, 0)
        archive.header("dev/console", _DEVICE | 0o600, 0, device=(5, 1))
        for name, content in files.items():
            if isinstance(content, str):
                target = content.encode()
                archive.header(name, _LINK | 0o777, len(target))
                archive.data(target)
            elif isinstance(content, bytes):
                archive.header(name, _FILE | 0o755, len(content))
                archive.data(content)
            else:
                archive.header(name, _FILE | 0o755, content.stat().st_size)
                with open(content, "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
                archive.pad()
        archive.header("TRAILER!!!", 0, 0)


class _Archive:
    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.number = 0

    def header(self, name: str, mode: int, size: int, device: tuple[int, int] = (0, 0)) -> None:
        self.number += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device of the file (2), device it is (2), length of name, checksum
        fields = (self.number, mode, 0, 0, 1, 0, size, 0, 0, *device, len(encoded), 0)
        self.stream.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self.pad()

    def data(self, content: bytes) -> None:
        self.stream.write(content)
        self.pad()

    def pad(self) -> None:
        self.stream.write(b"\0" * (-self.stream.tell() % 4))


def _all_folders(names: list[str]) -> list[str]:
    """Every folder above the names, parents first."""
    folders = {str(parent) for name in names for parent in Path(name).parents if str(parent) != "."}
    return sorted(folders, key=lambda folder: (folder.count("/"), folder))
