"""Source lines of a dump's addresses: held against addr2line and drgn, and on files that claim to be its kernel's."""

import os

import numpy as np
import pytest
from support.drgn_oracle import vmlinux_of
from support.small_vmlinux import BUILD_ID, KEPT, TEXT, addr2line, build

import kernlab
from kernlab.errors import KernlabError
from kernlab.linux.build_ids import kernel_build_id, module_build_ids
from kernlab.linux.source_lines import lines_of, source_problems
from kernlab.linux.stacks.unwind import unwound


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KERNLAB_DEBUG_PATH", raising=False)


@pytest.fixture(scope="module")
def vmlinux():
    """The vmlinux of the sample's kernel. Of the module: it lies in the cache that each test has one of its own of."""
    with kernlab.open(sample()) as plain:
        return vmlinux_of(plain.kernel.vmcoreinfo.release)


def sample():
    return kernlab.sample("debian-6.1")


def told(frames):
    return [(frame.function, frame.path, frame.line) for frame in frames]


def stacks_of_kernel(kernel):
    """Where each frame of all stacks is, of those in the kernel itself."""
    found = unwound(kernel)
    where = np.unique(found.ip - (~found.exact).astype(np.uint64))
    return where[(where >= kernel.symbol("_text")) & (where < kernel.symbol("_etext"))]


def test_all_stacks_as_addr2line_and_drgn_tell_them(vmlinux):
    drgn = pytest.importorskip(
        "drgn", reason="drgn, an oracle, is not installed (pip install 'kernlab[oracle]')"
    )
    with kernlab.open(sample(), vmlinux=vmlinux) as dump:
        kernel = dump.kernel
        where = stacks_of_kernel(kernel)
        assert len(where) > 40
        found = lines_of(kernel, where, np.ones(len(where), dtype=bool))
        assert sum(len(frames) > 1 for frames in found) >= 3
        moved = kernel.symbol("_text") - TEXT
        expected = addr2line(vmlinux, [address - moved for address in where.tolist()])
        program = drgn.Program()
        program.set_core_dump(str(sample()))
        program.load_debug_info([str(vmlinux)])
        for address, frames in zip(where.tolist(), found, strict=True):
            ours = told(frames)
            assert ours == [one for one in expected[address - moved] if one[1]], hex(address)
            try:
                theirs = list(program.source_location(address))
            except LookupError:
                assert not frames
                continue
            assert [line for _, _, line in ours] == [one.line for one in theirs]
            for frame, other in zip(frames, theirs, strict=True):
                assert frame.path.endswith(frame.file)
                assert other.filename.endswith(frame.file), (other.filename, frame.file)
        # What is returned to lies behind the call.
        assert lines_of(kernel, where + np.uint64(1)) == found
        named = {frames[-1].function: frames for frames in found if frames}
        assert [frame.function for frame in named["__schedule"]] == ["context_switch", "__schedule"]
        assert {frame.file for frame in named["__schedule"]} == {"kernel/sched/core.c"}
        assert named["ret_from_fork"][0].file == "arch/x86/entry/entry_64.S"
        assert dump.problems == []


def test_a_printed_stack_shows_lines_and_inlined_calls(vmlinux):
    with kernlab.open(sample()) as plain:
        pid = int(plain.tasks.loc[plain.tasks["comm"] == "app<2>", "pid"].iloc[0])
        assert "kernel/sched/core.c" not in repr(plain.stack(pid))
    with kernlab.open(sample(), vmlinux=vmlinux) as dump:
        shown = dump.stack(pid)
        rows = repr(shown).splitlines()
        at = next(number for number, row in enumerate(rows) if row.startswith(" __schedule+"))
        assert rows[at - 1].startswith(" context_switch (inlined) kernel/sched/core.c:")
        assert "(kernel/sched/core.c:" in rows[at]
        assert "context_switch</i>" in shown._repr_html_()
        assert shown.problems == []


def test_build_ids_are_found_in_memory_too(whole_dump):
    """VMCOREINFO says the kernel's; its notes in memory the same."""
    with kernlab.open(whole_dump.vmcore) as dump:
        kernel = dump.kernel
        told = kernel.vmcoreinfo["BUILD-ID"]
        assert kernel_build_id(kernel) == told
        del kernel.vmcoreinfo._lines["BUILD-ID"]
        kernel.forget()
        assert kernel_build_id(kernel) == told
        ids = module_build_ids(kernel)
        assert set(ids) == set(dump.modules["name"])
        assert all(len(one) == 40 and int(one, 16) for one in ids.values())
        assert len(set(ids.values())) == len(ids)


def own_vmlinux(folder, **options):
    with kernlab.open(sample()) as dump:
        return build(folder, build_id=kernel_build_id(dump.kernel), **options)


def test_a_file_is_placed_by_its_text(tmp_path):
    """A small file that says that it is this kernel's: its `_text` lies where the dump's does."""
    vmlinux = own_vmlinux(tmp_path)
    expected = addr2line(vmlinux, list(range(TEXT, TEXT + 0x80)))
    with kernlab.open(sample(), vmlinux=vmlinux) as dump:
        start = dump.symbol("_text")
        assert start != TEXT
        where = np.arange(start, start + 0x80, dtype=np.uint64)
        found = lines_of(dump.kernel, where, np.ones(0x80, dtype=bool))
        for number, frames in enumerate(found):
            if frames:
                assert told(frames) == expected[TEXT + number]
        assert sum(map(bool, found)) > 0x60
        assert lines_of(dump.kernel, where[:-1] + np.uint64(1)) == found[:-1]
        assert lines_of(dump.kernel, np.array([0, 1, 1 << 63, (1 << 64) - 1], dtype=np.uint64)) == [()] * 4


