"""kernlab on a running kernel's relay channels and trace buffers. Run by hand, needs QEMU and apt:

    python tests/traces/live_guest.py [--kernel 6.1 …] [--what ftrace]

A guest of the lab gets this Python, NumPy, pandas and kernlab in a tar file, and runs live_inside.py in it: the same
records by read() and by mmap(); or live_ftrace_inside.py: the same events by tracefs' text, which nothing consumes, and
by its raw buffers, as the kernel's own lines.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from kernlab.lab.capture import run_scenario
from kernlab.lab.capture_options import Options
from kernlab.lab.guest_kernel import KERNELS
from kernlab.lab.scenarios import SCENARIOS, Scenario

_HERE = Path(__file__).resolve().parent
ROOT = _HERE.parents[1]
_STORY = """
prepare() {
    apps
    insmod /modules/kernlab_story.ko relay=1 map=1
    mkdir -p /tmp/py && tar -xf /host/boot/python.tar -C /tmp/py || return 1
    mkdir -p /tmp/py/proc /tmp/py/sys /tmp/py/dev /tmp/py/tmp
    mount --bind /proc /tmp/py/proc; mount --rbind /sys /tmp/py/sys; mount --bind /dev /tmp/py/dev
    mkdir -p /host/out/blk
    PYTHONPATH=@PATH@ PYTHONHOME=@HOME@ PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 \\
        chroot /tmp/py @PYTHON@ /@INSIDE@ > /host/out/blk/live.json 2> /host/out/blk/live.err
    echo $? > /host/out/blk/live.status; tail -n 5 /host/out/blk/live.err
}
die() { echo c > /proc/sysrq-trigger; }
"""
_LEFT_OUT = re.compile(r"/(tests?|idlelib|lib2to3|tkinter|ensurepip|turtledemo|config-[^/]*)(/|$)")


class Live(Scenario):
    """The story above, with the paths of this machine's Python."""

    inside: ClassVar[str] = "live_inside.py"

    @property
    def script(self) -> str:
        common = (ROOT / "kernlab/lab/guest/scenarios/common.sh").read_text()
        story = _STORY.replace("@PATH@", f"/kernlab-root:{sysconfig.get_paths()['purelib']}")
        story = story.replace("@INSIDE@", self.inside)
        return common + story.replace("@HOME@", sys.base_prefix).replace("@PYTHON@", str(python()))


def python() -> Path:
    return Path(sys.executable).resolve()


def python_tar(
    path: Path,
    uses: str = "kernlab.relay; kernlab.ftrace",
    scripts: tuple[Path, ...] = (_HERE / "live_inside.py", _HERE / "live_ftrace_inside.py"),
) -> None:
    """This Python and what is imported for what `uses` says, with the libraries that they need, and the scripts."""
    code = f"import kernlab, sys; {uses}\n"
    code += "print('\\n'.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    site = Path(sysconfig.get_paths()["purelib"])
    names = [name for name in names if name != "pyarrow"]  # pandas does without, and it is large
    wanted = [place for name in names for place in (site / name, site / f"{name}.py") if place.exists()]
    wanted += [place for name in names for place in site.glob(f"{name}.libs")]
    trees = [Path(sysconfig.get_paths()["stdlib"]), *wanted]
    binaries = [python()]
    with tarfile.open(path, "w") as archive:
        for tree in trees:
            for file in [tree] if tree.is_file() else sorted(tree.rglob("*")):
                if (
                    file.is_dir()
                    or _LEFT_OUT.search(str(file))
                    or ("site-packages" in str(file) and tree == trees[0])
                ):
                    continue
                archive.add(file, recursive=False)
                if ".so" in file.name:
                    binaries.append(file)
        archive.add(ROOT / "kernlab", "kernlab-root/kernlab")
        for script in scripts:
            archive.add(script, script.name)
        archive.add(python())
        for library in libraries(binaries):
            archive.add(library.resolve(), str(library))


def libraries(binaries: list[Path]) -> list[Path]:
    """The machine's shared libraries that these files need, the loader among them."""
    said = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    found = {Path(name) for name in re.findall(r"(/\S+\.so\S*) \(0x", said)}
    return sorted(path for path in found if ".libs/" not in str(path))


def said_of_ftrace(told: dict[str, Any]) -> int:
    """Were the events the same both ways, and as the kernel printed them?"""
    for name, value in told.items():
        print(f"{name}: {value}")
    good = told["still_there"] and told["saved"] and told["taken_exact"] and told["text_exact"]
    good &= told["left"] == [0, 0] and told["events"] == told["lines"] and min(told["lines"].values()) > 0
    good &= not any(told["text_differs"]) and not any(told["taken_differs"])
    good &= not told["text_problems"] and not told["taken_problems"]
    print("the kernel's own lines both ways" if good else "NOT the kernel's own lines")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kernel", default="6.1", choices=list(KERNELS))
    parser.add_argument("--what", default="relay", choices=["relay", "ftrace"])
    parser.add_argument("--out", type=Path, help="keep the capture there")
    arguments = parser.parse_args()
    if arguments.what == "ftrace":
        Live.inside = "live_ftrace_inside.py"
    SCENARIOS["live"] = Live("live", "kernlab reads a driver's relay channels in the guest", memory_mib=2048)
    with tempfile.TemporaryDirectory() as name:
        tar = Path(name) / "python.tar"
        python_tar(tar)
        folder = arguments.out or Path(name) / "live"
        run_scenario("live", Options(kernel=arguments.kernel, files={"python.tar": str(tar)}), folder)
        status = (folder / "blk/live.status").read_text().strip()
        if status != "0":
            print((folder / "blk/live.err").read_text())
            return 1
        told = json.loads((folder / "blk/live.json").read_text())
    if arguments.what == "ftrace":
        return said_of_ftrace(told)
    good = True
    for row in told:
        print(row)
        good &= not row["only_by_read"] and not row["differing"] and row["read"] > 0
        good &= row["only_by_mmap_all_older"] and not row["left_for_a_second_read"]
    print("the same records both ways" if good else "NOT the same records")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
