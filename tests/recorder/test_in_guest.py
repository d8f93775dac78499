"""The recorder on real kernels: KERNLAB_LAB_GUESTS names them ("5.10 6.1 6.12 sid"); `make test-lab` runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.script_guest import run_in_guest

import kernlab
from kernlab.recorder import boot_map
from kernlab.recorder.program import archive
from kernlab.recorder.trace_dat import write_dat
from kernlab.replay.marks import parse

KERNELS = os.environ.get("KERNLAB_LAB_GUESTS", "").split()
pytestmark = pytest.mark.skipif(not KERNELS, reason="KERNLAB_LAB_GUESTS names no kernels to run guests of")
STORY = Path(__file__).with_name("story_in_guest.py")


@pytest.fixture(scope="module", params=KERNELS or ["none"])
def facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a guest of each kernel told."""
    folder = tmp_path_factory.mktemp("guest")
    script = "python3 /host/boot/story.py $out/facts > $out/log 2>&1 || { cat $out/log; fail the story; }"
    out = run_in_guest(request.param, script, folder, files={"story.py": STORY, "recorder.pyz": archive()})
    found: dict[str, Any] = json.loads((out / "facts").read_text())
    return found


#: Boots twice: the first one records until it panics, the second one looks at what is left.
MAPPED = """
[ -d $tracing/instances/kernlab ] || { echo none > $out/none; return 0; }
if [ ! -e $out/first ]; then
    python3 /host/boot/recorder.pyz run --share 50 --event sched > $out/log 2>&1 &
    n=0; while [ ! -s /run/kernlab-recorder/figures.json ] && [ $n -lt 100 ]; do sleep 0.5; n=$((n+1)); done
    sleep 4
    cat $tracing/instances/kernlab/trace > $out/first
    sync; mount -o remount,ro /host; echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 60
fi
cat $tracing/instances/kernlab/trace > $out/second
cat $tracing/instances/kernlab/last_boot_info > $out/info
python3 /host/boot/recorder.pyz run --share 50 --event sched --keep-previous $out/previous > $out/log2 2>&1 & service=$!
n=0; while [ ! -s /run/kernlab-recorder/figures.json ] && [ $n -lt 100 ]; do sleep 0.5; n=$((n+1)); done
cat $tracing/instances/kernlab/trace > $out/third
kill $service; wait $service; echo $? > $out/ended
cat $tracing/instances/kernlab/tracing_on > $out/on
"""


@pytest.mark.parametrize("kernel", KERNELS or ["none"])
def test_a_buffer_mapped_at_boot_outlives_a_panic(kernel: str, tmp_path: Path) -> None:
    """The panic's own reboot is a warm one; the kernel finds the memory again, at random places for itself."""
    out = run_in_guest(
        kernel, MAPPED, tmp_path, cmdline=boot_map.parameters(8), files={"recorder.pyz": archive()}
    )
    if (out / "none").exists():
        pytest.skip("this kernel maps no buffer at boot")
    numbers = [int(n) for n in re.findall(r"kernlab/1 vmstat (\d+) ", (out / "first").read_text())]
    assert len(numbers) > 3
    raw = b"".join(path.read_bytes() for path in (out / "previous").glob("per_cpu/*/trace_pipe_raw"))
    kept = {int(n) for n in re.findall(rb"kernlab/1 vmstat (\d+) ", raw)}
    assert kept >= set(numbers)  # all that was there before the panic, and what came until it
    third = (out / "third").read_text()
    assert "kernlab/1 vmstat 1 " in third  # this boot's
    assert f"kernlab/1 vmstat {max(kept)} " not in third
    assert (out / "ended").read_text() == "0\n"
    assert (out / "on").read_text() == "0\n"
    written = write_dat(out / "previous", tmp_path / "boot.dat")
    assert written == len(raw)
    with kernlab.ftrace.open(tmp_path / "boot.dat") as trace:
        assert parse(trace.events("print")["buf"]).number.tolist() == sorted(kept)
        assert trace.events("sched_switch")["next_pid"].ge(0).all()
    if shutil.which("trace-cmd"):
        command = ["trace-cmd", "report", "-i", str(tmp_path / "boot.dat")]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert {int(n) for n in re.findall(r"kernlab/1 vmstat (\d+) ", report)} == kept
        assert report.count("sched_switch:") >= (out / "first").read_text().count("sched_switch:") > 50


