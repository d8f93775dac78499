"""The machines that the lab can make guests of: how Debian names them, what QEMU emulates, where their programs look.

Comes in: an architecture as Debian writes it. Goes out: what the rest of the lab needs to know of it, and only here.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernlab.lab.steps import LabError


@dataclass(frozen=True)
class Machine:
    """One architecture."""

    name: str  # Debian's
    triplet: str  # of its compilers and of the folders of its libraries
    kernel_name: str  # the kernel's own, as make's ARCH
    loader: str  # where its programs look for the dynamic loader, in a guest
    links: tuple[tuple[str, str], ...]  # of a guest's root, so that they find it
    elf: str  # what pyelftools calls it
    qemu: str  # the program
    qemu_packages: tuple[str, ...]
    oldest_qemu: tuple[int, int]
    qemu_machine: str
    console: str  # the first serial port, which the kernel writes its log to
    flavours: tuple[tuple[str, str], ...]  # the lab's name, how Debian's packages of it end
    #: A kernel of a PC gives up where its timer does not tick in time, which it does not on a machine that is busy.
    cmdline: str = ""

    @property
    def native(self) -> bool:
        """Is it what the lab's own programs are of: nothing is built for another, hardware can run it?"""
        return self is AMD64

    def cpu(self, accelerator: str, *, larger_addresses: bool, bare: bool) -> str:
        """QEMU's word for the CPU: with the larger addresses (five levels, 52 bits) or without; `bare` hides QEMU."""
        if self is ARM64:
            # The architecture's own cipher for signed pointers takes half of an emulated guest's time.
            signed = "" if accelerator == "kvm" else ",pauth-impdef=on"
            model = "host" if accelerator == "kvm" else "max"
            return model + signed + ("" if larger_addresses or accelerator == "kvm" else ",lpa2=off")
        without = [
            name for name, there in (("la57", larger_addresses), ("hypervisor", not bare)) if not there
        ]
        return ",".join(["host" if accelerator == "kvm" else "max", *(f"{name}=off" for name in without)])


AMD64 = Machine(
    name="amd64",
    triplet="x86_64-linux-gnu",
    kernel_name="x86",
    loader="lib64/ld-linux-x86-64.so.2",
    links=(("lib64", "usr/lib64"),),
    elf="x64",
    qemu="qemu-system-x86_64",
    qemu_packages=("qemu-system-x86", "seabios", "ipxe-qemu"),
    #: QEMU 7.2's TCG crashes guests of kernel 6.12; 10.0 ran all that were tried.
    oldest_qemu=(9, 0),
    qemu_machine="pc",
    console="ttyS0",
    flavours=(("cloud", "-cloud-amd64"), ("generic", "-amd64"), ("rt", "-rt-amd64")),
    cmdline="no_timer_check",
)
ARM64 = Machine(
    name="arm64",
    triplet="aarch64-linux-gnu",
    kernel_name="arm64",
    loader="lib/ld-linux-aarch64.so.1",
    links=(("lib", "usr/lib"),),
    elf="AArch64",
    qemu="qemu-system-aarch64",
    qemu_packages=("qemu-system-arm",),
    #: The first whose `virt` has a second serial port.
    oldest_qemu=(9, 1),
    qemu_machine="virt,gic-version=3",
    console="ttyAMA0",
    flavours=(
        ("cloud", "-cloud-arm64"),
        ("generic", "-arm64"),
        ("rt", "-rt-arm64"),
        ("16k", "-arm64-16k"),
    ),
)
MACHINES = {machine.name: machine for machine in (AMD64, ARM64)}


def machine_named(name: str) -> Machine:
    """The machine of a name; a LabError that names them all where there is none."""
    if name not in MACHINES:
        raise LabError(f"The lab knows no machine {name!r}: {', '.join(MACHINES)}.")
    return MACHINES[name]
