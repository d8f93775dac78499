"""What a machine tells of itself in /proc, /sys and /etc about crash dumps: a `Root` in, a `Machine` out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kernlab.kdump_status import service as status_service
from kernlab.kdump_status.root import Root
from kernlab.kdump_status.service import Service

#: What decides whether trouble ends in a panic, and so in a dump.
SYSCTLS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/hung_task_panic",
    "vm/panic_on_oom",
    "kernel/sysrq",
    "kernel/softlockup_panic",
    "kernel/hardlockup_panic",
    "kernel/unknown_nmi_panic",
    "kernel/panic_on_warn",
)

#: Where a kernel shows its types, which its dumps hold, too (CONFIG_DEBUG_INFO_BTF).
TYPES = "/sys/kernel/btf/vmlinux"

_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

_IOMEM = re.compile(r"(\s*)([0-9a-f]+)-([0-9a-f]+) : (.*)")

#: Documentation/arch/x86/boot.rst: "HdrS" at 0x202, protocol version at 0x206, init_size (2.10 and later) at 0x260.
_BOOT_HEADER = 0x264


@dataclass(frozen=True)
class Machine:
    """Facts as read; None is what could not be read or is not there (`unread` says which and why)."""

    release: str | None
    cmdline: str
    meminfo: dict[str, int]
    #: Bytes of RAM, the kernel's own and the crash kernel's included.
    memory: int | None
    crash_size: int | None
    crash_loaded: bool | None
    crash_regions: tuple[tuple[int, int], ...]
    kernel_image: int | None
    vmcore: bool
    vmcore_bytes: int | None
    lockdown: str | None
    secure_boot: bool | None
    load_disabled: bool
    cpus: int | None
    sysctls: dict[str, int]
    iommus: tuple[str, ...]
    notifiers_first: bool
    service: Service | None
    crash_kernel_bytes: int | None
    initrd_bytes: int | None
    initrd_unpacked: int | None
    free: int | None
    makedumpfile: str | None
    usage: dict[str, int]
    #: Bytes of free pages that CPUs' own lists may take from the free ones that are left out, beyond what they hold.
    percpu_lists: int = 0
    #: Does the kernel carry its types (BTF)? None in a recorded tree that does not have them.
    types: bool | None = None
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def inside(self) -> bool:
        """Whether this is a crash kernel, running after a crash."""
        return self.vmcore or any(word.startswith("elfcorehdr=") for word in self.cmdline.split())


def read(root: Root) -> Machine:
    """Everything `kernlab capture status` looks at. Reads only; runs makedumpfile on the live machine."""
    release = root.text("/proc/sys/kernel/osrelease")
    meminfo = _meminfo(root.text("/proc/meminfo") or "")
    iomem = _iomem(root.text("/proc/iomem") or "")
    service = status_service.find(root, release)
    # Linux 6.19 put these into /sys/kernel/kexec/; before, and as links still, they lie in /sys/kernel/.
    crash_size = _first(root, "/sys/kernel/kexec/crash_size", "/sys/kernel/kexec_crash_size")
    loaded = _first(root, "/sys/kernel/kexec/crash_loaded", "/sys/kernel/kexec_crash_loaded")
    kernel = service.kernel if service else f"/boot/vmlinuz-{release}"
    initrd = service.initrd if service else f"/boot/initrd.img-{release}"
    version = root.run("makedumpfile", "-v")
    found = re.search(r"version (\d[\w.+]*)", version or "")
    sysctls = {name: root.number(f"/proc/sys/{name}") for name in SYSCTLS}
    lockdown = re.search(r"\[(\w+)\]", root.text("/sys/kernel/security/lockdown") or "")
    return Machine(
        release=release,
        cmdline=root.text("/proc/cmdline") or "",
        meminfo=meminfo,
        memory=_memory(root, iomem, meminfo),
        crash_size=crash_size,
        crash_loaded=None if loaded is None else bool(loaded),
        crash_regions=tuple((start, end) for name, start, end in iomem if name == "Crash kernel" and end),
        kernel_image=sum(end + 1 - start for name, start, end in iomem if name.startswith("Kernel ") and end)
        or None,
        vmcore=root.exists("/proc/vmcore"),
        vmcore_bytes=root.size("/proc/vmcore"),
        lockdown=lockdown[1] if lockdown else None,
        secure_boot=_secure_boot(root),
        load_disabled=root.number("/proc/sys/kernel/kexec_load_disabled") == 1,
        cpus=_count_cpus(root.text("/sys/devices/system/cpu/possible")),
        sysctls={name: value for name, value in sysctls.items() if value is not None},
        iommus=tuple(root.names("/sys/class/iommu")),
        notifiers_first=root.text("/sys/module/kernel/parameters/crash_kexec_post_notifiers") == "Y",
        service=service,
        crash_kernel_bytes=_image_size(root, kernel),
        initrd_bytes=root.size(initrd),
        initrd_unpacked=root.unpacked(initrd),
        free=root.free(service.target) if service and service.target else None,
        makedumpfile=found[1] if found else None,
        usage=_usage(root.run("makedumpfile", "--mem-usage", "/proc/kcore") or "") if crash_size else {},
        percpu_lists=_percpu_lists(root.text("/proc/zoneinfo") or ""),
        types=root.exists(TYPES) or (False if root.live else None),
        unread=root.unread,
    )


def _first(root: Root, *paths: str) -> int | None:
    return next((value for path in paths if (value := root.number(path)) is not None), None)


def _meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo: kB values in bytes, the others as counts."""
    lines = re.findall(r"^([\w()]+):\s+(\d+)( kB)?$", text, re.MULTILINE)
    return {name: int(value) * (1024 if unit else 1) for name, value, unit in lines}


