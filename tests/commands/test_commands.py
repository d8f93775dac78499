"""The command `kernlab`: what it prints, its exit statuses, and what it is quiet about."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SAMPLES
from kdump_status.status_trees import tree
from support.memory_runs import write_raw

import kernlab
from kernlab.commands import main, verbs, writing
from kernlab.errors import DumpFileError, KernlabError, TruncatedDumpWarning
from kernlab.escape import escape_csv

DUMP = str(SAMPLES / "debian-6.1" / "vmcore")


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kernlab", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.main(words) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def dump() -> kernlab.Dump:
    return kernlab.open(DUMP)


def test_help_names_the_subcommands_and_imports_nothing_heavy() -> None:
    done = run("--help", PYTHONVERBOSE="1")
    assert done.returncode == 0
    for name in ("info", "tables", "table", "bt", "capture"):
        assert f"\n  {name} " in done.stdout
    assert "\n  stack " not in done.stdout
    for heavy in ("numpy", "pandas", "matplotlib", "IPython", "rich", "pydantic"):
        assert f"import '{heavy}'" not in done.stderr


def test_an_address_is_given_as_everywhere(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    address = dump.symbol("init_task")
    ways = ["init_task", f"{address:#x}", f"{address:x}", str(address), str(address - (1 << 64))]
    told = {way: printed(capsys, "table", DUMP, "owner", way) for way in ways}
    assert len(set(told.values())) == 1
    assert "init_task" in told["init_task"]
    assert "symbol" in told["init_task"]
    for bad, why in (("1.5", "'1.5' is not an address"), ("init_tsk", "did you mean init_task")):
        done = run("table", DUMP, "owner", bad)
        assert done.returncode == 2
        assert done.stderr.startswith("kernlab: ")
        assert why in done.stderr
        assert "arguments" not in done.stderr


def test_a_part_that_is_not_there_has_no_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: verbs.VERBS[name] for name in ("info", "capture")}
    monkeypatch.setattr(
        verbs, "VERBS", kept | {"capture": replace(kept["capture"], module="not_written_yet")}
    )
    assert main.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "\n  info " in page
    assert "capture " not in page


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "info", DUMP)
    assert text.startswith("Linux 6.1.0-56-cloud-amd64 on ")
    assert "sysrq triggered crash" in text
    assert "dump level 31" in text


def test_a_raw_image_is_opened_when_it_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str], dump: kernlab.Dump, tmp_path: Path
) -> None:
    path = str(write_raw(dump.kernel.file, tmp_path / "memory.raw"))
    assert main.main(["info", path]) == main.ERROR
    assert "format='raw'" in capsys.readouterr().err
    facts = json.loads(printed(capsys, "info", path, "--format", "json", "--dump-format", "raw"))
    assert facts["format"] == "raw"
    assert facts["release"] == dump.info["release"]
    rows = printed(capsys, "table", path, "tasks", "--columns", "pid", "--dump-format", "raw").split()
    assert rows == ["pid", *map(str, dump.tasks["pid"])]
    assert main.main(["tables", path, "--dump-format", "limes"]) == main.ERROR
    assert "did you mean lime?" in capsys.readouterr().err


def test_info_as_json(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    facts = json.loads(printed(capsys, "info", DUMP, "--json"))
    assert facts["release"] == "6.1.0-56-cloud-amd64"
    assert facts["panic_cpu"] == 1
    assert facts["crash_time"].startswith("2026-11-23T08:18:55")
    assert facts["uptime"] == dump.info["uptime"].total_seconds()
    assert set(facts) == {*dump.info.index, "problems"}


def test_tables_lists_every_table(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    listed = [line.split()[0] for line in printed(capsys, "tables").splitlines()]
    assert listed == sorted(dump.tables.name)


def test_tables_of_a_dump_are_listed_with_its_traces(
    capsys: pytest.CaptureFixture[str], dump: kernlab.Dump
) -> None:
    listed = [line.split()[0] for line in printed(capsys, "tables", DUMP).splitlines()]
    assert listed[: len(dump.tables)] == sorted(dump.tables.name)
    views = listed[len(dump.tables) :]
    assert "relay.channels" in views
    assert all("." in name for name in views)
    for name in views:
        assert printed(capsys, "table", DUMP, name, "--head", "1")


def test_a_table_as_text(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    lines = printed(capsys, "table", DUMP, "tasks", "--columns", "pid,comm,address,start_time").splitlines()
    assert lines[0].split() == ["pid", "comm", "address", "start_time"]
    assert len(lines) == 1 + len(dump.tasks)
    init = next(line.split() for line in lines if line.split()[:2] == ["1", "init"])
    row = dump.tasks[dump.tasks.pid == 1].iloc[0]
    assert init[2] == f"{int(row.address):#018x}"
    assert float(init[3]) == row.start_time.total_seconds()


def test_a_table_as_csv(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    text = printed(capsys, "table", DUMP, "log", "--csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["text"] for row in rows] == [escape_csv(text) for text in dump.log.text]
    assert rows[0]["timestamp"] == "0.000000000"


def test_a_table_as_json(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    rows = json.loads(printed(capsys, "table", DUMP, "tasks", "--json"))
    assert [row["pid"] for row in rows] == dump.tasks.pid.to_list()
    # Kernel threads have no memory of their own: read as 0, and their sizes do not apply.
    thread = next(row for row in rows if row["comm"] == "kthreadd")
    assert thread["mm"] == "0x0000000000000000"
    assert thread["rss_bytes"] is None
    assert thread["kthread"] is True


def test_a_stack(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    kcompactd = int(dump.tasks.loc[dump.tasks["comm"] == "kcompactd0", "pid"].iloc[0])
    for words, expected in (
        ((), dump.stack.of_panic()),
        (("-c", "0"), dump.stack(cpu=0)),
        ((str(kcompactd),), dump.stack(kcompactd)),
        (("kcompactd0",), dump.stack(kcompactd)),
    ):
        assert printed(capsys, "bt", DUMP, *words) == f"{expected!r}\n"
    for words, why in (
        (("1", "--cpu", "0"), "name a thread or a CPU, or ask for --all"),
        (("--cpu", "99"), "nothing is known to have run on CPU 99"),
        (("kcompactd",), "did you mean kcompactd0"),
    ):
        assert main.main(["bt", DUMP, *words]) == 2
        told = capsys.readouterr()
        assert not told.out
        assert why in told.err


def test_all_stacks(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    text = printed(capsys, "bt", DUMP, "--all")
    groups = dump.stacks.groups()
    blocks = text.split("\n\n")
    assert len(blocks) == len(groups)
    assert [int(block.partition(" ")[0].replace(",", "")) for block in blocks] == groups["count"].to_list()
    frames = [[line.strip() for line in block.splitlines()[1:]] for block in blocks]
    assert frames == [held.splitlines() for held in groups["frames"]]


def test_query_sort_and_head(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    words = ["--query", "kthread and pid > 2", "--sort", "pid", "--descending", "--head", "3"]
    text = printed(capsys, "table", DUMP, "tasks", *words, "--columns", "pid", "--csv")
    expected = dump.tasks.query("kthread and pid > 2").pid.sort_values(ascending=False).head(3)
    assert text.split() == ["pid", *map(str, expected)]


def test_tables_with_arguments_and_of_views(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, "table", DUMP, "slab_objects", "vm_area_struct", "--json"))
    assert {row["cache"] for row in rows} == {"vm_area_struct"}
    channels = json.loads(printed(capsys, "table", DUMP, "relay.channels", "--json"))
    assert {row["name"] for row in channels} == {"vda/trace"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "/nowhere/vmcore"], "/nowhere/vmcore"),
        (["info", __file__], "kernlab: "),
        (["table", DUMP, "taks"], "did you mean tasks"),
        (["table", DUMP, "relay.chanels"], "did you mean channels"),
        (["table", DUMP], f"kernlab table {DUMP} NAME. There are: allocations"),
        (["table", "tasks"], "kernlab table VMCORE tasks"),
        (["tables", "/nowhere/vmcore"], "/nowhere/vmcore"),
        (["table", DUMP, "close"], "not a table but a NoneType"),
        (["table", DUMP, "_built"], "there is no table"),
        (["table", DUMP, "tasks", "dentry"], "takes no arguments"),
        (["table", DUMP, "slab_objects", "a", "b", "c", "d"], "does not take these arguments"),
        (["table", DUMP, "tasks", "--where", "nonsense >"], "the columns are: address"),
        (["table", DUMP, "tasks", "--where", "@__import__('os').getpid()"], "cannot read the formula"),
        (["table", DUMP, "tasks", "--columns", "pid,nonsense"], "no column 'nonsense'"),
        (["table", DUMP, "tasks", "--sort", "nonsense"], "no column 'nonsense'"),
        (["capture", "status", "--root", "/nowhere"], "/nowhere is not a directory"),
    ],
)
def test_errors_are_one_message_and_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("kernlab: ")
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Look at a dump:"),
        (["lab"], "samples"),
        (["nonsense"], "'nonsense' is no verb of kernlab"),
        (["tabel"], "did you mean table"),
        ([DUMP], f"kernlab info {DUMP}"),
        (["lab", "rnu"], "'rnu'"),
        (["table"], "VMCORE"),
        (["table", DUMP, "log", "--csv\x1b[2J"], "--csv\\x1b[2J"),
        (["table", DUMP, "log", "--csvv"], "--csvv"),
        (["table", DUMP, "log", "--limit", "-1"], "--limit"),
        (["table", DUMP, "log", "--limit", "many"], "valid integer\n"),
    ],
)
def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main.main(words) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "Usage: kernlab" in told.err
    assert said in told.err
    assert "\x1b" not in told.err


def test_an_errors_text_cannot_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, **_: object) -> None:
        raise KernlabError("a task named \x1b]0;owned\x07")

    monkeypatch.setattr(kernlab, "open", refuse)
    assert main.main(["info", "x"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_an_oserror_is_told_without_its_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, **_: object) -> None:
        raise DumpFileError(13, "Permission denied", "secret")

    monkeypatch.setattr(kernlab, "open", refuse)
    assert main.main(["info", "secret"]) == 2
    assert capsys.readouterr().err == "kernlab: secret: Permission denied\n"


def test_cells_cannot_act_on_the_terminal() -> None:
    import pandas as pd

    wild = pd.DataFrame({"comm": ["a\x1b[2Jb", "two\nlines", None], "pid": [1, 2, 3]})
    lines = list(writing.text_lines(wild))
    assert len(lines) == 4
    assert lines[1].startswith("a\u241b[2Jb")
    assert lines[2].startswith("two\u240alines")


def test_warnings_come_without_a_path_of_the_source() -> None:
    script = (
        "import sys, warnings; from kernlab.commands import telling; from kernlab.errors import TruncatedDumpWarning\n"
        "warnings.showwarning = telling.show_warning\n"
        "warnings.warn('cut \\x1b short', TruncatedDumpWarning)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "kernlab: warning: cut \u241b short\n"
    assert issubclass(TruncatedDumpWarning, UserWarning)


def test_a_closed_pipe_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kernlab", "table", DUMP, "symbols"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "words",
    [
        ["info", DUMP],
        ["info", DUMP, "--json"],
        ["tables"],
        ["table", DUMP, "symbols", "--csv"],
        ["table", DUMP, "modules", "--json"],
        ["table", DUMP, "modules"],
        ["capture", "status"],
        ["completion", "bash"],
        ["--help"],
        ["table", "--help"],
        ["--version"],
    ],
)
def test_a_full_disk_is_one_message(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kernlab", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "kernlab: the output: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_where_nothing_can_be_written_is_one_message(tmp_path: Path) -> None:
    """A folder that a file stands in the way of, whoever runs the test."""
    (tmp_path / "taken").write_text("")
    (tmp_path / "trace0").write_bytes(bytes(64))
    done = run(
        "relay", "record", str(tmp_path / "trace0"), "-o", str(tmp_path / "taken" / "inside"), "-t", "0.1"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("kernlab: ")
    assert str(tmp_path / "taken") in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    # A pipe in place of a dump would wait for ever; here the command is at work when it is interrupted.
    script = (
        "import signal, sys, time, kernlab; from kernlab.commands import main as cli\n"
        # What a shell starts in the background ignores it, and so do its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(path, **_): print('started', flush=True); time.sleep(60)\n"
        "kernlab.open = slow\n"
        "sys.exit(cli.main(['info', 'x']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"started\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.parametrize(("name", "status"), [("armed", 0), ("unarmed", 1), ("too-small", 1), ("inside", 1)])
def test_capture_status_says_by_its_exit_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, status: int
) -> None:
    root = str(tree(name, tmp_path))
    assert main.main(["capture", "status", "--root", root]) == status
    assert "crash kernel" in capsys.readouterr().out
    assert main.main(["capture", "status", "--root", root, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["armed"] is (status == 0)


def test_capture_status_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["capture", "status", "--json"]) in (0, 1)
    held = json.loads(capsys.readouterr().out)
    assert held["release"] == os.uname().release
