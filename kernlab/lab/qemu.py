"""QEMU: which one, with which accelerator, and one running guest with its console, its messages and its monitor."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kernlab.escape import escape_terminal
from kernlab.lab.apt_root import AptRoot
from kernlab.lab.guest_kernel import TOOLS_RELEASE
from kernlab.lab.machine import AMD64, Machine
from kernlab.lab.private_root import environment, private_root, program
from kernlab.lab.steps import LabError, Progress, end_group


@dataclass(frozen=True)
class Qemu:
    """A QEMU that runs here: its program, first words, version and environment."""

    program: Path
    words: tuple[str, ...]
    version: str
    env: dict[str, str]
    machine: Machine = AMD64

    @functools.cached_property
    def accelerator(self) -> str:
        """`kvm` where a guest really runs under it, else `tcg`; KERNLAB_LAB_ACCEL decides for itself."""
        if not self.machine.native:
            return "tcg"
        chosen = os.environ.get("KERNLAB_LAB_ACCEL")
        if chosen in ("kvm", "tcg"):
            return chosen
        return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) and self._runs_under_kvm() else "tcg"

    def _runs_under_kvm(self) -> bool:
        """Boot a sector that writes to a port which ends QEMU: /dev/kvm may be there and not work."""
        # mov dx, 0xf4; mov al, 0x10; out dx, al; hlt
        code = bytes([0xBA, 0xF4, 0x00, 0xB0, 0x10, 0xEE, 0xF4])
        sector = code.ljust(510, b"\0") + b"\x55\xaa"
        with tempfile.NamedTemporaryFile(prefix="kernlab-kvm-") as file:
            file.write(sector)
            file.flush()
            command = [
                *(
                    str(self.program),
                    *self.words,
                    "-accel",
                    "kvm",
                    "-cpu",
                    "host",
                    "-m",
                    "32",
                    "-display",
                    "none",
                ),
                *("-nodefaults", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
                *("-drive", f"file={file.name},format=raw,if=ide,readonly=on,snapshot=on"),
            ]
            try:
                done = subprocess.run(
                    command,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=15,
                    check=False,
                )
            except (subprocess.TimeoutExpired, OSError):
                return False
            return done.returncode == (0x10 << 1) | 1


def installed_qemu(machine: Machine) -> Qemu | None:
    """This machine's own QEMU for guests of `machine`, where it is there and new enough."""
    installed = shutil.which(machine.qemu)
    if installed and (version := _version(installed, {**os.environ})) and version[0] >= machine.oldest_qemu:
        return Qemu(Path(installed), (), version[1], {**os.environ}, machine)
    return None


def find_qemu(cache: Path | None, progress: Progress, machine: Machine = AMD64) -> Qemu:
    """The machine's QEMU when it is new enough, else a newer one of Debian's in a private root."""
    installed = installed_qemu(machine)
    if installed is not None:
        return installed
    try:
        root = private_root(AptRoot(TOOLS_RELEASE, cache, progress), *machine.qemu_packages)
    except LabError as error:
        oldest = ".".join(map(str, machine.oldest_qemu))
        raise LabError(
            f"This machine has no QEMU {oldest} or newer ({machine.qemu}), and Debian's "
            f"could not be fetched:\n{error}"
        ) from error
    path, env = program(root, machine.qemu), environment(root)
    version = _version(str(path), env)
    if version is None:
        raise LabError(f"QEMU of Debian {TOOLS_RELEASE} ({path}) does not run on this machine.")
    words = ("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios"))
    return Qemu(path, words, version[1], env, machine)


