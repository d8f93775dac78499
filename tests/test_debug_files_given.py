"""Debug files by every way in: `kernlab.open(vmlinux=)`, `%vmcore --vmlinux`, `kernlab stack --vmlinux`, and
KERNLAB_DEBUG_PATH; of the kernel and of a module, small ones made for functions that stand in stacks of samples."""

import copy
import re
import shutil

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from support.small_vmlinux import BUILD_ID, TEXT, build

import kernlab
from kernlab.commands import main
from kernlab.errors import KernlabError
from kernlab.linux.build_ids import kernel_build_id, module_build_ids

KERNEL, MODULE = "debian-6.1", "hung"
STORY = "kernlab_story"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this file's own: what is read of the samples is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch):
    monkeypatch.delenv("KERNLAB_DEBUG_PATH", raising=False)


@pytest.fixture
def shell():
    made = InteractiveShell(display_pub_class=CapturingDisplayPublisher)
    kernlab.load_ipython_extension(made)
    yield made
    kernlab.unload_ipython_extension(made)


class Given:
    """A sample, a thread of it, its stack without lines, a debug file whose code lies where one frame of it does."""

    def __init__(self, sample, thread, path, build_id, function, plain):
        self.sample, self.path, self.build_id = kernlab.sample(sample), path, build_id
        self.thread, self.function, self.plain = str(thread), function, plain

    def is_shown(self, text):
        """Does the frame's row have a line of inlined.c, and no other a line?"""
        rows = [row for row in text.splitlines() if "inlined.c:" in row]
        return bool(rows) and any(f" {self.function}+0x" in row for row in rows) and "not known" not in text


