"""Would the crash kernel start? Memory, loading, command line, IOMMU and lockdown of a `Machine` in, checks out."""

from __future__ import annotations

from kernlab.kdump_status import crashkernel
from kernlab.kdump_status.machine import Machine
from kernlab.kdump_status.needs import crash_memory
from kernlab.kdump_status.report import Check, State
from kernlab.util.text import human_bytes

_MIB = 1 << 20

_GRUB = (
    "in GRUB_CMDLINE_LINUX_DEFAULT of /etc/default/grub, then update-grub (or grub2-mkconfig) and a reboot"
)

#: The need is an estimate: below this share of it a crash kernel failed in every guest that was tried.
_NEARLY = 0.9

#: More than one of these is seldom needed: makedumpfile works with one CPU, and each takes memory.
_MANY_CPUS = 8


def reserved(machine: Machine) -> Check:
    """Crash memory that the kernel reserved, against what the crash kernel needs here."""
    title, name = "crash memory", "crashkernel"
    need = crash_memory(machine)
    advised = max(need.least, need.advised or 0)
    size = -(-advised // (32 * _MIB)) * 32
    parts = ", ".join(f"{label.replace('_', ' ')} {human_bytes(n)}" for label, n in need.parts.items() if n)
    wanted = f"at least {human_bytes(need.least)} ({parts})"
    if need.advised:
        wanted += (
            f"; {machine.service.advice_from if machine.service else ''} advises {human_bytes(need.advised)}"
        )
    if need.assumed:
        wanted += f"; estimated, for {' and '.join(need.assumed)}"
    asked = crashkernel.parse(machine.cmdline, machine.memory)
    if machine.crash_size is None:
        return Check(
            name,
            title,
            "fail",
            "this kernel has no crash dumps (/sys/kernel/kexec_crash_size is not there)",
            wanted,
            "boot a kernel built with CONFIG_CRASH_DUMP and CONFIG_KEXEC_FILE or CONFIG_KEXEC",
        )
    remedy = f"put crashkernel={size}M {_GRUB}"
    if not machine.crash_size:
        if not asked.words:
            found = "none reserved: no crashkernel= on the kernel's command line"
        elif asked.fault:
            found = f"none reserved: {asked.text} is wrong: {asked.fault}"
        elif asked.size == 0:
            found = f"none reserved: {asked.text} gives a machine with {human_bytes(machine.memory)} nothing"
        else:
            found = f"none reserved, though {asked.text} asks for {human_bytes(asked.size)}"
            remedy = (
                f"look for 'crashkernel' in the kernel's log (was no free range large enough?), or {remedy}"
            )
        return Check(name, title, "fail", found, wanted, remedy)
    by = f" by {asked.text}" if asked.words else ""
    found = f"{human_bytes(machine.crash_size)} reserved{by}"
    if need.least * _NEARLY <= machine.crash_size < need.least:
        return Check(name, title, "warn", f"{found}: it may be too small", wanted, remedy)
    if machine.crash_size < need.least:
        found += ": too small for the crash kernel and its initramfs"
        return Check(name, title, "fail", found, wanted, remedy)
    if need.advised and machine.crash_size < need.advised:
        return Check(name, title, "warn", f"{found}: less than the distribution advises", wanted, remedy)
    return Check(name, title, "ok", found, wanted)


def loaded(machine: Machine) -> Check:
    """Whether a crash kernel lies ready, and why it may not."""
    title, name = "crash kernel", "loaded"
    wanted = "loaded (/sys/kernel/kexec_crash_loaded is 1)"
    if machine.crash_loaded:
        return Check(name, title, "ok", "loaded", wanted)
    service = machine.service
    if not machine.crash_size:
        remedy = "reserve crash memory first"
    elif reserved(machine).state == "fail":
        remedy = "reserve enough crash memory first"
    elif machine.load_disabled:
        remedy = "reboot: kernel.kexec_load_disabled is 1, and stays so until then"
    elif service is None:
        remedy = "install kdump-tools (Debian, Ubuntu), kdump-utils (Fedora, RHEL) or kdump (SUSE)"
    elif service.disabled_by:
        remedy = f"{service.disabled_by}: set it, then {service.load}"
    else:
        remedy = f"{service.load}; if that fails, it and the kernel's log say why"
    return Check(name, title, "fail", "not loaded", wanted, remedy)


def command_line(machine: Machine) -> Check | None:
    """The crash kernel's own command line: what keeps running devices and lost interrupts from stopping it."""
    title, name = "its command line", "crash_cmdline"
    wanted = (
        "reset_devices (drivers stop what still runs), nr_cpus=1 (memory), irqpoll (interrupts nobody claims)"
    )
    if machine.inside:
        line, source = machine.cmdline, "/proc/cmdline"
    elif machine.service and machine.service.cmdline is not None:
        line, source = machine.service.cmdline, machine.service.cmdline_from
    else:
        return None
    words = line.split()
    lacks = []
    if "reset_devices" not in words:
        lacks.append("reset_devices")
    cpus = [word.partition("=")[2] for word in words if word.startswith(("nr_cpus=", "maxcpus="))]
    if not cpus:
        lacks.append("nr_cpus=1")
    if "irqpoll" not in words:
        lacks.append("irqpoll")
    found = f"{line} (from {source})"
    remedy = "" if not lacks else f"add {' '.join(lacks)}"
    if remedy and machine.service and not machine.inside:
        remedy += f" to what {machine.service.config} appends, then {machine.service.load}"
    # Some machines need to do without irqpoll; not so the others.
    serious = [word for word in lacks if word != "irqpoll"]
    many = any(count.isdecimal() and int(count) > _MANY_CPUS for count in cpus)
    state: State = "warn" if serious and not machine.inside else "note" if lacks or many else "ok"
    return Check(name, title, state, found, wanted, remedy)


def iommu(machine: Machine) -> Check:
    """DMA that goes on after the crash: with an IOMMU the crash kernel inherits its tables."""
    title, name = "IOMMU", "iommu"
    wanted = "the same IOMMU setting in both kernels: devices still write while the crash kernel starts"
    own = _iommu_words(machine.cmdline)
    if not machine.iommus:
        found = "none in use: DMA still in flight goes to the old kernel's memory, and cannot reach the crash kernel's"
        return Check(name, title, "ok", found, wanted)
    found = (
        f"{len(machine.iommus)} in use ({', '.join(machine.iommus[:4])}{', …' if machine.iommus[4:] else ''})"
    )
    if own:
        found += f", {' '.join(own)}"
    line = machine.service.cmdline if machine.service else None
    if line is not None and not machine.inside:
        theirs = [word for word in _iommu_words(line) if word.endswith("=off") or word == "iommu=soft"]
        if theirs:
            return Check(
                name,
                title,
                "warn",
                f"{found}; off in the crash kernel ({' '.join(theirs)}): DMA in flight faults, devices may not recover",
                wanted,
                f"take {' '.join(theirs)} from the crash kernel's command line",
            )
    return Check(name, title, "ok", found, wanted)


def _iommu_words(line: str) -> list[str]:
    return [word for word in line.split() if word.startswith(("iommu=", "intel_iommu=", "amd_iommu="))]


def lockdown(machine: Machine) -> Check:
    """Secure Boot and lockdown: then only a signed kernel can be loaded, and only with kexec_file_load."""
    title, name = "lockdown", "lockdown"
    wanted = "none, or a crash kernel signed and loaded with kexec -s (kexec_file_load)"
    boot = {True: "Secure Boot on", False: "Secure Boot off", None: "no Secure Boot variable"}[
        machine.secure_boot
    ]
    mode = machine.lockdown or "unknown (/sys/kernel/security/lockdown cannot be read)"
    found = f"lockdown {mode}, {boot}"
    locked = machine.lockdown in ("integrity", "confidentiality")
    if machine.load_disabled:
        found += ", kernel.kexec_load_disabled is 1"
        wanted += "; kernel.kexec_load_disabled 0, or set after loading"
    if not locked or machine.crash_loaded or machine.inside:
        return Check(name, title, "ok", found, wanted)
    remedy = "load the distribution's signed kernel with kexec -p -s"
    if machine.service and machine.service.name == "kdump-tools":
        remedy += (
            ': kdump-config does so by itself under Secure Boot only, otherwise set KDUMP_KEXEC_ARGS="-s" in '
            f"{machine.service.config}"
        )
    return Check(name, title, "warn", f"{found}: kexec_load is refused", wanted, remedy)


def inside(machine: Machine) -> list[Check]:
    """What matters in a crash kernel, after the crash."""
    size = human_bytes(machine.vmcore_bytes)
    found = "yes: elfcorehdr= on the command line" + (
        f", /proc/vmcore holds {size}" if machine.vmcore else ""
    )
    here = Check(
        "inside",
        "crash kernel now",
        "note" if machine.vmcore else "fail",
        found if machine.vmcore else f"{found}, but there is no /proc/vmcore",
        "no; after a crash: /proc/vmcore is saved, then a reboot",
        "makedumpfile -c -d 31 /proc/vmcore FILE (the service does it by itself), then reboot"
        if machine.vmcore
        else "boot with CONFIG_PROC_VMCORE; the dump cannot be saved from here",
    )
    lines = command_line(machine)
    return [here] if lines is None else [here, lines]