def _iomem(text: str) -> list[tuple[str, int, int]]:
    """Name, first and last address of each line of /proc/iomem; without privileges all addresses are 0."""
    matches = filter(None, map(_IOMEM.fullmatch, text.splitlines()))
    return [(match[4], int(match[2], 16), int(match[3], 16)) for match in matches]


def _memory(root: Root, iomem: list[tuple[str, int, int]], meminfo: dict[str, int]) -> int | None:
    listed = sum(end + 1 - start for name, start, end in iomem if name == "System RAM" and end)
    # MemTotal lacks what the kernel keeps for itself from the start: struct pages, the crash kernel's memory.
    return listed or meminfo.get("MemTotal")


def _secure_boot(root: Root) -> bool | None:
    # Four bytes of attributes, one of value (UEFI specification, Globally Defined Variables).
    raw = root.read(_SECURE_BOOT)
    return bool(raw[4]) if raw is not None and len(raw) == 5 else None


def _count_cpus(possible: str | None) -> int | None:
    if not possible:
        return None
    try:
        spans = [[int(number) for number in span.split("-")] for span in possible.split(",")]
    except ValueError:
        return None
    return sum(span[-1] - span[0] + 1 for span in spans)


def _image_size(root: Root, path: str) -> int | None:
    """Memory that a bzImage takes to start (init_size of its boot header)."""
    head = root.read(path, _BOOT_HEADER)
    if head is None or head[0x202:0x206] != b"HdrS" or int.from_bytes(head[0x206:0x208], "little") < 0x20A:
        return None
    return int.from_bytes(head[0x260:0x264], "little") or None


def _percpu_lists(zoneinfo: str) -> int:
    """Room that is left on CPUs' lists of free pages, in bytes, by /proc/zoneinfo's pagesets."""
    held, most = (
        sum(int(number) for number in re.findall(rf"^ +{word}: +(\d+)$", zoneinfo, re.MULTILINE))
        for word in ("count", "high")
    )
    return max(most - held, 0) * 4096


def _usage(text: str) -> dict[str, int]:
    """makedumpfile --mem-usage: bytes by kind (ZERO, NON_PRI_CACHE, PRI_CACHE, USER, FREE, KERN_DATA)."""
    size = re.search(r"^page size:\s+(\d+)", text, re.MULTILINE)
    if size is None:
        return {}
    kinds = re.findall(r"^([A-Z_]+)\s+(\d+)\s+(?:yes|no)\s", text, re.MULTILINE)
    return {name: int(pages) * int(size[1]) for name, pages in kinds}
