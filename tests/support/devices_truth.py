"""What a guest's own files say of interrupts, timers and devices: parsers that share no code with kernlab."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def members(archive: Path) -> set[str]:
    """The names in an archive of truth."""
    with tarfile.open(archive, "r:xz") as files:
        return set(files.getnames())


_REST = re.compile(r"(\S+)(?: +(\d+))?(?:-(\S+))? *(.*)")


@dataclass(frozen=True)
class Interrupt:
    """A line of /proc/interrupts: of one with a number chip, hwirq (None where there is none), flow and actions."""

    name: str
    counts: tuple[int, ...]
    rest: str

    @property
    def parts(self) -> tuple[str, int | None, str, str]:
        match = _REST.fullmatch(self.rest)
        assert match, self.rest
        chip, hwirq, flow, actions = match.groups()
        return chip, None if hwirq is None else int(hwirq), flow or "", actions.strip()


def interrupts(truth: Any) -> tuple[list[str], dict[str, Interrupt]]:
    """/proc/interrupts: its columns ("cpu0" …) and its lines by what they begin with, in their order."""
    head, *lines = truth.lines("interrupts")
    cpus = [word.lower() for word in head.split()]
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split(maxsplit=len(cpus))
        # ERR and MIS have one number for all.
        numbers = [int(word) for word in words[: len(cpus)] if word.isdigit()]
        found[name.strip()] = Interrupt(
            name.strip(), tuple(numbers), words[-1].strip() if len(words) > len(cpus) else ""
        )
    return cpus, found


def softirqs(truth: Any) -> dict[str, list[int]]:
    """/proc/softirqs: the counts of each, on each CPU that is possible."""
    return {
        name.strip(): [int(word) for word in rest.split()]
        for name, _, rest in (line.partition(":") for line in truth.lines("softirqs")[1:])
    }


def ports(truth: Any) -> list[tuple[int, int, int, str]]:
    """/proc/ioports: (start, end, depth, name) of each line, in their order."""
    found = []
    for line in truth.lines("ioports"):
        place, _, name = line.partition(" : ")
        start, end = place.split("-")
        found.append((int(start, 16), int(end, 16), (len(place) - len(place.lstrip())) // 2, name))
    return found


@dataclass(frozen=True)
class Hrtimer:
    """A timer of /proc/timer_list: its CPU, clock (the base's index), function, and times in ns of its clock."""

    cpu: int
    clock: int
    function: str
    soft: int
    hard: int


_TIMER = re.compile(r" #\d+: <[0-9a-f]+>, (\S+), S:\d+")
_EXPIRES = re.compile(r" # expires at (-?\d+)-(-?\d+) nsecs")


def timers(truth: Any) -> tuple[int, list[Hrtimer]]:
    """/proc/timer_list: (when it was printed, ns of the monotonic clock; the hrtimers, in its order)."""
    now, cpu, clock, function = 0, -1, -1, ""
    found = []
    for line in truth.lines("timer_list"):
        if line.startswith("now at "):
            now = int(line.split()[2])
        elif line.startswith("cpu: "):
            cpu = int(line.split()[1])
        elif line.startswith(" clock "):
            clock = int(line.split()[1].rstrip(":"))
        elif match := _TIMER.match(line):
            function = match[1]
        elif match := _EXPIRES.match(line):
            found.append(Hrtimer(cpu, clock, function, int(match[1]), int(match[2])))
    return now, found


@dataclass(frozen=True)
class Device:
    """A device below /sys/bus or /sys/class: that bus or class, its place below /sys, its driver, and its files."""

    subsystem: str
    path: str
    driver: str
    files: dict[str, str]


#: The names of drivers have spaces now and then.
_DEVICE = re.compile(r"(\S+) /sys(/\S+) (.*?)((?: [a-z_/]+=\S*)*)")


def _devices(truth: Any, name: str) -> list[Device]:
    found = []
    for line in truth.lines(name):
        match = _DEVICE.fullmatch(line)
        assert match, line
        subsystem, path, driver, rest = match.groups()
        files = dict(word.split("=", 1) for word in rest.split())
        driver = "" if driver == "-" else driver.rsplit("/", 1)[1]
        found.append(Device(subsystem, path, driver, files))
    return found


def bus_devices(truth: Any) -> list[Device]:
    """Everything in /sys/bus/*/devices."""
    return _devices(truth, "bus_devices")


def class_devices(truth: Any) -> list[Device]:
    """Everything in /sys/class."""
    return _devices(truth, "class_devices")


def texts(truth: Any, name: str) -> dict[tuple[str, str], list[str]]:
    """Files of many folders in one, by (folder, file): their lines."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in truth.lines(name):
        if line.startswith("== "):
            _, folder, file = line.split(" ", 2)
            found[folder, file] = here = []
        else:
            here.append(line)
    return found
