"""The ground truth's parsers, against what the captures are known to hold: wrong truth proves nothing."""

from __future__ import annotations

import io
import tarfile

import pandas as pd
import pytest
from support.truth import Truth, in_bytes, parse_maps_line, read_dmesg, same_comm


def archive(tmp_path, files):
    path = tmp_path / "truth.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"out/{name}")
            data = text.encode("latin-1")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return Truth(path)


def test_tasks_hold_init_and_kthreadd(whole_dump):
    tasks = whole_dump.truth.tasks().set_index("pid")
    assert tasks.loc[1, ["ppid", "tgid", "kthread", "prio"]].tolist() == [0, 1, False, 120]
    assert tasks.loc[2, "comm"] == "kthreadd"
    assert tasks.loc[2, "kthread"]
    assert pd.isna(tasks.loc[2, "vsz_bytes"])
    assert (tasks.loc[~tasks["kthread"], "vsz_bytes"] > 0).all()
    assert set(tasks["state"]) <= set("RSDIZTtXP")
    assert tasks.index.is_unique


def test_threads_name_every_process_and_more(whole_dump):
    threads = whole_dump.truth.threads()
    assert set(whole_dump.truth.tasks()["pid"]) <= set(threads["tid"])
    groups = whole_dump.truth.tasks().set_index("pid")["num_threads"]
    assert threads.groupby("tgid").size().reindex(groups.index).eq(groups).all()
    assert threads["tid"].is_unique


def test_names_with_parentheses_spaces_and_newlines(tmp_path):
    numbers = " ".join(map(str, range(5, 53)))
    truth = archive(tmp_path, {"p/7/stat": f"7 (a) S 1 (b\n) R 3 {numbers}\n"})
    row = truth.stat(7)
    assert (row["comm"], row["state"], row["ppid"], row["start_time_ticks"]) == ("a) S 1 (b\n", "R", 3, 22)


def test_maps_agree_with_smaps_and_status(whole_dump):
    maps, smaps = whole_dump.truth.maps(), whole_dump.truth.smaps()
    assert len(maps) == len(smaps) > 50
    pd.testing.assert_frame_equal(maps[["pid", "start", "end"]], smaps[["pid", "start", "end"]])
    assert (maps["size_bytes"] == smaps["Size"]).all()
    assert "[stack]" in set(maps["path"])
    assert "[vsyscall]" not in set(maps["path"])


def test_a_path_with_a_newline_and_a_deleted_file():
    line = r"7f0000000000-7f0000001000 rw-s 00002000 00:1a 42                         /tmp/a\012b (deleted)"
    expected = (0x7F0000000000, 0x7F0000001000, 4096, "rw-s", 0x2000, "00:1a", 42, "/tmp/a\nb (deleted)")
    assert parse_maps_line(line) == expected
    assert parse_maps_line("00400000-00401000 rw-p 00000000 00:00 0 ")[-1] == ""


def test_slabs(whole_dump):
    slabinfo = whole_dump.truth.slabinfo()
    assert slabinfo["name"].is_unique
    assert (slabinfo["num_objs"] == slabinfo["num_slabs"] * slabinfo["objects_per_slab"]).mean() > 0.9
    sysfs = whole_dump.truth.sysfs_slab().set_index("name")
    assert (sysfs["objects"] <= sysfs["total"]).all()
    sizes = slabinfo.set_index("name")["size"]
    common = sizes.index.intersection(sysfs.index)
    assert len(common) > 60
    assert (sysfs.loc[common, "size"] == sizes[common]).all()


def test_modules_and_kallsyms(whole_dump):
    modules, symbols = whole_dump.truth.modules(), whole_dump.truth.kallsyms()
    assert "virtio_blk" in set(modules["name"])
    assert modules.set_index("name").loc["configfs", "used_by"] == "null_blk"
    assert len(symbols) > 60_000
    assert set(modules["name"]) <= set(symbols["module"])
    assert "[" not in "".join(symbols["module"].unique())
    assert symbols.loc[symbols["name"] == "init_task", "address"].tolist()[0] > 1 << 63


