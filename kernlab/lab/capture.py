"""A capture from its start to its end: a throw-away guest boots, arms kdump, tells the truth, dies, and is saved.

Comes in: a scenario and options. Goes out: a folder with the dumps, truth.tar.xz, vmcore-dmesg.txt and console.log,
which appears only when everything is there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kernlab.lab.apt_root import cache_folder
from kernlab.lab.capture_options import (
    ALL_LEFT_OUT,
    SYMBOLS,
    USER_DATA,
    USER_DATA_KEPT,
    Capture,
    Options,
    saves,
)
from kernlab.lab.dump_check import LevelMemory, absent_frames
from kernlab.lab.fetch_plan import Fetch, fetch_plan, tell_plan
from kernlab.lab.guest_files import (
    Userland,
    find_userland,
    read_results_disk,
    write_ram_disks,
    write_results_disk,
)
from kernlab.lab.guest_kernel import GuestKernel
from kernlab.lab.guest_python import RECORDER, guest_python
from kernlab.lab.machine import machine_named
from kernlab.lab.notes import NOTES, read_notes
from kernlab.lab.own_kernel import kernel_named
from kernlab.lab.qemu import Guest, Qemu, SilentGuestError, find_qemu
from kernlab.lab.qemu_words import GuestMachine
from kernlab.lab.scenarios import Scenario, scenario_named
from kernlab.lab.server_image import server_image
from kernlab.lab.steps import LabError, Progress
from kernlab.lab.truth_archive import TRUTH_SCHEMA, write_truth

_SLOW = {"tcg": 1.0, "kvm": 0.35}  # of the time limits
_BOOT_SECONDS, _SAVE_SECONDS, _TRUTH_SECONDS = 240, 600, 600
_RESULTS_SPARE_MIB = 256
_LARGER_MIB = 256


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
    scenario = scenario_named(name)
    options.check()
    folder = folder.absolute()
    if folder.exists():
        raise LabError(
            f"{folder} is already there; the lab writes over nothing. Name another folder, or remove it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    cache = (cache or cache_folder()).absolute()
    for level in [options.level] if options.level is not None else [None, USER_DATA_KEPT]:
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            run = _Run(scenario, replace(options, level=level), cache, progress)
            capture = run.capture(scratch, folder, must_be_whole=options.level is None)
        except OSError as error:
            where = f"The capture could not be written below {folder.parent}"
            raise LabError(f"{where}: {error}{_keep_log(scratch, cache)}") from error
        except LabError as error:
            raise LabError(f"{error}{_keep_log(scratch, cache)}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if capture is not None:
            progress(f"Done: {folder}")
            return capture
    raise LabError(f"No dump level gave a whole dump of {options.kernel}.")


class _Run:
    """The steps of one capture, in order."""

    def __init__(self, scenario: Scenario, options: Options, cache: Path, progress: Progress):
        self.scenario, self.options, self.cache, self.progress = scenario, options, cache, progress
        self.machine = machine_named(options.machine)
        self.memory_mib = options.memory_mib or 0
        self.cpus = options.cpus or scenario.cpus
        self.flavour = options.flavour or scenario.flavour
        self.crashkernel = options.crashkernel or ""
        self.crash = not options.qemu_formats
        self.level = ALL_LEFT_OUT
        self.nodes = max(options.nodes, scenario.nodes)
        self.disk = ""
        self.heard = False

    def capture(self, scratch: Path, folder: Path, must_be_whole: bool) -> Capture | None:
        """Every step from the packages to the finished folder; None for a dump that lacks pages and must not."""
        plan: list[Fetch] = []
        with contextlib.suppress(LabError):  # what cannot be found is told by the step that needs it
            plan = fetch_plan(
                self.options.kernel, self.scenario, self.flavour, self.cache, self.progress, self.machine
            )
        tell_plan(plan, self.cache, self.progress)
        qemu = find_qemu(self.cache, self.progress, self.machine)
        kernel = kernel_named(self.options.kernel, self.flavour, self.cache, self.progress, self.machine)
        userland = find_userland(self.cache, self.progress, self.machine, self.options.makedumpfile)
        self.progress(
            f"Guest: {kernel.release} ({kernel.package.version}), QEMU {qemu.version} with {qemu.accelerator}, "
            f"makedumpfile {userland.makedumpfile}"
        )
        # A kernel that is not a cloud's is larger, and has more to set up. Its reservation must be in one piece, and
        # the kernel may stand at random in the middle.
        larger = "cloud" not in kernel.release
        self.crashkernel = self.crashkernel or ("256M" if larger else "176M")
        self.memory_mib = self.memory_mib or self.scenario.memory_mib + _LARGER_MIB * larger
        memory = LevelMemory(self.cache, kernel.package.version, userland.makedumpfile)
        self.level = memory.level() if self.options.level is None else self.options.level
        work = scratch / "work"
        result = scratch / "result"
        work.mkdir()
        result.mkdir()
        symbols = kernel.system_map()
        self._prepare(work, kernel, userland)
        console = scratch / "console.log"
        self.progress(f"The console can be followed: tail -f {console}")
        words = self._hardware().qemu_words(qemu.accelerator, kernel, work, self.disk)
        self._boot(qemu, words, console, result)
        self.progress("Reading the results disk")
        read_results_disk(work / "results.ext4", userland, work)
        read_notes(work / NOTES, work / "out")
        description = self._description(qemu, kernel, userland)
        dumps = self._collect(work / "out", result)
        shutil.copyfile(console, result / "console.log")
        if kernel.debug_file is not None:
            _link(kernel.debug_file, result / "vmlinux")
        if symbols is not None:
            shutil.copyfile(symbols, result / SYMBOLS)
        if lost := self._check(dumps, description, kernel.debug_file, symbols):
            # design.md, Capture: a makedumpfile older than the kernel takes kernel pages for user data.
            if must_be_whole and self.level & USER_DATA:
                self.progress(f"{lost}. Once more with level {USER_DATA_KEPT}, which keeps user data")
                memory.remember(USER_DATA_KEPT)
                return None
            self.progress(f"{lost}. The dump is kept as it is; truth.json says so")
        write_truth(work / "out" / "truth.tar", work / "out", description, result / "truth.tar.xz")
        result.rename(folder)
        return Capture(folder, tuple(folder / dump.name for dump in dumps), kernel.release, description)

    def _boot(self, qemu: Qemu, words: list[str], console: Path, result: Path) -> None:
        """Run the guest to its end; once more where it never spoke (its clocks fail on a machine that is busy)."""
        for last in (False, True):
            try:
                with Guest(qemu, words, console) as guest:
                    self._follow(guest, _SLOW[qemu.accelerator], result)
                return
            except SilentGuestError:
                if last or self.heard:
                    raise
                self.progress("The guest did not boot in time. Once more")

    def _hardware(self) -> GuestMachine:
        return GuestMachine(
            self.machine,
            self.scenario,
            self.options,
            self.memory_mib,
            self.cpus,
            self.nodes,
            self.crashkernel if self.crash else None,
        )

    def _prepare(self, work: Path, kernel: GuestKernel, userland: Userland) -> None:
        modules = [*self.scenario.modules, *(["qemu_fw_cfg"] if self.options.vmcoreinfo_device else [])]
        self.progress("Making the RAM disks")
        write_ram_disks(work, kernel, userland, modules, self.scenario.driver, self.scenario.programs)
        settings: dict[str, str | int] = {
            "CRASH": int(self.crash),
            "PAUSE": int(not self.crash),
            "SETTLE": 0,
            "KEEP_PROC": 1,
            "TRUTH_FLAGS": self.scenario.truth_flags,
            "CRASH_CMDLINE": self._hardware().crash_cmdline(),
            **self.scenario.settings,
            **self.options.settings,
        }
        boot: dict[str, Path | str | bytes] = {
            "vmlinuz": kernel.vmlinuz,
            "crash.cpio": work / "crash.cpio",
            "settings": "".join(f"{name}='{value}'\n" for name, value in settings.items()),
            "scenario": self.scenario.script,
            "captures": "".join(f"{line}\n" for line in saves(self.options, self.level)),
            **{name: Path(path) for name, path in self.options.files.items()},
        }
        if self.scenario.python:
            boot["python"] = guest_python(userland.release, self.cache, self.progress, self.machine)
            boot["recorder"] = RECORDER
        size = (self.memory_mib * (2 + len(self.options.formats)) + _RESULTS_SPARE_MIB) << 20
        size += sum(Path(path).stat().st_size for path in self.options.files.values())
        write_results_disk(work / "results.ext4", size, userland, boot)
        self.disk = f"file={work}/vda.raw"
        if self.scenario.image:
            # What the guest writes goes to a file of QEMU's own, which ends with it.
            self.disk = f"file={server_image(self.cache, userland, self.progress)},snapshot=on"
            return
        more = [
            (f"more{number}.raw", self.scenario.more_disks_mib)
            for number in range(len(self.scenario.more_disks))
        ]
        for name, size_mib in (("vda.raw", self.scenario.disk_mib), (NOTES, self.scenario.notes_mib), *more):
            with open(work / name, "wb") as stream:
                stream.truncate(size_mib << 20)

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
            "again": ("Rebooting", _BOOT_SECONDS),
            "dying": ("Dying, and booting the crash kernel", self.scenario.die_seconds + _BOOT_SECONDS),
            "crashed": ("Saving", _SAVE_SECONDS),
            "saving": ("Saving", _SAVE_SECONDS * (1 + self.memory_mib // 4096)),
        }
        step, limit = limits["start"]
        again = False
        while True:
            word, rest = guest.message(time.monotonic() + limit * slow + 30, step)
            self.heard = True
            if word == "failed":
                raise LabError(f"{step}: the guest gave up: {rest}{guest.tail()}")
            if word == "note":
                self.progress(f"Note: {rest}")
                continue
            self.progress(_said(word, rest))
            if word == "again" or again:
                # The next reset of the machine is a warm reboot; all others end QEMU.
                again = word == "again"
                guest.monitor("set-action", reboot="reset" if again else "shutdown")
                if again:
                    guest.answer("go")
            if word == "nmi":
                guest.monitor("inject-nmi")
                continue
            if word == "slow":
                # BYTES REQUESTS [DISK]: what a disk does in a second from now on.
                size, requests, *disk = rest.split()
                guest.slow_disk(disk[0] if disk else "vda", int(size), int(requests))
                continue
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
        able = guest.monitor("query-dump-guest-memory-capability")["formats"]
        lacking = [name for name in self.options.qemu_formats if name not in able]
        if lacking:
            raise LabError(f"This QEMU cannot dump as {', '.join(lacking)}; it can as {', '.join(able)}.")
        guest.monitor("stop")
        for name in self.options.qemu_formats:
            path = result / f"vmcore.qemu-{name}"
            self.progress(f"QEMU dumps the stopped guest: {path.name}")
            kind = {} if name == "elf" else {"format": name}
            guest.monitor("dump-guest-memory", _SAVE_SECONDS, paging=False, protocol=f"file:{path}", **kind)
        guest.monitor("cont")

    def _collect(self, out: Path, result: Path) -> list[Path]:
        truth = out / "truth.tar"
        if not truth.exists():
            raise LabError("The guest was done, but the results disk holds no truth.")
        dumps = sorted([*out.glob("vmcore*"), *result.glob("vmcore.qemu-*")])
        dumps = [path for path in dumps if path.name != "vmcore-dmesg.txt"]
        if not dumps or any(path.stat().st_size == 0 for path in dumps):
            raise LabError("The guest said that it was saved, but a dump is missing or empty.")
        for path in out.glob("vmcore*"):
            path.rename(result / path.name)
        for name in ("after", "blk", "crash-kernel"):
            if (out / name).is_dir():
                shutil.copytree(out / name, result / name)
        return [result / path.name for path in dumps]

    def _check(
        self, dumps: list[Path], description: dict[str, Any], vmlinux: Path | None, symbols: Path | None
    ) -> str:
        """Look for frames that no level leaves out; a sentence on what is absent, or nothing."""
        self.progress("Checking the dump for kernel pages that are absent")
        absent = absent_frames(dumps, vmlinux, symbols)
        description["absent_frames"] = absent
        counts = "; ".join(
            f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count)} frames"
            for name, counts in absent.items()
            if any(counts.values())
        )
        return f"Kernel pages are absent that level {self.level} must not drop ({counts})" if counts else ""

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
            "nodes": self.nodes,
            "crashkernel": self.crashkernel if self.crash else None,
            "dump_level": self.level if self.crash else None,
            # The truth travels with the dump: where a file lay on this machine is nobody's business.
            "options": {
                **asdict(self.options),
                "makedumpfile": Path(self.options.makedumpfile).name if self.options.makedumpfile else None,
            },
        }


def _said(word: str, rest: str) -> str:
    known = {
        "booted": f"Booted {rest}",
        "armed": f"kdump is armed, {int(rest) >> 20 if rest.isdigit() else rest} MiB reserved",
        "prepared": "The story is prepared",
        "truth": "The truth is taken",
        "again": "The guest reboots",
        "dying": "The guest dies",
        "nmi": "QEMU sends an NMI",
        "slow": "The disk slows",
        "crashed": "The crash kernel runs",
        "saving": f"Saving {rest}",
        "saved": "Saved",
        "pause": "The guest is stopped",
        "finished": "The guest read what was left, and is done",
    }
    return known.get(word, f"{word} {rest}")


def _link(file: Path, place: Path) -> None:
    """The same file at another place: a large one is not copied."""
    try:
        place.hardlink_to(file)
    except OSError:  # another file system
        place.symlink_to(file)


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
