"""The magics and completion in an IPython of the test's own."""

from __future__ import annotations

import weakref
from contextlib import ExitStack

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from support.memory_runs import write_raw

import kernlab
import kernlab.util.text
from kernlab.core.struct import Struct
from kernlab.dump import Dump
from kernlab.formats import open_dump_file
from kernlab.jupyter.completion import suggestions
from kernlab.struct_browser.pahole import StructLayout


@pytest.fixture
def shell():
    made = InteractiveShell(display_pub_class=CapturingDisplayPublisher)
    kernlab.load_ipython_extension(made)
    yield made
    kernlab.unload_ipython_extension(made)


@pytest.fixture
def dump(shell, opened):
    shell.user_ns["dump"] = opened("debian-6.1")
    return shell.user_ns["dump"]


@pytest.fixture
def opened_sample():
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(kernlab.open(kernlab.sample(name)))


def completed(shell, text):
    with provisionalcompleter():
        return {
            text[: one.start] + one.text: one.type for one in shell.Completer.completions(text, len(text))
        }


def test_vmcore_opens_lists_and_names(shell, dump_files):
    file = dump_files("debian-6.1").vmcore
    dump = shell.run_line_magic("vmcore", f"'{file}'")
    assert isinstance(dump, Dump)
    assert shell.user_ns["dump"] is dump
    shell.run_line_magic("vmcore", f"--name other {dump_files('debian-5.10').vmcore}")
    listed = shell.run_line_magic("vmcore", "")
    assert listed.name.tolist() == ["dump", "other"]
    assert listed.file.tolist()[0] == str(file)
    shell.user_ns["other"].close()
    assert shell.run_line_magic("vmcore", "").name.tolist() == ["dump"]
    dump.close()


def test_vmcore_opens_a_raw_image_as_such(shell, dump_files, tmp_path):
    with open_dump_file(dump_files("debian-6.1").vmcore) as file:
        path = write_raw(file, tmp_path / "memory.raw")
    with pytest.raises(UsageError, match="format='raw'"):
        shell.run_line_magic("vmcore", str(path))
    with shell.run_line_magic("vmcore", f"--format raw {path}") as dump:
        assert dump.info["format"] == "raw"
        assert dump.info["release"] == "6.1.0-56-cloud-amd64"


def test_what_vmcore_replaces_leaves_the_history_of_results(shell, dump_files):
    file = dump_files("debian-6.1").vmcore
    shell.run_cell(f"%vmcore {file}", store_history=True)
    shell.run_cell("dump", store_history=True)
    shell.run_cell("kept = [1]\nkept", store_history=True)
    gone = weakref.ref(shell.user_ns["dump"])
    shell.run_cell(f"%vmcore {file}", store_history=True)
    assert gone() is None
    assert shell.user_ns["Out"][4] is shell.user_ns["dump"]
    assert shell.user_ns["_3"] is shell.user_ns["kept"]
    # Whoever gave it a name of their own still has it.
    shell.run_cell("mine = dump")
    shell.run_cell(f"%vmcore {file}", store_history=True)
    assert shell.user_ns["mine"] is not shell.user_ns["dump"]
    shell.run_cell("%reset -f")


# What is held, not what Python's cycles and malloc's arenas keep for the next dump: that differs by tens of MiB.
_MEASURE = """
import ctypes, gc, os
def _links():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
held = [*_links(), *(line.split(None, 5)[-1].strip() for line in open("/proc/self/maps"))]
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
anonymous = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon"))
print(int(anonymous), sum(name.endswith("/vmcore") for name in held))
"""


