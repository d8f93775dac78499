"""What the distribution's kdump service is set to do: its configuration in, one `Service` out.

Reads kdump-tools (Debian, Ubuntu: /etc/default/kdump-tools), kdump-utils (Fedora, RHEL: /etc/kdump.conf and
/etc/sysconfig/kdump) and kdump (SUSE: /etc/sysconfig/kdump). The files are read as text and never run by a shell.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kernlab.kdump_status.root import Root

#: `NAME=value` as these files write it; a line that continues or computes is none of ours.
_SETTING = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")

_DUMP_LEVEL = re.compile(r"(?:^|\s)-d\s*(\d+)")

#: Defaults of kdump-config (kdump-tools 1.8.1), and of kdump-utils' generated files.
_DEBIAN_COLLECTOR = "makedumpfile -c -d 31"
_DEBIAN_APPEND = "reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb"
_FEDORA_COLLECTOR = "makedumpfile -l --message-level 7 -d 31"

#: Words of kdump.conf that name a file system and a device to put the dump on.
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "virtiofs")

#: kdump-utils' default for x86-64 (kdump-lib.sh, kdump_get_arch_recommend_crashkernel).
FEDORA_CRASHKERNEL = "2G-64G:256M,64G-:512M"


@dataclass(frozen=True)
class Service:
    """A kdump service. Paths are the machine's. `target` is where dumps go: a local folder, or `remote` in words."""

    name: str = ""
    package: str = ""
    config: str = ""
    enabled: bool | None = None
    disabled_by: str = ""
    target: str = ""
    remote: str = ""
    collector: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str | None = None
    cmdline_from: str = ""
    #: The distribution's own advice for crashkernel=, and where it stands.
    advice: str = ""
    advice_from: str = ""
    load: str = ""

    @property
    def dump_level(self) -> int | None:
        """makedumpfile's -d; 0 without it, None where something else saves the dump."""
        if "makedumpfile" not in self.collector:
            return None
        levels = [int(level) for level in _DUMP_LEVEL.findall(self.collector)]
        return levels[-1] if levels else 0

    @property
    def compresses(self) -> bool:
        """Whether pages are stored compressed (makedumpfile's -c, -l, -p, -z)."""
        return any(re.fullmatch(r"-[A-Za-z]*[clpz][A-Za-z]*", word) for word in self.collector.split()[1:])


def find(root: Root, release: str | None) -> Service | None:
    """The machine's kdump service, None where none is installed."""
    kernel = release or ""
    if (text := root.text("/etc/default/kdump-tools")) is not None:
        return _debian(root, settings(text), kernel)
    if (text := root.text("/etc/kdump.conf")) is not None:
        return _fedora(root, text, kernel)
    if (text := root.text("/etc/sysconfig/kdump")) is not None:
        return _suse(root, settings(text))
    return None


