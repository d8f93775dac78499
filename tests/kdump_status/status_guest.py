"""Records what `kernlab capture status` reads, in real guests: how tests/kdump_status/recorded/*.json were made.

    python tests/kdump_status/status_guest.py record KERNEL_PACKAGE.deb KDUMP_TOOLS.deb OUTPUT_FOLDER [NAME …]
    python tests/kdump_status/status_guest.py needs KERNEL_PACKAGE.deb KDUMP_TOOLS.deb

A guest is Debian's kernel and kdump-tools over busybox, kexec and makedumpfile of this machine, booted by QEMU without
KVM. `record` writes one JSON a guest; `needs` boots crash kernels in less and less memory, and prints where they fail.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: What status reads. Folders stand for the names in them.
FILES = [
    "/proc/sys/kernel/osrelease",
    "/proc/cmdline",
    "/proc/meminfo",
    "/proc/iomem",
    "/proc/mounts",
    "/sys/kernel/kexec_crash_size",
    "/sys/kernel/kexec_crash_loaded",
    "/sys/kernel/kexec/crash_size",
    "/sys/kernel/kexec/crash_loaded",
    "/sys/kernel/security/lockdown",
    "/proc/sys/kernel/kexec_load_disabled",
    "/sys/devices/system/cpu/possible",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/hung_task_panic",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/softlockup_panic",
    "/proc/sys/kernel/hardlockup_panic",
    "/proc/sys/kernel/unknown_nmi_panic",
    "/proc/sys/kernel/panic_on_warn",
    "/sys/module/kernel/parameters/crash_kexec_post_notifiers",
    "/etc/default/kdump-tools",
    "/etc/default/grub.d/kdump-tools.cfg",
    "/var/crash/kexec_cmd",
]

#: The console says so when a guest has done its part.
_DONE = "status-guest: done"

_INIT = f"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t securityfs security /sys/kernel/security
. /what
record() {{
  cd /; rm -rf /t; mkdir -p /t/programs
  for f in {" ".join(FILES)}; do
    if [ -f $f ]; then mkdir -p /t/tree${{f%/*}}; cat $f > /t/tree$f; fi
  done
  for f in /boot/vmlinuz-* /var/lib/kdump/vmlinuz /var/lib/kdump/initrd.img /proc/vmcore; do
    if [ -e $f ]; then echo "$(stat -L -c %s $f) $f $(readlink $f)"; fi
  done > /t/sizes
  ls /sys/class/iommu > /t/iommu
  echo "$(($(stat -f -c '%f * %S' /var/crash))) /var/crash" > /t/free
  makedumpfile -v > "/t/programs/makedumpfile -v" 2>&1
  makedumpfile --mem-usage /proc/kcore > "/t/programs/makedumpfile --mem-usage" 2>&1 ||
    rm "/t/programs/makedumpfile --mem-usage"
  stty -F /dev/ttyS1 raw
  tar -c -C /t . > /dev/ttyS1
}}
if grep -q elfcorehdr= /proc/cmdline; then
  [ "$INSIDE" ] && record
  makedumpfile -c -d 31 /proc/vmcore /var/crash/vmcore | tail -n 3
  [ -s /var/crash/vmcore ] && echo 'status-guest: saved'
else
  kdump-config load
  [ "$RECORD" ] && record
  if [ "$CRASH" ]; then echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 100; fi
fi
echo '{_DONE}'; poweroff -f
"""


def main() -> None:
    verb, kernel_package, kdump_package = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="status-guest-") as folder:
        place = Path(folder)
        for package in (kernel_package, kdump_package):
            subprocess.run(["dpkg-deb", "-x", package, place / "packages"], check=True)
        if verb == "record":
            output = Path(sys.argv[4])
            output.mkdir(exist_ok=True)
            for name, options in GUESTS.items():
                if len(sys.argv) == 5 or name in sys.argv[5:]:
                    recorded = record(place, **options)
                    (output / f"{name}.json").write_text(
                        json.dumps(recorded, indent=1, sort_keys=True) + "\n"
                    )
                    print(f"{name}: {len(recorded['files'])} files", flush=True)
        else:
            needs(place)