def test_files_are_found_in_folders(tmp_path, monkeypatch):
    vmlinux = own_vmlinux(tmp_path)
    for option in ({"vmlinux": tmp_path}, {"vmlinux": [str(tmp_path)]}, {}):
        if not option:
            monkeypatch.setenv("KERNLAB_DEBUG_PATH", f"/nowhere:{tmp_path}")
        with kernlab.open(sample(), **option) as dump:
            assert lines_of(dump.kernel, np.array([dump.symbol("_text") + 1], dtype=np.uint64)) != [()]
    monkeypatch.setenv("KERNLAB_DEBUG_PATH", "")
    assert vmlinux.is_file()
    with kernlab.open(sample()) as dump:
        where = np.array([dump.symbol("_text") + 1], dtype=np.uint64)
        if lines_of(dump.kernel, where) != [()]:
            pytest.skip("this machine has the kernel's debug file in /usr/lib/debug")
        assert dump.problems == []


def test_a_module_is_placed_by_its_symbols(tmp_path):
    """Debian's own debug file of zram, where there is one."""
    folder = os.environ.get("KERNLAB_TEST_DEBUG")
    if not folder:
        pytest.skip(
            "KERNLAB_TEST_DEBUG names no folder with the unpacked linux-image-6.1.0-56-cloud-amd64-dbg"
        )
    with kernlab.open(sample(), vmlinux=folder) as dump:
        kernel = dump.kernel
        kernel.with_modules()
        table = kernel.symbols
        rows = [
            row
            for row, module in enumerate(table.modules())
            if module == "zram" and chr(table.types[row]) in "tT"
        ]
        names = table.names()
        where = table.addresses[rows] + np.uint64(4)
        found = lines_of(kernel, where, np.ones(len(rows), dtype=bool))
        assert len(rows) > 30
        for row, frames in zip(rows, found, strict=True):
            # Clones of a function bear its name and a suffix; two have an alias.
            assert names[row].partition(".")[0] in (frames[-1].function, "init_module", "cleanup_module")
            assert frames[-1].file.startswith("drivers/block/zram/")


class TestRefused:
    def test_another_kernels_file(self):
        with (
            pytest.raises(KernlabError, match="another build") as error,
            kernlab.open(sample(), vmlinux=KEPT),
        ):
            pass
        with kernlab.open(sample()) as dump:
            assert kernel_build_id(dump.kernel) in str(error.value)
        assert BUILD_ID in str(error.value)
        assert str(KEPT) in str(error.value)

    def test_a_kernel_whose_id_is_not_known(self):
        from kernlab.linux.debug_files import use_debug_files

        with kernlab.open(sample()) as dump:
            kernel = dump.kernel
            del kernel.vmcoreinfo._lines["BUILD-ID"]
            kernel.symbols._found["__start_notes"] = None
            with pytest.raises(KernlabError, match="does not say its kernel's"):
                use_debug_files(kernel, KEPT)

    def test_a_folder_without_it(self, tmp_path):
        (tmp_path / "vmlinux").write_bytes(KEPT.read_bytes())
        with (
            pytest.raises(
                KernlabError, match=f"no debug file of the kernel.*{BUILD_ID}.*it is looked for as"
            ),
            kernlab.open(sample(), vmlinux=tmp_path),
        ):
            pass

    def test_nothing_there(self, tmp_path):
        with (
            pytest.raises(KernlabError, match="cannot be read"),
            kernlab.open(sample(), vmlinux=tmp_path / "no"),
        ):
            pass

    def test_a_file_of_the_kernel_without_lines_or_types(self, tmp_path):
        vmlinux = own_vmlinux(tmp_path)
        stripped = vmlinux.read_bytes().replace(b".debug_line\0", b".gone_lines\0")
        vmlinux.write_bytes(stripped.replace(b".debug_info\0", b".gone_types\0"))
        with pytest.raises(KernlabError, match="has no line tables"), kernlab.open(sample(), vmlinux=vmlinux):
            pass

    def test_damage_is_told_once_and_costs_nothing_else(self, tmp_path):
        vmlinux = own_vmlinux(tmp_path)
        from kernlab.debuginfo.debug_file import DebugFile

        file, content = DebugFile(vmlinux), bytearray(vmlinux.read_bytes())
        content[int(file._sections[file._names.index(".debug_line")]["offset"]) + 4] = 77
        vmlinux.write_bytes(content)
        with kernlab.open(sample(), vmlinux=vmlinux) as dump:
            where = np.array([dump.symbol("_text")] * 2, dtype=np.uint64)
            for _ in range(2):
                with dump.kernel.scope("stacks") as here:
                    assert lines_of(dump.kernel, where + np.uint64(2)) == [(), ()]
                assert any("version 77" in loss for loss in here.losses)
                assert len(here.losses) == 1
            assert dump.problems == []
            assert any("version 77" in problem for problem in source_problems(dump.kernel))