def test_memory(whole_dump):
    truth = whole_dump.truth
    assert truth.meminfo()["MemTotal"] % 4096 == 0
    zones = truth.zoneinfo().set_index("zone")
    assert zones["managed"].sum() * 4096 == truth.meminfo()["MemTotal"]
    assert zones.loc["DMA32", "start_pfn"] == 4096
    buddy = truth.buddyinfo().set_index("zone")
    assert set(buddy.index) <= set(zones.index)
    assert truth.node_stats().loc[0, "nr_anon_pages"] > 0
    assert "Kernel code" in set(truth.iomem().query("depth == 1")["name"])
    vmalloc = truth.vmallocinfo()
    assert vmalloc["size_bytes"].sum() > 1 << 20
    assert {"ioremap", "vmalloc"} <= set(vmalloc["kind"])
    assert vmalloc.loc[vmalloc["kind"] == "ioremap", "physical"].notna().all()


def test_machine(whole_dump):
    truth = whole_dump.truth
    assert truth.release().startswith(whole_dump.name.removeprefix("debian-"))
    assert "crashkernel=" in truth.cmdline()
    assert truth.uptime() < float(whole_dump.log[-1].timestamp)
    assert truth.cpus() == 2


def test_log_is_split_into_records(any_dump):
    log = any_dump.log
    assert log[0].text.startswith("Linux version ")
    assert any("Kernel panic" in record.text for record in log)
    times = [float(record.timestamp) for record in log]
    assert times[-1] > 10
    assert (log[0].caller == "") == (any_dump.name not in ("debian-6.12", "debian-7.2"))


def test_records_of_several_lines(tmp_path, dump_files):
    advice = next(record for record in dump_files("debian-6.1").log if "trace_clock=local" in record.text)
    assert len(advice.lines) > 2
    assert advice.lines[-1].lstrip() == "on the kernel command line"
    path = tmp_path / "dmesg"
    path.write_text(
        "[    0.000000] one\n                 two\n[  100.5" + "00000] [1] three\n" + 15 * " " + "\n"
    )
    assert [record.lines for record in read_dmesg(path)] == [("one", "  two"), ("[1] three", "")]
    path.write_text("[    0.000000] one\nstray\n")
    with pytest.raises(ValueError, match="line 2"):
        read_dmesg(path)


@pytest.mark.parametrize(
    ("comm", "printed", "kthread", "same"),
    [
        ("init", "init", False, True),
        ("kworker/0:1", "kworker/0:1-events", True, True),
        ("kworker/R-ext4-", "kworker/R-ext4-rsv-conversion", True, True),
        ("kswapd", "kswapd0", True, False),
        ("ini", "init", False, False),
    ],
)
def test_decorated_names(comm, printed, kthread, same):
    assert same_comm(comm, printed, kthread) is same


def test_units():
    assert in_bytes("  2260 kB") == 2260 * 1024
    assert in_bytes("       3") == 3


def test_the_servers_truth_is_the_machine_that_its_dump_holds(server_files, server):
    """Its uptime, its boot and its kernel; the files that only it has name the same processes and groups."""
    truth = server_files.truth
    info = server.info
    assert truth.release() == info["release"] == "6.12.118+deb13-amd64"
    assert truth.cmdline() == info["cmdline"].strip()
    assert truth.cpus() == info["cpus"] == 4
    assert 0 < info["uptime"].total_seconds() - truth.uptime() < 60
    assert len(server_files.log) > 500
    assert truth.links(1) == {"exe": "/usr/lib/systemd/systemd", "cwd": "/", "root": "/"}
    assert truth.cgroup(1) == "/init.scope"
    events, current = truth.cgroups("memory.events"), truth.cgroups("memory.current")
    assert events.loc["/batch.slice"].to_dict() == {
        "low": 0,
        "high": 0,
        "max": 2091,
        "oom": 4,
        "oom_kill": 3,
        "oom_group_kill": 0,
    }
    # udev's group is one without the memory controller.
    groups = set(map(truth.cgroup, truth.pids))
    assert groups - {"/", *current.index} == {"/system.slice/systemd-udevd.service/udev"}
    assert (current["value"] >= 0).all()
    assert truth.cgroups("memory.max").loc["/system.slice", "value"] is pd.NA
    assert "/" in truth.cgroups("memory.stat").index
    assert truth.vmstat()["nr_free_pages"] > 0
