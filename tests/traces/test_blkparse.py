"""Text, exports and latencies against Debian's blkparse and btt, on captured traces and on made-up ones."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from traces import blk_records as blk
from traces import blktools
from traces.blk_records import Record, message, process, remap, wall_clock

from kernlab.traces.blktrace.trace import BlkTrace

#: Each of these kernels wrote two traces: one that blktrace saved, one that nobody had read when it crashed.
KERNELS = ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"]


def load(folder: Path, device: str) -> BlkTrace:
    files = sorted(folder.glob(f"{device}.blktrace.*"), key=lambda path: int(path.suffix[1:]))
    return BlkTrace.from_files([(int(path.suffix[1:]), path) for path in files])


SAVED = [f"saved {kernel}" for kernel in KERNELS]
RECOVERED = [f"recovered {kernel}" for kernel in KERNELS]
MADE_UP = ["made up 0", "made up 1"]


@pytest.fixture
def folder(request, dump_files, opened, tmp_path) -> Path:
    """A folder with vda.blktrace.*: of what blktrace saved, of what a dump holds as kernlab exports it, or made up."""
    kind, _, which = request.param.rpartition(" ")
    where = tmp_path / "trace"
    where.mkdir()
    if kind == "saved":
        for name, data in dump_files(which).truth.files.items():
            if ".blktrace." in name:
                (where / Path(name).name).write_bytes(data)
    elif kind == "recovered":
        opened(which).relay.save("vda/trace", where)
    else:
        write(where, int(which))
    return where


def write(folder: Path, seed: int) -> None:
    """Ties, many CPUs, all kinds of records, errors, odd messages, names that come late or never."""
    chance = random.Random(seed)
    device, other = (8 << 20) | 16, (253 << 20) | 2
    kinds = [blk.Q, blk.M, blk.F, blk.G, blk.S, blk.R, blk.D, blk.C, blk.P, blk.I, blk.B]
    for cpu in range(4):
        records = [wall_clock(1_700_000_000, 1, time=100)] if cpu == 2 else []
        time = 1000
        for sequence in range(1, 800):
            time += chance.choice([0, 0, 1, 7, 1_000_000_007])
            pid = chance.choice([0, 7, 1234, 99999, 1 << 21])
            sector, size = chance.choice([0, 8, 1 << 33]), chance.choice([0, 512, 4096, 1 << 20, 100])
            category = chance.choice([1, 2, 3, blk.WRITE | blk.SYNC, blk.READ | blk.AHEAD | blk.META, blk.DISCARD,
                                      blk.WRITE | blk.FLUSH | blk.FUA | blk.SYNC, blk.FLUSH])  # fmt: skip
            fields = {"time": time, "sequence": sequence, "pid": pid, "cpu": cpu}
            roll = chance.random()
            if roll < 0.06:
                records.append(process(pid, f"proc/{pid}:x", time=time))
            elif roll < 0.09:
                records.append(message(chance.choice(["", "a b", "x" * 61, "tab\there"]), time=time))
            elif roll < 0.12:
                records.append(
                    remap(time, sector, size, device, other, 77, sequence=sequence, pid=pid, cpu=cpu)
                )
            elif roll < 0.15:
                pdu = chance.randrange(1 << 40).to_bytes(8, "big")
                act = chance.choice([blk.U, blk.UT, blk.X])
                records.append(
                    Record(act, category, sector=sector, bytes=size, device=device, pdu=pdu, **fields)
                )
            elif roll < 0.18:
                pdu = chance.choice([b"", b"\x12\x00\x24", b"\x28\0\0", b"\0" * 6])
                act = chance.choice([blk.Q, blk.G, blk.D, blk.C, blk.I])
                records.append(Record(act, category | blk.PC, bytes=size, device=device, pdu=pdu, **fields))
            elif roll < 0.2:
                # blkparse 1.2.0 knows no cgroups and drops these.
                pdu = (77).to_bytes(8, "little")
                records.append(Record(blk.Q | blk.CGROUP, 1, bytes=size, device=device, pdu=pdu, **fields))
            else:
                error = chance.choice([0, 0, 0, -5, -110])
                records.append(Record(chance.choice(kinds), category, sector=sector, bytes=size, device=device,
                                      error=error, **fields))  # fmt: skip
        data = b"".join(record.pack() for record in records)
        (folder / f"vda.blktrace.{cpu}").write_bytes(data)


@pytest.mark.parametrize("folder", SAVED + RECOVERED + MADE_UP, indirect=True)
def test_text_is_blkparses_line_for_line(folder):
    expected = blktools.lines(folder, "vda")
    assert len(expected) > 100
    assert load(folder, "vda").text().split("\n") == expected


@pytest.mark.parametrize("folder", SAVED + MADE_UP, indirect=True)
def test_what_is_exported_reads_as_before(folder, tmp_path):
    there = tmp_path / "export"
    written = load(folder, "vda").export(there, "vda")
    assert [path.name for path in written] == sorted(path.name for path in folder.glob("vda.blktrace.*"))
    assert blktools.lines(there, "vda") == blktools.lines(folder, "vda")


@pytest.mark.parametrize("folder", SAVED[:1], indirect=True)
def test_an_export_leaves_damage_out(folder, tmp_path):
    path = max(folder.glob("vda.blktrace.*"), key=lambda file: file.stat().st_size)
    data = bytearray(path.read_bytes())
    broken = BlkTrace.from_bytes({0: bytes(data[:48]) + b"\0" * 100 + bytes(data[48:-5])})
    assert {"100 bytes between" in p or "torn" in p for p in broken.events.attrs["problems"] if "CPU 0" in p}
    there = tmp_path / "export"
    (exported,) = broken.export(there, "vda")
    whole = BlkTrace.from_bytes({0: bytes(data)})
    again = BlkTrace.from_bytes({0: exported.read_bytes()})
    assert len(again.rows) == len(whole.rows) - 1
    assert not [p for p in again.events.attrs["problems"] if "bytes" in p]
    assert blktools.lines(there, "vda")


@pytest.mark.parametrize("folder", SAVED + RECOVERED, indirect=True)
def test_latencies_are_btts(folder):
    expected = blktools.btt(folder, "vda")
    found = {}
    latencies = load(folder, "vda").latencies()
    for by, section in (("all", "All Devices"), ("device", "Per Device"), ("process", "Per Process")):
        for row in latencies.summary(by, btt_names=True).itertuples():
            whose = getattr(row, by)
            if by == "device":
                major, minor = map(int, whose.split(":"))
                whose = f"({major:3},{minor:3})"
            found[section, whose, row.step] = (row.min.value, row.avg.value, row.max.value, row.n)
    assert {key for key in expected if key[2] in ("Q2Q", "Q2C", "D2C", "Q2G")}
    for key, (least, average, most, count) in expected.items():
        assert found[key][0] == least, key
        assert found[key][2:] == (most, count), key
        # Half a nanosecond is rounded either way.
        assert abs(found[key][1] - average) <= 1, key
    # M2D is printed for all together only, and G2D is not btt's.
    assert {key for key in found if key[2] not in ("G2D", "M2D")} <= set(expected)


@pytest.mark.parametrize("folder", RECOVERED, indirect=True)
def test_iowatcher_draws_an_export(folder, tmp_path):
    program = shutil.which("iowatcher")
    if program is None:
        pytest.skip("iowatcher is not installed")
    out = tmp_path / "io.svg"
    done = subprocess.run(
        [program, "-t", "vda", "-o", out], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "<svg" in out.read_text()