def settings(text: str) -> dict[str, str]:
    """Lines `NAME="value"` of a file that a shell would read; what a shell would have to compute is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _SETTING.fullmatch(line)
        if match is None:
            continue
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            continue
        found[match[1]] = " ".join(words)
    return found


def _enabled(root: Root, unit: str) -> bool | None:
    """Whether systemd starts a unit at boot; None where the machine has no systemd configuration."""
    if not root.exists("/etc/systemd/system"):
        return None
    for folder in root.names("/etc/systemd/system"):
        if folder.endswith((".wants", ".requires")) and unit in root.names(f"/etc/systemd/system/{folder}"):
            return True
    return False


def _debian(root: Root, given: dict[str, str], release: str) -> Service:
    remote = " and ".join(f"{way} {given[way]}" for way in ("SSH", "FTP", "NFS") if given.get(way))
    folder = given.get("KDUMP_COREDIR") or "/var/crash"
    kernel = given.get("KDUMP_KERNEL") or f"/boot/vmlinuz-{release}"
    initrd = given.get("KDUMP_INITRD") or f"/boot/initrd.img-{release}"
    # kdump-config leaves the command that it ran.
    ran = root.text(f"{folder}/kexec_cmd")
    whole = _command_line_of(ran) if ran else None
    advice = root.text("/etc/default/grub.d/kdump-tools.cfg") or ""
    found = re.findall(r"crashkernel=([^\s\"']+)", "\n".join(_code(advice)))
    off = given.get("USE_KDUMP", "0") in ("", "0")
    return Service(
        name="kdump-tools",
        package="kdump-tools",
        config="/etc/default/kdump-tools",
        enabled=_enabled(root, "kdump-tools.service"),
        disabled_by="USE_KDUMP is not 1 in /etc/default/kdump-tools" if off else "",
        target="" if remote else folder,
        remote=remote,
        collector=f"makedumpfile {given['MAKEDUMP_ARGS']}"
        if given.get("MAKEDUMP_ARGS")
        else _DEBIAN_COLLECTOR,
        kernel=kernel,
        initrd=initrd,
        cmdline=whole or given.get("KDUMP_CMDLINE_APPEND") or _DEBIAN_APPEND,
        cmdline_from=f"{folder}/kexec_cmd" if whole else "KDUMP_CMDLINE_APPEND",
        advice=found[-1] if found else "",
        advice_from="/etc/default/grub.d/kdump-tools.cfg" if found else "",
        load="kdump-config load",
    )


def _code(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def _command_line_of(command: str) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in ("--command-line", "--append"):
            return value if equals else "".join(words[number + 1 : number + 2])
    return None


def _fedora(root: Root, text: str, release: str) -> Service:
    words = [line.split("#")[0].split(None, 1) for line in text.splitlines()]
    # The last of each counts, as kdumpctl has it.
    given = {pair[0]: pair[1].strip().strip('"') for pair in words if len(pair) == 2}
    more = settings(root.text("/etc/sysconfig/kdump") or "")
    path = given.get("path", "/var/crash")
    remote, target = "", path
    for way in ("raw", "nfs", "ssh", *_FILE_SYSTEMS):
        if way not in given:
            continue
        mounted = _mount_of(root, given[way]) if way in _FILE_SYSTEMS else None
        target = "" if mounted is None else mounted.rstrip("/") + "/" + path.lstrip("/")
        remote = "" if target else f"{way} {given[way]}"
    boot = f"/boot/initramfs-{release}kdump.img"
    kept = f"/var/lib/kdump/initramfs-{release}kdump.img"
    advice = root.text(f"/usr/lib/modules/{release}/crashkernel.default")
    return Service(
        name="kdump",
        package="kdump-utils (kexec-tools on older releases)",
        config="/etc/kdump.conf",
        enabled=_enabled(root, "kdump.service"),
        target=target,
        remote=remote,
        collector=given.get("core_collector", _FEDORA_COLLECTOR),
        kernel=f"/boot/vmlinuz-{release}",
        initrd=kept if root.exists(kept) else boot,
        cmdline=more.get("KDUMP_COMMANDLINE_APPEND"),
        cmdline_from="/etc/sysconfig/kdump",
        advice=(advice or "").removeprefix("crashkernel=") or FEDORA_CRASHKERNEL,
        advice_from=f"/usr/lib/modules/{release}/crashkernel.default" if advice else "kdump-utils' default",
        load="systemctl restart kdump",
    )


def _mount_of(root: Root, device: str) -> str | None:
    for line in (root.text("/proc/mounts") or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == device:
            return words[1]
    return None


def _suse(root: Root, given: dict[str, str]) -> Service:
    folder = given.get("KDUMP_SAVEDIR", "/var/crash")
    level = given.get("KDUMP_DUMPLEVEL", "31")
    kind = {"none": "", "ELF": "-E", "lzo": "-l", "snappy": "-p", "zstd": "-z"}.get(
        given.get("KDUMP_DUMPFORMAT", "compressed"), "-c"
    )
    local = folder.removeprefix("file://")
    cpus = given.get("KDUMP_CPUS", "32")
    return Service(
        name="kdump",
        package="kdump",
        config="/etc/sysconfig/kdump",
        enabled=_enabled(root, "kdump.service"),
        target=local if local.startswith("/") else "",
        remote="" if local.startswith("/") else folder,
        collector=f"makedumpfile {kind} -d {level}",
        kernel="/var/lib/kdump/kernel",
        initrd="/var/lib/kdump/initrd",
        # What its load.sh puts on the line by itself.
        cmdline=given.get("KDUMP_COMMANDLINE")
        or f"reset_devices irqpoll nr_cpus={cpus} {given.get('KDUMP_COMMANDLINE_APPEND', '')}".strip(),
        cmdline_from="/etc/sysconfig/kdump",
        load="systemctl restart kdump",
    )
