"""What a guest boots from: two RAM disks (for the first and for the crash kernel) and the disk with what both share."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.apt_root import AptRoot
from kernlab.lab.cpio import write_cpio
from kernlab.lab.guest_kernel import GuestKernel
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.private_root import environment, libraries_of, original, private_root, program
from kernlab.lab.steps import LabError, Progress, run

#: Where kexec, makedumpfile and blktrace come from: the newest makedumpfile knows the newest kernels. The second
#: release serves when the first cannot be resolved (packages of sid may wait for each other for a day or two).
USERLAND_RELEASES = ("sid", "trixie")
USERLAND = ("makedumpfile", "kexec-tools", "blktrace", "busybox-static", "e2fsprogs")

#: The sources of what a guest runs.
GUEST = Path(__file__).parent / "guest"
_FOLDERS = ("proc", "sys", "dev", "tmp", "run", "mnt", "host", "etc", "root", "var/tmp")
#: Each is left out where the kernel has it built in, or does not have it at all.
_DISK_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "crc32c_cryptoapi", "ext4"]


@dataclass(frozen=True)
class Userland:
    """The private root that guests' programs are taken from."""

    root: Path
    release: str
    makedumpfile: str
    machine: Machine = AMD64
    native: Path | None = (
        None  # the root of the same programs for this machine, where guests' do not run here
    )
    own: Path | None = None  # the makedumpfile that takes the place of Debian's

    @property
    def tools(self) -> Path:
        """A root whose programs run here."""
        return self.native or self.root

    def files(self, *names: str) -> dict[str, Path | bytes | str]:
        """Programs and their libraries, by their paths in a guest."""
        found: dict[str, Path | bytes | str] = dict(self.machine.links)
        for name in names:
            path = self.own if self.own and name == "makedumpfile" else original(self.root, name)
            found[f"usr/bin/{name}"] = path
            found.update(libraries_of(self.root, path))
        return found

    def busybox(self) -> dict[str, Path | bytes | str]:
        """busybox and a link to it for each of its applets."""
        path = program(self.root, "busybox")
        own = program(self.tools, "busybox")
        applets = run([own, "--list"], what="Asking busybox for its applets", limit_seconds=30).split()
        links: dict[str, Path | bytes | str] = {f"bin/{applet}": "busybox" for applet in applets}
        return {**links, "bin/busybox": path}


def find_userland(
    cache: Path | None,
    progress: Progress,
    machine: Machine = AMD64,
    own_makedumpfile: str | None = None,
) -> Userland:
    """The newest release that can be resolved gives the guests' programs; `own_makedumpfile` replaces one of them."""
    problems = []
    own = Path(own_makedumpfile).absolute() if own_makedumpfile else None
    version = _version_of_own(own, machine) if own else ""
    for release in USERLAND_RELEASES:
        apt = AptRoot(release, cache, progress, machine.name)
        try:
            root = private_root(apt, *USERLAND)
            native = None if machine.native else private_root(AptRoot(release, cache, progress), *USERLAND)
            version = version or apt.require("makedumpfile").version
            return Userland(root, release, version, machine, native, own)
        except LabError as error:
            problems.append(str(error))
    raise LabError("No Debian release gave the guests' programs:\n" + "\n".join(problems))


def _version_of_own(file: Path, machine: Machine) -> str:
    """What is said of a makedumpfile of the user's own, which runs in a guest only: the version that stands in it."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(file, "rb") as stream:
            found = ELFFile(stream).get_machine_arch()
            stream.seek(0)
            content = stream.read()
    except (OSError, ELFError) as error:
        raise LabError(f"{file} cannot be read as a program: {error}") from error
    if found != machine.elf:
        raise LabError(f"{file} is a program of {found}, and the guest is one of {machine.name}.")
    version = re.search(rb"makedumpfile: version ([\w.+~-]{1,40}) ", content)
    if version is None:
        raise LabError(f"{file} is no makedumpfile: it says no version.")
    return f"{version[1].decode()} (SHA-256 {hashlib.sha256(content).hexdigest()[:12]}…)"


def write_ram_disks(
    folder: Path,
    kernel: GuestKernel,
    userland: Userland,
    extra_modules: list[str],
    driver: str,
    programs: Sequence[str] = (),
) -> None:
    """`first.cpio` (with a module and programs of the lab's own, `driver` and `programs`) and `crash.cpio`."""
    disk = kernel.with_dependencies(_DISK_MODULES)
    more = {
        name: content
        for name, content in kernel.with_dependencies([*_DISK_MODULES, *extra_modules]).items()
        if name not in disk
    }
    busybox = userland.busybox()
    init: dict[str, Path | bytes | str] = {"init": GUEST / "init.sh", "crash.sh": GUEST / "crash.sh"}
    first = {
        **busybox,
        **userland.files("kexec", "blktrace", "makedumpfile"),
        **init,
        **_module_files([*disk, *more], {**disk, **more}),
        f"modules/{driver}.ko": kernel.build(f"{driver}.ko"),
        "bin/truthtar": kernel.build("truth"),
        "bin/actors": kernel.build("actors"),
        **{f"bin/{name}": kernel.build(name) for name in programs},
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n",
    }
    write_cpio(folder / "first.cpio", first, _FOLDERS)
    crash = {**busybox, **userland.files("makedumpfile"), **init, **_module_files(list(disk), disk)}
    write_cpio(folder / "crash.cpio", crash, _FOLDERS)


def _module_files(names: list[str], modules: Mapping[str, bytes]) -> dict[str, Path | bytes | str]:
    files: dict[str, Path | bytes | str] = {f"modules/{name}.ko": modules[name] for name in names}
    files["modules/order"] = "".join(f"{name}.ko\n" for name in names).encode()
    return files


def write_results_disk(
    path: Path, size_bytes: int, userland: Userland, boot: Mapping[str, Path | str | bytes]
) -> None:
    """An ext4 image (sparse) with boot/NAME for each of `boot` (files, folders, contents), and an empty folder out/."""
    tree = path.with_name("tree")
    (tree / "boot").mkdir(parents=True)
    (tree / "out").mkdir()
    for name, content in boot.items():
        if isinstance(content, Path) and content.is_dir():
            shutil.copytree(content, tree / "boot" / name)
        elif isinstance(content, Path):
            shutil.copyfile(content, tree / "boot" / name)
        else:
            (tree / "boot" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with open(path, "wb") as stream:
        stream.truncate(size_bytes)
    command: list[str | Path] = [program(userland.tools, "mke2fs"), "-q", "-F", "-t", "ext4", "-d", tree]
    command += ["-E", "root_owner=0:0", "-O", "^metadata_csum_seed,^orphan_file", path]
    run(command, what="Making the results disk", limit_seconds=300, env=environment(userland.tools))
    shutil.rmtree(tree)


def read_results_disk(path: Path, userland: Userland, folder: Path) -> None:
    """What guests left in out/ of a results disk, into `folder`/out."""
    command: list[str | Path] = [program(userland.tools, "debugfs"), "-R"]
    command += [f"rdump /out {shlex.quote(str(folder))}", path]
    run(command, what="Reading the results disk", limit_seconds=900, env=environment(userland.tools))
    if not (folder / "out").is_dir():
        raise LabError(f"The results disk {path} could not be read.")