@pytest.fixture(scope="module", params=["kernel", "module"])
def made(request, tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("files")
    if request.param == "kernel":
        with kernlab.open(kernlab.sample(KERNEL)) as dump:
            frames = dump.stacks[dump.stacks["comm"] == "kcompactd0"]
            frame = frames[frames["symbol"].str.startswith("kcompactd+")].iloc[0]
            # In its first function, and the address to return to is not its first byte.
            text = int(frame["address"]) - dump.symbol("_text") + TEXT - 0x40 & ~0xF
            build_id = kernel_build_id(dump.kernel)
            plain = repr(dump.stack(int(frame["pid"])))
        made = build(folder, build_id=build_id, text=text)
        return Given(KERNEL, frame["pid"], made, build_id, "kcompactd", plain)
    with kernlab.open(kernlab.sample(MODULE)) as dump:
        frames = dump.stacks[dump.stacks["symbol"].str.contains(rf"\[{STORY}\]", na=False)]
        offset = frames["symbol"].str.extract(r"\+0x([0-9a-f]+)/")[0].map(lambda digits: int(digits, 16))
        frame = frames.loc[offset.idxmin()]
        build_id = module_build_ids(dump.kernel)[STORY]
        plain = repr(dump.stack(int(frame["pid"])))
    function = frame["symbol"].partition("+")[0]
    made = build(folder, f"-Douter={function}", build_id=build_id, link=False)
    made = made.rename(folder / f"{STORY}.ko.debug")
    return Given(MODULE, frame["pid"], made, build_id, function, plain)


@pytest.fixture
def given(made, tmp_path):
    """A copy that a test may damage."""
    given = copy.copy(made)
    given.path = tmp_path / "files" / made.path.name
    given.path.parent.mkdir()
    shutil.copy(made.path, given.path)
    return given


def test_without_one_no_line_is_shown(given, capsys):
    with kernlab.open(given.sample) as dump:
        assert not given.is_shown(repr(dump.stack(int(given.thread))))
        assert dump.stack(int(given.thread)).problems == []


def test_kernlab_open(given):
    for named in (given.path, str(given.path), [given.path], given.path.parent):
        with kernlab.open(given.sample, vmlinux=named) as dump:
            assert given.is_shown(repr(dump.stack(int(given.thread))))
            assert "inlined.c:" in dump.stack(int(given.thread))._repr_html_()
            assert dump.problems == []


def test_the_magic(given, shell):
    shell.run_line_magic("vmcore", f"'{given.sample}' --vmlinux '{given.path}'")
    with shell.user_ns["dump"]:
        assert given.is_shown(repr(shell.run_line_magic("bt", given.thread)))


def test_the_command(given, capsys):
    assert main.main(["bt", str(given.sample), given.thread, "--vmlinux", str(given.path)]) == 0
    told = capsys.readouterr()
    assert given.is_shown(told.out)
    assert not told.err


@pytest.mark.parametrize("layout", ["by name", "build ids", "debuginfod"])
def test_the_variable(given, layout, tmp_path, monkeypatch, capsys):
    place = tmp_path / "searched"
    path = {
        "by name": place / given.path.name,
        "build ids": place / ".build-id" / given.build_id[:2] / f"{given.build_id[2:]}.debug",
        "debuginfod": place / given.build_id / "debuginfo",
    }[layout]
    path.parent.mkdir(parents=True)
    shutil.copy(given.path, path)
    monkeypatch.setenv("KERNLAB_DEBUG_PATH", f"{tmp_path / 'nothing'}:{place}")
    assert main.main(["bt", str(given.sample), given.thread]) == 0
    assert given.is_shown(capsys.readouterr().out)


def test_one_of_another_build_is_refused_everywhere_with_both_ids(
    given, shell, tmp_path, capsys, monkeypatch
):
    content = given.path.read_bytes()
    other = bytes.fromhex(BUILD_ID)
    assert content.count(bytes.fromhex(given.build_id)) == 1
    given.path.write_bytes(content.replace(bytes.fromhex(given.build_id), other))
    said = re.compile(f"another build.*{BUILD_ID}.*{given.build_id}", re.DOTALL)
    with pytest.raises(KernlabError, match=said), kernlab.open(given.sample, vmlinux=given.path):
        pass
    with pytest.raises(UsageError, match=said):
        shell.run_line_magic("vmcore", f"'{given.sample}' --vmlinux '{given.path}'")
    assert main.main(["bt", str(given.sample), given.thread, "--vmlinux", str(given.path)]) == 2
    assert said.search(capsys.readouterr().err)
    # Of a folder others are passed over.
    monkeypatch.setenv("KERNLAB_DEBUG_PATH", str(given.path.parent))
    with kernlab.open(given.sample) as dump:
        assert not given.is_shown(repr(dump.stack(int(given.thread))))


@pytest.mark.parametrize(
    "section", [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_rnglists"]
)
def test_a_damaged_one_costs_lines_and_not_the_stack(given, section):
    from kernlab.debuginfo.debug_file import DebugFile

    file, content = DebugFile(given.path), bytearray(given.path.read_bytes())
    row = file._sections[file._names.index(section)]
    start, size = int(row["offset"]), int(row["size"])
    content[start : start + size] = b"\xff" * size
    given.path.write_bytes(content)
    expected = given.plain.splitlines()
    with kernlab.open(given.sample, vmlinux=given.path) as dump:
        shown = [repr(dump.stack(int(given.thread))) for _ in range(2)][1]
        bare = [re.sub(r" \([^()]*:\d+\)$", "", row) for row in shown.splitlines() if "(inlined)" not in row]
        assert [row for row in bare if str(given.path) not in row] == expected
        problems = dump.stack(int(given.thread)).problems
        assert len(problems) <= 2
        assert len(problems) == len(set(problems))
        assert all(str(given.path) in problem and "damaged" in problem for problem in problems)
        if section in (".debug_info", ".debug_abbrev", ".debug_line"):
            assert problems
            assert "inlined.c:" not in shown
        assert dump.problems == []


def test_one_that_is_gone_since_costs_lines_and_not_the_stack(given):
    expected = given.plain
    with kernlab.open(given.sample, vmlinux=given.path) as dump:
        given.path.unlink()
        for _ in range(2):
            shown = dump.stack(int(given.thread))
            assert repr(shown).startswith(expected)
            assert len(shown.problems) == 1
            assert str(given.path) in shown.problems[0]
            assert "cannot be read" in shown.problems[0]


@pytest.mark.parametrize("place", ["~nobody-of-this-name/x", "x" * 300, "/proc/self/mem", "/dev/null/x"])
def test_places_that_cannot_be(place, monkeypatch):
    monkeypatch.setenv("KERNLAB_DEBUG_PATH", place)
    with kernlab.open(kernlab.sample(KERNEL)) as dump:
        assert dump.stack("kcompactd0").problems == []
    with (
        pytest.raises(KernlabError, match=r"cannot be read|not a regular file|is empty"),
        kernlab.open(kernlab.sample(KERNEL), vmlinux=place),
    ):
        pass
