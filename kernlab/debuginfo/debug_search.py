"""Where debug files lie on this machine: folders by build id or by name. Nothing is fetched from anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError

VARIABLE = "KERNLAB_DEBUG_PATH"
#: Where Debian's and Fedora's packages put them.
_DEFAULT = Path("/usr/lib/debug")

#: So many files of a folder are looked at for one of a module's name.
_MOST_FILES = 200_000
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
_HEXADECIMAL = re.compile(r"[0-9a-f]{8,128}")


def folders() -> list[Path]:
    """The folders of KERNLAB_DEBUG_PATH (separated by colons), and /usr/lib/debug where there is one."""
    named = [Path(os.path.expanduser(part)) for part in os.environ.get(VARIABLE, "").split(":") if part]
    return [folder for folder in [*named, _DEFAULT] if os.path.isdir(folder)]


def module_of(path: Path) -> str:
    """The module that a file is named after, as the kernel writes it; "" where it is not named as a module's."""
    name, dot, rest = path.name.partition(".ko")
    return name.replace("-", "_") if dot and rest in ("", ".debug") else ""


class DebugSearch:
    """Looks for the files of one kernel, by its release, in folders; the first that has the build id is taken.

    `others` has a sentence for each file of the right name that is of another build.
    """

    def __init__(self, places: Sequence[Path], release: str):
        self._places = list(places)
        # It comes from the dump, and must not lead out of a folder.
        self._release = release if _PLAIN.fullmatch(release) else ""
        self._modules: dict[Path, dict[str, list[Path]]] = {}
        self.others: list[str] = []

    def kernel(self, build_id: str) -> DebugFile | None:
        """The kernel's own file, None where no folder has it."""
        return self._first(build_id, self._kernels)

    def module(self, name: str, build_id: str) -> DebugFile | None:
        """A module's file, None where no folder has it."""

        def named(folder: Path) -> Iterator[Path]:
            yield from self._listed(folder).get(name.replace("-", "_"), [])

        return self._first(build_id, named)

    def _first(self, build_id: str, named: Callable[[Path], Iterator[Path]]) -> DebugFile | None:
        if not _HEXADECIMAL.fullmatch(build_id):
            return None
        stripped: DebugFile | None = None
        for folder in self._places:
            for path in (*_by_build_id(folder, build_id), *named(folder)):
                if not os.path.isfile(path):
                    continue
                try:
                    file = DebugFile(path)
                except DebugInfoError as error:
                    self._tell(str(error))
                    continue
                if file.build_id == build_id:
                    # A stripped copy may lie beside the whole one.
                    if file.has_lines:
                        return file
                    self._tell(f"{path} was stripped of its line tables")
                    stripped = stripped or (file if file.has_types else None)
                else:
                    self._tell(f"{path} has build id {file.build_id or 'unknown'}, not {build_id}")
        return stripped

    def _tell(self, other: str) -> None:
        if other not in self.others:
            self.others.append(other)

    def _kernels(self, folder: Path) -> Iterator[Path]:
        for root in (folder, folder / "usr/lib/debug"):
            for name in ("vmlinux", "vmlinux.debug"):
                yield root / name
            if self._release:
                for name in (f"vmlinux-{self._release}", f"vmlinux-{self._release}.debug"):
                    yield root / name
                    yield root / "boot" / name
                for name in ("vmlinux", "vmlinux.debug"):
                    yield root / "lib/modules" / self._release / name

    def _listed(self, folder: Path) -> dict[str, list[Path]]:
        """Files of modules below a folder, by the module's name."""
        if folder not in self._modules:
            found: dict[str, list[Path]] = {}
            own = [Path("lib/modules") / self._release] if self._release else []
            tops = [folder / at for at in (*own, *(Path("usr/lib/debug") / one for one in own))]
            for top in [top for top in tops if os.path.isdir(top)] or [folder]:
                for path in _files(top):
                    name = module_of(path)
                    if name:
                        found.setdefault(name, []).append(path)
            self._modules[folder] = found
        return self._modules[folder]


def _by_build_id(folder: Path, build_id: str) -> list[Path]:
    """As debuggers and as debuginfod's clients lay them out."""
    return [
        folder / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug",
        folder / "usr/lib/debug/.build-id" / build_id[:2] / f"{build_id[2:]}.debug",
        folder / build_id / "debuginfo",
    ]


def _files(top: Path) -> Iterator[Path]:
    left = _MOST_FILES
    for place, _, names in os.walk(top):
        for name in names[:left]:
            yield Path(place, name)
        left -= len(names) + 1
        if left <= 0:
            return
