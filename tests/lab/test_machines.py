"""Guests of another machine than this one: their packages beside those of this one, their images, what QEMU is told.

Needs apt-get and dpkg-deb for the packages, and no network.
"""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lab.apt_mirror import Made, write_mirror

from kernlab.commands.lab import what_next
from kernlab.lab import capture, kept_captures
from kernlab.lab.apt_root import AptRoot
from kernlab.lab.capture_options import Options
from kernlab.lab.guest_files import find_userland
from kernlab.lab.guest_kernel import find_kernel, find_package, toolchain_parts
from kernlab.lab.kernel_image import types_in, unpacked_image
from kernlab.lab.machine import AMD64, ARM64
from kernlab.lab.make_samples import make_sample
from kernlab.lab.own_kernel import kernel_named
from kernlab.lab.private_root import private_root
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import LabError, Progress

QUIET = Progress(None)
VERSION = "6.12.5-1"


def kernel(abi: str) -> list[Made]:
    """A kernel of arm64 and its headers, which need programs of the machine that builds."""
    lists_all = "CONFIG_KALLSYMS_ALL=y" if "rt" not in abi else "# CONFIG_KALLSYMS_ALL is not set"
    files: dict[str, str | Path] = {f"boot/vmlinuz-{abi}": "an image", f"boot/config-{abi}": lists_all}
    image = Made(f"linux-image-{abi}", VERSION, files=files, architecture="arm64")
    headers = Made(
        f"linux-headers-{abi}",
        VERSION,
        "linux-headers-6.12-common, linux-kbuild-6.12, gcc-14",
        files={f"usr/src/linux-headers-{abi}/Makefile": f"of {abi}\n"},
        architecture="arm64",
    )
    return [image, headers]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> str:
    for name in ("apt-get", "dpkg-deb"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not here")
    both = [
        Made(name, VERSION, files={f"usr/share/{name}": architecture}, architecture=architecture)
        for name in ("linux-kbuild-6.12", "gcc-14")
        for architecture in ("amd64", "arm64")
    ]
    common = Made("linux-headers-6.12-common", VERSION, files={"usr/src/common": "all"}, architecture="all")
    cross = [Made(name, files={f"usr/share/{name}": "cross"}) for name in ARM64_COMPILER]
    abis = (
        "6.12.5+deb13-cloud-arm64",
        "6.12.5+deb13-arm64",
        "6.12.4+deb13-arm64-16k",
        "6.12.5+deb13-rt-arm64",
    )
    trixie = [*both, common, *cross, *(made for abi in abis for made in kernel(abi))]
    trixie.append(Made("linux-image-6.12.9+deb13-cloud-amd64", VERSION))
    # The package of an image has a System.map that says where the real one is.
    for abi in abis:
        place = f"usr/lib/debug/boot/System.map-{abi}"
        trixie.append(
            Made(f"linux-image-{abi}-dbg", VERSION, files={place: f"of {abi}"}, architecture="arm64")
        )
    return write_mirror(tmp_path_factory.mktemp("mirror"), {"trixie": trixie, "trixie-updates": []})


ARM64_COMPILER = ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross")


@pytest.fixture
def there(mirror: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The mirror is the machine's."""
    monkeypatch.setenv("KERNLAB_LAB_MIRROR", mirror)
    monkeypatch.delenv("KERNLAB_LAB_SECURITY_MIRROR", raising=False)
    return mirror


@pytest.mark.parametrize(
    ("flavour", "release"),
    [
        ("cloud", "6.12.5+deb13-cloud-arm64"),
        ("generic", "6.12.5+deb13-arm64"),
        ("16k", "6.12.4+deb13-arm64-16k"),
        ("rt", "6.12.5+deb13-rt-arm64"),
    ],
)
def test_a_series_is_found_for_the_machine(there: str, tmp_path: Path, flavour: str, release: str) -> None:
    found = find_kernel("6.12", flavour, tmp_path, QUIET, ARM64)
    assert found.release == release
    assert found.machine is ARM64
    assert found.vmlinuz.read_text() == "an image"
    assert find_package("6.12", "cloud", tmp_path, QUIET)[1].name == "linux-image-6.12.9+deb13-cloud-amd64"


def test_what_a_machine_has_not_is_told(there: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="flavours of amd64 cloud, generic, rt"):
        find_package("6.12", "16k", tmp_path, QUIET)
    with pytest.raises(LabError, match="knows no machine 's390x': amd64, arm64"):
        Options(machine="s390x").check()
    tree = tmp_path / "tree"
    (tree / "arch/x86/boot").mkdir(parents=True)
    (tree / "arch/x86/boot/bzImage").touch()
    with pytest.raises(LabError, match="built for amd64, and a guest of arm64 was asked for"):
        kernel_named(str(tree), "cloud", tmp_path, QUIET, ARM64)


def test_modules_are_built_by_this_machines_programs_and_the_guests_headers(
    there: str, tmp_path: Path
) -> None:
    release = "6.12.5+deb13-cloud-arm64"
    host, names, foreign = toolchain_parts(AptRoot("trixie", tmp_path, QUIET, "arm64"), release)
    assert (host.architecture, names) == ("amd64", [*ARM64_COMPILER, "linux-kbuild-6.12"])
    assert foreign is not None
    assert [part.name for part in foreign[1]] == ["linux-headers-6.12-common", f"linux-headers-{release}"]
    root = private_root(host, *names, foreign=foreign)
    assert (root / f"usr/src/linux-headers-{release}/Makefile").read_text().endswith(f"of {release}\n")
    assert (root / "usr/src/common").read_text() == "all"
    assert (root / "usr/share/linux-kbuild-6.12").read_text() == "amd64"
    assert not (root / "usr/share/gcc-14").exists()
    # Of another kernel it is another root.
    other = toolchain_parts(foreign[0], "6.12.5+deb13-rt-arm64")
    assert private_root(host, *other[1], foreign=other[2]) != root


def test_a_kernel_that_names_functions_only_comes_with_its_symbols(there: str, tmp_path: Path) -> None:
    assert find_kernel("6.12", "generic", tmp_path, QUIET, ARM64).system_map() is None
    found = find_kernel("6.12", "rt", tmp_path, QUIET, ARM64)
    symbols = found.system_map()
    assert symbols is not None
    assert symbols.read_text() == "of 6.12.5+deb13-rt-arm64"
    # The package is large, and is fetched once.
    assert not list((tmp_path / "packages").glob("*-dbg_*"))
    shutil.move(tmp_path / "apt", tmp_path / "gone")
    assert found.system_map() == symbols
    capture: Any = SimpleNamespace(folder=tmp_path, dumps=(tmp_path / "vmcore",))
    assert "symbols" not in what_next(capture)
    shutil.copy(symbols, tmp_path / "System.map")
    told = what_next(capture)
    assert f"kernlab info {tmp_path}/vmcore --symbols {tmp_path}/System.map " in told
    assert f", symbols='{tmp_path}/System.map')" in told


def test_packages_of_two_machines_lie_side_by_side_in_the_cache(there: str, tmp_path: Path) -> None:
    for architecture in ("amd64", "arm64"):
        apt = AptRoot("trixie", tmp_path, QUIET, architecture)
        package = apt.require("gcc-14")
        assert apt.missing([package]) == [package]
        assert apt.fetch(package).name == f"gcc-14_{VERSION}_{architecture}.deb"
        assert (apt.unpacked(package) / "usr/share/gcc-14").read_text() == architecture
        # One of all machines is fetched once.
        common = apt.require("linux-headers-6.12-common")
        assert bool(apt.missing([common])) is (architecture == "amd64")
        apt.fetch(common)


def btf(size: int) -> bytes:
    """A blob of BTF of this size, with nothing in it."""
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, size - 24 - 8, size - 32, 8).ljust(size, b"\0")


def test_an_image_of_arm64_gives_its_types(tmp_path: Path) -> None:
    blob = btf((1 << 20) + 4096)
    # What only begins like one, and a module's: neither is the kernel's.
    image = bytearray(b"MZ".ljust(4096, b"\0") + btf(4096)[:16] + bytes(16) + btf(8192) + blob + b"after")
    image[56:60] = b"ARM\x64"
    place = tmp_path / "vmlinuz"
    for packed in (bytes(image), gzip.compress(bytes(image)), b"MZ\0\0zimg" + gzip.compress(bytes(image))):
        place.write_bytes(packed)
        assert unpacked_image(place) == image
    assert types_in(bytes(image)) == blob
    for without in (bytes(image[:-100]), b"\x9f\xeb\x01\0", b""):
        with pytest.raises(LabError, match="no types"):
            types_in(without)
    place.write_bytes(b"neither")
    with pytest.raises(LabError, match="no image that the lab can unpack"):
        unpacked_image(place)


def test_qemu_is_told_of_the_machine(tmp_path: Path) -> None:
    def told(**words: Any) -> tuple[list[str], dict[str, str]]:
        run = capture._Run(SCENARIOS["lockup"], Options(**words), tmp_path, QUIET)
        kernel: Any = SimpleNamespace(vmlinuz=tmp_path / "vmlinuz")
        hardware = run._hardware()
        said = hardware.qemu_words("tcg", kernel, tmp_path, "")
        values = {name: said[said.index(name) + 1] for name in ("-machine", "-cpu", "-append")}
        return said, {**values, "crash": hardware.crash_cmdline()}

    _, arm = told(machine="arm64")
    assert arm["-machine"].startswith("virt,")
    assert arm["-cpu"] == "max,pauth-impdef=on"
    for line in (arm["-append"], arm["crash"]):
        assert "console=ttyAMA0" in line.split()
        assert "no_timer_check" not in line
    assert told(machine="arm64", la57=False)[1]["-cpu"] == "max,pauth-impdef=on,lpa2=off"
    _, pc = told(la57=False)
    assert (pc["-machine"], pc["-cpu"]) == ("pc", "max,la57=off,hypervisor=off")
    assert AMD64.cpu("kvm", larger_addresses=True, bare=False) == "host"


def test_a_capture_of_another_machine_is_kept_under_its_name() -> None:
    options = Options(kernel="6.12", machine="arm64")
    assert kept_captures.slot_of("panic", options).startswith("panic-6.12-cloud-arm64-5levels-")
    # What was captured before there were other machines is found where it lies.
    assert kept_captures.slot_of("panic", Options(kernel="6.12")).startswith("panic-6.12-cloud-5levels-")


def test_the_sample_of_arm64_is_not_made_by_a_makedumpfile_that_cannot(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"Sample arm64 is of arm64, .*scripts/build_makedumpfile\.py"):
        make_sample("arm64", tmp_path, progress=QUIET)


def test_a_makedumpfile_of_another_machine_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "makedumpfile"
    place.write_text("#!/bin/sh\n")
    with pytest.raises(LabError, match="cannot be read as a program"):
        find_userland(tmp_path, QUIET, ARM64, str(place))
    with pytest.raises(LabError, match="is a program of x64, and the guest is one of arm64"):
        find_userland(tmp_path, QUIET, ARM64, "/bin/ls")
    with pytest.raises(LabError, match="is no makedumpfile"):
        find_userland(tmp_path, QUIET, AMD64, "/bin/ls")
