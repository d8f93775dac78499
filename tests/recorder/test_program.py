"""The service without kernlab, by any Python: as `install` writes, `start` runs, and extensions/recorder tells it."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kernlab.recorder.program import FOLDER, archive

ROOT = Path(__file__).parents[2]


def python(version: str) -> str:
    """A Python of this version, in PATH or of pyenv; skips without."""
    asked = ["-c", f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"]
    pyenv = (str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for found in filter(None, (shutil.which(f"python{version}"), *pyenv)):
        # A pyenv shim exists for versions that are not active: only running it tells.
        if subprocess.run([found, *asked], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"no Python {version} here")


@pytest.fixture(params=["archive", "folder", "zipapp"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What Python runs."""
    path = tmp_path / "recorder.pyz"
    if request.param == "folder":
        return FOLDER
    if request.param == "archive":
        path.write_bytes(archive())
        return path
    page = (ROOT / "extensions/recorder/README.md").read_text()
    (command,) = (line for line in page.splitlines() if " -m zipapp " in line)
    _, *words = shlex.split(command, comments=True)
    subprocess.run([sys.executable, *words[:-1], path], cwd=ROOT, check=True)
    return path


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_it_needs_nothing_but_pythons_own_library(version: str, program: Path, tmp_path: Path) -> None:
    command = [python(version), "-I", "-S", "-B", "-W", "error", program, "run", "--event=nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("kernlab recorder: ")  # whoever runs the tests: not an event, or not root
    assert done.stderr.count("\n") == 1


def test_no_module_takes_the_place_of_one_of_pythons() -> None:
    """The folder, or the archive, comes first where Python looks for modules."""
    assert not sys.stdlib_module_names & {path.stem for path in FOLDER.glob("*.py")}


def test_the_same_sources_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(FOLDER, copy)
    for number, path in enumerate(sorted(copy.glob("*.py"), reverse=True)):
        os.utime(path, (10**9 + 1000 * number,) * 2)
        path.chmod(0o600)
    first = archive()
    monkeypatch.setattr("kernlab.recorder.program.FOLDER", copy)
    assert archive() == first
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert names == sorted(path.name for path in FOLDER.glob("*.py"))
