"""Refuses files that must not be committed: too large, left by a merge, or naming paths of this machine or registries.

Arguments: files to check; without any, all that git tracks. Exit status 1 when something was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

MAX_BYTES = 20 * 1024 * 1024
# What git and patch leave beside a source file (JupyterLab's builder keeps a package.json.orig).
LEFTOVER = re.compile(r"\.(?:py|js|css|c|sh|md|toml|ipynb)\.(?:orig|rej)$")
MACHINE_PATHS = re.compile(
    r"/[w]ork/(?:main|shared|\.\w+)\b|/[r]oot/|/[h]ome/(?!jovyan\b)\w+/|[f]ile:///(?!var/crash\b)\w"
)
# An installer's option or a lock file's field that fixes where packages come from.
REGISTRY_SETTINGS = re.compile(
    r"--(?:extra-)?index-url\b|--[f]ind-links\b|\"resolved\": *\"https?:|^registry *=", re.MULTILINE
)
# This file quotes the patterns.
EXEMPT = {Path("scripts/check_files.py")}


def main(arguments: list[str]) -> int:
    try:
        paths = [Path(argument) for argument in arguments] or tracked_files()
    except (OSError, subprocess.CalledProcessError):
        print("check_files: no git checkout here, nothing checked")
        return 0
    hosts = set(registry_hosts())
    found = [f"{path}: {problem}" for path in paths if path.is_file() for problem in problems(path, hosts)]
    print("\n".join(found) or f"check_files: {len(paths)} files, nothing that must not be committed")
    return 1 if found else 0


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True, text=True).stdout
    return [Path(name) for name in listing.split("\0") if name]


def problems(path: Path, hosts: Iterable[str]) -> Iterator[str]:
    if LEFTOVER.search(path.name):
        yield "left over by a merge"
    size = path.stat().st_size
    if size > MAX_BYTES:
        yield f"{size / 2**20:.1f} MiB, more than {MAX_BYTES >> 20} MiB"
    data = path.read_bytes()
    if path in EXEMPT or b"\0" in data[:8192]:
        return
    text = data.decode("utf-8", "replace")
    for pattern, what in (
        (MACHINE_PATHS, "a path of one machine"),
        (REGISTRY_SETTINGS, "a package registry's setting"),
    ):
        for match in pattern.finditer(text):
            yield f"line {line_of(text, match.start())}: {what}: {match.group()!r}"
    for host in hosts:
        if host in text:
            yield f"line {line_of(text, text.index(host))}: a package registry's host: {host!r}"


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def registry_hosts() -> Iterator[str]:
    """The hosts that this machine's own pip, npm and apt are set up to ask."""
    settings = ""
    for command in (["pip", "config", "list"], ["npm", "config", "get", "registry"]):
        try:
            settings += subprocess.run(
                command, capture_output=True, text=True, timeout=20, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
    apt = Path("/etc/apt")
    for source in [apt / "sources.list", *apt.glob("sources.list.d/*")]:
        if source.is_file():
            settings += source.read_text(errors="replace")
    for url in re.findall(r"https?://[^\s'\"]+", settings):
        host = urlsplit(url).hostname
        if host and host != "localhost":
            yield host


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