def _version(path: str, env: dict[str, str]) -> tuple[tuple[int, int], str] | None:
    try:
        said = subprocess.run(
            [path, "--version"], env=env, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version ((\d+)\.(\d+)\S*)", said.stdout)
    return ((int(match[2]), int(match[3])), match[1]) if match else None


class SilentGuestError(LabError):
    """A guest runs, and did not say in time that a step was done."""


class Guest:
    """One running guest, as a context manager: leaving it ends QEMU, whatever happened.

    `console` is the file that the first serial port is written to; a user may follow it. The second port carries
    messages, one a line: `message` waits for one, `answer` sends one.
    """

    def __init__(self, qemu: Qemu, words: Sequence[str], console: Path):
        self.console = console
        self._control, control = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the guest
        self._received = b""
        self._monitor_received = b""
        command = [
            *(str(qemu.program), *qemu.words, *words, "-display", "none", "-no-reboot", "-nodefaults"),
            *(
                "-chardev",
                f"file,id=console,path={str(console).replace(',', ',,')}",
                "-serial",
                "chardev:console",
            ),
            *("-chardev", f"socket,id=control,fd={control.fileno()}", "-serial", "chardev:control"),
            *("-chardev", f"socket,id=monitor,fd={monitor.fileno()}", "-mon", "chardev=monitor,mode=control"),
        ]
        with control, monitor:
            self.process = subprocess.Popen(
                command,
                env=qemu.env,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(control.fileno(), monitor.fileno()),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def message(self, deadline: float, waiting_for: str) -> tuple[str, str]:
        """The next message (its first word, the rest); a LabError when QEMU ends or the time is over."""
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                text = line.decode("utf-8", "backslashreplace").strip()
                if text.startswith("KERNLAB "):
                    word, _, words = text.removeprefix("KERNLAB ").partition(" ")
                    return word, words
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise SilentGuestError(f"{waiting_for}: nothing was heard of the guest in time.{self.tail()}")
            ready, _, _ = select.select([self._control], [], [], min(left, 2.0))
            data = self._control.recv(65536) if ready else None
            if not ready and self.process.poll() is None:
                self._check_disks(waiting_for)
            if data:
                self._received += data
            elif data == b"" or self.process.poll() is not None:
                self.process.wait(timeout=10)
                raise LabError(f"{waiting_for}: the guest ended instead.{self.tail()}")

    def _check_disks(self, waiting_for: str) -> None:
        """A LabError where QEMU stopped the guest because a write to one of its disks failed (a full disk, mostly)."""
        if self.monitor("query-status")["status"] == "io-error":
            free = shutil.disk_usage(self.console.parent).free >> 20
            raise LabError(
                f"{waiting_for}: QEMU could not write to the guest's disk in {self.console.parent} "
                f"({free:,} MiB are free there) and stopped the guest. Make room, or name a folder on another disk."
            )

    def answer(self, text: str) -> None:
        """Send a line to the guest."""
        self._control.sendall(text.encode() + b"\n")

    def monitor(self, command: str, limit_seconds: float = 60.0, **arguments: Any) -> Any:
        """One command of QEMU's monitor (QMP) and what it returns."""
        deadline = time.monotonic() + limit_seconds
        if not self._monitor_received and not hasattr(self, "_greeted"):
            self._greeted = self._monitor_line(deadline)
            self.monitor("qmp_capabilities")
        request = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        self._monitor.sendall(json.dumps(request).encode() + b"\n")
        while True:
            reply = self._monitor_line(deadline)
            if "error" in reply:
                raise LabError(f"QEMU refused {command}: {reply['error'].get('desc', reply['error'])}")
            if "return" in reply:
                return reply["return"]

    def slow_disk(self, name: str, bytes_per_second: int, requests_per_second: int) -> None:
        """From now on a disk does no more than this, reading and writing together; 0 is no limit."""
        words = {
            f"{what}{which}": 0 if which else limit
            for what, limit in (("bps", bytes_per_second), ("iops", requests_per_second))
            for which in ("", "_rd", "_wr")
        }
        self.monitor("block_set_io_throttle", device=name, **words)

    def _monitor_line(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._monitor_received:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._monitor], [], [], max(left, 0))
            data = self._monitor.recv(65536) if ready else b""
            if not data:
                raise LabError(f"QEMU's monitor did not answer.{self.tail()}")
            self._monitor_received += data
        line, _, self._monitor_received = self._monitor_received.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def tail(self, lines: int = 12) -> str:
        """The last lines of QEMU's own words and of the console, for an error."""
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "backslashreplace").strip()
        console = self.console.read_bytes()[-20000:] if self.console.exists() else b""
        text = console.decode("utf-8", "backslashreplace").replace("\r", "").rstrip().split("\n")
        # What a kernel died of stands above its registers and stack.
        seen = [line for line in text[:-lines] if "Kernel panic - " in line][-1:] + text[-lines:]
        parts = [f"\nQEMU said:\n{escape_terminal(said, lines=True)}"] if said else []
        parts.append(f"\nThe console ended with:\n{escape_terminal(chr(10).join(seen), lines=True)}")
        return "".join(parts)

    def wait(self, limit_seconds: float) -> None:
        """Wait until QEMU ended by itself."""
        try:
            self.process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"The guest was done, but QEMU did not end.{self.tail()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_group(self.process)
        for stream in (self._control, self._monitor, self._errors):
            stream.close()


def _end_with_parent() -> None:
    """Let the kernel end QEMU when the lab ends, even by SIGKILL (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