def test_marks_tell_what_proc_tells(facts: dict[str, Any]) -> None:
    marks: dict[int, str] = {}
    for line in facts["trace"]:
        if " vmstat " in line:
            number, _, values = line.split(" vmstat ")[1].partition(" ")
            marks[int(number)] = f"{marks.get(int(number), '')} {values}"  # newer kernels' take two lines
    assert list(marks) == list(range(1, len(marks) + 1))
    assert len(marks) >= 5
    told = dict(re.findall(r"(\S+)=(\d+)", marks[len(marks)]))
    own = {name: int(value) for name, value in facts["vmstat"].items() if name in told}
    assert len(own) > 25
    assert int(told["mem_total"]) * 4 > 300_000
    # Read some tenths of a second apart on a machine that does nothing.
    for name in ("nr_file_pages", "nr_slab_unreclaimable", "nr_kernel_stack", "nr_page_table_pages"):
        assert int(told[name]) == pytest.approx(own[name], rel=0.1), name
    assert any(",init;" in line or line.endswith(",init") for line in facts["trace"] if " tasks " in line)


def test_events_are_recorded_and_nothing_is_tainted(facts: dict[str, Any]) -> None:
    assert facts["switches"] > 20
    assert facts["tainted"] == "0"
    assert facts["self"]["oom_score_adj"] == "-999"
    assert facts["self"]["nice"] == -5
    assert facts["self"]["comm"] == "kernlab-record"


def test_status_tells_of_every_cpu_and_disk(facts: dict[str, Any]) -> None:
    status = facts["status"]
    assert status["running"]
    assert set(status["cpus"]) == {"0", "1"}
    assert all(cpu["reach_seconds"] > 0 and cpu["lost"] == 0 for cpu in status["cpus"].values())
    assert status["figures"]["disks"]["vda"]["kept_by"] == "reading"
    assert status["problems"] == []


def test_a_second_one_is_refused(facts: dict[str, Any]) -> None:
    code, said = facts["second"]
    assert code == 2
    assert str(facts["status"]["pid"]) in said


def test_a_killed_ones_events_are_kept(facts: dict[str, Any]) -> None:
    assert facts["killed"]["running"] is False
    kept = facts["taken_over"]
    assert len(kept["before"]) > 3
    assert kept["after"][: len(kept["before"])] == kept["before"]
    assert kept["after"][len(kept["before"])] == 1  # numbers begin anew: a reader sees the gap
    assert facts["rss_after"] == "0"


def test_tracefs_is_as_it_was(facts: dict[str, Any]) -> None:
    """Older kernels have one switch for all instances: the main buffer is as after any first use of ftrace."""
    before, after = facts["changed"].get("/sys/kernel/tracing/buffer_size_kb", ("", ""))
    first_use = re.fullmatch(r"(\d+) \(expanded: (\d+)\)", before)
    expanded = {
        path: pair
        for path, pair in facts["changed"].items()
        if path.endswith("buffer_size_kb") and first_use and pair in ([before, after], [first_use[1], after])
    }
    # They tell whole pages of it.
    assert first_use is None or abs(int(after) - int(first_use[2])) < 4
    assert facts["changed"] == expanded
    assert facts["ended"] == 0
    assert facts["blocks"] == []
    assert set(facts["state"]) <= {"lock"}


def test_stop_takes_down_what_a_killed_one_left(facts: dict[str, Any]) -> None:
    assert facts["stop"] == [0, ""]
    assert facts["left"] == "gone"


def test_tracefs_that_is_not_mounted(facts: dict[str, Any]) -> None:
    assert facts["unmounted"] == {"records": True, "ended": 0, "after": False}


def test_a_small_cgroup_holds_it(facts: dict[str, Any]) -> None:
    small = facts["small"]
    assert small["alive"]
    assert small["marks"] > 3
    assert "oom_kill 0" in small["events"]


def test_lockdown_and_a_disk_that_is_pulled_out(facts: dict[str, Any]) -> None:
    told = facts["lockdown"]
    if told is None:
        pytest.skip("this kernel has no lockdown")
    assert told["marks"] > 3
    disk = told["integrity"]["figures"]["disks"]["vda"]
    assert disk["kept_by"] == "beginning anew"
    assert told["gone"]["alive"]
    assert told["gone"]["problems"] == ["vda is gone; its trace ended."]
    assert told["ended"] == 0
    code, said = told["confidentiality"]
    assert code == 2
    assert "confidentiality" in said
