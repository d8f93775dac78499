"""The kernels of Debian's releases: an image to boot, its modules, and a toolchain that builds for it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kernlab.capture.apt_root import AptRoot, Package
from kernlab.capture.kernel_image import unpacked_image, unpacked_module
from kernlab.capture.private_root import environment, private_root, program
from kernlab.capture.steps import LabError, Progress, run

#: The lab's names of kernels: the release whose newest package of a series is taken. "sid" is whatever is newest.
KERNELS = {
    "5.10": ("bullseye", "linux-image-5.10."),
    "6.1": ("bookworm", "linux-image-6.1."),
    "6.12": ("trixie", "linux-image-6.12."),
    "sid": ("sid", "linux-image-"),
}
FLAVOURS = {"cloud": "-cloud-amd64", "generic": "-amd64"}

#: A release whose make and QEMU run for all of them.
TOOLS_RELEASE = "trixie"

_GUEST = Path(__file__).parent / "guest"
_BUILD_LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class GuestKernel:
    """One kernel package: what it is, where it is unpacked, and where it came from."""

    package: Package
    folders: tuple[Path, ...]
    apt: AptRoot

    @property
    def release(self) -> str:
        """As `uname -r` says it."""
        return self.package.name.removeprefix("linux-image-")

    @cached_property
    def vmlinuz(self) -> Path:
        """The image to boot."""
        for folder in self.folders:
            for found in folder.rglob("vmlinuz*"):
                if found.is_file():
                    return found
        raise LabError(f"The package {self.package.name} {self.package.version} holds no vmlinuz.")

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The modules by name (with _ for -)."""
        found = {}
        for folder in self.folders:
            for path in folder.rglob("*.ko*"):
                found[path.name.split(".ko")[0].replace("-", "_")] = path
        return found

    def with_dependencies(self, names: list[str]) -> dict[str, bytes]:
        """Modules and what they need, unpacked, in the order to load them; names that are built in are left out."""
        ordered: dict[str, bytes] = {}

        def add(name: str) -> None:
            path = self.modules.get(name.replace("-", "_"))
            if path is None or name in ordered:
                return
            content = unpacked_module(path)
            match = re.search(rb"\0depends=([^\0]*)\0", content)
            for needed in match[1].decode().split(",") if match else ():
                add(needed)
            ordered.setdefault(name.replace("-", "_"), content)

        for name in names:
            add(name)
        return ordered

    def toolchain(self) -> Path:
        """A private root with this kernel's headers and the compiler that its release builds it with."""
        headers = self.package.name.replace("linux-image-", "linux-headers-")
        # pahole writes a module's types (BTF); bullseye has none, nor do its kernels read it.
        pahole = ["pahole"] if self.apt.newest("pahole") else []
        return private_root(self.apt, headers, "libc6-dev", "gcc", *pahole)

    def build(self, name: str) -> Path:
        """A file of guest/ built for this kernel: `truth`, `actors` (static programs) or `kernlab_story.ko`."""
        source = _GUEST / "module" / "kernlab_story.c" if name.endswith(".ko") else _GUEST / f"{name}.c"
        stamp = f"{source.stat().st_mtime_ns:x}-{source.stat().st_size:x}"
        place = self.apt.cache / "built" / f"{self.release}_{self.package.version}" / stamp / name
        if place.exists():
            return place
        root = self.toolchain()
        headers = root / "usr/src" / f"linux-headers-{self.release}"
        self.apt.progress(f"Building {name} for {self.release}")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".build-") as scratch:
            built = Path(scratch) / name
            if name.endswith(".ko"):
                shutil.copytree(_GUEST / "module", scratch, dirs_exist_ok=True)
                self._vmlinux(headers)
                # make names itself by the path it was run as, which only a wrapper of a newer release keeps.
                make = program(
                    private_root(AptRoot(TOOLS_RELEASE, self.apt.cache, self.apt.progress), "make"), "make"
                )
                command: list[str | Path] = [make, "-C", headers, f"M={scratch}", "modules"]
            else:
                compiler = max((root / "usr/bin").glob("x86_64-linux-gnu-gcc-[0-9]*[0-9]"), key=_version_of)
                command = [compiler, f"--sysroot={root}", "-O2", "-static", "-pthread", source, "-o", built]
            what = f"Building {name} for {self.release}"
            run(command, what=what, limit_seconds=_BUILD_LIMIT_SECONDS, env=environment(root))
            if name.endswith(".ko"):
                self._finish_module(root, headers, built)
            built.rename(place)
        return place

    def _vmlinux(self, headers: Path) -> Path | None:
        """The image, for its types, beside the headers; None where the kernel reads no types of modules."""
        if "DEBUG_INFO_BTF_MODULES=y" not in (headers / ".config").read_text():
            return None
        # Where the build has all it needs it takes `vmlinux` from there; 6.1's lacks a tool and fails if it finds it.
        complete = (headers / "tools/bpf/resolve_btfids/resolve_btfids").exists()
        vmlinux = headers / ("vmlinux" if complete else "vmlinux.types")
        if not vmlinux.exists():
            partial = vmlinux.with_suffix(f".{os.getpid()}")
            partial.write_bytes(unpacked_image(self.vmlinuz))
            partial.rename(vmlinux)
        return vmlinux

    def _finish_module(self, root: Path, headers: Path, module: Path) -> None:
        """Give a module its BTF where the build could not, and take its DWARF away."""
        what = f"Writing the types of {module.name} for {self.release}"
        vmlinux = headers / "vmlinux.types"
        commands: list[list[str | Path]] = []
        if vmlinux.exists():
            commands.append([root / "usr/bin/pahole", "-J", "--btf_base", vmlinux, module])
        commands.append([root / "usr/bin/x86_64-linux-gnu-strip", "--strip-debug", module])
        for command in commands:
            run(command, what=what, limit_seconds=_BUILD_LIMIT_SECONDS, env=environment(root))


def find_kernel(kernel: str, flavour: str, cache: Path | None, progress: Progress) -> GuestKernel:
    """The newest kernel of a series (a key of KERNELS) and flavour (of FLAVOURS), fetched and unpacked."""
    if kernel not in KERNELS or flavour not in FLAVOURS:
        raise LabError(
            f"The lab knows no kernel {kernel!r} of flavour {flavour!r}: "
            f"kernels are {', '.join(KERNELS)}, flavours {', '.join(FLAVOURS)}."
        )
    release, prefix = KERNELS[kernel]
    ending = FLAVOURS[flavour]
    apt = AptRoot(release, cache, progress)
    pattern = re.compile(rf"{re.escape(prefix)}\d?[\w.+-]*{ending}$")
    names = [
        name
        for name in apt.names(prefix)
        if pattern.match(name)
        and name[len("linux-image-")].isdigit()
        and "-rt-" not in name
        and ("cloud" in name) == (flavour == "cloud")
    ]
    # Names stay in the lists for a while after their packages left the pool's newest version.
    for name in sorted(names, key=_version_of, reverse=True):
        package = apt.newest(name)
        if package is None:
            continue
        abi = name.removeprefix("linux-image-")
        parts = [
            part
            for part in apt.closure(name)
            if part.name in (f"linux-{kind}-{abi}" for kind in ("image", "binary", "modules"))
        ]
        apt.fetch_all(parts)
        return GuestKernel(package, tuple(apt.unpacked(part) for part in parts), apt)
    raise LabError(f"Debian {release} has no package {prefix}*{ending} (any more) on this machine's mirror.")


def _version_of(name: str | Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", Path(name).name)]
