"""kernlab.sample and kernlab.samples: found in a checkout or where KERNLAB_SAMPLES says, an error elsewhere."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from support.truth import Truth

import kernlab

ROOT = Path(__file__).resolve().parents[2]


def test_a_sample_is_found_by_name() -> None:
    path = kernlab.sample("debian-6.1")
    assert path == ROOT / "samples" / "debian-6.1" / "vmcore"
    assert path.is_file()


def test_the_list_names_what_is_there() -> None:
    frame = kernlab.samples()
    assert list(frame.columns) == ["name", "description", "file_bytes", "path"]
    there = {
        folder.name for folder in (ROOT / "samples").iterdir() if folder.is_dir() and folder.name[0] != "."
    }
    assert set(frame["name"]) == there
    assert frame["description"].notna().all()
    assert [Path(path).stat().st_size for path in frame["path"]] == frame["file_bytes"].tolist()


@pytest.mark.parametrize("name", ["nothing", "../debian-6.1", "", "debian-6.1/vmcore"])
def test_an_unknown_name_says_what_there_is(name: str) -> None:
    with pytest.raises(kernlab.KernlabError, match=r"debian-6\.1.*make samples"):
        kernlab.sample(name)


def test_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "vmcore.xz").write_bytes(lzma.compress(b"x"))
    (tmp_path / "no dump").mkdir()
    monkeypatch.setenv("KERNLAB_SAMPLES", str(tmp_path))
    assert kernlab.sample("mine") == tmp_path / "mine" / "vmcore.xz"
    assert kernlab.samples()["name"].tolist() == ["mine"]
    assert kernlab.samples()["description"].isna().all()


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERNLAB_SAMPLES", str(tmp_path / "gone"))
    with pytest.raises(kernlab.KernlabError, match="KERNLAB_SAMPLES"):
        kernlab.samples()


def test_no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kernlab import sample_dumps

    monkeypatch.delenv("KERNLAB_SAMPLES", raising=False)
    monkeypatch.setattr(
        sample_dumps, "__file__", str(tmp_path / "site-packages" / "kernlab" / "sample_dumps.py")
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kernlab.KernlabError, match="Clone the repository"):
        kernlab.samples()


def made_by_the_lab() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "samples").glob("*/vmcore.xz"))


@pytest.mark.parametrize("name", made_by_the_lab())
def test_a_sample_agrees_with_its_truth(name: str) -> None:
    """Each sample opens, is whole, and its processes, modules and symbols are those that its guest listed."""
    truth = Truth(ROOT / "samples" / name / "truth.tar.xz")
    assert (ROOT / "samples" / name / "vmcore.xz").stat().st_size <= 16 << 20
    with kernlab.open(kernlab.sample(name)) as dump:
        assert dump.info["release"] == truth.release()
        assert dump.info["slab_frames_absent"] == 0
        assert dump.info["table_frames_absent"] == 0
        tasks = dump.tasks
        user = tasks[~tasks["kthread"] & (tasks["pid"] == tasks["tgid"]) & (tasks["pid"] > 0)]
        told = truth.tasks()
        told = told[~told["kthread"]].set_index("pid")["comm"]
        # The story goes on for a moment: sleeps end and begin, and the truth's own writer is gone.
        stayed = {pid: comm for pid, comm in told.items() if comm not in ("truthtar", "sleep")}
        if name == "oops":
            # The last thing that its init did was to take the name of the program that dies.
            assert stayed[1] == "init"
            stayed[1] = "billing"
        if name == "flight":
            # The OOM killer took one, and the children of `batch` end by themselves.
            assert "reports" in stayed.values()
            stayed = {pid: comm for pid, comm in stayed.items() if comm != "reports" and "batch-" not in comm}
        assert stayed.items() <= dict(zip(user["pid"], user["comm"], strict=True)).items()
        assert set(dump.modules["name"]) == set(truth.modules()["name"])
