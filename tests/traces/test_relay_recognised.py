"""What `kernlab.relay.open` is given: traces by any of their names, packed ones, and files that are something else."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import struct
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import DUMPS
from traces import blk_records as blk

import kernlab
from kernlab import KernlabError
from kernlab.dashboard import views
from kernlab.dashboard.table_view import Pages
from kernlab.traces.relay import clients
from kernlab.traces.relay import files as relay_files

CASES = blk.cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the trace p0."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    where = tmp_path / "traces"
    where.mkdir()
    for name, data in CASES.items():
        if name.startswith("p0."):
            (where / name).write_bytes(data)
    return where


def events(path, **options):
    with kernlab.relay.open(path, **options) as files:
        return files.events()


def whole(folder):
    return events([folder / "p0.blktrace.0", folder / "p0.blktrace.1"])


@pytest.mark.parametrize("given", ["p0", "p0.blktrace.*", ""])
def test_a_block_trace_goes_by_base_name_pattern_and_folder(folder, given):
    found = events(folder / given if given else folder)
    assert found["cpu"].tolist() == [0, 1]
    assert found.equals(whole(folder))
    assert found.attrs["problems"] == []


def test_one_of_several_files_says_that_there_are_more(folder):
    found = events(folder / "p0.blktrace.1")
    assert found["cpu"].tolist() == [1]
    (told,) = found.attrs["problems"]
    assert "one of 2 files of this trace" in told
    assert repr(str(folder / "p0")) in told
    with kernlab.relay.open(folder / "p0.blktrace.1") as files:
        assert files.blktrace().events.attrs["problems"] == [told]
        assert told in files.blktrace().latencies().requests.attrs["problems"]
    (folder / "p0.blktrace.0").unlink()
    assert events(folder / "p0.blktrace.1").attrs["problems"] == []


def test_a_folder_of_several_traces_names_them(folder):
    (folder / "sdb.blktrace.0").write_bytes(CASES["dc.blktrace.0"])
    with pytest.raises(KernlabError, match=r"block traces of p0, sdb: name one"):
        kernlab.relay.open(folder)
    assert len(events(folder / "sdb")) == 10
    (folder / "none").mkdir()
    with pytest.raises(KernlabError, match="without block traces"):
        kernlab.relay.open(folder / "none")


def test_a_folder_as_debugfs_has_it(folder):
    where = folder / "block" / "sda"
    where.mkdir(parents=True)
    for cpu in (0, 1):
        (where / f"trace{cpu}").write_bytes(CASES[f"p0.blktrace.{cpu}"])
    (where / "dropped").write_text("0\n")
    (where / "msg").write_bytes(b"")
    assert events(where).equals(whole(folder))


def test_what_a_running_kernel_counts_as_dropped_reaches_the_events(folder, monkeypatch):
    """As debugfs has it: the file `dropped` beside the traces."""
    where = folder / "block" / "sda"
    where.mkdir(parents=True)
    for cpu in (0, 1):
        (where / f"trace{cpu}").write_bytes(CASES[f"p0.blktrace.{cpu}"])
    (where / "dropped").write_text("5\n")
    monkeypatch.setattr(relay_files, "is_live", lambda file: True)
    found = events(where)
    assert [one["events"] for one in found.attrs["lost"]] == [5]
    assert any("5 events were dropped by the kernel's own count" in told for told in found.attrs["problems"])
    (where / "dropped").write_text("0\n")
    assert events(where).attrs["problems"] == []


@pytest.mark.parametrize(
    ("end", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_packed_traces_are_read(folder, end, pack):
    expected = whole(folder)
    for path in list(folder.iterdir()):
        path.with_name(path.name + end).write_bytes(pack(path.read_bytes()))
        path.unlink()
    found = events(folder / "p0")
    assert found.equals(expected)
    with kernlab.relay.open(folder / f"p0.blktrace.1{end}") as files:
        assert files.read(1) == CASES["p0.blktrace.1"]
    (folder / f"merged.bin{end}").write_bytes(pack(CASES["merged1.bin"]))
    merged = events(folder / f"merged.bin{end}")
    assert merged["cpu"].nunique() == 2
    assert merged.attrs["problems"] == []


def test_a_packed_trace_that_is_cut_says_so(folder):
    data = np.random.default_rng(0).bytes(1 << 20)
    packed = gzip.compress(data)
    (folder / "raw.gz").write_bytes(packed[: len(packed) // 2])
    found = events(folder / "raw.gz")
    assert data.startswith(found["data"][0])
    assert any("cut short" in problem for problem in found.attrs["problems"])


PERFETTO = b"".join(
    b"\x0a" + bytes([len(packet)]) + packet
    for packet in (
        b"\x40\xe8\x07\x50\x01\x0a\x02hi",  # timestamp, trusted_packet_sequence_id, some event
        b"\x18\x00\x50\x02\x1a\x04abcd",
    )
)
OTHERS = {
    "trace.dat": (b"\x17\x08\x44tracing6\0\0\0", "trace-cmd report"),
    "perf.data": (b"PERFILE2" + bytes(96), "perf script"),
    "trace.pftrace": (PERFETTO * 20, "ui.perfetto.dev"),
    "trace.json": (json.dumps({"traceEvents": [{"ph": "X", "ts": 1}]}).encode(), "ui.perfetto.dev"),
    "list.json": (json.dumps([{"name": "a", "ph": "X", "ts": 1}]).encode(), "ui.perfetto.dev"),
    "trace": (
        b"# tracer: nop\n#\n# entries-in-buffer/entries-written: 1/1   #P:2\n#\n"
        b"              sh-77      [001] d..2.    12.345678: sched_switch: prev_comm=sh\n",
        "the text of ftrace",
    ),
    "lines.txt": (
        b"          <idle>-0     [000] d..2.    12.345678: sched_switch: prev_comm=swapper/0\n",
        "the text of ftrace",
    ),
    "lost.txt": (
        b"CPU:1 [LOST 5 EVENTS]\n          <idle>-0     [000]    12.345678: sched_switch: prev_comm=swapper/0\n",
        "the text of ftrace",
    ),
    "report.txt": (
        b"cpus=2\n           <...>-1701  [001]    76.211513: sched_switch:          prev_comm=trace-cmd\n",
        "the text of ftrace",
    ),
    "blkparse.txt": (
        b"  8,0    0        1     0.000000000    77  Q  WS 64 + 8 [jbd2/sda1-8]\n",
        "the text that blkparse printed",
    ),
    "vmcore": (b"KDUMP   " + bytes(512), "kernlab.open"),
    "core": (b"\x7fELF\x02\x01\x01" + bytes(512), "kernlab.open"),
    "stream": (bytes.fromhex("c11ffcc1") + bytes(64), "babeltrace2"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_something_else_is_refused_by_name(folder, name, packed):
    data, says = OTHERS[name]
    (folder / name).write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(KernlabError, match="is not a relay file but") as refused:
        kernlab.relay.open(folder / name)
    assert says in str(refused.value)
    assert "FILE" not in str(refused.value)


@pytest.mark.parametrize("name", ["sched_load.arm64.trace.dat.xz", "tracefs.txt.xz"])
def test_shared_traces_of_other_tools_are_refused(name, tmp_path, monkeypatch):
    path = DUMPS.parent / "data" / "traces" / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain = tmp_path / name.removesuffix(".xz")
    plain.write_bytes(lzma.decompress(path.read_bytes()))
    for given in (path, plain):
        with pytest.raises(KernlabError, match=r"a trace\.dat of trace-cmd|the text of ftrace"):
            kernlab.relay.open(given)


def test_blkparses_own_text_is_known(folder, tmp_path):
    program = shutil.which("blkparse")
    if program is None:
        pytest.skip("blkparse is not installed (package blktrace)")
    done = subprocess.run([program, "-i", "p0"], cwd=folder, capture_output=True, check=True)
    (tmp_path / "out").write_bytes(done.stdout)
    with pytest.raises(KernlabError, match="blkparse printed"):
        kernlab.relay.open(tmp_path / "out")


@pytest.mark.parametrize(
    "data",
    [
        b"vfs_read 123\nvfs_read 124\n",
        b"\nhello world, this is text\n" * 20,
        b"\x0a\x05hello\x0a\x03abc",
        bytes(4096),
        struct.pack("<64Q", *range(64)),
        np.random.default_rng(1).bytes(5000),
    ],
)
def test_bytes_of_an_unknown_client_stay_bytes(folder, data):
    (folder / "log0").write_bytes(data)
    assert events(folder / "log0")["data"].tolist() == [data]


@pytest.mark.parametrize("name", ["sda.blktrace.0", "trace0"])
def test_an_empty_trace_has_the_columns_of_any(folder, name):
    where = folder / "block" / "sda"
    where.mkdir(parents=True)
    (where / name).write_bytes(b"")
    empty = events(where / name)
    assert len(empty) == 0
    expected = whole(folder)
    assert list(empty.columns) == list(expected.columns)
    assert empty.dtypes.drop(["device", "action", "rwbs", "from_device"]).equals(
        expected.dtypes.drop(["device", "action", "rwbs", "from_device"])
    )
    assert empty.attrs["lost"] == []


def test_big_endian_systemtap_is_refused_by_name(folder):
    (folder / "trace0").write_bytes(struct.pack(">III", 0xBAA99FF0, 1, 5) + b"hello")
    with (
        kernlab.relay.open(folder / "trace0") as files,
        pytest.raises(KernlabError, match="SystemTap's bulk mode from a big-endian machine"),
    ):
        files.events()


@pytest.fixture
def registered(monkeypatch, dump_files):
    """Registers a decoder for the dump's block trace, and gives what events it makes."""
    monkeypatch.setattr(clients, "CLIENTS", dict(clients.CLIENTS))

    def read(decoder, **more):
        kernlab.relay.register("blk_relay_callbacks", "mine", decoder=decoder)
        with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
            assert set(dump.relay.channels["client"]) == {"mine"}
            return dump.relay.events("vda/trace", **more), dump.relay.read("vda/trace", 0)

    return read