#: Each guest's memory in MiB, its command line, and what it is told.
GUESTS: dict[str, dict[str, Any]] = {
    "armed": {"memory": 1024, "cmdline": "crashkernel=192M", "what": "RECORD=1"},
    "unarmed": {"memory": 1024, "cmdline": "", "what": "RECORD=1"},
    "too-small": {"memory": 1024, "cmdline": "crashkernel=56M", "what": "RECORD=1"},
    "inside": {"memory": 1024, "cmdline": "crashkernel=192M", "what": "INSIDE=1 CRASH=1"},
    "lockdown": {"memory": 1024, "cmdline": "crashkernel=192M lockdown=integrity", "what": "RECORD=1"},
    # The crash kernel loads, and fails after the crash: its initramfs of 27 MiB leaves too little.
    "loaded-too-small": {"memory": 1024, "cmdline": "crashkernel=128M", "what": "RECORD=1", "padding": 24},
    "large-initramfs": {"memory": 1024, "cmdline": "crashkernel=160M", "what": "RECORD=1", "padding": 24},
    "iommu": {
        "memory": 1024,
        "cmdline": "crashkernel=256M intel_iommu=on",
        "what": "RECORD=1",
        "devices": ("-machine", "q35", "-device", "intel-iommu"),
    },
}


def record(place: Path, **options: Any) -> dict[str, object]:
    """One guest's tree: text of files, targets of links, names in folders, and what recorded.json holds."""
    raw, console = boot(place, **options)
    if not raw:
        raise SystemExit(f"the guest sent nothing:\n{console[-3000:]}")
    files: dict[str, str] = {}
    programs: dict[str, str] = {}
    held: dict[str, dict[str, int]] = {"sizes": {}, "free": {}}
    links: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            if not member.isfile():
                continue
            extracted = archive.extractfile(member)
            assert extracted is not None
            text = extracted.read().decode()
            path = member.name.removeprefix("./")
            if path.startswith("tree/"):
                files[path.removeprefix("tree")] = text
            elif path == "sizes":
                for line in text.splitlines():
                    size, name, *link = line.split()
                    held["sizes"][name] = int(size)
                    links.update((name, target) for target in link)
            elif path == "free":
                held["free"]["/var/crash"] = int(text.split()[0])
            elif path == "iommu":
                names["/sys/class/iommu"] = text.split()
            else:
                program = path.removeprefix("programs/")
                # A slash is no part of a file's name.
                programs[program + (" /proc/kcore" if "mem-usage" in program else "")] = text
    vmlinuz = next((place / "packages/boot").glob("vmlinuz-*"))
    header = base64.b64encode(vmlinuz.read_bytes()[0x1F0:0x264]).decode()
    unpacked = len(gzip.decompress((place / "initrd.gz").read_bytes()))
    initrd = {name: unpacked for name in held["sizes"] if "initrd.img" in name}
    return {
        "files": files,
        "links": links,
        "folders": names,
        # Bytes 0x1f0 to 0x264 of the kernel's image, all that is read of it.
        "boot_header": {f"/boot/{vmlinuz.name}": header},
        "recorded": {**held, "unpacked": initrd, "programs": programs},
    }


def needs(place: Path) -> None:
    """The least crashkernel= in which a dump is saved, for initramfs of several sizes."""
    for padding in (0, 24):
        for size in (256, 224, 192, 176, 160, 144, 128, 112, 96, 88, 80, 72, 64, 56, 48):
            _, console = boot(
                place, memory=1024, cmdline=f"crashkernel={size}M", what="CRASH=1", padding=padding
            )
            saved = "status-guest: saved" in console
            packed = (place / "initrd.gz").stat().st_size >> 20
            print(
                f"initramfs {packed} MiB packed, crashkernel={size}M: {'saved' if saved else 'FAILED'}",
                flush=True,
            )
            if not saved:
                break


