"""Debian packages of any release, fetched with apt into a root of the lab's own.

Comes in: a release's name. Goes out: .deb files and what they hold, in the cache. The mirror, its proxy and
its passwords are the machine's (asked of apt itself); the machine's sources, lists and packages stay untouched.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.apt_sources import configuration, configured_mirror, sources
from kernlab.lab.steps import LabError, Progress, check_room, run, write_new
from kernlab.util.files import whole_folder

LIST_SECONDS = 24 * 3600  # how old a package list may be before it is fetched again
UPDATE_LIMIT_SECONDS = 300.0
FETCH_LIMIT_SECONDS = 900.0

#: Roots whose lists could not be fetched by this process: what is there serves until the next.
_GIVEN_UP: set[Path] = set()


def cache_folder() -> Path:
    """Where the lab keeps package lists, packages and what it made of them: XDG_CACHE_HOME/kernlab/lab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kernlab" / "lab"


@dataclass(frozen=True)
class Package:
    """One version of one binary package of a release."""

    name: str
    version: str
    release: str


class AptRoot:
    """A private apt root of one Debian release (`bookworm` …) and architecture; one in the same folder equals it."""

    def __init__(
        self,
        release: str,
        cache: Path | None = None,
        progress: Progress | None = None,
        architecture: str = "amd64",
    ):
        self.release = release
        self.architecture = architecture
        self.cache = (cache or cache_folder()).absolute()
        self.progress = progress or Progress(None)
        self.suffix = "" if architecture == "amd64" else f"-{architecture}"
        self.folder = self.cache / "apt" / f"{release}{self.suffix}"
        self.archives = self.cache / "packages"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AptRoot) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def update(self, *, force: bool = False) -> None:
        """Fetch the release's package lists where they are missing, older than a day or another mirror's.

        apt's own configuration is written anew: the cache may have been moved, or come from another machine.
        """
        stamp, listed = self.folder / "updated", self.folder / "sources.list"
        before = listed.read_text() if listed.exists() and stamp.exists() else None
        for name in ("lists/partial", "cache/archives/partial", "empty"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        write_new(self.folder / "apt.conf", configuration(self.release, self.folder, self.architecture))
        try:
            wanted = sources(self.release, configured_mirror())
            fresh = before == wanted and time.time() - stamp.stat().st_mtime < LIST_SECONDS
            if not force and (fresh or (before is not None and self.folder in _GIVEN_UP)):
                return
            self.progress(f"apt: fetching the package lists of {self.release}")
            write_new(listed, wanted)
            # Without this a mirror that cannot be reached is a warning, and the release has no packages for a day.
            words = ["-o", "APT::Update::Error-Mode=any", "update"]
            self._apt("apt-get", "-qq", *words, limit_seconds=UPDATE_LIMIT_SECONDS)
        except LabError as error:
            if before is None:
                raise
            # A list of yesterday serves better than none: its packages may still be there, or in the cache.
            why = str(error).splitlines()[-1]
            self.progress(
                f"apt: the lists of {self.release} stay as they were, they cannot be fetched: {why}"
            )
            write_new(listed, before)
            _GIVEN_UP.add(self.folder)
        else:
            stamp.touch()
        self._versions.cache_clear()

    def names(self, prefix: str) -> list[str]:
        """The names of the release's packages that begin with `prefix`."""
        self.update()
        return sorted(set(self._apt("apt-cache", "pkgnames", prefix).split()))

    @functools.lru_cache(maxsize=512)  # noqa: B019 - roots live as long as the lab
    def _versions(self, name: str) -> tuple[str, ...]:
        text = self._apt("apt-cache", "madison", name)
        return tuple(line.split("|")[1].strip() for line in text.splitlines() if line.count("|") == 2)

    def newest(self, name: str) -> Package | None:
        """The newest version of a package in the release, or None where there is no such package."""
        self.update()
        versions = self._versions(name)
        if not versions:
            return None
        best = versions[0]
        for version in versions[1:]:
            if newer(version, best):
                best = version
        return Package(name, best, self.release)

    def require(self, name: str) -> Package:
        """`newest`, or a LabError that names what is missing."""
        package = self.newest(name)
        if package is None:
            raise LabError(
                f"Debian {self.release} has no package {name} (any more) on this machine's mirror."
            )
        return package

    def closure(self, *names: str) -> list[Package]:
        """Packages and everything that they depend on, recommended packages left out."""
        self.update()
        lists = (self.folder / "updated").stat().st_mtime_ns
        return list(_closure(self, names, lists))

    def fetch_all(self, packages: list[Package]) -> list[Path]:
        """The .deb files of several packages, the missing ones fetched in one go; their size is reported first."""
        missing = self.missing(packages)
        if missing:
            size = self.size_bytes(missing)
            what = missing[0].name if len(missing) == 1 else f"{len(missing)} packages"
            self.progress(f"apt: fetching {what} of {self.release}, {size / 1e6:,.1f} MB")
            check_room(self.cache, size, f"{what} of Debian {self.release}")
            self._download(missing)
        return [self._fetched(package) for package in packages]

    def missing(self, packages: list[Package]) -> list[Package]:
        """Those whose .deb file is not in the cache."""
        return [package for package in packages if self._archive(package) is None]

    def size_bytes(self, packages: list[Package]) -> int:
        """What fetching these packages takes, as the mirror's lists say."""
        if not packages:
            return 0
        wanted = [f"{package.name}={package.version}" for package in packages]
        told = self._apt("apt-get", "-qq", "--print-uris", "download", *wanted)
        return sum(map(int, re.findall(r"^'[^']*' \S+ (\d+)", told, re.MULTILINE)))

    def _archive(self, package: Package) -> Path | None:
        """The .deb file in the cache; apt writes an epoch's colon as %3a."""
        version = package.version.replace(":", "%3a")
        places = (
            self.archives / f"{package.name}_{version}_{architecture}.deb"
            for architecture in (self.architecture, "all")
        )
        return next((place for place in places if place.exists()), None)

    def _download(self, packages: list[Package]) -> None:
        self.archives.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.archives, prefix=".fetch-") as name:
            # A version that left the archive since the lists were made is an error of apt's own words.
            wanted = [f"{package.name}={package.version}" for package in packages]
            self._apt(
                "apt-get", "-qq", "download", *wanted, limit_seconds=FETCH_LIMIT_SECONDS, cwd=Path(name)
            )
            for file in Path(name).glob("*.deb"):
                file.rename(self.archives / file.name)

    def fetch(self, package: Package) -> Path:
        """The .deb file, from the cache or the mirror."""
        return self.fetch_all([package])[0]

    def _fetched(self, package: Package) -> Path:
        found = self._archive(package)
        if found is None:
            raise LabError(f"apt fetched no file for {package.name} {package.version} of {package.release}.")
        return found

    def unpacked(self, package: Package) -> Path:
        """A folder with the package's files, unpacked into the cache once."""
        epochless = package.version.split(":", 1)[-1]
        folder = self.cache / "unpacked" / f"{package.name}_{epochless}{self.suffix}"
        if not folder.exists():
            unpack([self.fetch(package)], folder)
        return folder

    def _apt(self, program: str, *words: str, limit_seconds: float = 120.0, cwd: Path | None = None) -> str:
        return run(
            [program, *words],
            what=f"apt for Debian {self.release}",
            limit_seconds=limit_seconds,
            env={**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"},
            cwd=cwd,
        )


@functools.lru_cache(maxsize=64)
def _closure(apt: AptRoot, names: tuple[str, ...], lists: int) -> list[Package]:
    """apt takes seconds for it, so it is kept beside the lists; `lists` is when those were fetched."""
    key = hashlib.sha256(repr(names).encode()).hexdigest()[:16]
    kept = apt.folder / "closures" / key
    with contextlib.suppress(OSError, ValueError):
        stamp, *rows = kept.read_text().splitlines()
        if stamp == str(lists) and rows:
            return [Package(name, version, apt.release) for name, version in map(str.split, rows)]
    text = apt._apt("apt-get", "-s", "-qq", "install", "--no-install-recommends", *names)
    found = re.findall(r"^Inst (\S+) \((\S+)", text, re.MULTILINE)
    packages = [Package(package.split(":")[0], version, apt.release) for package, version in found]
    kept.parent.mkdir(exist_ok=True)
    write_new(kept, "\n".join([str(lists), *(f"{package.name} {package.version}" for package in packages)]))
    return packages


def newer(version: str, other: str) -> bool:
    """Is a Debian version newer than another, by dpkg's rules?"""
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", other], check=False).returncode == 0


def unpack(packages: list[Path], folder: Path) -> Path:
    """Unpack .deb files over each other into `folder`, which appears only when whole."""
    with whole_folder(folder) as partial:
        for package in packages:
            run(["dpkg-deb", "-x", package, partial], what=f"Unpacking {package.name}", limit_seconds=300)
    return folder