def test_a_registered_decoder_is_used(registered):
    def sizes(streams):
        return {"cpu": list(streams), "size": [len(data) for data in streams.values()]}

    found, data = registered(sizes)
    assert found["cpu"].tolist() == [0, 1]
    assert found["size"][0] == len(data)
    assert found.attrs["problems"] == []
    words, data = registered("<u4", cpu=0)
    assert words["value"].tolist() == np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4").tolist()
    structs, _ = registered("struct list_head", cpu=0)
    assert structs.columns.tolist() == ["cpu", "next", "prev"]
    raw, data = registered("", cpu=0)
    assert raw["data"].tolist() == [data]


@pytest.mark.parametrize("decoder", ["mine", "struct", 7, object(), ["no"]])
def test_a_decoder_that_is_none_is_refused(registered, decoder):
    with pytest.raises(KernlabError, match="is not a decoder"):
        registered(decoder)


def test_a_block_trace_is_one_by_its_decoder_whatever_its_client_is_called(monkeypatch, dump_files):
    path = dump_files("debian-6.1").vmcore
    with kernlab.open(path) as dump:
        expected = dump.relay.events("vda/trace")
    monkeypatch.setattr(clients, "CLIENTS", dict(clients.CLIENTS))
    kernlab.relay.register("blk_relay_callbacks", "mine", decoder="blktrace")
    with kernlab.open(path) as dump:
        found = dump.relay.events("vda/trace")
        assert found.columns.equals(expected.columns)
        assert found["sector"].equals(expected["sector"])
        assert found.attrs["problems"] == expected.attrs["problems"]
        assert dump.relay.block_traces == ["vda/trace"]
        # The plots and the dashboard find it, too.
        assert dump.plot.io_depth() is not None
        (shown,) = views.traces(dump, Pages(dump))["traces"][:1]
        assert (shown["kind"], shown["view"]) == ("mine", "trace:vda/trace")


