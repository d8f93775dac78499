"""`kernlab.open("live")` on a running kernel. Run by hand, needs QEMU and apt:

    python tests/live/guest.py [--kernel 6.12 …] [--out FOLDER]

A guest of the lab gets this Python and kernlab in a tar file, and runs guest_inside.py in it while processes come and
go: tables against the guest's own /proc, which rows are torn, how often what raced was read again, and every table.
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent)]

from traces.live_guest import python, python_tar  # noqa: E402

from kernlab.lab.capture import run_scenario  # noqa: E402
from kernlab.lab.capture_options import Options  # noqa: E402
from kernlab.lab.guest_kernel import KERNELS  # noqa: E402
from kernlab.lab.scenarios import SCENARIOS, Scenario  # noqa: E402

_STORY = """
prepare() {
    apps
    mkdir -p /tmp/py && tar -xf /host/boot/python.tar -C /tmp/py || return 1
    mkdir -p /tmp/py/proc /tmp/py/sys /tmp/py/dev /tmp/py/tmp
    mount --bind /proc /tmp/py/proc; mount --rbind /sys /tmp/py/sys; mount --bind /dev /tmp/py/dev
    mkdir -p /host/out/blk
    ( while :; do ( sleep 0.01; /bin/true ) & sleep 0.1; done ) &
    churn=$!
    PYTHONPATH=@PATH@ PYTHONHOME=@HOME@ PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 \\
        chroot /tmp/py @PYTHON@ /guest_inside.py > /host/out/blk/live.json 2> /host/out/blk/live.err
    echo $? > /host/out/blk/live.status; kill $churn; tail -n 5 /host/out/blk/live.err
}
die() { echo c > /proc/sysrq-trigger; }
"""
#: What must be imported there.
_USES = (
    "import elftools.elf.elffile, pandas, kernlab.commands.main, typer, rich, capstone; "
    "from kernlab.dump import TABLES; [TABLES.load(name) for name in TABLES]"
)


class Running(Scenario):
    """The story above, with the paths of this machine's Python."""

    @property
    def script(self) -> str:
        common = (ROOT / "kernlab/lab/guest/scenarios/common.sh").read_text()
        story = _STORY.replace("@PATH@", f"/kernlab-root:{sysconfig.get_paths()['purelib']}")
        return common + story.replace("@HOME@", sys.base_prefix).replace("@PYTHON@", str(python()))


def judged(told: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    bad = [f"{name}: {value[:3]}" for name, value in told["differs"].items() if value]
    bad += [f"table {name}: {why}" for name, why in told["failed"].items()]
    if told["falsely_torn"]:
        bad.append(
            f"{len(told['falsely_torn'])} rows of processes that lived on are torn: {told['falsely_torn'][:3]}"
        )
    if not told["short_lived"]:
        bad.append("no process came or went: nothing was tried")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kernel", default="6.12", choices=list(KERNELS))
    parser.add_argument("--out", type=Path, help="keep the capture there")
    arguments = parser.parse_args()
    SCENARIOS["live"] = Running(
        "live", "kernlab reads the kernel that it runs on", 2048, prepare_seconds=1200
    )
    with tempfile.TemporaryDirectory() as name:
        tar = Path(name) / "python.tar"
        python_tar(tar, _USES, (HERE / "guest_inside.py",))
        folder = arguments.out or Path(name) / "live"
        how = Options(
            kernel=arguments.kernel, formats=(), qemu_formats=("elf",), files={"python.tar": str(tar)}
        )
        run_scenario("live", how, folder)
        status = (folder / "blk/live.status").read_text().strip()
        if status != "0":
            print((folder / "blk/live.err").read_text())
            return 1
        told = json.loads((folder / "blk/live.json").read_text())
    for key, value in told.items():
        print(f"{key}: {value}")
    bad = judged(told)
    print("\n".join(bad) if bad else "as the guest's own /proc")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
