"""`kernlab trace` gives what `dump.relay`, `dump.ftrace` and `dump.timeline` give, in every form."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest
from conftest import SAMPLES

import kernlab
from kernlab.commands import main

DUMP = str(SAMPLES / "debian-6.1" / "vmcore")


@pytest.fixture(scope="module")
def dump() -> kernlab.Dump:
    return kernlab.open(DUMP)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.main(["trace", DUMP, *words]) == 0
    return capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in told(capsys, *words, "--format", "jsonl").splitlines()]


def test_what_there_is(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump) -> None:
    found = {(row["kind"], row["name"]): row["holds"] for row in rows(capsys)}
    assert found["relay", "vda/trace"] == dump.relay.channels["unread_bytes"].sum()
    assert found["ftrace", ""] == len(dump.ftrace.all)
    assert sum(n for (kind, _), n in found.items() if kind == "timeline") == len(dump.timeline())


def test_relay(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump, tmp_path: Path) -> None:
    events = dump.relay.events("vda/trace")
    found = rows(capsys, "relay", "vda/trace", "--where", 'action == "C"')
    assert [row["sector"] for row in found] == events[events["action"] == "C"]["sector"].to_list()
    of_cpu = rows(capsys, "relay", "vda/trace", "--cpu", "1", "--mode", "all")
    assert len(of_cpu) == len(dump.relay.events("vda/trace", cpu=1, mode="all"))
    assert rows(capsys, "relay")[0]["name"] == "vda/trace"
    address = int(dump.relay.channels["address"].iloc[0])
    assert len(rows(capsys, "relay", hex(address))) == len(events)
    assert told(capsys, "relay", "vda/trace", "--format", "text") == dump.relay.blktrace("vda/trace").text()
    raw = tmp_path / "vda0.raw"
    told(capsys, "relay", "vda/trace", "--cpu", "0", "-o", str(raw))
    assert raw.read_bytes() == dump.relay.read("vda/trace", 0)
    dumped = told(capsys, "relay", "vda/trace", "--cpu", "1", "--format", "hexdump", "--mode", "raw")
    assert len(dumped.splitlines()) > 100
    told(capsys, "relay", "vda/trace", "-o", f"{tmp_path / 'files'}/")
    assert sorted(one.name for one in (tmp_path / "files").iterdir()) == ["vda.blktrace.0", "vda.blktrace.1"]


def test_ftrace(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump, tmp_path: Path) -> None:
    assert len(rows(capsys, "ftrace")) == len(dump.ftrace.all)
    found = list(csv.DictReader(io.StringIO(told(capsys, "ftrace", "sched_switch", "--format", "csv"))))
    assert [row["next_comm"] for row in found] == dump.ftrace.events("sched_switch")["next_comm"].to_list()
    assert len(rows(capsys, "ftrace", "sched_*", "--instance", "", "--limit", "5")) == 5
    assert told(capsys, "ftrace", "--format", "text").splitlines() == dump.ftrace.lines()
    path = tmp_path / "trace.dat"
    told(capsys, "ftrace", "-o", str(path))
    with kernlab.ftrace.open(path) as again:
        assert len(again.all) == len(dump.ftrace.all)
    assert rows(capsys, "ftrace", "--snapshot") == []


def test_timeline(capsys: pytest.CaptureFixture[str], dump: kernlab.Dump, tmp_path: Path) -> None:
    assert len(rows(capsys, "timeline")) == len(dump.timeline())
    last = dump.timeline(["log", "ftrace"], since=-80, events="sched_*")
    words = ["--source", "log", "--source", "ftrace", "--since", "-80"]
    found = rows(capsys, "timeline", "sched_*", *words)
    assert [row["text"] for row in found] == last["text"].to_list()
    assert [row["next_comm"] for row in found] == last["next_comm"].to_list()
    assert len(rows(capsys, "timeline", "--since=-500ms", "--until", "-0.1")) == len(
        dump.timeline(since=-0.5, until=-0.1)
    )
    assert {row["source"] for row in rows(capsys, "clocks")} == set(dump.clocks["source"])
    if importlib.util.find_spec("perfetto") is None:
        pytest.skip("the package perfetto is not installed")
    path = tmp_path / "crash.perfetto-trace"
    told(capsys, "timeline", "--since", "-1", "--where", 'source != "log"', "-o", str(path))
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["timelin"], "did you mean timeline"),
        (["relay", "vda"], "there is no relay channel 'vda'"),
        (["relay", "a", "b", "--format", "raw"], "name one relay channel"),
        (["relay", "vda/trace", "--format", "raw"], "--cpu 0 or 1"),
        (["relay", "vda/trace", "--mode", "raw"], "--format raw"),
        (["relay", "vda/trace", "--format", "dat"], "--format dat is not for relay"),
        (["relay", "vda/trace", "--format", "files"], "name a folder with -o"),
        (["relay", "vda/trace", "--format", "text", "--limit", "1"], "is all of a trace"),
        (["ftrace", "sched_swich"], "sched_switch"),
        (["ftrace", "--instance", "nonsense"], "no trace instance 'nonsense'"),
        (["ftrace", "sched_switch", "-o", "x.dat"], "events of all kinds"),
        (["ftrace", "--format", "perfetto"], "is not for ftrace"),
        (["timeline", "--since", "yesterday"], "not an instant"),
        (["timeline", "--source", "nonsense"], "nonsense"),
        (["timeline", "--format", "perfetto", "--columns", "time"], "leave --columns out"),
        (["--format", "raw"], "is not for (none)"),
    ],
)
def test_errors_are_one_message(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main.main(["trace", DUMP, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kernlab: ")
    assert said in captured.err
