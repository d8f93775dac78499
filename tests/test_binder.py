"""Binder's files, by repo2docker's rules: what an image is made of, and what it opens on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from jupyter_server.services.kernels.kernelmanager import MappingKernelManager
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"
NOTEBOOKS = ROOT / "notebooks"
START = (NOTEBOOKS / "README.md").read_text()


@pytest.fixture(scope="module")
def links():
    """scripts/binder_link.py as a module."""
    spec = util.spec_from_file_location("binder_link", ROOT / "scripts" / "binder_link.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_post_build_is_a_program_that_ends_at_its_first_error():
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    first, *rest = script.read_text().splitlines()
    assert first == "#!/bin/bash"
    assert "set -euo pipefail" in rest
    subprocess.run(["bash", "-n", str(script)], check=True)
    for name in re.findall(r"\bbinder/[\w./-]+", script.read_text()):
        assert (ROOT / name).is_file(), name


def test_post_build_installs_extras_that_there_are_and_no_tools_of_the_tests():
    (extras,) = re.findall(r'pip install .*"\.\[([\w,]+)\]"', (BINDER / "postBuild").read_text())
    assert {"jupyter", "report"} <= set(extras.split(",")) <= {"disassembly", "jupyter", "report", "trace"}


def test_nothing_beside_them_makes_repo2docker_look_elsewhere():
    """An environment.yml or a Dockerfile would win over requirements.txt, without a word."""
    assert {path.name for path in BINDER.iterdir()} == {
        "README.md",
        "jupyter_server_config.json",
        "labconfig",
        "postBuild",
        "requirements.txt",
        "runtime.txt",
    }
    assert re.fullmatch(r"python-3\.\d+\n", (BINDER / "runtime.txt").read_text())
    for line in (BINDER / "requirements.txt").read_text().splitlines():
        assert Requirement(line).specifier


def test_kernels_that_nobody_uses_are_shut_down():
    # Below jupyter_server_config.d/ the server would read which extensions there are, and nothing else.
    settings = json.loads((BINDER / "jupyter_server_config.json").read_text())["MappingKernelManager"]
    assert set(settings) <= set(MappingKernelManager.class_trait_names(config=True))
    assert 0 < settings["cull_interval"] < settings["cull_idle_timeout"] <= 600
    # Also those whose notebook is still open in a tab, unless they are computing.
    assert settings["cull_connected"] is True
    assert "cull_busy" not in settings


def test_the_start_page_names_all_notebooks_and_nothing_that_is_not_there():
    named = re.findall(r"\]\(([^)]+)\)", START)
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == {n for n in named if n.endswith(".ipynb")}
    for name in (*named, *(f"../{each}" for each in re.findall(r"\bsamples/[\w./-]+", START))):
        assert (NOTEBOOKS / name).exists(), name


@pytest.mark.parametrize(
    ("repository", "where"),
    [
        ("https://github.com/owner/name.git", "gh/owner/name"),
        ("git@github.com:owner/name.git", "gh/owner/name"),
        ("https://gitlab.com/group/below/name", "gl/group%2Fbelow%2Fname"),
        (
            "ssh://git@forge.example.org:2222/owner/name.git",
            "git/https%3A%2F%2Fforge.example.org%2Fowner%2Fname",
        ),
    ],
)
def test_the_link_opens_the_start_page(links, repository, where):
    page = "lab%2Ftree%2Fnotebooks%2FREADME.md"
    assert links.link(repository, "v1.0") == f"https://mybinder.org/v2/{where}/v1.0?urlpath={page}"
    assert (ROOT / links.START.removeprefix("lab/tree/")).is_file()


def test_the_badge_is_printed():
    command = (sys.executable, "scripts/binder_link.py", "https://github.com/owner/name")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(
        r"\[!\[Try it on Binder\]\(\S+/badge_logo\.svg\)\]\(\S+/gh/owner/name/v[\d.]+\?\S+\)\n", done.stdout
    )
