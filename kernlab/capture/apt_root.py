"""Debian packages of any release, fetched with apt into a root of the lab's own.

Comes in: a release's name. Goes out: .deb files and what they hold, in the cache. The mirror, its proxy and
its passwords are the machine's (asked of apt itself); the machine's sources, lists and packages stay untouched.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kernlab.capture.steps import LabError, Progress, run

#: Names under which a Debian mirror serves its suites, apart from updates, security and backports.
_SUITE = re.compile(
    r"(buster|bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|oldoldstable|oldstable|stable)"
    r"(-updates|-security|-backports|-proposed-updates|/updates)?$"
)

LIST_SECONDS = 24 * 3600  # how old a package list may be before it is fetched again
UPDATE_LIMIT_SECONDS = 300.0
FETCH_LIMIT_SECONDS = 900.0


def cache_folder() -> Path:
    """Where the lab keeps package lists, packages and what it made of them: XDG_CACHE_HOME/kernlab/lab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kernlab" / "lab"


@dataclass(frozen=True)
class Mirror:
    """Where the machine fetches Debian's main archive and, if it does, the security archive."""

    main: str
    security: str | None
    signed_by: str | None


@dataclass(frozen=True)
class Package:
    """One version of one binary package of a release."""

    name: str
    version: str
    release: str


def configured_mirror() -> Mirror:
    """The machine's own Debian mirror, as apt understands its sources."""
    override = os.environ.get("KERNLAB_LAB_MIRROR")
    if override:
        return Mirror(override, os.environ.get("KERNLAB_LAB_SECURITY_MIRROR"), None)
    text = run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)",
            "Created-By: Packages",
        ],
        what="Asking apt for the machine's Debian mirror",
        limit_seconds=60,
    )
    main = security = signed_by = None
    for line in text.splitlines():
        uri, release, component, keys = line.split("|")
        match = _SUITE.match(release)
        if component != "main" or match is None:
            continue
        signed_by = signed_by or (keys if not keys.startswith("$") else None)
        if match[2] in ("-security", "/updates"):
            security = security or uri
        else:
            main = main or uri
    if main is None:
        raise LabError(
            "No Debian mirror is among this machine's apt sources (`apt-get indextargets` names none). "
            "Set KERNLAB_LAB_MIRROR to the address of one."
        )
    return Mirror(main, security, signed_by)


class AptRoot:
    """A private apt root of one Debian release (`bookworm`, `sid` …) for amd64."""

    def __init__(self, release: str, cache: Path | None = None, progress: Progress | None = None):
        self.release = release
        self.cache = cache or cache_folder()
        self.progress = progress or Progress(None)
        self.folder = self.cache / "apt" / release
        self.archives = self.cache / "packages"

    def update(self, *, force: bool = False) -> None:
        """Fetch the release's package lists where they are missing or older than a day."""
        stamp = self.folder / "updated"
        if not force and stamp.exists() and time.time() - stamp.stat().st_mtime < LIST_SECONDS:
            return
        self.progress(f"apt: fetching the package lists of {self.release}")
        self._write_config()
        try:
            # Without this a mirror that cannot be reached is a warning, and the release has no packages for a day.
            words = ["-o", "APT::Update::Error-Mode=any", "update"]
            self._apt("apt-get", "-qq", *words, limit_seconds=UPDATE_LIMIT_SECONDS)
        except LabError as error:
            if not stamp.exists():
                raise
            # A list of yesterday serves better than none: its packages may still be there, or in the cache.
            self.progress(
                f"apt: the lists of {self.release} could not be refreshed, going on with older ones"
            )
            del error
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
        text = self._apt("apt-get", "-s", "-qq", "install", "--no-install-recommends", *names)
        found = re.findall(r"^Inst (\S+) \((\S+)", text, re.MULTILINE)
        return [Package(package.split(":")[0], version, self.release) for package, version in found]

    def fetch_all(self, packages: list[Package]) -> list[Path]:
        """The .deb files of several packages, the missing ones fetched in one go."""
        missing = [package for package in packages if self._archive(package) is None]
        if missing:
            self.progress(f"apt: fetching {len(missing)} packages of {self.release}")
            self._download(missing)
        return [self.fetch(package) for package in packages]

    def _archive(self, package: Package) -> Path | None:
        """The .deb file in the cache; apt writes an epoch's colon as %3a."""
        version = package.version.replace(":", "%3a")
        return next(self.archives.glob(f"{package.name}_{version}_*.deb"), None)

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
        found = self._archive(package)
        if found is None:
            self.progress(f"apt: fetching {package.name} {package.version}")
            self._download([package])
            found = self._archive(package)
        if found is None:
            raise LabError(f"apt fetched no file for {package.name} {package.version} of {package.release}.")
        return found

    def unpacked(self, package: Package) -> Path:
        """A folder with the package's files, unpacked into the cache once."""
        epochless = package.version.split(":", 1)[-1]
        folder = self.cache / "unpacked" / f"{package.name}_{epochless}"
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

    def _write_config(self) -> None:
        """The root's apt.conf: how to reach the network as the machine does, everything else of its own."""
        for name in ("lists/partial", "cache/archives/partial", "empty"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        mirror = configured_mirror()
        inherited = run(["apt-config", "dump"], what="Reading apt's configuration", limit_seconds=60)
        lines = [line for line in inherited.splitlines() if line.startswith("Acquire::")]
        own = {
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::State::extended_states": self.folder / "extended_states",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": self.folder / "empty",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": self.folder / "empty",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": self.folder / "empty",
            "Dir::Log": self.folder,
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            # Nothing is installed, so no other user's rights are needed to write the lab's own folders.
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        lines += [f'{key} "{value}";' for key, value in own.items()]
        (self.folder / "apt.conf").write_text("\n".join(lines) + "\n")
        keys = f"[signed-by={mirror.signed_by}] " if mirror.signed_by else ""
        sources = [f"deb {keys}{mirror.main} {self.release} main"]
        if self.release.endswith("-backports"):
            sources.append(f"deb {keys}{mirror.main} {self.release.removesuffix('-backports')} main")
        elif self.release not in ("sid", "unstable"):
            if mirror.security:
                sources.append(f"deb {keys}{mirror.security} {self.release}-security main")
            sources.append(f"deb {keys}{mirror.main} {self.release}-updates main")
        (self.folder / "sources.list").write_text("\n".join(sources) + "\n")


def newer(version: str, other: str) -> bool:
    """Is a Debian version newer than another, by dpkg's rules?"""
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", other], check=False).returncode == 0


def unpack(packages: list[Path], folder: Path) -> Path:
    """Unpack .deb files over each other into `folder`, which appears only when whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for package in packages:
            run(["dpkg-deb", "-x", package, partial], what=f"Unpacking {package.name}", limit_seconds=300)
        partial.chmod(0o755)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was quicker; what it unpacked is the same.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
