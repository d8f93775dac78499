"""The disk that the story `server` boots from, made of a mirror of the test; and all guests' scripts are scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from lab.apt_mirror import Made, write_mirror

from kernlab.lab import server_image as module
from kernlab.lab.guest_files import GUEST, Userland
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.server_image import image_ingredients, server_image
from kernlab.lab.steps import Progress

QUIET = Progress(None)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_story_is_a_shell_script(name: str, tmp_path: Path) -> None:
    script = tmp_path / "scenario"
    script.write_text(SCENARIOS[name].script)
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def shown(image: Path, path: str, what: str = "cat") -> str:
    """A file of an ext4 image, or what it is (`stat`)."""
    command = ["debugfs", "-R", f"{what} {path}", str(image)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_servers_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apt-get", "dpkg-deb", "mke2fs", "debugfs"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not here")
    packages = [
        Made("systemd", "257", "libsystemd", files={"lib/systemd/systemd": "it", "usr/share/doc/systemd/x": "told"}),
        Made("libsystemd", "257", files={"usr/lib/libsystemd": "it"}),
        Made("postgresql", "17", "libllvm19", files={"etc/passwd": "of the package"}),
        Made("libllvm19", "19", files={"usr/lib/large": "it"}),
    ]  # fmt: skip
    mirror = write_mirror(tmp_path / "mirror", {"trixie": packages, "trixie-updates": []})
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", mirror)
    monkeypatch.setattr(module, "SERVER_PACKAGES", ("systemd", "postgresql"))
    root = tmp_path / "userland"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/mke2fs").symlink_to(str(shutil.which("mke2fs")))
    cache = tmp_path / "cache"
    image = server_image(cache, Userland(root, "sid", "1"), QUIET)

    # /lib is a link into /usr, and the project's own files lie over the packages'.
    assert shown(image, "/usr/lib/systemd/systemd") == "it"
    assert shown(image, "/usr/lib/libsystemd") == "it"
    assert shown(image, "/etc/passwd") == (GUEST / "server/etc/passwd").read_text()
    story = "etc/systemd/system/kernlab-story.service"
    assert shown(image, f"/{story}") == (GUEST / "server" / story).read_text()
    wanted = "/etc/systemd/system/multi-user.target.wants/kernlab-story.service"
    assert 'dest: "../kernlab-story.service"' in shown(image, wanted, "stat")
    # What nothing runs was neither fetched nor unpacked.
    assert not list((cache / "packages").glob("libllvm*"))
    assert shown(image, "/usr/lib/large") == ""
    assert shown(image, "/usr/share/doc/systemd/x") == ""

    # Made once; anew, in place of the older, when a file of it changed.
    written = image.stat().st_mtime_ns
    assert server_image(cache, Userland(root, "sid", "1"), QUIET).stat().st_mtime_ns == written
    guest = tmp_path / "guest"
    shutil.copytree(GUEST, guest)
    (guest / "server/etc/hostname").write_text("another\n")
    monkeypatch.setattr(module, "GUEST", guest)
    other = server_image(cache, Userland(root, "sid", "1"), QUIET)
    assert other != image
    assert [path.name for path in (cache / "images").iterdir()] == [other.name]
    assert shown(other, "/etc/hostname") == "another\n"
    assert "libllvm19 19" not in json.dumps(image_ingredients(cache, QUIET))
