"""A Debian mirror in a folder, made by the test: suites of packages that hold what the test says, and no signature."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Made:
    """One binary package: its files by their paths, texts or copies of files here; `needs` is its Depends field."""

    name: str
    version: str = "1"
    needs: str = ""
    files: dict[str, str | Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    architecture: str = "amd64"


def write_mirror(folder: Path, suites: dict[str, list[Made]]) -> str:
    """The packages and the lists of each suite below `folder`; the mirror as KERNLAB_LAB_MIRROR names it."""
    for suite, packages in suites.items():
        lists = folder / "dists" / suite
        architectures = sorted({"amd64", *(made.architecture for made in packages)} - {"all"})
        digests = ""
        for architecture in architectures:
            mine = [made for made in packages if made.architecture in (architecture, "all")]
            listing = "".join(_package(folder, made) for made in mine).encode()
            name = f"main/binary-{architecture}/Packages"
            (lists / name).parent.mkdir(parents=True)
            (lists / name).write_bytes(listing)
            digests += f" {hashlib.sha256(listing).hexdigest()} {len(listing)} {name}\n"
        # As Debian has it: backports are taken only where they are asked for.
        quiet = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n" if suite.endswith("-backports") else ""
        (lists / "Release").write_text(
            f"Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nComponents: main\n{quiet}"
            f"Architectures: {' '.join(architectures)}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"SHA256:\n{digests}"
        )
    return f"[trusted=yes] file:{folder}"


def _package(folder: Path, made: Made) -> str:
    """Build a .deb in pool/, once for all suites; its paragraph of Packages."""
    control = f"Package: {made.name}\nVersion: {made.version}\nArchitecture: {made.architecture}\n"
    control += "Maintainer: nobody <nobody@example.org>\nDescription: of a test\n"
    control += f"Depends: {made.needs}\n" if made.needs else ""
    place = folder / "pool" / f"{made.name}_{made.version.replace(':', '%3a')}_{made.architecture}.deb"
    if not place.exists():
        _build(folder / "build" / place.stem, made, control, place)
    packed = place.read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    return f"{control}Filename: pool/{place.name}\nSize: {len(packed)}\nSHA256: {digest}\n\n"


def _build(tree: Path, made: Made, control: str, place: Path) -> None:
    for name, content in {**made.files, **made.links, "DEBIAN/control": control}.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in made.links:
            path.symlink_to(str(content))
        elif isinstance(content, Path):
            shutil.copy(content, path)
        else:
            path.write_text(content)
    place.parent.mkdir(exist_ok=True)
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(place)]
    subprocess.run(command, check=True, capture_output=True)
