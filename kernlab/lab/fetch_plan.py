"""What a capture will fetch from the mirror, said before the first package comes.

Comes in: a kernel and its flavour. Goes out: for each thing that is missing in the cache, its packages and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.apt_root import AptRoot, Package
from kernlab.lab.guest_files import USERLAND, USERLAND_RELEASES
from kernlab.lab.guest_kernel import (
    GUEST_PROGRAMS,
    TOOLS_RELEASE,
    built_place,
    find_package,
    kernel_parts,
    release_of,
    toolchain_parts,
)
from kernlab.lab.guest_python import PACKAGES
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.own_kernel import is_tree
from kernlab.lab.private_root import root_folder
from kernlab.lab.qemu import installed_qemu
from kernlab.lab.scenarios import Scenario
from kernlab.lab.server_image import image_place, server_packages
from kernlab.lab.steps import LabError, Progress, check_room

#: A package's files take about three times what its .deb does, and both are kept.
_UNPACKED = 4


@dataclass(frozen=True)
class Fetch:
    """One part of a plan: what it is for, and what is not in the cache of it."""

    what: str
    packages: int
    size_bytes: int


def fetch_plan(
    kernel: str,
    scenario: Scenario,
    flavour: str,
    cache: Path | None,
    progress: Progress,
    machine: Machine = AMD64,
) -> list[Fetch]:
    """Everything that a capture of a scenario with this kernel fetches; empty where the cache has it all."""
    found = []
    for what, apt, packages in _wanted(kernel, scenario, flavour, cache, progress, machine):
        missing = apt.missing(packages)
        if missing:
            found.append(Fetch(what, len(missing), apt.size_bytes(missing)))
    return found


def tell_plan(plan: list[Fetch], cache: Path, progress: Progress) -> None:
    """Say what is fetched, and that there is room for it (else a LabError)."""
    if not plan:
        return
    size = sum(part.size_bytes for part in plan)
    parts = ", ".join(f"{part.what} {part.size_bytes / 1e6:,.0f}" for part in plan)
    count = sum(part.packages for part in plan)
    progress(
        f"To fetch: {size / 1e6:,.0f} MB in {count} packages ({parts}); "
        f"unpacked and kept they take about {size * _UNPACKED / 1e9:,.1f} GB of {cache}"
    )
    check_room(cache, size * _UNPACKED, "The packages of the lab, unpacked")


def _wanted(
    kernel: str,
    scenario: Scenario,
    flavour: str,
    cache: Path | None,
    progress: Progress,
    machine: Machine,
) -> Iterator[tuple[str, AptRoot, list[Package]]]:
    """What it is for, the root that it comes from, and the packages; roots that are made already are left out."""
    if installed_qemu(machine) is None:
        yield from _root("QEMU", AptRoot(TOOLS_RELEASE, cache, progress), *machine.qemu_packages)
    for release in USERLAND_RELEASES:
        try:
            for architecture in dict.fromkeys((machine.name, AMD64.name)):
                apt = AptRoot(release, cache, progress, architecture)
                what = "guest's" if architecture == machine.name else "this machine's"
                yield from _root(f"{what} programs", apt, *USERLAND)
                if scenario.python:
                    yield from _root(f"{what} Python", apt, *PACKAGES)
            break
        except LabError:  # the next release serves (see find_userland)
            continue
    if scenario.image and not image_place(cache, progress, machine).exists():
        yield "server's disk", *server_packages(cache, progress, machine)
    if is_tree(kernel):
        # This machine's compiler builds for it.
        return
    apt, package = find_package(kernel, flavour, cache, progress, machine)
    parts = kernel_parts(apt, package)
    yield "kernel", apt, parts
    image = next((part for part in parts if part.name.startswith("linux-image-")), package)
    built = (*GUEST_PROGRAMS, *scenario.programs, f"{scenario.driver}.ko")
    if all(built_place(apt.cache, image, name).exists() for name in built):
        return
    host, names, foreign = toolchain_parts(apt, release_of(image))
    yield from _root("compiler and headers", host, *names, foreign=foreign[1] if foreign else [])
    if foreign:
        yield "headers", *foreign
    yield from _root("make", AptRoot(TOOLS_RELEASE, cache, progress), "make")


def _root(
    what: str, apt: AptRoot, *names: str, foreign: Sequence[Package] = ()
) -> Iterator[tuple[str, AptRoot, list[Package]]]:
    packages = apt.closure(*names)
    if not root_folder(apt, packages, names[0], list(foreign)).is_dir():
        yield what, apt, packages
