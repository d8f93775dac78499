"""Which package the lab takes and from where, on a mirror that the test makes: flavours, names, backports, sizes, and a
cache that was moved.

Needs apt-get and dpkg-deb, and no network.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from lab.apt_mirror import Made, write_mirror

from kernlab.lab.apt_root import AptRoot
from kernlab.lab.fetch_plan import fetch_plan
from kernlab.lab.guest_files import USERLAND
from kernlab.lab.guest_kernel import KERNELS, find_kernel, find_package, kernel_parts
from kernlab.lab.private_root import private_root, program
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import LabError, Progress

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
QUIET = Progress(None)


class Said(Progress):
    """Keeps what the lab says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def kernel(abi: str, version: str, needs: str = "linux-base") -> list[Made]:
    """A kernel as Debian packs it since it is split: an image that needs what holds the files."""
    files: dict[str, str | Path] = {f"boot/vmlinuz-{abi}": "an image"}
    return [
        Made(f"linux-image-{abi}", version, f"linux-binary-{abi} (= {version}), {needs}"),
        Made(f"linux-binary-{abi}", version, files=files),
    ]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian's releases as the lab knows them, in small."""
    for name in ("apt-get", "dpkg-deb"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not here")
    base = Made("linux-base", "4.12")
    suites: dict[str, list[Made]] = {}
    for release in ("bullseye", "bookworm", "trixie"):
        suites |= {release: [base], f"{release}-updates": []}
    suites["bookworm"] += [
        *kernel("6.1.0-9-amd64", "6.1.9-1"),
        *kernel("6.1.0-10-amd64", "6.1.10-1"),
        *kernel("6.1.0-11-rt-amd64", "6.1.11-1"),
        *kernel("6.1.0-8-cloud-amd64", "6.1.8-1"),
        *kernel("6.1.0-11-amd64-unsigned", "6.1.11-1"),
        Made("linux-image-6.1.0-11-amd64-dbg", "6.1.11-1"),
        Made("linux-image-amd64", "6.1.10-1", "linux-image-6.1.0-10-amd64 (= 6.1.10-1)"),
    ]
    suites["trixie"] += [
        *kernel("6.12.5+deb13-amd64", "6.12.5-1"),
        Made("linux-image-amd64", "6.12.5-1", "linux-image-6.12.5+deb13-amd64"),
    ]
    # What a backport needs beside itself is in backports only, in a newer version than the release's.
    suites["trixie-backports"] = [
        Made("linux-base", "4.17~bpo13+1"),
        *kernel("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1", "linux-base (>= 4.16)"),
        *kernel("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", "linux-base (>= 4.16)"),
    ]
    suites["sid"] = [base, *kernel("7.2.13+deb14-amd64", "7.2.13-1"), *kernel("7.3-rc5-amd64", "7.3~rc5-1")]
    suites["sid"] += [tool(), *headers()]
    return write_mirror(tmp_path_factory.mktemp("mirror"), suites)


def tool() -> Made:
    """A program with the loader and the library that it runs with; links to it, here and elsewhere."""
    files: dict[str, str | Path] = {"usr/bin/repeat": Path("/usr/bin/echo")}
    for name in ("ld-linux-x86-64.so.2", "libc.so.6"):
        files[f"usr/lib/x86_64-linux-gnu/{name}"] = (LIBRARIES / name).resolve()
    links = {"usr/bin/again": "repeat", "usr/lib/elsewhere/deep/again": "/usr/bin/repeat"}
    return Made("repeat", files=files, links=links)


def headers() -> list[Made]:
    """A kernel's headers, whose makefiles name each other by absolute paths."""
    own = "usr/src/linux-headers-1-amd64/Makefile"
    return [
        Made("linux-headers-1", files={own: "OUT = /usr/src/out\ninclude /usr/src/linux-headers-1-common/Makefile\n"}),
        Made("linux-headers-1-common", files={"usr/src/linux-headers-1-common/Makefile": "all: ; @echo $(OUT)\n"}),
    ]  # fmt: skip


@pytest.fixture
def there(mirror: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The mirror is the machine's."""
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", mirror)
    monkeypatch.delenv("KERNLAB_LAB_SECURITY_MIRROR", raising=False)
    return mirror


@pytest.mark.parametrize(
    ("asked", "flavour", "release", "name"),
    [
        ("6.1", "generic", "bookworm", "linux-image-6.1.0-10-amd64"),
        ("6.1", "rt", "bookworm", "linux-image-6.1.0-11-rt-amd64"),
        ("6.1", "cloud", "bookworm", "linux-image-6.1.0-8-cloud-amd64"),
        ("sid", "generic", "sid", "linux-image-7.3-rc5-amd64"),
        ("backports", "generic", "trixie-backports", "linux-image-7.3.4+deb13-amd64"),
        ("backports", "cloud", "trixie-backports", "linux-image-7.3.4+deb13-cloud-amd64"),
        ("linux-image-6.1.0-9-amd64", "cloud", "bookworm", "linux-image-6.1.0-9-amd64"),
        ("linux-image-7.2.13+deb14-amd64", "cloud", "sid", "linux-image-7.2.13+deb14-amd64"),
        ("linux-image-7.3.4+deb13-amd64", "cloud", "trixie-backports", "linux-image-7.3.4+deb13-amd64"),
        ("linux-image-7.3.4+deb13-amd64/trixie-backports", "rt", "trixie-backports", "linux-image-7.3.4+deb13-amd64"),
        ("linux-image-amd64/trixie", "cloud", "trixie", "linux-image-amd64"),
    ],
)  # fmt: skip
def test_which_kernel(there: str, tmp_path: Path, asked: str, flavour: str, release: str, name: str) -> None:
    apt, package = find_package(asked, flavour, tmp_path, QUIET)
    assert (apt.release, package.name, package.release) == (release, name, release)
    # It can be resolved, with what it needs of its own suite.
    image = "linux-image-6.12.5+deb13-amd64" if name == "linux-image-amd64" else name
    assert [part.name for part in kernel_parts(apt, package)] == [image.replace("image", "binary"), image]
    kernel = find_kernel(asked, flavour, tmp_path, QUIET)
    assert kernel.release == image.removeprefix("linux-image-")
    assert kernel.vmlinuz.name == f"vmlinuz-{kernel.release}"


def test_an_unsigned_kernel_is_the_signed_ones_release(there: str, tmp_path: Path) -> None:
    kernel = find_kernel("linux-image-6.1.0-11-amd64-unsigned", "cloud", tmp_path, QUIET)
    assert kernel.release == "6.1.0-11-amd64"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("linux-image-amd64", r"Every release has a package linux-image-amd64.*linux-image-amd64/trixie"),
        ("linux-image-4.19.0-6-amd64", r"bullseye, bookworm, trixie, sid.*linux-image-4\.19\.0-6-amd64/RELEASE"),
        ("linux-image-6.1.0-9-amd64/sid", "Debian sid has no package linux-image-6.1.0-9-amd64"),
        ("4.19", r"knows no kernel '4\.19'.*5\.10, 6\.1, 6\.12, sid, backports.*linux-image-NAME.*cloud, generic, rt"),
        ("5.10", "Debian bullseye has no package linux-image-5.10"),
    ],
)  # fmt: skip
def test_a_kernel_that_is_not_there(there: str, tmp_path: Path, asked: str, words: str) -> None:
    with pytest.raises(LabError, match=words):
        find_kernel(asked, "generic", tmp_path, QUIET)


