"""`kernlab.open` and `Dump`: the one door, and what stands before it when the file is bad."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import pytest

import kernlab

TABLES = ("info", "tasks", "slabs", "maps", "modules", "symbols", "log")


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


def tables_or_reasons(dump) -> dict[str, object]:
    """Every table, or the KernlabError that says why there is none; any other exception fails the test."""
    result = {}
    for name in TABLES:
        try:
            result[name] = getattr(dump, name)
        except kernlab.KernlabError as error:
            result[name] = error
    return result


@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99])
def test_a_file_cut_short_gives_what_is_left_or_says_why_not(whole_dump, tmp_path, percent):
    data = whole_dump.vmcore.read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: len(data) * percent // 100])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            dump = kernlab.open(path)
        except kernlab.KernlabError as error:
            refusal: str | None = str(error)
        else:
            refusal = None
    if refusal is not None:
        assert str(path) in refusal or "cut" in refusal
        return
    with dump:
        tables_or_reasons(dump)
        told = " ".join([*dump.problems, *(str(warning.message) for warning in warned)])
        assert "cut" in told or "ends at byte" in told
        assert any(issubclass(warning.category, UserWarning) for warning in warned)


def test_a_file_cut_at_99_percent_still_has_its_tasks(dump_files, tmp_path):
    files = dump_files("debian-6.1")
    data = files.vmcore.read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: len(data) * 99 // 100])
    with pytest.warns(UserWarning, match="cut|ends at byte"):
        dump = kernlab.open(path)
    with dump:
        assert len(dump.tasks) >= 0.9 * len(files.truth.tasks())
        assert dump.tasks.attrs["problems"]


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 4096), (0, 464), (4096, 4096), (8192, 4096), (8192, 65536), (100_000, 1_000_000)],
    ids=["first block", "header", "sub-header", "bitmap", "bitmap and descriptors", "pages"],
)
@pytest.mark.parametrize("filler", ["zeros", "random"])
def test_a_file_with_a_hole_opens_with_what_is_left_or_says_why_not(
    dump_files, tmp_path, start, length, filler
):
    data = bytearray(dump_files("debian-6.1").vmcore.read_bytes())
    noise = np.random.default_rng(7).integers(0, 256, length, dtype=np.uint8).tobytes()
    data[start : start + length] = bytes(length) if filler == "zeros" else noise
    path = tmp_path / "holed"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dump = kernlab.open(path)
        except kernlab.KernlabError as error:
            refusal: str | None = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert len(refusal) > 40
            return
        with dump:
            found = tables_or_reasons(dump)
            # The first bitmap only tells "left out" from "no memory there": all tables come without it.
            whole = kernlab.open(dump_files("debian-6.1").vmcore)
            assert dump.problems or all(len(found[name]) == len(getattr(whole, name)) for name in TABLES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(4096),
        b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(999),
        b"just a text\n" * 99,
        np.random.default_rng(1).bytes(9999),
    ],
    ids=["empty", "zeros", "JPEG", "text", "random"],
)
def test_what_is_no_dump_is_refused(tmp_path, content):
    path = tmp_path / "vmcore"
    path.write_bytes(content)
    with pytest.raises(kernlab.KernlabError, match="vmcore"):
        kernlab.open(path)


def test_missing_file_and_directory_are_os_errors_too(tmp_path):
    with pytest.raises(kernlab.KernlabError, match="No such file") as caught:
        kernlab.open(tmp_path / "none")
    assert isinstance(caught.value, OSError)
    with pytest.raises(kernlab.KernlabError, match="directory"):
        kernlab.open(str(tmp_path))


def test_a_program_is_refused_as_what_it_is():
    """A vmlinux, or any other ELF file that is no memory image."""
    with pytest.raises(kernlab.KernlabError, match=r"vmlinux|program|not a memory|no vmcore|executable"):
        kernlab.open(sys.executable)


def test_paths_may_be_str_path_or_a_list_of_one(dump_files):
    path = dump_files("debian-6.1").vmcore
    for given in (str(path), path, [path]):
        with kernlab.open(given) as dump:
            assert dump.info["release"].startswith("6.1")


def test_tables_lists_all_with_rows_once_built(dump_files):
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        before = dump.tables.set_index("name")
        assert set(TABLES) <= set(before.index)
        assert before["rows"].isna().all()
        assert before["description"].str.len().min() > 10
        rows = len(dump.tasks)
        assert dump.tables.set_index("name").loc["tasks", "rows"] == rows
        assert dump.tasks is dump.tasks
        assert set(TABLES) <= set(dir(dump))


def test_what_a_dump_has_not_names_the_nearest(sample):
    with pytest.raises(AttributeError, match="did you mean tasks"):
        sample.taskss  # noqa: B018
    assert not hasattr(sample, "_repr_mimebundle_")
    with pytest.raises(kernlab.KernlabError, match="init_task"):
        sample.symbol("init_taks")
    with pytest.raises(kernlab.KernlabError, match="task_struct"):
        sample.struct("task_strict", 0)
    with pytest.raises(kernlab.KernlabError, match="comm"):
        sample.struct("task_struct", sample.symbol("init_task")).com  # noqa: B018


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (lambda dump: dump["tasks"], "write dump.tasks"),
        (lambda dump: dump["taks"], "did you mean tasks"),
        (lambda dump: dump[0], "attributes"),
        (lambda dump: dump.plot.mem, "did you mean memory"),
        (lambda dump: dump.plot.iops, "io_iops"),
        (lambda dump: dump.relay.chanels, "did you mean channels"),
        (lambda dump: dump.ftrace.event, "did you mean events"),
        (lambda dump: dump.mem, "did you mean memory"),
        (lambda dump: kernlab.opne, "did you mean open"),
    ],
)
def test_what_is_not_there_says_what_to_write(sample, look, said):
    with pytest.raises((AttributeError, TypeError), match=said):
        look(sample)


def test_a_dump_is_not_a_sequence(sample):
    with pytest.raises(TypeError, match="not iterable"):
        iter(sample)
    assert not hasattr(sample.plot, "_repr_html_")
    assert not hasattr(kernlab, "__wrapped__")


def test_an_error_inside_a_property_is_not_hidden_by_the_help_with_spelling():
    from kernlab.errors import MemberNotFoundError
    from kernlab.util.text import Spelt

    class Some(Spelt):
        @property
        def broken(self):
            raise MemberNotFoundError("struct x has no member y")

    # Not as an AttributeError either: hasattr would take it for there being no such thing.
    with pytest.raises(
        kernlab.KernlabError, match=r"'broken' of this cannot be made: .*no member y"
    ) as caught:
        Some().broken  # noqa: B018
    assert not isinstance(caught.value, AttributeError)
    assert isinstance(caught.value.__cause__, MemberNotFoundError)


def test_variables(dump, whole_dump):
    init = dump.variable("init_task")
    assert init.comm == "swapper/0"
    assert init.pid == 0
    assert dump.variable("jiffies") > 0
    assert dump.variable("nr_threads") == (dump.tasks["pid"] > 0).sum()
    assert dump.variable("saved_command_line", "char *") == dump.kernel.word("saved_command_line")
    with pytest.raises(kernlab.KernlabError, match="name it: dump"):
        dump.variable("schedule")


def test_percpu(dump, whole_dump):
    queues = dump.percpu("runqueues")
    assert len(queues) == len(dump.kernel.percpu_offsets) or len(queues) >= whole_dump.truth.cpus()
    online = queues["cpu"].values[: whole_dump.truth.cpus()]
    assert online.tolist() == list(range(whole_dump.truth.cpus()))
    current = queues["curr->pid"].values[: whole_dump.truth.cpus()].tolist()
    assert sorted(current) == sorted(dump.tasks[dump.tasks["on_cpu"]]["pid"])


def test_struct_and_structs_agree(dump):
    tasks = dump.tasks
    array = dump.structs("task_struct", tasks["address"])
    assert array["pid"].values.tolist() == tasks["pid"].tolist()
    one = dump.struct("task_struct", tasks["address"].iloc[-1])
    assert one.pid == tasks["pid"].iloc[-1]
    assert one["real_parent->tgid"] == tasks["ppid"].iloc[-1]
    frame = array.frame({"name": "comm", "memory": "mm->total_vm"})
    assert frame["name"].tolist() == tasks["comm"].tolist()
    assert (frame["memory"].isna() == tasks["vsz_bytes"].isna()).all()
    with_missing = dump.structs("task_struct", [0, int(tasks["address"].iloc[0])])
    assert with_missing["pid"].valid.tolist() == [False, True]


def test_read_and_translate(sample):
    banner = sample.read(sample.symbol("linux_banner"), 14)
    assert banner == b"Linux version "
    physical = sample.translate(sample.symbol("linux_banner"))
    assert sample.read(physical, 14, physical=True) == banner
    several = sample.translate([sample.symbol("linux_banner"), 0x1000])
    assert several.isna().tolist() == [False, True]
    assert int(several[0]) == physical


def test_absent_unmapped_and_zero_are_three_answers(sample):
    with pytest.raises(kernlab.FaultError, match="0x1000"):
        sample.read(0x1000, 8)
    assert sample.read(sample.symbol("empty_zero_page"), 64) == bytes(64)
    kernel = sample.kernel
    pfns = np.arange(kernel.file.max_pfn, dtype=np.uint64)
    left_out = int(pfns[kernel.file.find(pfns) == -1][0])
    with pytest.raises(kernlab.PageExcluded, match="left out of the dump"):
        sample.read(left_out << 12, 8, physical=True)
    assert issubclass(kernlab.FaultError, kernlab.KernlabError)
    assert issubclass(kernlab.PageExcluded, kernlab.KernlabError)


def test_closed_dump_says_so_and_its_tables_stay(dump_files):
    dump = kernlab.open(dump_files("debian-6.1").vmcore)
    tasks = dump.tasks
    dump.close()
    dump.close()
    assert "closed" in repr(dump)
    assert len(tasks) > 50
    assert dump.tasks is tasks
    with pytest.raises(kernlab.KernlabError, match="was closed; open it again"):
        dump.slabs  # noqa: B018


def test_nothing_of_a_dump_outlives_it(dump_files):
    import weakref

    dump = kernlab.open(dump_files("debian-6.1").vmcore)
    gone = weakref.ref(dump.kernel)
    dump.tasks  # noqa: B018
    dump.close()
    del dump
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("use", ["memory_by_process", "suspects"])
def test_a_dump_goes_with_its_last_user_and_waits_for_no_collector(dump_files, use):
    import weakref

    dump = kernlab.open(dump_files("debian-6.1").vmcore)
    parts = (dump.kernel, dump.kernel.memory, dump.kernel.file)
    gone = [weakref.ref(part) for part in parts]
    del parts
    getattr(dump, use)
    gc.collect()
    gc.disable()
    try:
        del dump
        assert [part() for part in gone] == [None, None, None]
    finally:
        gc.enable()


def test_two_threads_use_one_dump(dump_files):
    path = dump_files("debian-6.1").vmcore
    with kernlab.open(path) as alone:
        wanted = {name: getattr(alone, name) for name in TABLES}
    with kernlab.open(path, arena_bytes=1 << 20) as dump:
        found: list[tuple[str, object]] = []
        start = threading.Barrier(6)

        def build(names):
            start.wait()
            found.extend((name, getattr(dump, name)) for name in names)

        orders = [TABLES[i:] + TABLES[:i] for i in range(6)]
        threads = [threading.Thread(target=build, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(found) == 6 * len(TABLES)
        for name, table in found:
            assert table is getattr(dump, name)
        for name in TABLES[1:]:
            pd.testing.assert_frame_equal(
                plain(getattr(dump, name)), plain(wanted[name]), obj=name, check_dtype=False
            )


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Addresses as objects: those of two dumps are of two dtypes."""
    return frame.astype({name: object for name, dtype in frame.dtypes.items() if "address" in str(dtype)})


def test_a_small_arena_gives_the_same_tables(dump_files, sample):
    with kernlab.open(dump_files("debian-6.1").vmcore, arena_bytes=1 << 18) as dump:
        pd.testing.assert_frame_equal(plain(dump.tasks), plain(sample.tasks))
        pd.testing.assert_frame_equal(plain(dump.slabs), plain(sample.slabs))


def test_opening_reads_no_pandas_and_importing_nothing_heavy(dump_files):
    """In a process of its own: what is loaded by then."""
    heavy = "('pandas', 'IPython', 'matplotlib', 'ipywidgets', 'scipy')"
    script = (
        f"import sys, kernlab\nfirst = [m for m in ('numpy', *{heavy}) if m in sys.modules]\n"
        f"dump = kernlab.open({str(dump_files('debian-6.1').vmcore)!r})\n"
        f"second = [m for m in {heavy} if m in sys.modules]\n"
        "dump.tasks\n"
        f"third = [m for m in {heavy} if m in sys.modules and m != 'pandas']\n"
        "print(first, second, third)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[] [] []"
