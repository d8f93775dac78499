"""Installing the recorder for every boot: the service as one archive and a systemd unit, and taking them away again."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.program import FOLDER, archive

NAME = service.UNIT
PROGRAM = Path("/usr/local/lib/kernlab/recorder.pyz")
#: What earlier versions wrote instead.
OLD_PROGRAM = Path("/usr/local/lib/kernlab/recorder.py")
UNIT = Path("/etc/systemd/system") / NAME
WANTED = Path("/etc/systemd/system/multi-user.target.wants") / NAME
_PYTHON = Path("/usr/bin/python3")

#: extensions/recorder holds this for the service's defaults; a test compares the two.
_TEXT = """\
[Unit]
Description=kernlab's flight recorder
# Early, so that a boot that fails is recorded too; tracefs and debugfs are mounted by then.
DefaultDependencies=no
After=local-fs.target sys-kernel-tracing.mount sys-kernel-debug.mount
Before=shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/sys/kernel/tracing

[Service]
Type=notify
ExecStart={command}
SyslogIdentifier=kernlab-recorder
# A killed recorder's instance is taken over with what it holds; an orderly stop takes it down.
Restart=on-failure
RestartSec=2
# Refused, or stopped with something left: neither gets better by itself.
RestartPreventExitStatus={refused} {left}
KillMode=mixed
TimeoutStopSec=30
OOMScoreAdjust=-999
Nice=-5
LimitMEMLOCK=infinity
MemoryMax=96M
TasksMax=4
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
SystemCallArchitectures=native
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_SYS_PTRACE
CapabilityBoundingSet=CAP_SYS_NICE CAP_IPC_LOCK CAP_SYS_RESOURCE

[Install]
WantedBy=multi-user.target
"""


def unit(words: list[str], python: Path = _PYTHON) -> str:
    """The unit's text, for these words of the service's command line."""
    command = " ".join([str(python), "-I", str(PROGRAM), "run", *map(_quoted, words)])
    return _TEXT.format(command=command, refused=service.REFUSED, left=service.LEFT)


def _quoted(word: str) -> str:
    """A word as systemd.service(5) reads it: escapes as in C within any quotes, % and $ expanded everywhere."""
    if not re.fullmatch(r"[\w@%+=:,./-]+", word):
        word = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        word = f'"{word}"'
    return word.replace("%", "%%").replace("$", "$$")


def install(words: list[str], root: Path = Path("/"), now: bool = False) -> list[Path]:
    """Write the service and its unit and let systemd start it at boot (`now`: at once); gives the files written.

    With `now` one that runs begins anew. With another `root` (an image that is being made) nothing is run. KernlabError
    where systemd refuses.
    """
    live = root == Path("/")
    if live and not service.has_systemd():
        raise KernlabError(
            "this machine does not run systemd. Let its own init run "
            f"`{_PYTHON} {FOLDER} run` as root instead."
        )
    python = _PYTHON if (root / _PYTHON.relative_to("/")).exists() or not live else Path(sys.executable)
    _check(python, root)
    if live and now:
        _refuse_beside_another()
    written = [_below(root, PROGRAM), _below(root, UNIT)]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
    written[0].write_bytes(archive())
    written[0].chmod(0o755)
    written[1].write_text(unit(words, python))
    if live:
        _systemctl("daemon-reload")
        _systemctl("enable", NAME)
        if now:
            _systemctl("restart", NAME)  # one that runs has other settings, perhaps
    else:
        link = _below(root, WANTED)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(UNIT)
    return written


def uninstall(root: Path = Path("/")) -> tuple[list[Path], list[str]]:
    """Stop it and take away what `install` wrote; the files removed, and sentences on what of a recorder is left."""
    live, left = root == Path("/"), []
    if live:
        if UNIT.exists():
            _systemctl("disable", "--now", NAME)
        left = service.stop(service.Machine())  # one that was killed left its instance
    removed = []
    for path in (PROGRAM, OLD_PROGRAM, UNIT, WANTED):
        found = _below(root, path)
        if found.exists() or found.is_symlink():
            found.unlink()
            removed.append(found)
    with contextlib.suppress(OSError):  # something else is in it
        _below(root, PROGRAM.parent).rmdir()
    if live and removed:
        _systemctl("daemon-reload")
        # Or one that failed stays in systemd's list for ever; of one that did not, systemctl has nothing to reset.
        subprocess.run(["systemctl", "reset-failed", NAME], check=False, capture_output=True)
    return removed, left


def _refuse_beside_another() -> None:
    """A KernlabError where a recorder runs that is not systemd's: its own would only fail."""
    if not service.is_running(service.Machine()):
        return
    asked = ["systemctl", "show", "--property=ActiveState", NAME]
    told = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
    if told.strip() not in {"ActiveState=active", "ActiveState=activating"}:
        raise KernlabError("a recorder runs already that `start` began; `kernlab recorder stop` ends it.")


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _check(python: Path, root: Path) -> None:
    """The service needs Python 3.9; of another root's Python nothing is known."""
    if root != Path("/"):
        return
    asked = [str(python), "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 9))"]
    if subprocess.run(asked, check=False, capture_output=True).returncode:
        raise KernlabError(f"{python} is older than Python 3.9, which the recorder needs.")


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise KernlabError(f"systemctl {' '.join(words)} failed: {(done.stderr or done.stdout).strip()}")