def test_a_kernel_whose_files_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists name it, the mirror does not have it: of a series the one before it serves, and the run says so."""
    packages = [*kernel("5.10.0-45-rt-amd64", "5.10.259-1"), *kernel("5.10.0-46-rt-amd64", "5.10.262-1")]
    suites = {"bullseye": [Made("linux-base", "4.12"), *packages], "bullseye-updates": []}
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", write_mirror(tmp_path / "mirror", suites))
    (tmp_path / "mirror/pool/linux-binary-5.10.0-46-rt-amd64_5.10.262-1_amd64.deb").unlink()
    said = Said()
    found = find_kernel("5.10", "rt", tmp_path / "cache", said)
    assert found.release == "5.10.0-45-rt-amd64"
    assert "linux-image-5.10.0-46-rt-amd64 5.10.262-1 cannot be fetched" in said.lines
    with pytest.raises(LabError, match=r"(?s)apt for Debian bullseye.*linux-binary-5\.10\.0-46-rt"):
        find_kernel("linux-image-5.10.0-46-rt-amd64/bullseye", "rt", tmp_path / "cache", QUIET)


def test_what_a_capture_would_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = [Made(name) for name in ("linux-headers-6.1.0-10-amd64", "libc6-dev", "gcc")]
    suites = {
        "sid": [Made(name) for name in USERLAND],
        "trixie": [Made("make")],
        "trixie-updates": [],
        "bookworm": [Made("linux-base"), *kernel("6.1.0-10-amd64", "6.1.10-1"), *compiler],
        "bookworm-updates": [],
    }
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", write_mirror(tmp_path / "mirror", suites))
    monkeypatch.setattr("kernlab.lab.fetch_plan.installed_qemu", lambda machine: "this machine's")
    cache = tmp_path / "cache"

    def planned() -> dict[str, tuple[int, int]]:
        plan = fetch_plan("6.1", SCENARIOS["panic"], "generic", cache, QUIET)
        return {part.what: (part.packages, part.size_bytes) for part in plan}

    def size(*names: str) -> tuple[int, int]:
        files = [file for name in names for file in (tmp_path / "mirror/pool").glob(f"{name}_*")]
        return len(files), sum(file.stat().st_size for file in files)

    assert planned() == {
        "guest's programs": size(*USERLAND),
        "kernel": size("linux-image-6.1.0-10-amd64", "linux-binary-6.1.0-10-amd64"),
        "compiler and headers": size(*(made.name for made in compiler)),
        "make": size("make"),
    }
    find_kernel("6.1", "generic", cache, QUIET)
    private_root(AptRoot("sid", cache), *USERLAND)
    assert set(planned()) == {"compiler and headers", "make"}


def test_sizes_are_told_before_the_fetching(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Said()
    apt = AptRoot("sid", tmp_path / "cache", said)
    packages = [apt.require("repeat"), apt.require("linux-base")]
    size = apt.size_bytes(packages)
    assert size > (LIBRARIES / "libc.so.6").stat().st_size
    files = apt.fetch_all(packages)
    assert size == sum(file.stat().st_size for file in files)
    assert said.lines[-1] == f"apt: fetching 2 packages of sid, {size / 1e6:,.1f} MB"
    assert apt.missing(packages) == []

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, size - 1))
    (tmp_path / "cache/packages").rename(tmp_path / "gone")
    with pytest.raises(LabError, match=r"2 packages of Debian sid: [\d.]+ MB are needed in .*cache"):
        apt.fetch_all(packages)


def test_a_cache_that_was_moved(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    names = ("repeat", "linux-headers-1", "linux-headers-1-common")
    before = private_root(AptRoot("sid", first), *names)
    assert find_kernel("6.1", "rt", first, QUIET).vmlinuz.is_file()
    shutil.copytree(first, second, symlinks=True)
    shutil.rmtree(first)

    # Nothing is fetched again: neither lists nor packages.
    said = Said()
    assert find_kernel("6.1", "rt", second, said).vmlinuz.is_relative_to(second)
    root = private_root(AptRoot("sid", second, said), *names)
    assert root == second / before.relative_to(first)
    assert said.lines == []
    for path in (program(root, "repeat"), program(root, "again"), root / "usr/lib/elsewhere/deep/again"):
        done = subprocess.run([path, "it runs"], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("it runs\n", "")
    if shutil.which("make"):
        command = ["make", "-s", "-C", str(root / "usr/src/linux-headers-1-amd64")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"{root}/usr/src/out\n", "")
    # Only what apt itself is told, anew each time that it is asked, names the folder.
    assert "repeat" in AptRoot("sid", second, said).names("repeat")
    naming = [path for path in second.rglob("*") if path.is_file() and bytes(first) in path.read_bytes()]
    assert naming == []


def test_a_cache_that_came_to_another_mirror(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", mirror)
    assert AptRoot("sid", tmp_path / "cache").require("linux-base").version == "4.12"
    assert [each.version for each in AptRoot("sid", tmp_path / "cache").closure("linux-base")] == ["4.12"]
    other = write_mirror(tmp_path / "other", {"sid": [Made("linux-base", "5")]})
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", other)
    assert AptRoot("sid", tmp_path / "cache").require("linux-base").version == "5"
    # What apt said of the other's lists is kept, and not true of these.
    assert [each.version for each in AptRoot("sid", tmp_path / "cache").closure("linux-base")] == ["5"]
    # One that cannot be reached leaves what is there.
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", f"[trusted=yes] file:{tmp_path}/nowhere")
    said = Said()
    assert AptRoot("sid", tmp_path / "cache", said).require("linux-base").version == "5"
    assert AptRoot("sid", tmp_path / "cache", said).names("linux-base") == ["linux-base"]
    assert [line for line in said.lines if "stay as they were" in line] == said.lines[-1:]
    assert set(KERNELS) >= {"5.10", "6.1", "6.12", "sid", "backports"}
