"""Captures that are kept in the lab's cache, each under what it was made of: what is there is not made again.

Comes in: a scenario and options. Goes out: a finished capture, from the cache or made now. The cache holds one
capture of each thing that can be asked for: a newer one (of a newer kernel package, say) takes the place of the older.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from kernlab.lab.apt_root import cache_folder
from kernlab.lab.capture import run_scenario
from kernlab.lab.capture_options import Capture, Options
from kernlab.lab.guest_files import GUEST, find_userland
from kernlab.lab.guest_kernel import find_package, kernel_parts
from kernlab.lab.guest_python import RECORDER
from kernlab.lab.machine import machine_named
from kernlab.lab.own_kernel import is_tree, own_kernel
from kernlab.lab.qemu import find_qemu
from kernlab.lab.scenarios import Scenario, scenario_named
from kernlab.lab.server_image import image_ingredients
from kernlab.lab.steps import LabError, Progress

_MADE = 1  # of what the lab's Python makes of a scenario; a new number makes every capture anew


def kept_capture(
    name: str,
    options: Options,
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Capture:
    """The capture of a scenario, out of `folder` (default: captures/ in the cache) or made into it.

    One is taken as it is where the kernel's packages, QEMU, makedumpfile, the guest's programs, the scenario and the
    options are those that would make it now. LabError: as run_scenario.
    """
    progress = progress or Progress()
    folder = folder or (cache or cache_folder()) / "captures"
    slot = slot_of(name, options)
    made_of = ingredients(name, options, cache, progress)
    place = folder / f"{slot}-{_digest(made_of, 12)}"
    if not place.is_dir():
        run_scenario(name, options, place, cache=cache, progress=progress)
        (place / "made-of.json").write_text(json.dumps(made_of, indent=1, default=str))
    for older in folder.glob(f"{slot}-*"):
        if older != place and len(older.name) == len(place.name):
            shutil.rmtree(older, ignore_errors=True)
    return read_capture(place)


def slot_of(name: str, options: Options) -> str:
    """What was asked for, as the beginning of a folder's name; its end says what it was made of."""
    flavour = options.flavour or scenario_named(name).flavour
    kernel = options.kernel.replace("/", "-")
    machine = f"-{options.machine}" if not machine_named(options.machine).native else ""
    return f"{name}-{kernel}-{flavour}{machine}-{5 if options.la57 else 4}levels-{_digest(_said(options), 6)}"


def ingredients(
    name: str, options: Options, cache: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything that a capture's contents depend on: packages and their versions, sources, options."""
    progress = progress or Progress(None)
    scenario = scenario_named(name)
    machine = machine_named(options.machine)
    if is_tree(options.kernel):
        own = own_kernel(Path(options.kernel), cache, progress)
        apt, parts = own.apt, [own.package]
    else:
        flavour = options.flavour or scenario.flavour
        apt, package = find_package(options.kernel, flavour, cache, progress, machine)
        parts = kernel_parts(apt, package)
    qemu = find_qemu(cache, progress, machine)
    image = image_ingredients(apt.cache, progress, machine) if scenario.image else None
    sources = [*GUEST.glob("*.*"), *GUEST.glob(f"modules/{scenario.driver}/*")]
    sources += [GUEST / "programs" / f"{name}.c" for name in scenario.programs]
    sources += RECORDER.glob("*.py") if scenario.python else []
    return {
        "made": _MADE,
        "kernel": sorted(f"{part.name} {part.version}" for part in parts),
        "qemu": f"{qemu.version} {qemu.accelerator}",
        "makedumpfile": find_userland(cache, progress, machine, options.makedumpfile).makedumpfile,
        "scenario": _said(scenario),
        "script": scenario.script,
        "guest": {path.name: _digest(path.read_text(), 16) for path in sorted(sources)},
        "options": _said(options),
        **({"image": image} if image else {}),
        "files": {inside: Path(path).stat().st_mtime_ns for inside, path in options.files.items()},
    }


def read_capture(folder: Path) -> Capture:
    """A finished capture's folder as the Capture that made it. LabError where it is none."""
    try:
        with tarfile.open(folder / "truth.tar.xz", "r|xz") as archive:
            # It is the first member: the rest need not be unpacked.
            member = archive.next()
            content = archive.extractfile(member) if member and member.name == "out/truth.json" else None
            description = json.loads(content.read()) if content else None
    except (OSError, tarfile.TarError, ValueError) as error:
        raise LabError(f"{folder} is not a finished capture: {error}") from error
    if not isinstance(description, dict):
        raise LabError(
            f"{folder} is not a finished capture: its truth.tar.xz does not begin with truth.json."
        )
    dumps = sorted(path for path in folder.glob("vmcore*") if path.name != "vmcore-dmesg.txt")
    return Capture(folder, tuple(dumps), description["kernel"]["release"], description)


def _said(asked: Scenario | Options) -> dict[str, Any]:
    """The fields that are not as they are by themselves: one that joins later changes no key."""
    values = {each.name: getattr(asked, each.name) for each in fields(asked) if each.name != "description"}
    usual = {
        each.name: each.default_factory() if each.default_factory is not MISSING else each.default
        for each in fields(asked)
    }
    return {name: value for name, value in values.items() if value != usual[name]}


def _digest(value: Any, length: int) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