def boot(
    place: Path, *, memory: int, cmdline: str, what: str, padding: int = 0, devices: Sequence[str] = ()
) -> tuple[bytes, str]:
    """Boot a guest to its end: what it sent over its second serial line, and its console."""
    base = dict(_root(place))
    base["init"] = (_INIT.encode(), 0o755)
    base["what"] = (f"{what}\n".encode(), 0o644)
    if padding:
        # What drivers and firmware are: it does not shrink.
        base["padding"] = (os.urandom(padding << 20), 0o644)
    initrd = gzip.compress(_cpio(base), 1)
    (place / "initrd.gz").write_bytes(initrd)
    vmlinuz = next((place / "packages/boot").glob("vmlinuz-*"))
    release = vmlinuz.name.removeprefix("vmlinuz-")
    base[f"boot/{vmlinuz.name}"] = (vmlinuz.read_bytes(), 0o644)
    base[f"boot/config-{release}"] = (b"CONFIG_RELOCATABLE=y\n", 0o644)
    base[f"var/lib/kdump/initrd.img-{release}"] = (initrd, 0o644)
    base["var/lib/kdump/initrd.img"] = (f"/var/lib/kdump/initrd.img-{release}".encode(), stat.S_IFLNK | 0o777)
    # kdump-config rebuilds an initramfs whose settings of sysctl are not the present ones.
    base[f"var/lib/kdump/latest_sysctls-{release}"] = base["etc/kdump/sysctl.conf"]
    base["var/lib/kdump/vmlinuz"] = (f"/boot/{vmlinuz.name}".encode(), stat.S_IFLNK | 0o777)
    (place / "root.gz").write_bytes(gzip.compress(_cpio(base), 1))
    sent, console = place / "sent", place / "console"
    command = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-m",
        str(memory),
        "-smp",
        "2",
        "-display",
        "none",
        "-no-reboot",
    ]
    command += [
        "-kernel",
        str(vmlinuz),
        "-initrd",
        str(place / "root.gz"),
        "-monitor",
        "none",
        "-nic",
        "none",
    ]
    command += ["-append", f"console=ttyS0 panic=5 {cmdline}".strip()]
    command += [*devices, "-serial", f"file:{console}", "-serial", f"file:{sent}"]
    # A crash kernel without enough memory may wait for ever: that is an answer too.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=150, check=True, stdin=subprocess.DEVNULL)
    return sent.read_bytes(), console.read_text(errors="backslashreplace")


def _root(place: Path) -> Iterator[tuple[str, tuple[bytes, int]]]:
    """Files of the guest but its kernel: path to (content, mode)."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    yield "bin/busybox", (Path(busybox).read_bytes(), 0o755)
    for applet in subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True
    ).stdout.split():
        if applet not in ("busybox", "init"):
            yield f"bin/{applet}", (b"busybox", stat.S_IFLNK | 0o777)
    for name, where in (("kexec", "sbin/kexec"), ("makedumpfile", "usr/bin/makedumpfile")):
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program is not None, f"{name} is not installed"
        yield where, (Path(program).read_bytes(), 0o755)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", listed):
            yield library.lstrip("/"), (Path(library).read_bytes(), 0o755)
    packages = place / "packages"
    for name in ("usr/sbin/kdump-config", "etc/default/grub.d/kdump-tools.cfg", "etc/kdump/sysctl.conf"):
        yield name, ((packages / name).read_bytes(), 0o755)
    # The package's postinst copies it there.
    yield (
        "etc/default/kdump-tools",
        ((packages / "usr/share/kdump-tools/kdump-tools.conf").read_bytes(), 0o644),
    )
    functions = b"".join(
        b'log_%s_msg() { echo "$@"; }\n' % k for k in (b"success", b"failure", b"action", b"warning")
    )
    yield "lib/lsb/init-functions", (functions, 0o644)
    # kdump-config asks `file` where links lead.
    yield "bin/file", (b'#!/bin/sh\necho "$1: symbolic link to $(readlink -f "$1")"\n', 0o755)
    for folder in ("proc", "sys", "dev", "tmp", "var/crash"):
        yield folder, (b"", stat.S_IFDIR | 0o755)


def _cpio(files: dict[str, tuple[bytes, int]]) -> bytes:
    """An archive as the kernel unpacks it (newc)."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    entries = dict.fromkeys(sorted(folders), (b"", stat.S_IFDIR | 493)) | files
    out = io.BytesIO()
    for number, (name, (content, mode)) in enumerate([*entries.items(), ("TRAILER!!!", (b"", 0))], 1):
        kind = mode if mode >> 12 or name == "TRAILER!!!" else mode | stat.S_IFREG
        fields = (number, kind, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4))
        out.write(content)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()


if __name__ == "__main__":
    main()
