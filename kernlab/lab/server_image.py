"""The disk of a whole Debian server: systemd, PostgreSQL, nginx and redis as their packages hold them.

Comes in: the mirror's packages, of which no script is run, and guest/server/, which lies over them. Goes out: an ext4
image in the cache, made once per set of versions. Guests boot from it without writing to it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kernlab.lab.apt_root import AptRoot, Package, cache_folder
from kernlab.lab.guest_files import GUEST, Userland
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.private_root import environment, program, unpack_merged
from kernlab.lab.steps import Progress, run

IMAGE_RELEASE = "trixie"
SERVER_PACKAGES = (
    *("base-files", "bash", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "hostname", "libc-bin"),
    *(
        "systemd",
        "systemd-sysv",
        "udev",
        "dbus",
        "util-linux",
        "mount",
        "procps",
        "kmod",
        "iproute2",
        "passwd",
    ),
    *("postgresql", "nginx", "redis-server", "python3"),
)
#: Dependencies that nothing here runs (just-in-time compilation, maintainers' scripts), nearly half of the bytes.
_LEFT_OUT = ("libllvm", "libz3", "libperl", "perl", "locales", "dpkg")
_LEFT_OUT_FILES = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/postgresql/*/lib/bitcode")
_SIZE_MIB = 1536
_LAYOUT = 1  # of what this module makes


def server_packages(
    cache: Path | None, progress: Progress, machine: Machine = AMD64
) -> tuple[AptRoot, list[Package]]:
    """What the image is made of, and the root that it comes from."""
    apt = AptRoot(IMAGE_RELEASE, cache, progress, machine.name)
    packages = apt.closure(*SERVER_PACKAGES)
    return apt, [package for package in packages if not package.name.startswith(_LEFT_OUT)]


def image_ingredients(cache: Path | None, progress: Progress, machine: Machine = AMD64) -> dict[str, Any]:
    """Everything that the image's contents depend on."""
    apt, packages = server_packages(cache, progress, machine)
    ours = sorted(path for path in (GUEST / "server").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {
        "layout": f"{_LAYOUT}{apt.suffix}" if apt.suffix else _LAYOUT,
        "packages": [f"{package.name} {package.version}" for package in packages],
        "files": {
            str(path.relative_to(GUEST)): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in ours
        },
    }


def image_place(cache: Path | None, progress: Progress, machine: Machine = AMD64) -> Path:
    """Where the image lies, or will."""
    made_of = json.dumps(image_ingredients(cache, progress, machine))
    name = f"{_image_name(machine)}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.ext4"
    return (cache or cache_folder()).absolute() / "images" / name


def _image_name(machine: Machine) -> str:
    return "server" if machine.native else f"server_{machine.name}"


def server_image(cache: Path | None, userland: Userland, progress: Progress) -> Path:
    """The image, from the cache or made now."""
    machine = userland.machine
    image = image_place(cache, progress, machine)
    if image.exists():
        return image
    apt, packages = server_packages(cache, progress, machine)
    files = apt.fetch_all(packages)
    progress(f"Making the server's disk of {len(files)} packages of {apt.release}")
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".server-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        unpack_merged(files, tree)
        for pattern in _LEFT_OUT_FILES:
            for folder in tree.glob(pattern):
                shutil.rmtree(folder)
        # base-files' script would make it so.
        shutil.rmtree(tree / "var/run", ignore_errors=True)
        (tree / "var").mkdir(exist_ok=True)
        (tree / "var/run").symlink_to("/run")
        shutil.copytree(
            GUEST / "server", tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        wants = tree / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "kernlab-story.service").symlink_to("../kernlab-story.service")
        (tree / "etc/systemd/system/default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        for place in ("etc/.updated", "var/.updated"):  # nothing is rebuilt at boot: that takes minutes
            (tree / place).touch()
        partial = Path(scratch) / "image"
        with open(partial, "wb") as stream:
            stream.truncate(_SIZE_MIB << 20)
        command: list[str | Path] = [program(userland.tools, "mke2fs"), "-q", "-F", "-t", "ext4", "-d", tree]
        command += ["-E", "root_owner=0:0", "-O", "^metadata_csum_seed,^orphan_file", partial]
        run(command, what="Making the server's disk", limit_seconds=600, env=environment(userland.tools))
        partial.rename(image)
    for older in image.parent.glob(f"{_image_name(machine)}-*.ext4"):
        if older != image:
            older.unlink(missing_ok=True)
    return image
