"""Kernels that were built from source on this machine: what the lab takes of their trees."""

from __future__ import annotations

import pytest

from kernlab.lab import fetch_plan as plan_module
from kernlab.lab import own_kernel as module
from kernlab.lab.machine import AMD64
from kernlab.lab.own_kernel import is_tree, own_kernel
from kernlab.lab.scenarios import SCENARIOS
from kernlab.lab.steps import LabError, Progress

QUIET = Progress(None)


@pytest.fixture
def tree(tmp_path):
    """As a build leaves it, as far as the lab looks."""
    root = tmp_path / "linux"
    for name, content in (
        ("arch/x86/boot/bzImage", b"an image"),
        ("include/config/kernel.release", b"6.12.117-kernlab\n"),
        ("drivers/net/some-driver.ko", b"\x7fELF\0depends=\0"),
    ):
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return root


def test_a_tree_is_told_from_the_names_of_kernels(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "6.1").mkdir()
    assert is_tree(str(tree))
    assert is_tree("./linux")
    for name in (
        "linux",
        "6.1",
        "sid",
        "linux-image-6.1.0-11-amd64",
        "linux-image-6.1.0-11-amd64/trixie",
        "./6.1",
    ):
        assert not is_tree(name)


def test_what_is_booted_and_loaded_comes_from_the_tree(tree, tmp_path):
    kernel = own_kernel(tree, tmp_path / "cache", QUIET)
    assert kernel.release == "6.12.117-kernlab"
    assert kernel.vmlinuz.read_bytes() == b"an image"
    assert list(kernel.with_dependencies(["some-driver", "virtio_blk"])) == ["some_driver"]


def test_what_was_built_for_another_image_is_built_again(tree, tmp_path, monkeypatch):
    asked = []

    def build(command, **options):
        asked.append([str(word) for word in command])
        if "-o" in command:
            command[-1].write_bytes(b"a program")

    monkeypatch.setattr(module, "run", build)
    kernel = own_kernel(tree, tmp_path / "cache", QUIET)
    first = kernel.build("truth")
    assert kernel.build("truth") == first
    assert [words[0] for words in asked] == ["cc"]
    (tree / "arch/x86/boot/bzImage").write_bytes(b"another image")
    assert own_kernel(tree, tmp_path / "cache", QUIET).build("truth") != first
    assert len(asked) == 2


def test_a_kernel_without_types_of_its_own_comes_with_its_vmlinux(tree, tmp_path):
    kernel = own_kernel(tree, tmp_path / "cache", QUIET)
    assert kernel.debug_file is None
    vmlinux = tree / "vmlinux"
    vmlinux.write_bytes(b"\x7fELF")
    (tree / ".config").write_text("# CONFIG_DEBUG_INFO_BTF is not set\nCONFIG_BPF=y\n")
    assert kernel.debug_file == vmlinux
    (tree / ".config").write_text("CONFIG_DEBUG_INFO_BTF=y\n")
    assert kernel.debug_file is None


def test_a_build_that_ended_early_is_refused(tree, tmp_path):
    (tree / "include/config/kernel.release").unlink()
    with pytest.raises(LabError, match="ended early"):
        own_kernel(tree, tmp_path, QUIET)


def test_nothing_is_fetched_for_it_but_what_runs_it(tree, tmp_path, monkeypatch):
    def fetches(kernel):
        monkeypatch.setattr(plan_module, "_root", lambda what, *_, **words: [(what, None, [])])
        monkeypatch.setattr(plan_module, "installed_qemu", lambda machine: None)
        wanted = plan_module._wanted(kernel, SCENARIOS["panic"], "cloud", tmp_path, QUIET, AMD64)
        return [what for what, *_ in wanted]

    assert fetches(str(tree)) == ["QEMU", "guest's programs"]
