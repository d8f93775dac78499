"""Installs dist/'s wheel into clean environments and uses it there, far from the checkout.

Arguments: Pythons, as paths or names; without any, each of 3.11 to 3.20 that this machine has. The oldest is tried with
the wheel alone and with each extra, the others with the wheel alone and with all extras. A line each: what installing
took, how large it is, how long `import kernlab` takes, which of its uses failed. Exit status 1 when one did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "debian-6.1" / "vmcore"
TRACED = ROOT / "samples" / "io" / "vmcore.xz"
NEWEST_MINOR = 20
SECONDS = 900

#: Runs a program of the environment, outside of the checkout.
Runner = Callable[..., "subprocess.CompletedProcess[str]"]

OPEN = f"import kernlab; dump = kernlab.open({str(SAMPLE)!r}); "
TO_PERFETTO = (
    f"import kernlab; kernlab.open({str(TRACED)!r}).timeline().to_perfetto('last.pftrace'); print('written')"
)
LABEXTENSION = "share/jupyter/labextensions/@kernlab/vmcore-explorer/package.json"


@dataclass(frozen=True)
class Use:
    """One thing to do with what was installed: a command, what its output must hold, and its exit status."""

    name: str
    command: tuple[str, ...]
    says: str = ""
    status: int = 0


def python(name: str, code: str, says: str = "", status: int = 0) -> Use:
    return Use(name, ("python", "-c", code), says, status)


#: What must work with the wheel alone.
BASE = (
    python(
        "the installed package", "import kernlab, sys; print(kernlab.__file__.startswith(sys.prefix))", "True"
    ),
    python("a table", OPEN + "print(len(dump.tasks) > 50)", "True"),
    python("a plot", OPEN + "print(dump.plot.memory())", "Axes"),
    python(
        "types",
        "from importlib.resources import files; print(files('kernlab').joinpath('py.typed').is_file())",
        "True",
    ),
    Use("kernlab info", ("kernlab", "info", str(SAMPLE)), "sysrq triggered crash"),
    Use("kernlab table", ("kernlab", "table", str(SAMPLE), "tasks"), "swapper"),
    Use("kernlab tables", ("kernlab", "tables", str(SAMPLE)), "memory_by_process"),
    Use("python -m kernlab", ("python", "-m", "kernlab", "--help"), "vmcore"),
)
#: What must work with each extra.
EXTRAS = {
    "jupyter": (
        Use("the front end", ("jupyter", "labextension", "list"), "@kernlab/vmcore-explorer"),
        Use("the server's route", ("jupyter", "server", "extension", "list"), "kernlab.jupyter.server"),
        python(
            "the front end's bundle",
            f"import sys, pathlib; print((pathlib.Path(sys.prefix) / {LABEXTENSION!r}).is_file())",
            "True",
        ),
        python("the explorer", OPEN + "print(type(dump.explorer()))", "Explorer"),
    ),
    "report": (
        Use("kernlab report", ("kernlab", "report", str(SAMPLE), "-o", "report.html")),
        python(
            "the report",
            "page = open('report.html').read(); print('sysrq' in page, '<script src' in page)",
            "True False",
        ),
        python(
            "the exporter",
            "from nbconvert.exporters import get_exporter; print(get_exporter('kernlab_html'))",
            "ReportExporter",
        ),
    ),
    "trace": (python("a trace for Perfetto", TO_PERFETTO, "written"),),
    "parquet": (
        python("Parquet", OPEN + "dump.tasks.to_parquet('tasks.parquet'); print('written')", "written"),
    ),
    "disassembly": (python("disassembly", OPEN + "print(len(dump.disassemble('do_idle')) > 10)", "True"),),
}
#: What the wheel alone has to say of the extra that is not there, instead of a traceback.
MISSING = {
    "report": Use(
        "kernlab report, without", ("kernlab", "report", str(SAMPLE), "-o", "none.html"), "kernlab[report]", 2
    ),
    "disassembly": python(
        "disassembly, without", OPEN + "dump.disassemble('do_idle')", "kernlab[disassembly]", 1
    ),
}


def main(arguments: list[str]) -> int:
    wheels = sorted((ROOT / "dist").glob("kernlab-*.whl"))
    if len(wheels) != 1:
        print(f"dist/ holds {len(wheels)} wheels of kernlab, not one: make dist", file=sys.stderr)
        return 1
    pythons = [Path(found) for name in arguments if (found := shutil.which(name))] or list(found_pythons())
    if len(pythons) < len(arguments) or not pythons:
        print("No such Python here", file=sys.stderr)
        return 1
    failed = 0
    print(f"{wheels[0].name}: {wheels[0].stat().st_size / 1e3:,.0f} kB")
    print(f"{'Python':9} {'with':12} {'install':>8} {'size':>9} {'import':>8}  what failed", flush=True)
    for number, executable in enumerate(pythons):
        for extra in ("", *(EXTRAS if number == 0 else ()), "all"):
            problems = tried(executable, wheels[0], extra)
            failed += bool(problems)
            for problem in problems:
                print(f"    {problem}", flush=True)
    return 1 if failed else 0


def found_pythons() -> Iterator[Path]:
    """One Python of each minor version that is found, the oldest first: on the path, and below pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in range(11, NEWEST_MINOR + 1):
        name = f"python3.{minor}"
        found = shutil.which(name)
        candidates = [*pyenv.glob(f"versions/3.{minor}.*/bin/{name}"), *([Path(found)] if found else [])]
        for each in candidates:
            if subprocess.run([each, "--version"], capture_output=True, check=False).returncode == 0:
                yield Path(each)
                break


