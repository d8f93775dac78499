"""What test_in_guest.py lets the recorder go through in a guest: facts to a JSON file. Standard library only.

python3 story_in_guest.py OUTPUT
"""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: The wrapper: the program itself does not find its libraries.
RECORDER = ["/host/boot/python/python3", "/host/boot/recorder.pyz"]
TRACING = Path("/sys/kernel/tracing")
STATE = Path("/run/kernlab-recorder")


def text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="backslashreplace").strip()
    except OSError as error:
        return error.strerror


def snapshot() -> dict[str, str]:
    """Every file of tracefs, with the contents of those that settings are read from."""
    found = {}
    for folder, _, files in os.walk(TRACING):
        for name in files:
            path = Path(folder, name)
            told = name in {
                "enable",
                "filter",
                "set_event",
                "buffer_size_kb",
                "trace_clock",
                "current_tracer",
            }
            told |= name in {
                "tracing_on",
                "trace_options",
                "tracing_cpumask",
                "saved_cmdlines_size",
                "set_event_pid",
            }
            found[str(path)] = text(path) if told or path.parent.name == "options" else ""
    return found


def recorder(*words: str) -> tuple[int, str]:
    done = subprocess.run([*RECORDER, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def started(*words: str) -> subprocess.Popen[bytes]:
    """A recorder that records: told by its figures."""
    (STATE / "figures.json").unlink(missing_ok=True)
    # As nice as the unit makes it, which must not add to what the service does by itself.
    process = subprocess.Popen([*RECORDER, "run", "--share", "50", *words], preexec_fn=lambda: os.nice(-5))
    for _ in range(600):
        if (STATE / "figures.json").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    if process.poll() is not None:
        raise SystemExit(f"the recorder ended with {process.returncode}")
    return process


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(timeout=60)


def marks() -> list[int]:
    """Numbers of the vmstat marks in the instance, as the kernel prints them."""
    return [
        int(n)
        for n in re.findall(r"kernlab/1 vmstat (\d+) nr_free", text(TRACING / "instances/kernlab/trace"))
    ]


def read_disk(count: int) -> None:
    file = os.open("/dev/vda", os.O_RDONLY)
    for number in range(count):
        os.pread(file, 4096, number % 4096 * 4096)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def main() -> None:
    facts: dict[str, Any] = {"release": os.uname().release}
    before = snapshot()
    process = started(
        "--disk", "vda", "--event", "sched", "--event", "tasks", "--event", "block", "--event", "rss"
    )
    read_disk(300)
    time.sleep(1.5)
    facts["vmstat"] = dict(line.split() for line in text("/proc/vmstat").splitlines())
    facts["trace"] = [
        line for line in text(TRACING / "instances/kernlab/trace").splitlines() if "kernlab/1" in line
    ]
    facts["switches"] = len(re.findall(": sched_switch: ", text(TRACING / "instances/kernlab/trace")))
    facts["status"] = json.loads(recorder("status")[1])
    facts["self"] = {name: text(f"/proc/{process.pid}/{name}") for name in ("oom_score_adj", "comm")}
    facts["self"]["nice"] = os.getpriority(os.PRIO_PROCESS, process.pid)
    facts["second"] = recorder("run")

    ended(process, signal.SIGKILL)
    facts["killed"] = json.loads(recorder("status")[1])
    kept = marks()
    process = started("--event", "sched", "--event", "log")
    facts["taken_over"] = {"before": kept, "after": marks()}
    facts["rss_after"] = text(TRACING / "instances/kernlab/events/kmem/rss_stat/enable")
    facts["ended"] = ended(process)
    after = snapshot()
    facts["changed"] = {
        path: (before.get(path), after.get(path))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
    facts["blocks"] = glob.glob("/sys/kernel/debug/block/*/trace*")
    facts["state"] = sorted(path.name for path in STATE.iterdir())
    facts["tainted"] = text("/proc/sys/kernel/tainted")

    ended(started(), signal.SIGKILL)
    facts["stop"] = recorder("stop")
    facts["left"] = (
        text(TRACING / "instances/kernlab") if (TRACING / "instances/kernlab").exists() else "gone"
    )

    subprocess.run(["umount", str(TRACING)], check=True)
    process = started()
    facts["unmounted"] = {"records": (TRACING / "instances/kernlab").is_dir(), "ended": ended(process)}
    facts["unmounted"]["after"] = os.path.ismount(TRACING)
    subprocess.run(["mount", "-t", "tracefs", "tracing", str(TRACING)], check=True)

    facts["small"] = in_small_cgroup()
    lockdown(facts)
    Path(sys.argv[1]).write_text(json.dumps(facts))


def in_small_cgroup() -> dict[str, Any]:
    """A recorder in a cgroup that is small."""
    group = Path("/sys/fs/cgroup/small")
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    (group / "memory.max").write_text(str(48 << 20))
    words = " ".join(RECORDER)
    process = subprocess.Popen(["sh", "-c", f"echo $$ > {group}/cgroup.procs; exec {words} run --share 50"])
    time.sleep(12)
    found = {"alive": process.poll() is None, "marks": len(marks()), "peak": text(group / "memory.peak")}
    return {**found, "ended": ended(process), "events": text(group / "memory.events")}


def lockdown(facts: dict[str, Any]) -> None:
    """Integrity is what Secure Boot brings; confidentiality closes tracefs. Neither can be taken back."""
    security = Path("/sys/kernel/security")
    subprocess.run(["mount", "-t", "securityfs", "security", str(security)], check=False)
    if not (security / "lockdown").exists():
        facts["lockdown"] = None
        return
    (security / "lockdown").write_text("integrity")
    process = started("--disk", "vda")
    read_disk(9000)
    time.sleep(6)
    facts["lockdown"] = {"integrity": json.loads(recorder("status")[1]), "marks": len(marks())}
    # Its disk is pulled out while it is traced.
    device = Path("/sys/block/vda/device").resolve().parent
    (device / "remove").write_text("1")
    time.sleep(2)
    facts["lockdown"]["gone"] = {"alive": process.poll() is None, **json.loads(recorder("status")[1])}
    facts["lockdown"]["ended"] = ended(process)
    (security / "lockdown").write_text("confidentiality")
    facts["lockdown"]["confidentiality"] = recorder("run")


if __name__ == "__main__":
    main()