def test_a_dump_reopened_in_a_real_kernel_leaves_nothing_behind(dump_files, tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    file = dump_files("debian-6.1").vmcore

    def run(code: str) -> str:
        said: list[dict] = []
        client.execute_interactive(code, output_hook=said.append, timeout=300)
        assert not [one for one in said if one["msg_type"] == "error"], said
        return "".join(one["content"].get("text", "") for one in said if one["msg_type"] == "stream")

    kernel, client = manager.start_new_kernel(kernel_name="python3")
    try:
        run("%load_ext kernlab")
        measured = []
        for _ in range(6):
            run(f"%vmcore {file}")
            run("_ = dump.memory_by_process, dump.suspects")
            measured.append([int(number) for number in run(_MEASURE).split()])
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert {held for _, held in measured} == {measured[0][1]}, measured
    # KiB; each dump that stayed took 30 MiB and more. Where none stays, nothing grows.
    assert measured[-1][0] - measured[2][0] < 4 << 10, measured


def test_vmcore_says_what_is_wrong_in_one_line(shell, tmp_path):
    with pytest.raises(UsageError, match="nosuch"):
        shell.run_line_magic("vmcore", str(tmp_path / "nosuch"))
    with pytest.raises(UsageError, match="not a name"):
        shell.run_line_magic("vmcore", "--name 1x /nosuch")


def test_words_of_a_magic_may_name_what_the_user_has(shell, dump, dump_files, tmp_path, monkeypatch):
    """A path with a blank in it stays one word; `~` and the environment's names are the shell's."""
    folder = tmp_path / "my dumps"
    folder.mkdir()
    (folder / "vmcore").symlink_to(dump_files("debian-6.1").vmcore)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("CRASHES", str(folder))
    shell.user_ns.update(path=folder / "vmcore", folder=str(folder), number=dump.symbol("init_task"))
    for written in ("$path", "{path}", "'$path'", "{folder}/vmcore", "~/vmcore", "$CRASHES/vmcore"):
        opened = shell.run_line_magic("vmcore", f"--name given {written}")
        assert opened.info["release"] == dump.info["release"], written
        opened.close()
    with pytest.raises(UsageError, match="nosuch"):
        shell.run_line_magic("vmcore", "$nosuch")
    assert shell.run_line_magic("struct", "task_struct {number}").address_ == dump.symbol("init_task")
    assert shell.run_line_magic("sym", "$number")["label"].iloc[0].startswith("init_task+0x0/")
    shell.user_ns["function"] = "do_idle"
    assert repr(shell.run_line_magic("dis", "$function")) == repr(shell.run_line_magic("dis", "do_idle"))


def test_an_error_is_its_sentence_and_tb_the_way_there(shell, tmp_path, capsys):
    """With the extension or without: an exception says itself how IPython prints it."""
    file = tmp_path / "not-a-dump\x1b[2J"
    file.write_bytes(b"nothing of a dump" * 100)
    shell.user_ns["file"] = file
    shell.run_cell("import kernlab\ndef mine():\n    kernlab.open(file)\nmine()", store_history=True)
    told = capsys.readouterr()
    told = told.out + told.err
    assert "DumpFormatError: " in told
    assert "Traceback" not in told
    assert "mine()" not in told
    assert len(told.splitlines()) <= 3
    assert "\x1b[2J" not in told
    shell.run_cell("%tb")
    told = capsys.readouterr()
    told = told.out + told.err
    assert "Traceback" in told
    assert "mine()" in told
    assert "interactiveshell.py" not in told
    assert "\x1b[2J" not in told


def printed(shell, thing):
    formatted, _ = shell.display_formatter.format(thing)
    return formatted["text/plain"]


def test_a_terminal_shows_the_card_as_text(shell, dump):
    lines = printed(shell, dump).splitlines()
    assert lines[0] == f"Linux {dump.info['release']} on {dump.info['nodename']}"
    assert lines[1] == "The machine was crashed on purpose (SysRq)"
    assert lines[2].startswith("The machine stopped because")
    assert lines[3].startswith("How sure: High")
    assert any(line.startswith("last words ") and dump.info["panic_message"] in line for line in lines)
    assert any(line.startswith("died ") and "after boot" in line for line in lines)
    # What other programs print of it stays one line.
    assert repr(dump).startswith("<kernlab.Dump ")
    shell.user_ns["dump"] = None
    with kernlab.open(dump.kernel.source) as other:
        pass
    assert printed(shell, other) == repr(other)


def test_a_terminal_shows_suspects_with_their_evidence(shell, opened_sample):
    suspects = opened_sample("oom").suspects
    text = printed(shell, suspects)
    flat = " ".join(text.split())
    for row in suspects.itertuples():
        assert " ".join(row.evidence.split()) in flat
        assert " ".join(row.cell.split()) in flat
        assert kernlab.util.text.human_bytes(row.bytes) in flat
    assert max(map(len, text.splitlines())) < 130


def test_a_terminal_shows_sizes_in_human_units_and_no_controls(shell, dump):
    import pandas as pd

    text = printed(shell, dump.info)
    assert kernlab.util.text.human_bytes(dump.info["memory_bytes"]) in text
    assert str(dump.info["memory_bytes"]) not in text
    slabs = dump.slabs.head(3)
    assert kernlab.util.text.human_bytes(slabs["bytes"].iloc[0]) in printed(shell, slabs[["name", "bytes"]])
    wild = slabs[["name"]].assign(name=pd.Series(["a\x1b[2J" + "b" * 80, "c", "d"], dtype="str"))
    assert "\x1b" not in printed(shell, wild)
    assert "bbbbbb" in printed(shell, wild.assign(n=1))
    kernlab.load_ipython_extension(shell)
    # A large table is cut as pandas cuts it.
    assert len(printed(shell, dump.symbols).splitlines()) < 80


def test_struct(shell, dump):
    shown = shell.run_line_magic("struct", "task_struct")
    assert isinstance(shown, StructLayout)
    assert str(shown) == str(shell.run_line_magic("struct", "struct task_struct"))
    init = dump.symbol("init_task")
    for where in (f"{init:#x}", "init_task", "&init_task"):
        found = shell.run_line_magic("struct", f"task_struct {where}")
        assert isinstance(found, Struct)
        assert found.address_ == init
    fs = shell.run_line_magic("struct", "fs_struct init_task.fs")
    assert fs.address_ == dump.struct("task_struct", init).fs.address_
    for line, told in (("", "name a type"), ("nosuch_type", "no type"), ("task_struct nosuch", "no symbol")):
        with pytest.raises(UsageError, match=told):
            shell.run_line_magic("struct", line)


def test_sym(shell, dump):
    found = shell.run_line_magic("sym", "slab_caches")
    assert found.address.tolist() == [dump.symbol("slab_caches")]
    assert found.c_type.tolist() == ["struct list_head"]
    several = shell.run_line_magic("sym", "slab_*")
    names = dump.symbols.name
    assert several.name.tolist() == names[names.str.match(r"slab_.*$")].tolist()
    at = shell.run_line_magic("sym", f"{dump.symbol('slab_caches') + 4:#x}")
    assert at.label.iloc[0].startswith("slab_caches+0x4/")
    with pytest.raises(UsageError, match="no symbol"):
        shell.run_line_magic("sym", "nosuchsymbol")


def test_dis(shell, dump):
    pytest.importorskip("capstone", reason="capstone is not installed (the extra 'disassembly')")
    found = shell.run_line_magic("dis", "do_idle")
    assert found.address.iloc[0] == dump.symbol("do_idle")
    assert found.offset.iloc[0] == 0
    ends = found.offset + found.bytes.str.split().map(len)
    assert found.offset.tolist()[1:] == ends.tolist()[:-1]
    # The bytes are the dump's, and the target of each call is a function's start.
    assert dump.read(dump.symbol("do_idle"), int(ends.iloc[-1])) == bytes.fromhex("".join(found.bytes))
    calls = found[found.instruction.str.startswith("call 0x")]
    assert len(calls) > 5
    assert calls.target.str.contains(r"\+0x0/").all()
    for target, instruction in zip(calls.target, calls.instruction, strict=True):
        assert dump.symbol(target.split("+")[0]) == int(instruction.split()[1], 16)
    inside = shell.run_line_magic("dis", f"{dump.symbol('do_idle') + 5:#x}")
    assert inside.address.tolist() == found.address.tolist()
    assert len(shell.run_line_magic("dis", "--size 5 do_idle")) == 1
    with pytest.raises(UsageError, match="mapped"):
        shell.run_line_magic("dis", "0x10")


def test_bt(shell, dump):
    assert repr(shell.run_line_magic("bt", "117")) == repr(dump.stack(117))
    assert repr(shell.run_line_magic("bt", "app<2>")) == repr(dump.stack(117))
    assert repr(shell.run_line_magic("bt", "")) == repr(dump.stack(1))
    assert repr(shell.run_line_magic("bt", "-c 0")) == repr(dump.stack(cpu=0))
    every = shell.run_line_magic("bt", "-a")
    assert every["count"].sum() == dump.stacks["task"].nunique()
    with pytest.raises(UsageError, match="no thread 4242; the nearest are"):
        shell.run_line_magic("bt", "4242")
    with pytest.raises(UsageError, match="one of these"):
        shell.run_line_magic("bt", "-a -c 0")


def test_which_dump_is_meant(shell, opened):
    with pytest.raises(UsageError, match="%vmcore FILE"):
        shell.run_line_magic("struct", "page")
    shell.user_ns["a"] = opened("debian-6.1")
    assert isinstance(shell.run_line_magic("struct", "page"), StructLayout)
    shell.user_ns["b"] = opened("debian-7.2")
    with pytest.raises(UsageError, match="a, b"):
        shell.run_line_magic("struct", "page")
    with pytest.raises(UsageError, match="c is not an open dump"):
        shell.run_line_magic("struct", "--dump c page")
    one, two = (shell.run_line_magic("struct", f"--dump {name} task_struct") for name in "ab")
    assert one.size != two.size


def test_loading_twice_and_unloading(shell, dump):
    before = list(shell.Completer.custom_matchers)
    kernlab.load_ipython_extension(shell)
    assert len(shell.Completer.custom_matchers) == len(before) == 1
    formatter = shell.display_formatter.formatters["text/html"]
    assert "kernlab-frame" in formatter(dump.tasks)
    kernlab.unload_ipython_extension(shell)
    assert shell.Completer.custom_matchers == []
    assert not {"vmcore", "struct", "sym", "dis", "bt"} & set(shell.magics_manager.magics["line"])
    assert "kernlab-frame" not in formatter(dump.tasks)
    kernlab.unload_ipython_extension(shell)
    kernlab.load_ipython_extension(shell)
    assert "kernlab-frame" in formatter(dump.tasks)


def test_what_comes_of_a_table_is_shown_as_the_table_is(shell, dump):
    """pandas forgets a frame's attrs in joins and groupings: two styles of tables stood side by side."""
    shell.run_line_magic("load_ext", "kernlab")
    html, plain = (shell.display_formatter.formatters[f"text/{kind}"] for kind in ("html", "plain"))
    tasks = dump.tasks
    derived = (
        tasks.groupby("state").agg(threads=("pid", "size"), rss_bytes=("rss_bytes", "sum")),
        tasks.groupby(["state", "cpu"])["rss_bytes"].sum(),
        tasks[["pid", "rss_bytes"]].merge(dump.maps[["pid", "size_bytes"]], on="pid"),
        tasks["comm"].value_counts(),
    )
    for shown in (tasks, *derived):
        assert html(shown).startswith('<div class="kernlab-frame')
    for shown in derived[:3]:
        assert "iB</td>" in html(shown)
    hostile = tasks.assign(comm="a\x1b[31m").groupby("comm").size()
    assert "\x1b" not in plain(hostile)
    assert "\x1b" not in html(hostile)


def test_anothers_magic_of_the_same_name_stays():
    made = InteractiveShell(display_pub_class=CapturingDisplayPublisher)
    made.register_magic_function(lambda line: "mine", "line", "sym")
    kernlab.unload_ipython_extension(made)
    assert made.run_line_magic("sym", "") == "mine"


def test_settings(shell, dump):
    formatter = shell.display_formatter.formatters["text/html"]
    assert "KiB" in formatter(dump.slabs)
    shell.run_line_magic("config", "KernlabMagics.human_sizes = False")
    assert "KiB" not in formatter(dump.slabs)
    shell.run_line_magic("config", "KernlabMagics.max_rows = 4")
    assert formatter(dump.slabs).count("<tr>") < 10


def test_completion_in_ipython(shell, dump):
    shell.user_ns["tasks"] = dump.tasks
    shell.user_ns["task"] = dump.struct("task_struct", dump.symbol("init_task"))
    assert completed(shell, "tasks.kern.field('mm->tot") == {
        "tasks.kern.field('mm->total_vm": "long unsigned int"
    }
    assert "%struct task_struct" in completed(shell, "%struct task_stru")
    assert "%sym slab_caches" in completed(shell, "%sym slab_cac")
    assert "dump.tasks" in completed(shell, "dump.tas")
    assert "dump.explore" in completed(shell, "dump.expl")
    assert "task.comm" in completed(shell, "task.com")
    assert any("real_cred" in text for text in completed(shell, "task['real_c"))
    assert "kernlab.show" in completed(shell, "kernlab.sh")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tasks.kern.where('pid > 1 and mm->map_c", "mm->map_count"),
        ("x = dump.tasks.kern.on('m", "mm"),
        ("dump.tasks.kern.on('mm').field('total_", "total_vm"),
        ("tasks.kern.follow('mm', 'tot", "total_vm"),
        ("tasks.kern.follow('m", "mm"),
        ("tasks.kern.assign(a='uti", "utime"),
        ("tasks.head(3).kern.field('comm', 'mm->tot", "mm->total_vm"),
        ("tasks.kern.owner('struct task_stru", "struct task_struct"),
        ("dump.struct('task_str", "task_struct"),
        ("dump.structs(\"task_str", "task_struct"),
        ("dump.struct('task_struct', 4096)['se.sum", "se.sum_exec_runtime"),
        ("dump.symbol('slab_c", "slab_caches"),
        ("dump.variable('slab_c", "slab_caches"),
        ("print(dump.explore('init_task.mm", "init_task.mm"),
        ("dump.entries('slab_cac", "slab_caches"),
        ("task['se.sum", "se.sum_exec_runtime"),
        ("task.fs['roo", "root"),
        ("many['pid_l", "pid_links"),
        ("many.frame({'a': 'mm->tot", "mm->total_vm"),
        ("tasks['com", "comm"),
        ("tasks[['pid', 'com", "comm"),
        ("tasks.query('pid > 1 and sta", "state"),
        ("tasks.sort_values(['pid', 'com", "comm"),
        ("dump.slab_objects('dent", "dentry"),
        ("dump.slab_objects(['dentry', 'filp'], 'dent", "dentry"),
        ("dump.owner('slab_cac", "slab_caches"),
        ("%dis do_idl", "do_idle"),
        ("%bt ext4la", "ext4lazyinit"),
        ("%bt -", "-a"),
        ("%struct task_struct init_tas", "init_task"),
        ("%struct --dump dump task_str", "task_struct"),
    ],
)  # fmt: skip
def test_what_is_offered(dump, line, offered):
    names = {
        "dump": dump, "tasks": dump.tasks, "task": dump.struct("task_struct", dump.symbol("init_task")),
        "many": dump.structs("task_struct", [dump.symbol("init_task")]),
    }  # fmt: skip
    assert offered in [one.text for one in suggestions(line, names)]


