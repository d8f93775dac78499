"""The front end as it is committed: the bundle is of its sources, and nothing names where packages come from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "extensions" / "vmcore-explorer"
CHECK = (sys.executable, "scripts/build_extension.py", "--check")


def test_the_bundle_is_of_its_sources():
    done = subprocess.run(CHECK, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_source_is_noticed(tmp_path):
    copy = tmp_path / "extensions" / "vmcore-explorer"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("node_modules", "lib", ".yarn"))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "build_extension.py", tmp_path / "scripts")
    assert subprocess.run(CHECK, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    with (copy / "src" / "mime.ts").open("a") as source:
        source.write("\n")
    done = subprocess.run(CHECK, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make extension" in done.stderr


def test_the_bundle_is_whole():
    described = json.loads((FOLDER / "labextension" / "package.json").read_text())
    entry = described["jupyterlab"]["_build"]["load"]
    assert (FOLDER / "labextension" / entry).is_file()
    assert described["jupyterlab"]["mimeExtension"]
    for name in ("static/style.js", "schemas/@kernlab/vmcore-explorer/plugin.json"):
        assert (FOLDER / "labextension" / name).is_file(), name


@pytest.mark.parametrize("name", ["yarn.lock", "package.json", ".yarnrc.yml"])
def test_the_lock_names_no_host(name):
    told = (FOLDER / name).read_text()
    found = re.findall(
        r"\w+://\S+|\bresolved\b.*|\bregistry\.\S+|__archiveUrl\S*|(?<![\w.])\d+(?:\.\d+){3}\b.*", told
    )
    assert found == [], "a lock file is for every mirror: only names, versions and checksums belong there"


def test_every_package_of_the_lock_comes_from_npm_and_has_a_checksum():
    lock = (FOLDER / "yarn.lock").read_text()
    entries = re.findall(r'^  resolution: "(.+)"$(?:\n  .*)*?(?=\n\n|\Z)', lock, re.MULTILINE)
    assert len(entries) > 50
    own = [entry for entry in entries if "@workspace:" in entry]
    assert len(own) == 1
    strange = [entry for entry in entries if not re.search(r"@(npm:[\w.+-]+|workspace:\.)$", entry)]
    # A patch that yarn itself ships carries a name and a hash, and no address either.
    assert all(entry.partition("@patch:")[2] for entry in strange), strange
