"""The kernels of Debian's releases: an image to boot, its modules, and a toolchain that builds for it."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kernlab.lab.apt_root import AptRoot, Package
from kernlab.lab.kernel_image import types_in, unpacked_image, unpacked_module
from kernlab.lab.machine import AMD64, Machine, machine_named
from kernlab.lab.private_root import environment, private_root, program
from kernlab.lab.steps import LabError, Progress, run

#: The lab's names of kernels: the release whose newest package of a series is taken (where it names none: of all).
KERNELS = {
    "5.10": ("bullseye", "linux-image-5.10."),
    "6.1": ("bookworm", "linux-image-6.1."),
    "6.12": ("trixie", "linux-image-6.12."),
    "sid": ("sid", "linux-image-"),
    "backports": ("trixie-backports", "linux-image-"),
    "testing": ("forky", "linux-image-"),
    "experimental": ("experimental", "linux-image-"),
}
_PREFIX = "linux-image-"

#: A release whose make and QEMU run for all of them.
TOOLS_RELEASE = "trixie"

_GUEST = Path(__file__).parent / "guest"
#: What programs that a debugger shall read are built with besides.
FLAGS = {"holder": ("-g", "-O0", "-fno-omit-frame-pointer")}
#: What is built of it for each kernel, beside a story's module and programs.
GUEST_PROGRAMS = ("truth", "actors")
_BUILD_LIMIT_SECONDS = 300.0
_MOST_TRIED, _MOST_NAMES = 6, 40  # kernels whose files may be gone, names whose packages may be


@dataclass(frozen=True)
class GuestKernel:
    """One kernel package: what it is, where it is unpacked, and where it came from."""

    package: Package
    folders: tuple[Path, ...]
    apt: AptRoot

    @property
    def release(self) -> str:
        """As `uname -r` says it."""
        return release_of(self.package)

    @property
    def machine(self) -> Machine:
        """What it runs on."""
        return machine_named(self.apt.architecture)

    @cached_property
    def vmlinuz(self) -> Path:
        """The image to boot."""
        for folder in self.folders:
            for found in folder.rglob("vmlinuz*"):
                if found.is_file():
                    return found
        raise LabError(f"The package {self.package.name} {self.package.version} holds no vmlinuz.")

    @property
    def debug_file(self) -> Path | None:
        """The vmlinux that its dumps need to be read: None for a kernel that has its types (BTF) in its memory."""
        return None

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The modules by name (with _ for -)."""
        found = {}
        for folder in self.folders:
            for path in folder.rglob("*.ko*"):
                found[path.name.split(".ko")[0].replace("-", "_")] = path
        return found

    def system_map(self) -> Path | None:
        """The System.map where the kernel's own symbol table names functions only, from the package with its debug
        files (of some hundred MB, which is not kept); None where it names all, or there is no such package."""
        configs = [
            *(found for folder in self.folders for found in folder.rglob("config-*") if found.is_file()),
            *(found for folder in self.folders for found in folder.glob("usr/lib/modules/*/config")),
        ]
        if not any("# CONFIG_KALLSYMS_ALL is not set" in config.read_text() for config in configs):
            return None
        place = self.apt.cache / "unpacked" / f"{self.release}_{self.package.version}-System.map"
        if place.exists():
            return place
        package = self.apt.newest(f"{_PREFIX}{self.release}-dbg")
        if package is None or package.version != self.package.version:
            self.apt.progress(
                f"No package has the symbols of {self.release}: its dumps will need a System.map"
            )
            return None
        archive = self.apt.fetch(package)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".symbols-") as scratch:
            name = f"./usr/lib/debug/boot/System.map-{self.release}"
            script = 'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" -x "$3"'
            command: list[str | Path] = ["sh", "-c", script, "sh", archive, scratch, name]
            run(command, what=f"Unpacking {name}", limit_seconds=600)
            (Path(scratch) / name).rename(place)
        archive.unlink()
        return place

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
        apt, names, foreign = toolchain_parts(self.apt, self.release)
        return private_root(apt, *names, foreign=foreign)

    def build(self, name: str) -> Path:
        """A file of guest/ built for this kernel: NAME.c or programs/NAME.c, static, or modules/NAME as `NAME.ko`."""
        source = source_of(name)
        place = built_place(self.apt.cache, self.package, name)
        if place.exists():
            return place
        root = self.toolchain()
        headers = root / "usr/src" / f"linux-headers-{self.release}"
        self.apt.progress(f"Building {name} for {self.release}")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".build-") as scratch:
            built = Path(scratch) / name
            if name.endswith(".ko"):
                shutil.copytree(source.parent, scratch, dirs_exist_ok=True)
                self._vmlinux(headers)
                # make names itself by the path it was run as, which only a wrapper of a newer release keeps.
                make = program(
                    private_root(AptRoot(TOOLS_RELEASE, self.apt.cache, self.apt.progress), "make"), "make"
                )
                command: list[str | Path] = [make, "-C", headers, f"M={scratch}", "modules"]
                if not self.machine.native:
                    words = [f"ARCH={self.machine.kernel_name}", f"CROSS_COMPILE={self.machine.triplet}-"]
                    command += words
            else:
                pattern = f"{self.machine.triplet}-gcc-[0-9]*[0-9]"
                compiler = max((root / "usr/bin").glob(pattern), key=_version_of)
                command = [
                    compiler,
                    f"--sysroot={root}",
                    "-O2",
                    "-static",
                    "-pthread",
                    *FLAGS.get(name, ()),
                    source,
                ]
                command += ["-o", built]
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
            image = unpacked_image(self.vmlinuz)
            partial.write_bytes(image if image.startswith(b"\x7fELF") else types_in(image))
            partial.rename(vmlinux)
        return vmlinux

    def _finish_module(self, root: Path, headers: Path, module: Path) -> None:
        """Give a module its BTF where the build could not, and take its DWARF away."""
        what = f"Writing the types of {module.name} for {self.release}"
        vmlinux = headers / "vmlinux.types"
        commands: list[list[str | Path]] = []
        if vmlinux.exists():
            commands.append([root / "usr/bin/pahole", "-J", "--btf_base", vmlinux, module])
        commands.append([root / f"usr/bin/{self.machine.triplet}-strip", "--strip-debug", module])
        for command in commands:
            run(command, what=what, limit_seconds=_BUILD_LIMIT_SECONDS, env=environment(root))