def tried(executable: Path, wheel: Path, extra: str) -> list[str]:
    """Install the wheel with one extra, or none, into a clean environment, use it, and print a line. What failed."""
    with tempfile.TemporaryDirectory(prefix="kernlab-release-") as folder:
        place = Path(folder) / "venv"
        outside = Path(folder) / "elsewhere"
        outside.mkdir()
        subprocess.run([executable, "-m", "venv", place], check=True)
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        environment["PATH"] = f"{place / 'bin'}:{environment['PATH']}"

        def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
            # By their full path: a program of the machine must not stand in for one that was not installed.
            return subprocess.run(
                [place / "bin" / command[0], *command[1:]],
                capture_output=True,
                text=True,
                env=environment,
                cwd=outside,
                timeout=SECONDS,
                check=False,
            )

        began = time.monotonic()
        what = f"{wheel}[{extra}]" if extra else str(wheel)
        made = run(
            "python", "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", what
        )
        took = time.monotonic() - began
        version = run("python", "-c", "import platform; print(platform.python_version())").stdout.strip()
        if made.returncode:
            print(f"{version:9} {extra or '(nothing)':12} cannot be installed", flush=True)
            return made.stderr.strip().splitlines()[-3:]
        uses = [*BASE]
        for name, more in EXTRAS.items():
            uses += more if extra in (name, "all") else ()
        if not extra:
            uses += MISSING.values()
        problems = [problem for use in uses if (problem := outcome(use, run))]
        size = sum(
            path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink()
        )
        line = f"{took:6.0f} s {size / 1e6:6.0f} MB {import_seconds(run) * 1000:5.0f} ms"
        print(f"{version:9} {extra or '(nothing)':12} {line}  {len(problems) or 'nothing'}", flush=True)
        return problems


def outcome(use: Use, run: Runner) -> str:
    """What went wrong with a use of it, or ''."""
    try:
        done = run(*use.command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{use.name}: {error}"
    said = done.stdout + done.stderr
    if done.returncode != use.status or use.says not in said:
        return f"{use.name}: status {done.returncode}, said {said.strip()[-300:]!r}"
    return ""


def import_seconds(run: Runner) -> float:
    """Seconds of `import kernlab` beyond Python's own start, the best of three."""
    code = "import time; began = time.perf_counter(); import kernlab; print(time.perf_counter() - began)"
    return min(float(run("python", "-c", code).stdout) for _ in range(3))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
