"""What a capture is asked to be, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.lab.machine import machine_named
from kernlab.lab.steps import LabError

#: The highest level, and the one that keeps user data: makedumpfile's guess of what is user data can be wrong.
ALL_LEFT_OUT, USER_DATA_KEPT = 31, 23
USER_DATA = 8

#: The kernel's System.map beside its dumps, where they name functions only.
SYMBOLS = "System.map"

COMPRESSIONS = {"zlib": "-c", "lzo": "-l", "snappy": "-p", "zstd": "-z", "none": ""}
#: The ways to save a crash, and QEMU's of dumping a guest that was only stopped.
FORMATS = ("kdump", "flattened", "split", "elf", "elf-flattened", "vmcore", "zlib", "lzo", "snappy", "zstd")
_PACKED = ("kdump-zlib", "kdump-lzo", "kdump-snappy")
QEMU_FORMATS = ("elf", *_PACKED, *(name.replace("kdump-", "kdump-raw-") for name in _PACKED))


@dataclass(frozen=True)
class Options:
    """What a guest is made of and how it is saved. None: as the scenario has it."""

    kernel: str = "6.1"
    flavour: str | None = None
    machine: str = "amd64"  # as Debian names it
    memory_mib: int | None = None
    cpus: int | None = None
    nodes: int = 1
    la57: bool = True  # page tables of five levels; on arm64 addresses of 52 bits
    kaslr: bool = True
    crashkernel: str | None = None
    level: int | None = None  # the highest that loses no kernel page
    compression: str = "zlib"
    formats: tuple[str, ...] = ("kdump",)
    qemu_formats: tuple[str, ...] = ()
    vmcoreinfo_device: bool = True
    makedumpfile: str | None = None  # a file of this machine, built for the guest's; None is Debian's
    settings: dict[str, str | int] = field(default_factory=dict)
    cmdline: str = ""
    files: dict[str, str] = field(
        default_factory=dict
    )  # of this machine, by their names in the guest's /host/boot

    def check(self) -> None:
        """A LabError for what does not go together."""
        machine_named(self.machine)
        for given, known, what in (
            (self.formats, FORMATS, "format"),
            (self.qemu_formats, QEMU_FORMATS, "QEMU format"),
            ((self.compression,), tuple(COMPRESSIONS), "compression"),
        ):
            for name in given:
                if name not in known:
                    raise LabError(f"The lab knows no {what} {name!r}: {', '.join(known)}.")
        if self.level is not None and not 0 <= self.level <= 31:
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


def saves(options: Options, level: int) -> list[str]:
    """What the crash kernel saves, a line for each format: a file's name, a way, makedumpfile's words."""
    packed = f"{COMPRESSIONS[options.compression]} -d {level} --message-level 23".strip()
    # In ELF a zero page that was left out looks like any other that was: they stay in (the level's lowest bit).
    plain = f"-E -d {level & ~1} --message-level 23"
    known = {
        "kdump": f"vmcore file {packed}",
        "flattened": f"vmcore.flat stream {packed}",
        "split": f"vmcore.split split {packed}",
        "elf": f"vmcore.elf file {plain}",
        "elf-flattened": f"vmcore.elf.flat stream {plain}",
        "vmcore": "vmcore.raw copy",
        **{
            name: f"vmcore.{name} file {word} -d {level} --message-level 23"
            for name, word in COMPRESSIONS.items()
            if word
        },
    }
    return [known[name] for name in options.formats]
