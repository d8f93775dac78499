"""Programs of any Debian release, run on this machine without installing them or being root.

Comes in: package names. Goes out: a folder that holds them and all they depend on, in the cache, in which every
program was replaced by a short script that runs it with its own release's loader and libraries. So a compiler of
Debian sid works on Debian 12, and QEMU from backports beside the machine's. Nothing in it names where it lies.
A root of another architecture holds programs for guests only: they stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path

from kernlab.lab.apt_root import AptRoot, Package
from kernlab.lab.machine import MACHINES
from kernlab.lab.steps import LabError, run
from kernlab.util.files import whole_folder

_LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio")
_LAYOUT = 5  # of what this module makes; a new number makes every folder anew

#: Where programs lie that are run by name or by each other. Libraries and kernel modules elsewhere stay as they are.
_PROGRAM_FOLDERS = (
    "usr/bin",
    "usr/sbin",
    "usr/libexec",
    "usr/lib/gcc",
    "usr/lib/gcc-cross",
    "usr/lib/linux-kbuild-*",
    "usr/src/*",
)


def private_root(apt: AptRoot, *names: str, foreign: tuple[AptRoot, list[Package]] | None = None) -> Path:
    """A folder with these packages and their dependencies; made once per set of versions.

    `foreign` are packages of another architecture that lie in it too, without their dependencies (a kernel's headers).
    """
    packages = apt.closure(*names)
    if not packages:
        raise LabError(
            f"Debian {apt.release} has none of the packages {', '.join(names)} on this machine's mirror."
        )
    folder = root_folder(apt, packages, names[0], foreign[1] if foreign else [])
    if folder.is_dir():
        return folder
    files = apt.fetch_all(packages)
    if foreign:
        files += foreign[0].fetch_all(foreign[1])
    apt.progress(f"Unpacking {len(files)} packages of {apt.release} for {names[0]}")
    with whole_folder(folder) as partial:
        unpack_merged(files, partial)
        _relink(partial)
        _move_headers(partial)
        _wrap_programs(partial)
    return folder


def root_folder(apt: AptRoot, packages: list[Package], name: str, foreign: list[Package]) -> Path:
    """Where the private root of these packages lies, or will."""
    key = repr((_LAYOUT, apt.release, [(package.name, package.version) for package in packages + foreign]))
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return apt.cache / "roots" / f"{apt.release}{apt.suffix}-{name}-{digest}"


def unpack_merged(files: list[Path], folder: Path) -> None:
    """Unpack .deb files over each other into an empty folder, in which /bin and so on are links into /usr."""
    _merge_usr(folder)
    for file in files:
        # dpkg-deb -x would put folders in place of the links.
        script = 'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" -x --keep-directory-symlink --no-same-owner'
        run(["sh", "-c", script, "sh", file, folder], what=f"Unpacking {file.name}", limit_seconds=300)
    folder.chmod(0o755)


def program(root: Path, name: str) -> Path:
    """The path of a program in a private root, which runs as it is."""
    for folder in ("usr/bin", "usr/sbin"):
        found = root / folder / name
        if found.exists():
            return found
    raise LabError(f"The packages unpacked in {root} hold no program {name}.")


def original(root: Path, name: str) -> Path:
    """The ELF file of a program in a private root, as the package holds it (to be put into a guest)."""
    found = program(root, name).resolve()
    real = found.with_name(found.name + ".elf")
    return real if real.exists() else found


def environment(root: Path) -> dict[str, str]:
    """The environment in which programs of the root find each other first."""
    path = f"{root}/usr/bin:{root}/usr/sbin:{os.environ.get('PATH', '/usr/bin:/bin')}"
    return {
        **os.environ,
        "PATH": path,
        "LC_ALL": "C",
        "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu",
    }


def libraries_of(root: Path, file: Path) -> dict[str, Path]:
    """The shared libraries and the loader that an ELF file of the root needs: path in a guest → file."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    found: dict[str, Path] = {}
    wanted = [file]
    while wanted:
        with open(wanted.pop(), "rb") as stream:
            elf = ELFFile(stream)
            machine = next(each for each in MACHINES.values() if each.elf == elf.get_machine_arch())
            for section in elf.iter_sections():
                if not isinstance(section, DynamicSection):
                    continue
                for tag in section.iter_tags("DT_NEEDED"):
                    name: str = tag.needed  # type: ignore[attr-defined]
                    if name in found:
                        continue
                    places = [root / folder / name for folder in (f"usr/lib/{machine.triplet}", *_LIBRARIES)]
                    library = next((place for place in places if place.exists()), None)
                    if library is None:
                        raise LabError(f"{file.name} needs {name}, which no package in {root} holds.")
                    found[name] = library.resolve()
                    wanted.append(library)
    result = {f"usr/lib/{machine.triplet}/{name}": path for name, path in found.items()}
    if found:
        # Both /lib64 and /lib are links into /usr, in a guest as here.
        loader = root / "usr/lib" / machine.triplet / Path(machine.loader).name
        result[f"usr/{machine.loader}"] = loader.resolve()
    return result


def _merge_usr(root: Path) -> None:
    """/bin, /sbin and /lib as links into /usr, as base-files has them: packages of either layout fit."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")


def _relink(root: Path) -> None:
    """Make absolute links relative, so that they stay in the root."""
    for path in root.rglob("*"):
        if path.is_symlink() and os.readlink(path).startswith("/"):
            target = root / os.readlink(path).lstrip("/")
            path.unlink()
            path.symlink_to(os.path.relpath(target, path.parent))


def _move_headers(root: Path) -> None:
    """Let the makefiles of kernel headers, which name each other by absolute paths, find each other in the root."""
    here = "$(abspath $(dir $(lastword $(MAKEFILE_LIST)))../../..)"
    for makefile in root.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        if len(text) < 1000:
            text = re.sub(r"([ =])/usr/", r"\1$(KERNLAB_ROOT)/usr/", text)
            makefile.write_text(f"KERNLAB_ROOT := {here}\n{text}")


def _wrap_programs(root: Path) -> None:
    """Put a script in place of each ELF program, which then is NAME.elf."""
    if not (root / _LOADER).exists():
        return  # static programs only
    libraries = ":".join(f"$root/{folder}" for folder in _LIBRARIES)
    # Programs such as make go by argv[0]; the loader hands it on since glibc 2.33.
    argv0 = '--argv0 "$0" ' if b"--argv0" in (root / _LOADER).read_bytes() else ""
    for pattern in _PROGRAM_FOLDERS:
        for folder in root.glob(pattern):
            if folder.is_symlink():
                continue
            for path in list(folder.rglob("*")):
                if path.is_symlink() or not path.is_file() or not _is_program(path):
                    continue
                real = path.with_name(path.name + ".elf")
                path.rename(real)
                above = "/".join([".."] * (len(path.relative_to(root).parts) - 1))
                # Its own place, which is not that of a link to it; then the root, wherever that lies by now.
                path.write_text(
                    "#!/bin/sh\n"
                    'self=$0; [ ! -L "$self" ] || self=$(readlink -f -- "$self"); here=${self%/*}\n'
                    f"root=$here/{above}\n"
                    f'exec "$root/{_LOADER}" --library-path "{libraries}" '
                    f'{argv0}"$here"/{shlex.quote(real.name)} "$@"\n'
                )
                path.chmod(0o755)
                # Debian's own wrappers of kernel tools run what lies beside argv[0].
                name, dot, kind = path.name.partition(".real-")
                if dot:
                    path.with_name(f"{name}.elf.real-{kind}").symlink_to(path.name)


def _is_program(path: Path) -> bool:
    """Is it a dynamically linked ELF program (not a library, an object or a static program)?"""
    if ".so" in path.name or path.suffix in (".o", ".ko", ".a"):
        return False
    with open(path, "rb") as stream:
        head = stream.read(4096)
    return head.startswith(b"\x7fELF") and b"/ld-linux-x86-64.so.2" in head
