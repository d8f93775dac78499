"""Python for guests, on the disk that they share with the lab: Debian packages in, a folder that runs as it is out.

A guest finds it as /host/boot/python/python3, and the recorder's service, a folder that needs nothing else and that
Python runs, as /host/boot/recorder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kernlab.lab.apt_root import AptRoot
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.private_root import environment, libraries_of, original, private_root, program
from kernlab.lab.steps import LabError, Progress, run
from kernlab.util.files import whole_folder

PACKAGES = ("python3",)
RECORDER = Path(__file__).parent.parent / "recorder" / "service"
_LEFT_OUT = (
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "pydoc_data",
    "__pycache__",
    "EXTERNALLY-MANAGED",
)
#: Its own loader with its own libraries: the guest's may be of another day.
_RUN = """#!/bin/sh
here=${{0%/*}}
export PYTHONHOME=$here PYTHONDONTWRITEBYTECODE=1
exec $here/lib/{loader} --library-path $here/lib $here/bin/{name} "$@"
"""


def guest_python(release: str, cache: Path | None, progress: Progress, machine: Machine = AMD64) -> Path:
    """The folder with Debian's Python of a release, made once per set of versions; LabError where there is none."""
    apt = AptRoot(release, cache, progress, machine.name)
    root = private_root(apt, *PACKAGES)
    native = root if machine.native else private_root(AptRoot(release, cache, progress), *PACKAGES)
    folder = apt.cache / "built" / f"guest-python-{root.name}"
    if folder.is_dir():
        return folder
    with whole_folder(folder) as partial:
        _fill(root, partial, machine, native)
    return folder


def _fill(root: Path, folder: Path, machine: Machine, native: Path) -> None:
    binary = original(root, "python3")
    name = binary.name.removesuffix(".elf")
    library = root / "usr" / "lib" / name
    if not library.is_dir():
        raise LabError(f"Debian's Python in {root} has no library {library.name}.")
    shutil.copytree(library, folder / "lib" / name, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=False)
    (folder / "bin").mkdir()
    shutil.copyfile(binary, folder / "bin" / name)
    (folder / "bin" / name).chmod(0o755)
    for file in (binary, *(folder / "lib" / name / "lib-dynload").glob("*.so")):
        for path, source in libraries_of(root, file).items():
            target = folder / "lib" / Path(path).name
            if not target.exists():
                shutil.copyfile(source, target)
                target.chmod(0o755)
    (folder / "python3").write_text(_RUN.format(name=name, loader=Path(machine.loader).name))
    (folder / "python3").chmod(0o755)
    # Under emulation compiling what the recorder imports takes longer than anything that it does.
    words: list[str | Path] = [
        program(native, name),
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
    ]
    run(
        [*words, folder / "lib" / name],
        what="Compiling Python's library",
        limit_seconds=300,
        env=environment(native),
    )
