"""What QEMU is told: the machine that a scenario's guest runs on, its disks, its kernel and that kernel's command line.

Comes in: a scenario, options and what a capture decided. Goes out: QEMU's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.capture_options import Options
from kernlab.lab.guest_kernel import GuestKernel
from kernlab.lab.machine import Machine
from kernlab.lab.notes import NOTES
from kernlab.lab.scenarios import Scenario

_ERRORS = "cache=unsafe,werror=stop,rerror=stop"


@dataclass(frozen=True)
class GuestMachine:
    """One guest's hardware; `crashkernel` is the size that is reserved, None where nothing is."""

    machine: Machine
    scenario: Scenario
    options: Options
    memory_mib: int
    cpus: int
    nodes: int
    crashkernel: str | None

    def qemu_words(self, accelerator: str, kernel: GuestKernel, work: Path, disk: str) -> list[str]:
        """The guest's machine, disks (vda is `disk`, the others lie in `work`), kernel and command line."""
        words = [
            *("-machine", self.machine.qemu_machine),
            *("-accel", accelerator),
            *("-m", str(self.memory_mib)),
            *("-smp", str(self.cpus)),
        ]
        cpu = self.machine.cpu(accelerator, larger_addresses=self.options.la57, bare=self.scenario.bare)
        words += ["-cpu", cpu, *self._nodes()]
        if self.options.vmcoreinfo_device:
            words += ["-device", "vmcoreinfo"]
        words += self._disks(work, disk)
        words += ["-kernel", str(kernel.vmlinuz), "-initrd", str(work / "first.cpio")]
        return [*words, "-append", self._cmdline()]

    def crash_cmdline(self) -> str:
        """The crash kernel's command line."""
        words = [f"console={self.machine.console}", "nr_cpus=1", "reset_devices", "panic=-1", "rdinit=/init"]
        return " ".join([*words, "loglevel=5", self.machine.cmdline]).strip()

    def _cmdline(self) -> str:
        words = [f"console={self.machine.console}", "panic=-1", "rdinit=/init", "loglevel=6"]
        words.append(self.machine.cmdline)
        if self.crashkernel is not None:
            words.append(f"crashkernel={self.crashkernel}")
        if not self.options.kaslr:
            words.append("nokaslr")
        words += [self.scenario.cmdline, self.options.cmdline]
        return " ".join(word for word in words if word)

    def _nodes(self) -> list[str]:
        words: list[str] = []
        if self.nodes == 1:
            return words
        share = self.memory_mib // self.nodes
        for node in range(self.nodes):
            size = share if node else self.memory_mib - share * (self.nodes - 1)
            words += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
            cpus = ",".join(f"cpus={cpu}" for cpu in range(self.cpus) if cpu % self.nodes == node)
            words += ["-numa", f"node,nodeid={node},memdev=node{node}" + (f",{cpus}" if cpus else "")]
        return words

    def _disks(self, work: Path, disk: str) -> list[str]:
        words: list[str] = []
        drives = [("vda", f"{disk}{self.scenario.disk_options}"), ("vdb", f"file={work}/results.ext4")]
        if self.scenario.notes_mib:
            drives.append(("vdc", f"file={work}/{NOTES}"))
        for name, drive in drives:
            words += ["-drive", f"{drive},format=raw,if=none,id={name},{_ERRORS}"]
            words += ["-device", f"virtio-blk-pci,drive={name}"]
        for device in self.scenario.devices:
            words += ["-device", device]
        for number, (device, limits) in enumerate(self.scenario.more_disks):
            drive = f"file={work}/more{number}.raw{limits}"
            words += ["-drive", f"{drive},format=raw,if=none,id=more{number},{_ERRORS}"]
            words += ["-device", f"{device},drive=more{number}"]
        return words
