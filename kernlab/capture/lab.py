"""A capture from its start to its end: a throw-away guest boots, arms kdump, tells the truth, dies, and is saved.

Comes in: a scenario and options. Goes out: a folder with the dumps, truth.tar.xz, vmcore-dmesg.txt and console.log,
which appears only when everything is there.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import shutil
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kernlab.capture.apt_root import cache_folder
from kernlab.capture.guest_files import (
    Userland,
    find_userland,
    read_results_disk,
    write_ram_disks,
    write_results_disk,
)
from kernlab.capture.guest_kernel import GuestKernel, find_kernel
from kernlab.capture.qemu import Guest, Qemu, find_qemu
from kernlab.capture.scenarios import SCENARIOS, Scenario
from kernlab.capture.steps import LabError, Progress

TRUTH_SCHEMA = 1

_COMPRESSIONS = {"zlib": "-c", "lzo": "-l", "snappy": "-p", "zstd": "-z", "none": ""}
#: The ways to save a crash, and QEMU's of dumping a guest that was only stopped.
FORMATS = ("kdump", "flattened", "split", "elf", "elf-flattened", "vmcore")
QEMU_FORMATS = ("elf", "kdump-zlib", "kdump-lzo", "kdump-snappy")

_SLOW = {"tcg": 1.0, "kvm": 0.35}  # of the time limits
_BOOT_SECONDS, _SAVE_SECONDS, _TRUTH_SECONDS = 240, 600, 600
_RESULTS_SPARE_MIB = 256


@dataclass(frozen=True)
class Options:
    """What a guest is made of and how it is saved. None: as the scenario has it."""

    kernel: str = "6.1"
    flavour: str | None = None
    memory_mib: int | None = None
    cpus: int | None = None
    nodes: int = 1
    la57: bool = True
    kaslr: bool = True
    crashkernel: str | None = None
    level: int = 31
    compression: str = "zlib"
    formats: tuple[str, ...] = ("kdump",)
    qemu_formats: tuple[str, ...] = ()
    vmcoreinfo_device: bool = True
    settings: dict[str, str | int] = field(default_factory=dict)
    cmdline: str = ""
    keep_disk: bool = False

    def check(self) -> None:
        """A LabError for what does not go together."""
        for given, known, what in (
            (self.formats, FORMATS, "format"),
            (self.qemu_formats, QEMU_FORMATS, "QEMU format"),
            ((self.compression,), tuple(_COMPRESSIONS), "compression"),
        ):
            for name in given:
                if name not in known:
                    raise LabError(f"The lab knows no {what} {name!r}: {', '.join(known)}.")
        if not 0 <= self.level <= 31:
            raise LabError(f"A dump level is 0 to 31 (makedumpfile's -d), not {self.level}.")
        if not 1 <= self.nodes <= 8:
            raise LabError(f"A guest has 1 to 8 NUMA nodes, not {self.nodes}.")


@dataclass(frozen=True)
class Capture:
    """A finished capture: the folder and the dumps in it (pieces of a split set each)."""

    folder: Path
    dumps: tuple[Path, ...]
    kernel_release: str
    description: dict[str, Any]


def run_scenario(
    name: str,
    options: Options,
    folder: Path,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Capture:
    """Capture a scenario into `folder`, which must not exist yet.

    LabError: a package is missing, a step took too long, the guest died otherwise, the disk is full. Then QEMU is
    ended, `folder` does not appear, and the console's log stays in the cache (the error says where).
    """
    if name not in SCENARIOS:
        raise LabError(f"The lab knows no scenario {name!r}: {', '.join(SCENARIOS)}.")
    options.check()
    folder = folder.absolute()
    if folder.exists():
        raise LabError(
            f"{folder} is already there; the lab writes over nothing. Name another folder, or remove it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    run = _Run(SCENARIOS[name], options, cache or cache_folder(), progress)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        capture = run.capture(scratch, folder)
    except OSError as error:
        kept = _keep_log(scratch, cache or cache_folder())
        raise LabError(f"The capture could not be written below {folder.parent}: {error}{kept}") from error
    except LabError as error:
        raise LabError(f"{error}{_keep_log(scratch, cache or cache_folder())}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress(f"Done: {folder}")
    return capture


class _Run:
    """The steps of one capture, in order."""

    def __init__(self, scenario: Scenario, options: Options, cache: Path, progress: Progress):
        self.scenario, self.options, self.cache, self.progress = scenario, options, cache, progress
        self.memory_mib = options.memory_mib or scenario.memory_mib
        self.cpus = options.cpus or scenario.cpus
        self.flavour = options.flavour or scenario.flavour
        self.crashkernel = options.crashkernel or ("256M" if self.flavour == "generic" else "176M")
        self.crash = not options.qemu_formats

    def capture(self, scratch: Path, folder: Path) -> Capture:
        qemu = find_qemu(self.cache, self.progress)
        kernel = find_kernel(self.options.kernel, self.flavour, self.cache, self.progress)
        userland = find_userland(self.cache, self.progress)
        self.progress(
            f"Guest: {kernel.release} ({kernel.package.version}), QEMU {qemu.version} with {qemu.accelerator}, "
            f"makedumpfile {userland.makedumpfile}"
        )
        work = scratch / "work"
        result = scratch / "result"
        work.mkdir()
        result.mkdir()
        self._prepare(work, kernel, userland)
        console = scratch / "console.log"
        self.progress(f"The console can be followed: tail -f {console}")
        with Guest(qemu, self._qemu_words(qemu, kernel, work), console) as guest:
            self._follow(guest, _SLOW[qemu.accelerator], result)
        self.progress("Reading the results disk")
        read_results_disk(work / "results.ext4", userland, work)
        description = self._description(qemu, kernel, userland)
        dumps = self._collect(work / "out", result, description)
        shutil.copyfile(console, result / "console.log")
        result.rename(folder)
        return Capture(folder, tuple(folder / dump.name for dump in dumps), kernel.release, description)

    def _prepare(self, work: Path, kernel: GuestKernel, userland: Userland) -> None:
        modules = [*self.scenario.modules, *(["qemu_fw_cfg"] if self.options.vmcoreinfo_device else [])]
        self.progress("Making the RAM disks")
        write_ram_disks(work, kernel, userland, modules)
        settings: dict[str, str | int] = {
            "CRASH": int(self.crash),
            "PAUSE": int(not self.crash),
            "SETTLE": 0,
            "KEEP_PROC": 1,
            "TRUTH_FLAGS": self.scenario.truth_flags,
            "CRASH_CMDLINE": "console=ttyS0 nr_cpus=1 reset_devices panic=-1 rdinit=/init loglevel=5",
            **self.scenario.settings,
            **self.options.settings,
        }
        boot: dict[str, Path | str | bytes] = {
            "vmlinuz": kernel.vmlinuz,
            "crash.cpio": work / "crash.cpio",
            "settings": "".join(f"{name}='{value}'\n" for name, value in settings.items()),
            "scenario": self.scenario.script,
            "captures": "".join(f"{line}\n" for line in self._captures()),
        }
        size = (self.memory_mib * (2 + len(self.options.formats)) + _RESULTS_SPARE_MIB) << 20
        write_results_disk(work / "results.ext4", size, userland, boot)
        with open(work / "vda.raw", "wb") as stream:
            stream.truncate(self.scenario.disk_mib << 20)

    def _captures(self) -> list[str]:
        """What the crash kernel saves: a file's name, a way, makedumpfile's words."""
        packed = (
            f"{_COMPRESSIONS[self.options.compression]} -d {self.options.level} --message-level 23".strip()
        )
        plain = f"-E -d {self.options.level} --message-level 23"
        known = {
            "kdump": f"vmcore file {packed}",
            "flattened": f"vmcore.flat stream {packed}",
            "split": f"vmcore.split split {packed}",
            "elf": f"vmcore.elf file {plain}",
            "elf-flattened": f"vmcore.elf.flat stream {plain}",
            "vmcore": "vmcore.raw copy",
        }
        return [known[name] for name in self.options.formats]

    def _qemu_words(self, qemu: Qemu, kernel: GuestKernel, work: Path) -> list[str]:
        options = self.options
        cpu = "host" if qemu.accelerator == "kvm" else "max"
        cmdline = ["console=ttyS0", "panic=-1", "rdinit=/init", "loglevel=6"]
        if self.crash:
            cmdline.append(f"crashkernel={self.crashkernel}")
        if not options.kaslr:
            cmdline.append("nokaslr")
        cmdline += [self.scenario.cmdline, options.cmdline]
        words = [
            "-machine",
            "pc",
            "-accel",
            qemu.accelerator,
            "-m",
            str(self.memory_mib),
            "-smp",
            str(self.cpus),
        ]
        words += ["-cpu", cpu if options.la57 else f"{cpu},la57=off"]
        if options.nodes > 1:
            share = self.memory_mib // options.nodes
            for node in range(options.nodes):
                size = share if node else self.memory_mib - share * (options.nodes - 1)
                words += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
                cpus = ",".join(f"cpus={cpu}" for cpu in range(self.cpus) if cpu % options.nodes == node)
                words += ["-numa", f"node,nodeid={node},memdev=node{node}" + (f",{cpus}" if cpus else "")]
        if options.vmcoreinfo_device:
            words += ["-device", "vmcoreinfo"]
        for name, drive in (
            ("vda", f"file={work}/vda.raw{self.scenario.disk_options}"),
            ("vdb", f"file={work}/results.ext4"),
        ):
            words += ["-drive", f"{drive},format=raw,if=none,id={name},cache=unsafe"]
            words += ["-device", f"virtio-blk-pci,drive={name}"]
        words += ["-kernel", str(kernel.vmlinuz), "-initrd", str(work / "first.cpio")]
        return [*words, "-append", " ".join(word for word in cmdline if word)]

    def _follow(self, guest: Guest, slow: float, result: Path) -> None:
        """Hear what the guest says until it is done; each step has its time."""
        limits = {
            "start": ("Booting", _BOOT_SECONDS),
            "booted": ("Arming kdump", _BOOT_SECONDS)
            if self.crash
            else ("Preparing", self.scenario.prepare_seconds),
            "armed": ("Preparing", self.scenario.prepare_seconds),
            "prepared": ("Taking the truth", _TRUTH_SECONDS),
            "truth": ("Ending the story", _BOOT_SECONDS),
            "pause": ("Reading what is left", _TRUTH_SECONDS),
            "dying": ("Dying, and booting the crash kernel", self.scenario.die_seconds + _BOOT_SECONDS),
            "crashed": ("Saving", _SAVE_SECONDS),
            "saving": ("Saving", _SAVE_SECONDS * (1 + self.memory_mib // 4096)),
        }
        step, limit = limits["start"]
        while True:
            word, rest = guest.message(time.monotonic() + limit * slow + 30, step)
            if word == "failed":
                raise LabError(f"{step}: the guest gave up: {rest}{guest.tail()}")
            if word == "note":
                self.progress(f"Note: {rest}")
                continue
            self.progress(_said(word, rest))
            if word in ("saved", "finished"):
                guest.wait(60)
                return
            if word == "pause":
                self._dump_from_outside(guest, result)
                guest.answer("go")
            step, limit = limits.get(word, (step, limit))
            if word == "saving":
                step = f"Saving {rest}"

    def _dump_from_outside(self, guest: Guest, result: Path) -> None:
        """Stop the guest, let QEMU dump it in each format, and let it go on."""
        guest.monitor("stop")
        for name in self.options.qemu_formats:
            path = result / f"vmcore.qemu-{name}"
            self.progress(f"QEMU dumps the stopped guest: {path.name}")
            kind = {} if name == "elf" else {"format": name}
            guest.monitor("dump-guest-memory", _SAVE_SECONDS, paging=False, protocol=f"file:{path}", **kind)
        guest.monitor("cont")

    def _collect(self, out: Path, result: Path, description: dict[str, Any]) -> list[Path]:
        truth = out / "truth.tar"
        if not truth.exists():
            raise LabError("The guest was done, but the results disk holds no truth.")
        self.progress("Packing the truth")
        write_truth(truth, out, description, result / "truth.tar.xz")
        dumps = sorted([*out.glob("vmcore*"), *result.glob("vmcore.qemu-*")])
        dumps = [path for path in dumps if path.name != "vmcore-dmesg.txt"]
        if not dumps or any(path.stat().st_size == 0 for path in dumps):
            raise LabError("The guest said that it was saved, but a dump is missing or empty.")
        for path in out.glob("vmcore*"):
            path.rename(result / path.name)
        for name in ("after", "blk", "crash-kernel"):
            if (out / name).is_dir():
                (out / name).rename(result / name)
        return [result / path.name for path in dumps]

    def _description(self, qemu: Qemu, kernel: GuestKernel, userland: Userland) -> dict[str, Any]:
        return {
            "schema": TRUTH_SCHEMA,
            "scenario": self.scenario.name,
            "story": self.scenario.description,
            "kernel": {
                "release": kernel.release,
                "package": kernel.package.name,
                "version": kernel.package.version,
            },
            "makedumpfile": userland.makedumpfile,
            "qemu": {"version": qemu.version, "accelerator": qemu.accelerator},
            "memory_mib": self.memory_mib,
            "cpus": self.cpus,
            "crashkernel": self.crashkernel if self.crash else None,
            "options": asdict(self.options),
        }


def write_truth(truth: Path, out: Path, description: dict[str, Any], path: Path) -> None:
    """truth.tar.xz: the guest's tar, and truth.json (schema, options), story.txt, blk/ and NAME.read of the story."""
    with lzma.open(path, "wb", preset=6) as packed, tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"out/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("truth.json", json.dumps(description, indent=2).encode())
        if (out / "story").exists():
            add("story.txt", (out / "story").read_bytes())
        extra = [*out.glob("*.read"), *out.glob("blk/*"), *out.glob("after/*")]
        for file in sorted(extra):
            add(str(file.relative_to(out)), file.read_bytes())
        with tarfile.open(truth) as source:
            for member in source:
                content = source.extractfile(member)
                if content is not None:
                    archive.addfile(member, content)


def _said(word: str, rest: str) -> str:
    known = {
        "booted": f"Booted {rest}",
        "armed": f"kdump is armed, {int(rest) >> 20 if rest.isdigit() else rest} MiB reserved",
        "prepared": "The story is prepared",
        "truth": "The truth is taken",
        "dying": "The guest dies",
        "crashed": "The crash kernel runs",
        "saving": f"Saving {rest}",
        "saved": "Saved",
        "pause": "The guest is stopped",
        "finished": "The guest read what was left, and is done",
    }
    return known.get(word, f"{word} {rest}")


def _keep_log(scratch: Path, cache: Path) -> str:
    """Keep the console of a failed run; a sentence that says where."""
    console = scratch / "console.log"
    if not console.exists():
        return ""
    kept = cache / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}.log"
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(console, kept)
        for old in sorted(kept.parent.glob("*.log"))[:-20]:
            old.unlink()
        return f"\nThe whole console: {kept}"
    return ""
