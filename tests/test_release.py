"""What a release consists of: the wheel and the sdist, made as `make dist` makes them, and what stands beside them."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
SAMPLE = ROOT / "samples" / "debian-6.1" / "vmcore"
EPOCH = "1700000000"


def build(source, into, *kinds):
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into)]
    for kind in kinds:
        command += ["-t", kind]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "sdist", "wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    with zipfile.ZipFile(dist / f"kernlab-{VERSION}-py3-none-any.whl") as opened:
        yield opened


@pytest.fixture(scope="module")
def unpacked(dist, tmp_path_factory):
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(dist / f"kernlab-{VERSION}.tar.gz") as opened:
        opened.extractall(folder, filter="data")
    return folder / f"kernlab-{VERSION}"


def tracked(*paths):
    done = subprocess.run(
        ["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("no git checkout here, which would say what belongs into the package")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_the_front_end_and_nothing_else(wheel):
    data = f"kernlab-{VERSION}.data/data/"
    front_end = f"{data}share/jupyter/labextensions/@kernlab/vmcore-explorer/"
    bundle = "extensions/vmcore-explorer/labextension/"
    expected = tracked("kernlab")
    expected |= {front_end + name.removeprefix(bundle) for name in tracked(bundle)}
    expected |= {f"{front_end}install.json"}
    settings = "extensions/jupyter-config/"
    expected |= {f"{data}etc/jupyter/{name.removeprefix(settings)}" for name in tracked(settings)}
    info = f"kernlab-{VERSION}.dist-info/"
    expected |= {
        info + name for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    there = set(wheel.namelist())
    # A file that is not committed yet belongs to a change under way.
    untracked = {name for name in there - expected if name.startswith("kernlab/") and (ROOT / name).is_file()}
    assert there - untracked == expected
    assert "kernlab/py.typed" in there
    assert "@kernlab/vmcore-explorer" in json.loads(wheel.read(f"{front_end}package.json"))["name"]


def test_a_wheel_made_of_the_sdist_is_the_same_to_the_byte(dist, unpacked, tmp_path):
    build(unpacked, tmp_path, "wheel")
    name = f"kernlab-{VERSION}-py3-none-any.whl"
    assert (tmp_path / name).read_bytes() == (dist / name).read_bytes()


def test_the_sdist_has_what_a_packager_needs_and_no_dump(unpacked):
    for name in (
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "CITATION.cff",
        "CHANGELOG.md",
        "Makefile",
        "tests/conftest.py",
    ):
        assert (unpacked / name).is_file(), name
    assert not (unpacked / "samples").exists()
    assert [path.name for path in unpacked.rglob("vmcore*") if path.stat().st_size > 1 << 20] == []


def test_the_metadata_are_valid_and_old_names_of_extras_stay(wheel):
    text = wheel.read(f"kernlab-{VERSION}.dist-info/METADATA")
    metadata = Metadata.from_email(text, validate=True)
    assert str(metadata.version) == VERSION
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert {"jupyter", "report", "trace", "parquet", "disassembly", "all", "lab", "perfetto"} <= set(
        metadata.provides_extra
    )
    wanted = [str(each).split("; extra == ") for each in metadata.requires_dist]
    needs = {
        name: {need for need, *extra in wanted if extra == [f'"{name}"']} for name in metadata.provides_extra
    }
    assert needs["lab"] == needs["jupyter"] > {"jupyterlab>=4.4"}
    assert needs["perfetto"] == needs["trace"] > {"protobuf>=4"}
    assert email.message_from_bytes(text)["Requires-Python"] == ">=3.11"


def test_all_is_all_that_a_user_can_have():
    """`docs`, `dev` and `oracle` are for those who work on kernlab."""
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(everything.removeprefix("kernlab[").removesuffix("]").split(","))
    assert named == extras.keys() - {"all", "lab", "perfetto", "docs", "dev", "oracle"}


def test_what_was_installed_opens_a_dump_outside_of_the_checkout(dist, tmp_path):
    """Without the network: the wheel alone, unpacked by pip, beside the libraries that are here anyway."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile")
    made = subprocess.run(
        [*pip, "--target", str(site), str(next(dist.glob("*.whl")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr

    assert run("-c", "import kernlab; print(kernlab.__file__)").startswith(str(site))
    assert "sysrq triggered crash" in run("-m", "kernlab", "info", str(SAMPLE))
    assert (
        site / "share" / "jupyter" / "labextensions" / "@kernlab" / "vmcore-explorer" / "package.json"
    ).is_file()


def test_all_say_the_same_version():
    import kernlab

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert kernlab.__version__ == VERSION == citation["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert {"message", "authors"} <= citation.keys()


def test_fragments_of_the_changelog_make_a_section_of_it():
    towncrier = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.8.7"]
    done = subprocess.run(towncrier, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## [9.8.7] - ")
    fragments = [path for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]
    for path in fragments:
        assert path.read_text().split("\n")[0] in done.stdout, f"{path.name} is of no kind that there is"
    assert "<!-- fragments go below -->\n" in (ROOT / "CHANGELOG.md").read_text()


def test_a_release_writes_the_fragments_above_the_older_notes(tmp_path):
    (tmp_path / "changelog.d").mkdir()
    for name in ("pyproject.toml", "CHANGELOG.md", "changelog.d/template.md.jinja"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "changelog.d" / "+new.fixed.md").write_text("A thing that did not work, works.\n")
    subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--yes", "--version", "9.8.7", "--date", "2026-12-24"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    written = (tmp_path / "CHANGELOG.md").read_text()
    section = "## [9.8.7] - 2026-12-24\n\n### Fixed\n\n- A thing that did not work, works.\n"
    assert section in written
    assert written.index("Keep a Changelog") < written.index(section) < written.index("### Added")


def test_the_threat_model_names_tests_that_there_are():
    named = set(re.findall(r"\btests/[\w./]+\w", (ROOT / "SECURITY.md").read_text()))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