class Trap:
    """Whoever looks into this executes what nobody asked for."""

    def __getattr__(self, name):
        raise AssertionError(f"completion looked up {name}")

    def __getitem__(self, key):
        raise AssertionError(f"completion looked up {key}")

    def __call__(self, *given):
        raise AssertionError("completion called something")


@pytest.mark.parametrize(
    "line",
    ["trap['x", "trap.kern.field('x", "trap().field('x", "trap.a.b['c", "open('/etc/pas", "nosuch.kern.field('m",
     "df['", "'",
     "x = {'a': 'b", "print('", "(" * 100 + "'", "f(trap, 'x", "%%bash '", "trap['a']['b"],
)  # fmt: skip
def test_nothing_else_is_touched(line):
    import pandas as pd

    assert suggestions(line, {"trap": Trap(), "df": pd.DataFrame({"a": [1]})}) == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dump.tasks.kern.field('sig", "signal"),
        ("dump.tasks.kern.where('mm->map_c", "mm->map_count"),
        ("dump.tasks.kern.structs['com", "comm"),
        ("dump.tasks.head(3).kern.field('com", "comm"),
        ("dump.maps.kern.field('vm_sta", "vm_start"),
        ("dump.tasks['sta", "state"),
        ("dump.tasks[['pid', 'sta", "state"),
        ("dump.tasks.query('sta", "state"),
        ("dump.slabs.sort_values('used_b", "used_bytes"),
        ("dump.slab_objects('dentry').kern.field('d_na", "d_name"),
        ("dump.slab_objects('dentry')['allo", "allocated"),
        ("dump.memory_by_process.nlargest(3, 'rss_b", "rss_bytes"),
    ],
)  # fmt: skip
def test_a_table_is_not_built_for_a_completion(dump_files, line, offered):
    with kernlab.open(dump_files("debian-6.1").vmcore) as dump:
        assert offered in [one.text for one in suggestions(line, {"dump": dump})]
        assert dump._built == {}


def test_no_column_is_offered_for_what_an_expression_compares_with(dump):
    assert suggestions("dump.tasks.query('state == \"s", {"dump": dump}) == []


def test_what_tables_say_of_themselves_unbuilt_is_what_they_are(opened):
    """The struct that the rows stand for, and columns, as the completion knows them without building a table."""
    from kernlab.dump import TABLES

    dump = opened("debian-6.1")
    for name, entry in TABLES.items():
        known = TABLES.load(name)
        if entry.is_method or not hasattr(getattr(dump, name), "columns"):
            continue
        built = getattr(dump, name)
        target = getattr(built["address"].dtype, "target", "") if "address" in built else ""
        assert known.rows == target, name
        assert set(known.columns) <= set(built.columns), name
        assert known.columns, name
