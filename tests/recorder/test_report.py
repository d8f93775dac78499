"""Status as text, and the subcommands of `kernlab recorder` that need no root."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kernlab.commands.main import main
from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.report import text
from kernlab.recorder.start import start

RUNNING: dict[str, Any] = {
    "running": True,
    "pid": 812,
    "created": True,
    "started": 1000.0,
    "events": ["sched/sched_switch", "oom/mark_victim"],
    "missing": ["block/block_rq_error"],
    "settings": {"interval_ms": 200},
    "problems": ["sdb is gone; its trace ended."],
    "cpus": {
        "0": {
            "entries": 5,
            "overrun": 1000,
            "bytes": 4 << 20,
            "lost": 3,
            "size_bytes": 4 << 20,
            "reach_seconds": 4.5,
        },
        "1": {
            "entries": 5,
            "overrun": 0,
            "bytes": 1 << 20,
            "lost": 0,
            "size_bytes": 4 << 20,
            "reach_seconds": 99.0,
        },
    },
    "figures": {
        "marks": 600,
        "marks_refused": 0,
        "longest_gap_seconds": 0.31,
        "seconds": 120.0,
        "cpu_seconds": 1.2,
        "disks": {"sda": {"kept_by": "beginning anew", "written_bytes": 5, "dropped": None, "restarts": 2}},
    },
}


def test_what_runs_is_told() -> None:
    told = text(RUNNING, now=1120.0).splitlines()
    assert told == [
        "The recorder runs as process 812 for 2 minutes: 2 events, a mark each 200 ms.",
        "Buffers: 5.0 MiB of 8.0 MiB on 2 CPUs, 1,000 events overwritten by newer ones.",
        "They reach back 4.5 s (CPU 0) to 99.0 s.",
        "3 events were lost while they were written.",
        "Marks: 600, 0 refused by the kernel, longest gap 0.31 s; the service took 1.0% of one CPU.",
        "blktrace of sda: kept fresh by beginning anew, begun anew 2 times; events dropped: not known.",
        "This kernel has no block/block_rq_error.",
        "sdb is gone; its trace ended.",
    ]


def test_what_a_killed_one_left_is_told() -> None:
    assert "was killed" in text({**RUNNING, "running": False})
    assert text({"running": False, "cpus": {}}) == "No recorder runs, and none left anything."


@pytest.mark.parametrize(
    "words", [["start", "--event", "nonsense"], ["start", "--share", "0"], ["start", "--tasks", "-1"]]
)
def test_what_cannot_be_recorded_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recorder", *words]) == 2
    assert capsys.readouterr().err.startswith("kernlab: ")


def test_others_than_root_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb in ("start", "status", "stop", "install", "uninstall", "read"):
        assert main(["recorder", verb]) == 2
        assert "root" in capsys.readouterr().err


def test_why_it_did_not_start_is_the_services_own_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = service.Machine(run=str(tmp_path / "run"))
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; print('kernlab recorder: tracefs is shut.', file=sys.stderr); sys.exit(2)")
    monkeypatch.setattr("kernlab.recorder.start.FOLDER", broken)
    with pytest.raises(KernlabError, match="did not start: tracefs is shut"):
        start([], machine)


def test_start_comes_back_once_it_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = tmp_path / "records.py"
    records.write_text(
        "import os, sys, time\n"
        f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:-1]))\n"
        "os.write(int(sys.argv[-1].partition('=')[2]), b'ready\\n')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr("kernlab.recorder.start.FOLDER", records)
    pid = start(["--disk=sda"], service.Machine(run=str(tmp_path / "run")))
    try:
        assert (tmp_path / "words").read_text() == "run --disk=sda"
        assert os.getsid(pid) == pid  # the terminal's end does not end it
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
