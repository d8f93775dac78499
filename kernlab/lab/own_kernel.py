"""A kernel that was built from its source on this machine: its tree in, what the lab boots and builds for it out.

scripts/build_guest_kernel.sh makes such a tree, of options that no package of Debian has.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kernlab.lab.apt_root import AptRoot, Package
from kernlab.lab.guest_kernel import TOOLS_RELEASE, GuestKernel, built_place, find_kernel, source_of
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.steps import LabError, Progress, run

_IMAGE = Path("arch/x86/boot/bzImage")
_RELEASE = Path("include/config/kernel.release")
_CONFIG, _BTF = Path(".config"), "CONFIG_DEBUG_INFO_BTF=y"
#: What lets the lab's drivers be built for kernels before 5.9, too; no other has a say in it.
_OLDER = Path(__file__).parent / "guest/modules/older_kernels.h"
_BUILD_LIMIT_SECONDS = 600.0


def is_tree(kernel: str) -> bool:
    """Is this the path of a tree, with a / in it, in which a kernel was built?"""
    return "/" in kernel and (Path(kernel) / _IMAGE).is_file()


@dataclass(frozen=True)
class OwnKernel(GuestKernel):
    """A kernel that lies where it was built; what its guest runs is built by this machine's make and cc."""

    @property
    def tree(self) -> Path:
        """Where it was built."""
        return self.folders[0]

    @cached_property
    def vmlinuz(self) -> Path:
        """The image to boot."""
        return self.tree / _IMAGE

    @property
    def debug_file(self) -> Path | None:
        """As GuestKernel.debug_file: the tree's own vmlinux, where its configuration says that there is no BTF."""
        config, vmlinux = self.tree / _CONFIG, self.tree / "vmlinux"
        if not vmlinux.is_file() or not config.is_file() or _BTF in config.read_text().splitlines():
            return None
        return vmlinux

    def system_map(self) -> Path | None:
        """As GuestKernel.system_map: the tree's own."""
        config, symbols = self.tree / _CONFIG, self.tree / "System.map"
        if not symbols.is_file() or not config.is_file():
            return None
        return symbols if "# CONFIG_KALLSYMS_ALL is not set" in config.read_text().splitlines() else None

    def toolchain(self) -> Path:
        """The machine's own root."""
        return Path("/")

    def build(self, name: str) -> Path:
        """As GuestKernel.build."""
        place = built_place(self.apt.cache, self.package, name)
        if place.exists():
            return place
        source = source_of(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        what = f"Building {name} for {self.release}"
        self.apt.progress(what)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".build-") as scratch:
            built = Path(scratch) / name
            if name.endswith(".ko"):
                shutil.copytree(source.parent, scratch, dirs_exist_ok=True)
                commands: list[list[str | Path]] = [
                    ["make", "-C", self.tree, f"M={scratch}", f"KCFLAGS=-include {_OLDER}", "modules"],
                    ["strip", "--strip-debug", built],
                ]
            else:
                commands = [["cc", "-O2", "-static", "-pthread", source, "-o", built]]
            for command in commands:
                run(command, what=what, limit_seconds=_BUILD_LIMIT_SECONDS)
            built.rename(place)
        return place


def kernel_named(
    kernel: str, flavour: str, cache: Path | None, progress: Progress, machine: Machine = AMD64
) -> GuestKernel:
    """The kernel of `--kernel`: one that was built here, or of a package (`find_kernel`). LabError: there is none."""
    if is_tree(kernel):
        if not machine.native:
            raise LabError(
                f"{kernel} was built for {AMD64.name}, and a guest of {machine.name} was asked for."
            )
        return own_kernel(Path(kernel), cache, progress)
    return find_kernel(kernel, flavour, cache, progress, machine)


def own_kernel(tree: Path, cache: Path | None, progress: Progress) -> OwnKernel:
    """The kernel that was built in `tree`. LabError where its build did not come to its end."""
    tree = tree.absolute()
    release = tree / _RELEASE
    if not release.is_file():
        raise LabError(f"{tree} holds a kernel's image, but not {_RELEASE}: was its build ended early?")
    with open(tree / _IMAGE, "rb") as image:
        digest = hashlib.file_digest(image, "sha256").hexdigest()[:12]
    name = f"linux-image-{release.read_text().strip()}"
    return OwnKernel(Package(name, digest, ""), (tree,), AptRoot(TOOLS_RELEASE, cache, progress))
