"""Source lines from DWARF, held against binutils' and LLVM's, on small files and on their damage."""

import json
import os
import random
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
import zstandard
from elftools.common.exceptions import DWARFError, ELFError, ELFParseError
from elftools.construct import FieldError
from elftools.dwarf.dwarfinfo import DWARFInfo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.small_vmlinux import BUILD_ID, CLANG, KEPT, SOURCE, TEXT, addr2line, build, functions

from kernlab.debuginfo.debug_file import DebugFile
from kernlab.debuginfo.debug_search import DebugSearch, folders
from kernlab.debuginfo.dwarf import Dwarf
from kernlab.debuginfo.line_table import line_table
from kernlab.debuginfo.source_lines import SourceLines
from kernlab.errors import KernlabError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lines(path, addresses):
    return SourceLines(DebugFile(path)).lines(np.array(addresses, dtype=np.uint64))


def told(frames):
    return [(frame.function, frame.path, frame.line) for frame in frames]


FORMS = {
    "dwarf 5": ("-gdwarf-5",),
    "dwarf 4": ("-gdwarf-4",),
    "dwarf 3": ("-gdwarf-3", "-gstrict-dwarf"),
    "dwarf 2": ("-gdwarf-2", "-gstrict-dwarf"),
    "sections of functions": ("-ffunction-sections",),
    "not optimised": ("-O0",),
    "for size": ("-Os",),
    "packed with zlib": ("-gz=zlib",),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_instruction_as_addr2line_tells_it(form, tmp_path):
    made = build(tmp_path, *FORMS[form])
    addresses = [at for start, end in functions(made).values() for at in range(start, end)]
    expected = addr2line(made, addresses)
    found = lines(made, addresses)
    assert {address: told(frames) for address, frames in zip(addresses, found, strict=True)} == expected
    if form != "not optimised":
        assert max(map(len, found)) >= 3


def test_sections_packed_as_before_2016(tmp_path):
    """This addr2line cannot read them: they tell of the same code the same."""
    made = build(tmp_path, "-gz=zlib-gnu")
    addresses = [at for start, end in functions(made).values() for at in range(start, end)]
    found = lines(made, addresses)
    assert max(map(len, found)) >= 3
    assert found == lines(build(tmp_path), addresses)


def test_dwarf_of_64_bits_is_said_not_to_be_read(tmp_path):
    """No kernel has it."""
    source = SourceLines(DebugFile(build(tmp_path, "-gdwarf-5", "-gdwarf64")))
    assert not any(source.lines(np.arange(TEXT, TEXT + 0x40, dtype=np.uint64)))
    assert any("64-bit DWARF, which kernlab does not read" in problem for problem in source.problems)


@pytest.mark.parametrize("form", ["dwarf 5", "dwarf 4", "packed with zlib"])
def test_a_module_is_relocated(form, tmp_path):
    """Of sections that all begin at 0: addr2line is told which one is meant."""
    made = build(tmp_path, *FORMS[form], link=False)
    file = DebugFile(made)
    assert file.is_relocatable
    for section in (".text", ".text.elsewhere"):
        number = file._names.index(section)
        base = file.address_of_section(number)
        offsets = list(range(file.size_of_section(number)))
        expected = addr2line(made, offsets, section)
        found = lines(made, [base + at for at in offsets])
        for at, frames in zip(offsets, found, strict=True):
            if frames and not frames[0].function:
                # Between functions; addr2line takes the symbol before.
                assert told(frames)[0][1:] == expected[at][0][1:]
            else:
                assert told(frames) == expected[at]


@pytest.mark.parametrize(("method", "pack"), [(1, zlib.compress), (2, zstandard.ZstdCompressor().compress)])
def test_packed_sections(method, pack, tmp_path):
    """ELFCOMPRESS_ZLIB and ELFCOMPRESS_ZSTD (binutils 2.40), cut, and with false claims of their size."""
    file, content = DebugFile(KEPT), bytearray(KEPT.read_bytes())
    number = file._names.index(".debug_info")
    header = int(file._table[0]) + number * 64
    data = bytes(file.section(".debug_info")[:])

    def packed(claimed, cut=None):
        inside = struct.pack("<IIQQ", method, 0, claimed, 1) + pack(data)[:cut]
        struct.pack_into("<Q", content, header + 8, 0x800)
        struct.pack_into("<QQ", content, header + 24, KEPT.stat().st_size, len(inside))
        (tmp_path / "packed").write_bytes(content + inside)
        source = SourceLines(DebugFile(tmp_path / "packed"))
        return source.lines(np.arange(TEXT, TEXT + 0x100, dtype=np.uint64)), source.problems

    assert packed(len(data)) == (lines(KEPT, range(TEXT, TEXT + 0x100)), [])
    for claim in (0, len(data) - 1, len(data) + 1, 1 << 40, (1 << 64) - 1):
        found, problems = packed(claim)
        assert not any(found)
        assert "section .debug_info is damaged" in problems[0]
    assert "section .debug_info is damaged" in packed(len(data), cut=-9)[1][0]


def test_units_are_found_without_aranges(tmp_path):
    """clang writes none."""
    if shutil.which("objcopy") is None:
        pytest.skip("no objcopy to take a section away (apt-get install binutils)")
    made, bare = build(tmp_path), tmp_path / "bare"
    subprocess.run(["objcopy", "-R", ".debug_aranges", made, bare], check=True)
    addresses = [at for start, end in functions(made).values() for at in range(start, end)]
    assert not DebugFile(bare).section(".debug_aranges")
    assert lines(bare, addresses) == lines(made, addresses)
    assert any(lines(bare, addresses))


KEPT_ONES = pytest.mark.parametrize("kept", [KEPT, CLANG], ids=["gcc", "clang"])


@KEPT_ONES
def test_the_kept_files(kept):
    """Without any compiler: what the source says."""
    source = SOURCE.read_text().splitlines()
    found = lines(kept, range(TEXT, TEXT + 0x520))
    chains = {tuple(frame.function for frame in frames) for frames in found}
    assert ("innermost", "middle", "outer") in chains
    assert ("innermost", "elsewhere") in chains
    for frames in found:
        for frame, inner in zip(frames[1:], frames, strict=False):
            assert inner.inlined
            assert f"{inner.function}(" in source[frame.line - 1], (frame, inner)
        if frames:
            assert not frames[-1].inlined
            assert frames[-1].path == "/build/linux/inlined.c"
            # Code that is of no line is of line 0.
            assert str(frames[0]) == f"{frames[0].file}:{frames[0].line}".removesuffix(":0")
    assert lines(kept, [0, 1 << 63, (1 << 64) - 1]) == [(), (), ()]


@KEPT_ONES
def test_every_instruction_as_llvm_symbolizer_tells_it(kept):
    """binutils 2.40 takes the files of clang's tables for others."""
    if shutil.which("llvm-symbolizer") is None:
        pytest.skip("no llvm-symbolizer, the oracle (apt-get install llvm)")
    addresses = [at for start, end in functions(kept).values() for at in range(start, end)]
    command = ["llvm-symbolizer", "--output-style=JSON", "-e", str(kept), *map(hex, addresses)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Cold parts are named by their symbols.
    expected = [
        [(one["FunctionName"].partition(".")[0], one["FileName"], one["Line"]) for one in row["Symbol"]]
        for row in json.loads(said)
    ]
    assert len(expected) == len(addresses) > 300
    for address, frames, theirs in zip(addresses, lines(kept, addresses), expected, strict=True):
        assert told(frames) == theirs, hex(address)


@KEPT_ONES
def test_rows_of_a_table_as_pyelftools_makes_them(kept):
    dwarf = Dwarf(DebugFile(kept))
    for unit in dwarf.info().iter_CUs():
        states = [
            entry.state for entry in unit.dwarfinfo.line_program_for_CU(unit).get_entries() if entry.state
        ]
        expected = [(one.address, -1 if one.end_sequence else one.file, one.line) for one in states]
        table = line_table(dwarf, unit)
        found = zip(table.address.tolist(), table.file.tolist(), table.line.tolist(), strict=True)
        assert sorted((*row[:2], row[2] if row[1] >= 0 else 0) for row in expected) == sorted(found)
        assert len(expected) > 50


def test_units_of_two_versions(tmp_path):
    """Ranges of each are in a section of its own, as where a kernel's assembler is older than its compiler."""
    (tmp_path / "old").mkdir()
    renamed = [f"-D{name}={name}4" for name in ("outer", "elsewhere", "rarely", "_start", "sink")]
    old = build(tmp_path / "old", "-gdwarf-4", *renamed, link=False)
    made = build(tmp_path, "-gdwarf-5", str(old))
    assert DebugFile(made).section(".debug_ranges")
    assert DebugFile(made).section(".debug_rnglists")
    addresses = [at for start, end in functions(made).values() for at in range(start, end)]
    expected = addr2line(made, addresses)
    assert {
        address: told(frames) for address, frames in zip(addresses, lines(made, addresses), strict=True)
    } == expected
    assert {frames[-1].function for frames in lines(made, addresses)} >= {"outer", "outer4"}


def test_paths_count_from_the_top_of_the_source(tmp_path):
    """That is where include/linux lies, whatever the folder it was compiled in."""
    for name, text in {
        "include/linux/twice.h": "static inline int twice(int x) { extern volatile int y; return y = 2 * x; }\n",
        "kernel/sched/core.c": "#include <linux/twice.h>\nvolatile int y;\nint _start(void) { return twice(3); }\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "build").mkdir()
    source = tmp_path / "kernel/sched/core.c"
    made = build(tmp_path / "build", f"-I{tmp_path}/include", source=source)
    start, end = functions(made)["_start"]
    found = {frame.file for frames in lines(made, range(start, end)) for frame in frames}
    assert found == {"kernel/sched/core.c", "include/linux/twice.h"}


def test_the_second_time_nothing_is_parsed(monkeypatch):
    addresses = np.arange(TEXT, TEXT + 0x80, dtype=np.uint64)
    first = SourceLines(DebugFile(KEPT)).lines(addresses)
    more = np.arange(TEXT + 0x80, TEXT + 0x100, dtype=np.uint64)
    second = SourceLines(DebugFile(KEPT))
    assert second.lines(addresses) == first
    assert not second._units
    added = second.lines(more)
    assert second._units
    third = SourceLines(DebugFile(KEPT))
    assert third.lines(np.concatenate([addresses, more])) == first + added
    assert not third._units


def test_what_somebody_else_left_in_the_cache_is_not_believed(monkeypatch):
    from kernlab.debuginfo import line_cache

    file = DebugFile(KEPT)
    key = f"{file.build_id} {file.identity}"
    line_cache.keep(key, {TEXT: [("a", "b", "1", False, "c")]})
    assert line_cache.kept(key) == {}
    assert SourceLines(file).lines(np.array([TEXT], dtype=np.uint64)) == lines(KEPT, [TEXT])


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "is empty"),
            (b"not ELF at all", "is not an ELF file"),
            (b"\x7fELF", "header is damaged"),
            (b"\x7fELF" + bytes(60), "header is damaged|another machine"),
        ],
    )
    def test_what_is_no_debug_file(self, content, what, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(KernlabError, match=what) as error:
            DebugFile(path)
        assert str(path) in str(error.value)

    def test_what_is_not_there_or_not_a_file(self, tmp_path):
        for path in (tmp_path / "nothing", tmp_path):
            with pytest.raises(KernlabError, match=str(path)):
                DebugFile(path)

    def test_another_machine(self, tmp_path):
        content = bytearray(KEPT.read_bytes())
        content[18:20] = struct.pack("<H", 21)
        (tmp_path / "ppc").write_bytes(content)
        with pytest.raises(KernlabError, match=r"ppc64.*kernlab reads those of x86_64 and arm64"):
            DebugFile(tmp_path / "ppc")

    def test_a_stripped_file(self, tmp_path):
        content = KEPT.read_bytes().replace(b".debug_line\0", b".gone_lines\0")
        (tmp_path / "stripped").write_bytes(content)
        with pytest.raises(KernlabError, match=f"has no line tables.*{BUILD_ID}"):
            SourceLines(DebugFile(tmp_path / "stripped"))


def looked_up(content, path):
    """All that may come of a file: lines, or a KernlabError."""
    path.write_bytes(content)
    told = ""
    try:
        source = SourceLines(DebugFile(path))
        found = source.lines(np.arange(TEXT, TEXT + 0x200, dtype=np.uint64))
        source.file.symbols(frozenset(["_text", "outer"]))
        return found, source.problems
    except KernlabError as error:
        told = str(error)
    assert str(path) in told
    return None, []


def test_every_cut_is_told_or_does_not_matter(tmp_path):
    content = KEPT.read_bytes()
    for size in range(0, len(content), 97):
        found, problems = looked_up(content[:size], tmp_path / "cut")
        assert found is None or problems or not any(found), size


def test_one_that_is_cut_while_it_is_open(tmp_path):
    """A mapping of it would end the process."""
    path = tmp_path / "cut"
    shutil.copy(KEPT, path)
    source = SourceLines(DebugFile(path))
    os.truncate(path, 100)
    for _ in range(2):
        assert not any(source.lines(np.arange(TEXT, TEXT + 0x40, dtype=np.uint64)))
    assert source.problems
    assert all(str(path) in problem and "damaged" in problem for problem in source.problems)


def debug_bytes(kept):
    file = DebugFile(kept)
    places = [0, *range(64)]
    for name, row in zip(file._names, file._sections, strict=True):
        if name.startswith(".debug") or name in (".symtab", ".strtab", ".note.gnu.build-id"):
            places += range(int(row["offset"]), int(row["offset"] + row["size"]))
    places += range(int(file._table[0]), kept.stat().st_size)
    return places


@KEPT_ONES
def test_flipped_bytes(kept, tmp_path):
    chance, places, content = random.Random(14), debug_bytes(kept), kept.read_bytes()
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(content)
        for place in chance.sample(places, chance.choice((1, 1, 4))):
            damaged[place] = chance.choice((0, 0xFF, 0x80, 0x7F, damaged[place] ^ 1 << chance.randrange(8)))
        found, problems = looked_up(damaged, tmp_path / "flipped")
        outcomes.add("refused" if found is None else "told" if problems else "read")
    assert outcomes == {"refused", "told", "read"}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_sections_of_anything(tmp_path, data):
    """Sections whose bytes are replaced from some place on."""
    kept = data.draw(st.sampled_from([KEPT, CLANG]))
    content = bytearray(kept.read_bytes())
    file = DebugFile(kept)
    name = data.draw(st.sampled_from([name for name in file._names if name.startswith(".debug")]))
    row = file._sections[file._names.index(name)]
    start, size = int(row["offset"]), int(row["size"])
    at = data.draw(st.integers(0, size - 1))
    new = data.draw(st.binary(min_size=1, max_size=64))[: size - at]
    content[start + at : start + at + len(new)] = new
    looked_up(content, tmp_path / "any")


def with_section(name, data, path):
    """The kept file with other bytes for a section."""
    file, content = DebugFile(KEPT), bytearray(KEPT.read_bytes())
    header = int(file._table[0]) + file._names.index(name) * 64
    struct.pack_into("<QQ", content, header + 24, len(content), len(data))
    return looked_up(content + data, path)


class TestWork:
    """What pyelftools would follow for ever, or nearly so."""

    def test_sets_of_addresses_within_each_other(self, tmp_path):
        """Each of 20,000 sets, 12 bytes apart, has addresses up to the section's end: 150 million."""
        data = struct.pack("<IHIBB", 8, 2, 0, 8, 0) * 20_000 + bytes(64)
        found, problems = with_section(".debug_aranges", data, tmp_path / "sets")
        assert any(found)
        assert len(problems) == 1
        assert "takes more steps than it has bytes for): units are looked for one by one" in problems[0]

    def test_an_entry_that_is_followed_by_one_before_it(self, tmp_path):
        file, content = DebugFile(KEPT), bytearray(KEPT.read_bytes())
        row = file._sections[file._names.index(".debug_info")]
        unit = next(Dwarf(file).info().iter_CUs())
        entries = [one for one in unit.iter_DIEs() if "DW_AT_sibling" in one.attributes]
        for entry in entries:
            assert entry.attributes["DW_AT_sibling"].form == "DW_FORM_ref4"
            at = int(row["offset"]) + entry.attributes["DW_AT_sibling"].offset
            struct.pack_into("<I", content, at, entry.offset - unit.cu_offset)
        found, problems = looked_up(content, tmp_path / "back")
        assert not any(found)
        assert len(problems) == 1
        assert "is followed by one before it" in problems[0]

    def test_files_without_end_of_which_nothing_is_said(self, tmp_path):
        data = bytearray(DebugFile(KEPT).section(".debug_line")[:])
        at = 4 + 2 + 2 + 4 + 6 + data[17] - 1
        assert data[at] == 1
        data[at : at + 4] = b"\0\xff\xff\x7f"
        found, problems = with_section(".debug_line", bytes(data), tmp_path / "files")
        assert not any(found)
        assert len(problems) == 1
        assert "2,097,151 directories of which it says nothing" in problems[0]

    def test_names_that_lead_to_each_other(self, tmp_path):
        file, content = DebugFile(KEPT), bytearray(KEPT.read_bytes())
        row = file._sections[file._names.index(".debug_info")]
        unit = next(Dwarf(file).info().iter_CUs())
        for entry in unit.iter_DIEs():
            origin = entry.attributes.get("DW_AT_abstract_origin")
            if origin is not None:
                struct.pack_into(
                    "<I", content, int(row["offset"]) + origin.offset, entry.offset - unit.cu_offset
                )
        found, problems = looked_up(content, tmp_path / "circle")
        assert problems == []
        assert {"", "_start"} <= {frame.function for frames in found for frame in frames}


@pytest.mark.parametrize(
    "error",
    [
        *(
            AssertionError(),
            AttributeError("x"),
            DWARFError("x"),
            ELFError("x"),
            ELFParseError("x"),
            FieldError("x"),
        ),
        *(IndexError("x"), KeyError("x"), NotImplementedError("x"), OverflowError("x"), RecursionError("x")),
        *(
            struct.error("x"),
            TypeError("x"),
            UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
            ZeroDivisionError("x"),
        ),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("step", ["get_aranges", "get_CU_at", "line_program_for_CU", "range_lists"])
def test_whatever_pyelftools_raises_is_told_once(step, error, monkeypatch):
    def raising(*_):
        raise error

    monkeypatch.setattr(DWARFInfo, step, raising)
    source = SourceLines(DebugFile(KEPT))
    for _ in range(2):
        found = source.lines(np.arange(TEXT, TEXT + 0x200, dtype=np.uint64))
        assert any(found) == (step == "get_aranges")
    assert len(source.problems) == 1
    assert "is damaged (" in source.problems[0]
    assert str(KEPT) in source.problems[0]


def test_damage_hides_its_unit_only_and_says_so(tmp_path):
    content = bytearray(KEPT.read_bytes())
    file = DebugFile(KEPT)
    row = file._sections[file._names.index(".debug_line")]
    content[int(row["offset"]) + 4] = 77
    found, problems = looked_up(content, tmp_path / "damaged")
    assert found is not None
    assert not any(found)
    assert len(problems) == 1
    assert "version 77" in problems[0]
    assert "lines of" in problems[0]


class TestSearch:
    def places(self, folder):
        return {
            "build id": folder / ".build-id" / BUILD_ID[:2] / f"{BUILD_ID[2:]}.debug",
            "debuginfod": folder / BUILD_ID / "debuginfo",
            "name": folder / "vmlinux-6.1.0-1-amd64",
            "boot": folder / "boot" / "vmlinux-6.1.0-1-amd64",
            "unpacked package": folder / "usr/lib/debug/lib/modules/6.1.0-1-amd64/vmlinux",
        }

    @pytest.mark.parametrize("where", ["build id", "debuginfod", "name", "boot", "unpacked package"])
    def test_layouts(self, where, tmp_path):
        path = self.places(tmp_path)[where]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(KEPT, path)
        search = DebugSearch([tmp_path], "6.1.0-1-amd64")
        assert search.kernel(BUILD_ID).path == path
        other = BUILD_ID[::-1]
        assert search.kernel(other) is None
        if "id" not in where and where != "debuginfod":
            assert f"{path} has build id {BUILD_ID}, not {other}" in search.others

    def test_modules_by_name(self, tmp_path):
        path = tmp_path / "lib/modules/6.1.0-1-amd64/kernel/drivers/my-module.ko.debug"
        path.parent.mkdir(parents=True)
        shutil.copy(KEPT, path)
        assert DebugSearch([tmp_path], "6.1.0-1-amd64").module("my_module", BUILD_ID).path == path
        assert DebugSearch([path.parent], "").module("my_module", BUILD_ID).path == path
        assert DebugSearch([tmp_path], "6.1.0-1-amd64").module("my", BUILD_ID) is None

    def test_a_dump_does_not_lead_out_of_the_folder(self, tmp_path):
        (tmp_path / "in").mkdir()
        shutil.copy(KEPT, tmp_path / "vmlinux-x")
        shutil.copy(KEPT, tmp_path / "out")
        for release in ("../../out", "/../vmlinux-x", "..", "x/../../vmlinux-x"):
            assert DebugSearch([tmp_path / "in"], release).kernel(BUILD_ID) is None
        for build_id in ("../out", "", "..", f"{BUILD_ID}/..", "00"):
            assert DebugSearch([tmp_path], "").kernel(build_id) is None

    def test_the_environment(self, tmp_path, monkeypatch):
        (tmp_path / "a").mkdir()
        monkeypatch.setenv("KERNLAB_DEBUG_PATH", f"{tmp_path}/a::{tmp_path}/nothing:{tmp_path}")
        assert folders()[:2] == [tmp_path / "a", tmp_path]