def test_any_decoder_may_be_given_for_a_channel_or_for_files(folder, dump_files):
    given = []

    def sizes(streams):
        given.append((streams.name, streams.kernel, [chunk.cpu for chunk in streams.chunks]))
        streams.lost("the end of the world")
        frame = pd.DataFrame({"cpu": list(streams), "events": [len(data) for data in streams.values()]})
        frame.attrs["problems"] = ["what the decoder says itself"]
        return frame

    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        found = dump.relay.events("vda/trace", sizes)
        assert found["events"].tolist() == [len(dump.relay.read("vda/trace", cpu)) for cpu in (0, 1)]
        assert {"the end of the world", "what the decoder says itself"} <= set(found.attrs["problems"])
        raw = dump.relay.events("vda/trace", "", cpu=1)
        assert raw["data"].tolist() == [dump.relay.read("vda/trace", 1)]
        assert given == [("vda/trace", dump.kernel, [0, 1])]
    with kernlab.relay.open(folder / "p0") as recorded:
        files = recorded.events(sizes)
    assert files["events"].tolist() == [len(CASES[f"p0.blktrace.{cpu}"]) for cpu in files["cpu"]]
    assert files.attrs["problems"] == ["the end of the world", "what the decoder says itself"]


def test_a_decoder_looks_only_at_what_it_asks_for(dump_files, monkeypatch):
    """One that needs no bytes reads none."""
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        assert dump.relay.channels is not None
        monkeypatch.setattr(dump.relay, "_chunks", None)
        found = dump.relay.events("vda/trace", lambda streams: {"name": [streams.name]})
        assert found["name"].tolist() == ["vda/trace"]
