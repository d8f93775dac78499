"""Recorded machines for the tests of `capture status`: recorded/NAME.json (see status_guest.py) as a folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("recorded")

#: Where the boot header that was recorded lies in a kernel's image.
_HEADER_AT = 0x1F0


def tree(
    name: str, folder: Path, changes: dict[str, str | bytes | None] | None = None, **recorded: Any
) -> Path:
    """The recorded machine `name` below `folder`; `changes` are files that differ (None: not there).

    `recorded` replaces entries of recorded.json: sizes, free, unpacked, programs.
    """
    held = json.loads((RECORDED / f"{name}.json").read_text())
    contents: dict[str, str | bytes] = dict(held["files"])
    for path, header in held["boot_header"].items():
        contents[path] = bytes(_HEADER_AT) + base64.b64decode(header)
    contents["/recorded.json"] = json.dumps(held["recorded"] | recorded)
    for path, content in (changes or {}).items():
        contents.pop(path, None)
        if content is not None:
            contents[path] = content
    for path, content in contents.items():
        _make(folder / path.lstrip("/")).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    for path, target in held["links"].items():
        _make(folder / path.lstrip("/")).symlink_to(target)
    for path, names in held["folders"].items():
        for inner in names:
            (folder / path.lstrip("/") / inner).mkdir(parents=True)
    return folder


def _make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