def find_kernel(
    kernel: str, flavour: str, cache: Path | None, progress: Progress, machine: Machine = AMD64
) -> GuestKernel:
    """A kernel, fetched and unpacked; its parts are fetched by the way.

    `kernel`: a series (a key of KERNELS), of which the newest package of a flavour (of the machine's) is taken that can
    be fetched, or the name of a package, `linux-image-NAME` or `linux-image-NAME/RELEASE` as apt writes it. LabError:
    there is none.
    """
    failed: list[LabError] = []
    for apt, package in itertools.islice(_packages(kernel, flavour, cache, progress, machine), _MOST_TRIED):
        try:
            parts = kernel_parts(apt, package)
            apt.fetch_all(parts)
        except LabError as error:
            # Lists name packages whose files left the archive, or never reached this mirror.
            progress(f"{package.name} {package.version} cannot be fetched")
            failed.append(error)
            continue
        # A package without a version in its name stands for the one that it depends on.
        image = next((part for part in parts if part.name.startswith(_PREFIX)), package)
        return GuestKernel(image, tuple(apt.unpacked(part) for part in parts), apt)
    raise failed[0]


def release_of(package: Package) -> str:
    """The kernel of a package as `uname -r` says it."""
    return package.name.removeprefix(_PREFIX).removesuffix("-unsigned")


Toolchain = tuple[AptRoot, list[str], tuple[AptRoot, list[Package]] | None]


def toolchain_parts(apt: AptRoot, release: str) -> Toolchain:
    """What builds for a kernel: the root and the names of its packages, and packages of the kernel's own machine."""
    machine = machine_named(apt.architecture)
    host = apt if machine.native else AptRoot(apt.release, apt.cache, apt.progress)
    # pahole writes a module's types (BTF); bullseye has none, nor do its kernels read it.
    pahole = ["pahole"] if host.newest("pahole") else []
    headers = f"linux-headers-{release}"
    if machine.native:
        return host, [headers, "libc6-dev", "gcc", *pahole], None
    # The headers are the machine's; the programs that a build of modules runs are this machine's, of the same version.
    parts = [part for part in apt.closure(headers) if part.name.startswith("linux-")]
    tools = [part.name for part in parts if part.name.startswith("linux-kbuild-")]
    own = [part for part in parts if part.name.startswith("linux-headers-")]
    compiler = [f"gcc-{machine.triplet}", f"libc6-dev-{machine.name}-cross"]
    return host, [*compiler, *tools, *pahole], (apt, own)


