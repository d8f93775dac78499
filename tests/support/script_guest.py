"""Runs a shell script in a throw-away guest that has Python and the recorder; gives what it left in out/.

Built of the lab's own pieces, without a crash. By hand it gives a guest for an idea:

    python tests/support/script_guest.py 6.12 script.sh FOLDER [QEMU WORD …]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernlab.lab.apt_root import cache_folder
from kernlab.lab.guest_files import find_userland, read_results_disk, write_ram_disks, write_results_disk
from kernlab.lab.guest_python import RECORDER, guest_python
from kernlab.lab.own_kernel import kernel_named
from kernlab.lab.qemu import Guest, find_qemu
from kernlab.lab.steps import LabError, Progress

#: What a script may use, and how the guest ends.
_SCRIPT = """
PATH=$PATH:/host/boot/python
out=/host/out tracing=/sys/kernel/tracing
story() { :; }
prepare() {
    story_of_the_test
    sync; umount /host || mount -o remount,ro /host
    say finished; sleep 1; poweroff -n -f
}
"""


def run_in_guest(
    kernel_name: str,
    script: str,
    folder: Path,
    *,
    cmdline: str = "",
    memory_mib: int = 512,
    files: Mapping[str, Path | str | bytes] | None = None,
    programs: Sequence[str] = (),
    modules: Sequence[str] = (),
    words: Sequence[str] = (),
    limit_seconds: float = 900,
    progress: Progress | None = None,
) -> Path:
    """Run `script` in a guest of a kernel (`6.1`, `6.12`, `sid` …); gives the folder with what it left in $out.

    A guest that reboots warmly (`say reboots; reboot -f`) runs the script again. LabError where it fails.
    """
    progress = progress or Progress(None)
    cache = cache_folder()
    qemu = find_qemu(cache, progress)
    kernel = kernel_named(kernel_name, "cloud", cache, progress)
    userland = find_userland(cache, progress)
    folder.mkdir(parents=True, exist_ok=True)
    write_ram_disks(folder, kernel, userland, list(modules), "kernlab_story", programs)
    whole = f"{_SCRIPT}\nstory_of_the_test() {{\n{script}\n}}\n"
    boot: dict[str, Path | str | bytes] = {
        "settings": "CRASH=0\nPAUSE=0\nSETTLE=0\n",
        "scenario": whole,
        "python": guest_python(userland.release, cache, progress),
        "recorder": RECORDER,
        **(files or {}),
    }
    write_results_disk(folder / "results.ext4", 768 << 20, userland, boot)
    with open(folder / "vda.raw", "wb") as stream:
        stream.truncate(64 << 20)
    command = [
        "-machine",
        "pc",
        "-accel",
        qemu.accelerator,
        "-cpu",
        "max,erms=off,fsrm=off",
        "-smp",
        "2",
        "-m",
        str(memory_mib),
    ]
    for name, path in (("vda", folder / "vda.raw"), ("vdb", folder / "results.ext4")):
        command += ["-drive", f"file={path},format=raw,if=none,id={name},cache=unsafe"]
        command += ["-device", f"virtio-blk-pci,drive={name}"]
    command += ["-kernel", str(kernel.vmlinuz), "-initrd", str(folder / "first.cpio")]
    command += ["-append", f"console=ttyS0 panic=-1 rdinit=/init loglevel=5 no_timer_check {cmdline}", *words]
    with Guest(qemu, command, folder / "console.log") as guest:
        guest.monitor("set-action", reboot="reset")
        deadline = time.monotonic() + limit_seconds
        while True:
            word, rest = guest.message(deadline, "The guest")
            progress(f"{word} {rest}")
            if word == "failed":
                raise LabError(f"The guest gave up: {rest}{guest.tail()}")
            if word == "finished":
                guest.wait(60)
                break
    read_results_disk(folder / "results.ext4", userland, folder)
    return folder / "out"


if __name__ == "__main__":
    print(
        run_in_guest(
            sys.argv[1],
            Path(sys.argv[2]).read_text(),
            Path(sys.argv[3]),
            words=sys.argv[4:],
            progress=Progress(),
        )
    )
