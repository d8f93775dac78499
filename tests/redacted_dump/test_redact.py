"""A redacted dump from its start to its end: the file, the manifest, the proof, and what is never written to."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.seed import SEED

import kernlab
from kernlab.commands.main import main
from kernlab.errors import KernlabError
from kernlab.redacted_dump import Redacted, compare, proof, redact, write
from kernlab.redacted_dump.proof import needles

SAMPLE = "debian-6.1"
HOME = "/home/"


@pytest.fixture(scope="module")
def vmcore(dump_files: Any) -> Path:
    path: Path = dump_files(SAMPLE).vmcore
    return path


@pytest.fixture(scope="module")
def done(vmcore: Path, tmp_path_factory: pytest.TempPathFactory) -> Redacted:
    folder = tmp_path_factory.mktemp("redacted")
    return redact(vmcore, folder / "vmcore", map_path=folder / "map.json")


class TestProven:
    """A redaction that went well."""

    def test_every_table_is_what_it_was_but_for_the_columns_named(self, done: Redacted) -> None:
        assert done.proof is not None
        assert done.proof.holds
        assert done.good
        assert {"tasks", "stacks", "slabs", "info", "symbols", "relay.channels"} <= {
            found.table for found in done.proof.tables
        }
        assert sum(found.rows for found in done.proof.tables) > 100_000

    def test_the_file_opens_and_says_that_it_is_redacted(self, done: Redacted, opened: Any) -> None:
        with kernlab.open(done.path) as dump:
            assert dump.info["redacted"] == "share"
            assert dump.redaction is None
            assert dump.kernel.vmcoreinfo["KERNLAB_REDACTED"] == f"share kernlab {kernlab.__version__}"
            assert "was redacted when it was written (level share)" in dump.problems[0]
            assert dump.tasks["pid"].tolist() == opened(SAMPLE).tasks["pid"].tolist()
        assert opened(SAMPLE).info["redacted"] is None

    def test_nobody_else_can_read_it_unless_its_owner_says_so(self, done: Redacted) -> None:
        assert stat.S_IMODE(done.path.stat().st_mode) == 0o600

    def test_the_manifest_is_of_the_file_beside_it(self, done: Redacted, vmcore: Path) -> None:
        held = json.loads(done.manifest_path.read_text())
        assert held == done.manifest
        data = done.path.read_bytes()
        assert held["file"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert held["file"]["bytes"] == len(data)
        assert held["proof"]["holds"] is True
        assert held["frames_left_out"] > 0
        with kernlab.open(vmcore) as original, kernlab.open(done.path) as dump:
            assert held["file"]["frames"] == dump.kernel.file.frame_count
            assert held["frames_left_out"] == original.kernel.file.frame_count - dump.kernel.file.frame_count

    def test_the_manifest_has_no_path_and_no_hash_of_the_original(self, done: Redacted, vmcore: Path) -> None:
        text = done.manifest_path.read_text()
        assert hashlib.sha256(vmcore.read_bytes()).hexdigest() not in text
        assert "/" not in text.replace("/proc/", "")
        assert vmcore.parent.parent.name not in text


def test_the_same_map_gives_the_same_bytes(done: Redacted, vmcore: Path, tmp_path: Path) -> None:
    again = redact(vmcore, tmp_path / "again", map_path=done.path.parent / "map.json", verify=False)
    assert again.proof is None
    assert again.manifest["file"]["sha256"] == done.manifest["file"]["sha256"]
    assert json.loads(again.manifest_path.read_text())["proof"] is None


class TestUnproven:
    """What does not hold never gets the name that was asked for."""

    def test_a_column_that_is_not_named(
        self, vmcore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = write._write

        def changed(hidden: Any, path: Path, level: str) -> Any:
            """Another priority of a task."""
            from support.overlay import Overlay

            overlay = Overlay(hidden)
            task = int(hidden.tasks[hidden.tasks.comm == "wrk-2"].iloc[0].address)
            overlay.set("struct task_struct", task, "static_prio", 121)
            with overlay.dump() as other:
                return real(other, path, level)

        monkeypatch.setattr(write, "_write", changed)
        # TestProven has all of them compared.
        tables = [one for one in compare._tables() if one[0] in ("tasks", "zones")]
        monkeypatch.setattr(compare, "_tables", lambda: iter(tables))
        done = redact(vmcore, tmp_path / "out")
        assert done.proof is not None
        assert not done.good
        assert ("tasks", "nice", 1) in done.proof.unexpected
        assert done.path == tmp_path / "out.unproven"
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "out.unproven",
            "out.unproven.manifest.json",
        ]
        assert done.manifest["proof"]["holds"] is False
        assert done.manifest["proof"]["tables"]["tasks"]["cells_that_differ"] == {"nice": 1}

    def test_a_secret_that_is_still_there(
        self,
        vmcore: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        # A name that the redaction says it hid, and did not: the log has it.
        monkeypatch.setattr(proof, "compare", lambda original, redacted: [])
        real = proof.needles
        monkeypatch.setattr(
            proof,
            "needles",
            lambda *given: [*real(*given), (b"sysrq: Trigger a crash", ("host name", "text"))],
        )
        assert main(["redact", str(vmcore), "-o", str(tmp_path / "out")]) == 1
        told = capsys.readouterr()
        assert "host name (text): 1 times" in told.out
        assert "sysrq: Trigger" not in told.out
        assert told.out.endswith("NOT PROVEN: do not pass this dump on.\n")
        assert not (tmp_path / "out").exists()
        text = (tmp_path / "out.unproven.manifest.json").read_text()
        assert "sysrq" not in text
        assert json.loads(text)["proof"]["strings_found"][0]["times"] == 1


class TestNames:
    """What is never written to."""

    def refused(self, match: str, *words: Any, **more: Any) -> None:
        with pytest.raises(KernlabError, match=match):
            redact(*words, **more)

    def test_the_input(self, vmcore: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(vmcore)
        before = vmcore.stat()
        self.refused("is the dump itself", vmcore, vmcore, force=True)
        self.refused("is the dump itself", vmcore, link, force=True)
        self.refused("is the dump itself", vmcore, tmp_path / "out", map_path=link)
        self.refused("is the dump itself", [tmp_path / "other", vmcore], link, force=True)
        after = vmcore.stat()
        assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)

    @pytest.mark.parametrize("name", ["out", "out.manifest.json", "out.unproven"])
    def test_a_file_that_is_there(self, name: str, vmcore: Path, tmp_path: Path) -> None:
        (tmp_path / name).write_text("mine")
        self.refused(f"{name} is already there; --force", vmcore, tmp_path / "out")
        assert (tmp_path / name).read_text() == "mine"

    def test_a_folder(self, vmcore: Path, tmp_path: Path) -> None:
        self.refused("is a folder", vmcore, tmp_path, force=True)

    def test_the_map_goes_nowhere_near_what_goes_out(self, vmcore: Path, tmp_path: Path) -> None:
        for name in ("out", "out.manifest.json"):
            self.refused("stays at home", vmcore, tmp_path / "out", map_path=tmp_path / name, force=True)

    def test_a_level_that_hides_nothing(self, vmcore: Path, tmp_path: Path) -> None:
        self.refused("hides nothing", vmcore, tmp_path / "out", level="none")
        self.refused("secret", vmcore, tmp_path / "out", level="secret")
        assert list(tmp_path.iterdir()) == []

    def test_nothing_stays_of_what_was_interrupted(
        self, vmcore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(write, "prove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            redact(vmcore, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_the_command_line(
    vmcore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof, "compare", lambda original, redacted: [])
    words = ["redact", str(vmcore), "-o", str(tmp_path / "out"), "--map", str(tmp_path / "map")]
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out.startswith("Hidden at level share:\n")
    assert "page frames left out" in told.out
    assert told.out.endswith("\nProven.\n")
    assert "keep it at home" in told.err
    assert main([*words, "--force", "--no-verify", "--format", "json", "--quiet"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((tmp_path / "out.manifest.json").read_text())
    assert told.err == ""
    assert main(words) == 2
    assert "already there" in capsys.readouterr().err


def test_what_is_looked_for() -> None:
    """Text in two encodings, addresses as numbers in both orders; nothing that everything has."""
    known: dict[str, Any] = {
        "seen": {
            "host name": {"vault-7": "gtvtk-8", "abc": "xyz", "same": "same", "server": "ltzkch"},
            "IPv4 address": {"10.83.174.94": "10.86.1.2", "10.0.0.1": "10.9.0.3"},
            "IPv6 address": {"fd7c::1": "fd11::2"},
            "MAC address": {"52:5e:9a:c3:47:d8": "02:11:22:33:44:55"},
            "name of a program": {"memory": "qwerty"},
            "path below home": {"notes.txt": "abcde.txt", f"{HOME}me/notes.txt": f"{HOME}xy/abcde.txt"},
        }
    }
    found = dict(needles(known, lambda name: name in (b"server", b"memory")))
    assert found[b"vault-7"] == ("host name", "text")
    assert found["vault-7".encode("utf-16-le")] == ("host name", "UTF-16")
    assert bytes([10, 83, 174, 94]) in found
    assert bytes([94, 174, 83, 10]) in found
    # 10.0.0.1 is a small number in host order, and many a struct has it.
    assert bytes([10, 0, 0, 1]) not in found
    assert bytes.fromhex("525e9ac347d8") in found
    assert bytes.fromhex("fd7c" + "00" * 13 + "01") in found
    assert f"{HOME}me/notes.txt".encode() in found
    assert not {b"notes.txt", b"abc", b"same", b"memory", b"server"} & set(found)


@pytest.mark.parametrize("form", [("elf", "lime")[SEED % 2]])
def test_another_format_becomes_a_kdump(
    form: str, dump_files: Callable[[str], Any], real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").write_bytes(getattr(real, form)())
    monkeypatch.setattr(proof, "compare", lambda original, redacted: [])
    done = redact(tmp_path / "image", tmp_path / "out")
    assert done.good
    with kernlab.open(done.path) as dump:
        assert dump.info["format"] == "kdump-zlib"
        assert dump.info["release"].startswith("6.1.")
        assert dump.info["redacted"] == "share"