def built_place(cache: Path, package: Package, name: str) -> Path:
    """Where a file that `build` makes lies once it was built for a kernel: by its source's contents."""
    content = source_of(name).read_bytes()
    stamp = hashlib.sha256(content).hexdigest()[:16]
    return cache / "built" / f"{release_of(package)}_{package.version}" / stamp / name


def source_of(name: str) -> Path:
    """The source of a file that is built for each kernel (`GuestKernel.build`)."""
    module = name.removesuffix(".ko")
    if module != name:
        return _GUEST / "modules" / module / f"{module}.c"
    return _GUEST / ("" if name in GUEST_PROGRAMS else "programs") / f"{name}.c"


def kernel_parts(apt: AptRoot, package: Package) -> list[Package]:
    """The packages that hold a kernel's image and its modules; newer kernels have several."""
    needed = apt.closure(package.name)
    return [part for part in needed if re.match(r"linux-(image|binary|modules)-\d", part.name)]


def find_package(
    kernel: str, flavour: str, cache: Path | None, progress: Progress, machine: Machine = AMD64
) -> tuple[AptRoot, Package]:
    """The package of a kernel, and the root of the release that has it (see find_kernel)."""
    return next(_packages(kernel, flavour, cache, progress, machine))


def _packages(
    kernel: str, flavour: str, cache: Path | None, progress: Progress, machine: Machine
) -> Iterator[tuple[AptRoot, Package]]:
    """The packages that a kernel may be, the one that is meant first: of a series the older ones follow."""
    if kernel.startswith(_PREFIX):
        yield _named(kernel, cache, progress, machine)
        return
    known = dict(machine.flavours)
    if kernel not in KERNELS or flavour not in known:
        raise LabError(
            f"The lab knows no kernel {kernel!r} of flavour {flavour!r}: kernels are {', '.join(KERNELS)} or the "
            f"name of a package ({_PREFIX}NAME or {_PREFIX}NAME/RELEASE), flavours of {machine.name} "
            f"{', '.join(known)}."
        )
    release, prefix = KERNELS[kernel]
    apt = AptRoot(release, cache, progress, machine.name)
    ending = known[flavour]
    # What stands between the version and the flavour is a number (5.10.0-46) or a candidate's (7.3-rc5).
    pattern = re.compile(rf"{_PREFIX}\d[\w.+~]*(-(rc)?\d[\w.+~]*)*{ending}")
    names = [name for name in apt.names(prefix) if pattern.fullmatch(name)]
    # Names stay in the lists for a while after their packages left the pool's newest version.
    found = [apt.newest(name) for name in sorted(names, key=_version_of, reverse=True)[:_MOST_NAMES]]
    packages = [package for package in found if package is not None]
    if not packages:
        raise LabError(
            f"Debian {release} has no package {prefix}*{ending} (any more) on this machine's mirror."
        )
    yield from ((apt, package) for package in packages)


def _named(kernel: str, cache: Path | None, progress: Progress, machine: Machine) -> tuple[AptRoot, Package]:
    """The package of this name, in the release that is said, or in the first of the lab's that has it."""
    name, slash, release = kernel.partition("/")
    if slash:
        apt = AptRoot(release, cache, progress, machine.name)
        return apt, apt.require(name)
    if not name[len(_PREFIX) :][:1].isdigit():
        raise LabError(f"Every release has a package {name}: say which one is meant, as in {name}/trixie.")
    # Those of the series first: each other release costs its package lists.
    failed: list[LabError] = []
    for release, _ in sorted(KERNELS.values(), key=lambda known: not name.startswith(f"{known[1]}")):
        apt = AptRoot(release, cache, progress, machine.name)
        try:
            package = apt.newest(name)
        except LabError as error:
            # Not every mirror has every suite.
            failed.append(error)
            continue
        if package is not None:
            return apt, package
    if len(failed) == len(KERNELS):
        raise failed[0]
    tried = ", ".join(release for release, _ in KERNELS.values())
    raise LabError(
        f"No release of Debian that the lab knows ({tried}) has a package {name} (any more) on this machine's "
        f"mirror. Of another release: {name}/RELEASE."
    )


def _version_of(name: str | Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", Path(name).name)]
