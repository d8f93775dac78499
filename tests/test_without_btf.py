"""Kernels without BTF: types by vmlinux= (DWARF, BTF) and types= (BTF, ISF), symbols by symbols=, each matched."""

import base64
import contextlib
import json
import lzma
import shutil
import subprocess

import numpy as np
import pytest
from support.alike import assert_same
from support.overlay import Overlay
from support.seed import SEED
from support.without_types import TEXT, Isf, btf_of, hidden, members, vmlinux_of

import kernlab
from kernlab.commands import main
from kernlab.core.kernel import Kernel
from kernlab.debuginfo import debug_packages, file_types
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.debug_file import DebugFile
from kernlab.debuginfo.drgn_types import DrgnTypes
from kernlab.debuginfo.isf import IsfTypes
from kernlab.dump import TABLES, Dump
from kernlab.errors import KernlabError, MissingDependencyError, SymbolNotFoundError, TypesLostError
from kernlab.linux.build_ids import kernel_build_id
from kernlab.linux.debug_files import use_debug_files
from kernlab.linux.given_files import symbol_source, use_types

SAMPLE = "debian-6.1"
#: What modules' types are needed for, which the made vmlinux lacks; and what takes long.
OF_MODULES, SLOW = {"pages", "volumes"}, {"map_usage", "memory_by_process", "verdict", "suspects", "problems"}
#: Every fourth table, the others with the next seeds.
COMPARED = sorted(
    name for name, entry in TABLES.items() if not entry.is_method and name not in OF_MODULES | SLOW
)
COMPARED = COMPARED[SEED % 4 :: 4]
STRUCTS = [
    *(
        "struct task_struct",
        "struct page",
        "struct mm_struct",
        "struct inode",
        "struct sock",
        "struct kmem_cache",
    ),
    *("struct module", "struct list_head", "struct super_block", "struct bin_attribute", "struct kobject"),
    *("struct module_notes_attrs", "struct elf64_sym", "struct kernel_symbol", "struct mod_kallsyms"),
    *("struct module_sect_attrs", "struct attribute_group", "struct module_use"),
]


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KERNLAB_DEBUG_PATH", raising=False)
        patch.setattr("kernlab.debuginfo.debug_search._DEFAULT", tmp_path_factory.mktemp("none") / "no")
        yield


@pytest.fixture(scope="module")
def whole(opened):
    return opened(SAMPLE)


@pytest.fixture(scope="module")
def vmlinux(whole, tmp_path_factory):
    variables = {
        "crash_kexec_post_notifiers": "bool crash_kexec_post_notifiers",
        # Their types have no name.
        "tk_core": "struct { seqcount_raw_spinlock_t seq; struct timekeeper timekeeper; } tk_core",
        "trace_clocks": "struct { u64 (*func)(void); const char *name; int in_ns; } trace_clocks[10]",
        "super_blocks": "int super_blocks",
    }
    return vmlinux_of(whole, tmp_path_factory.mktemp("made"), kernel_build_id(whole.kernel), variables)


@pytest.fixture(scope="module")
def isf(whole, tmp_path_factory):
    made = Isf(whole.kernel.types, STRUCTS)
    banner = whole.read("linux_banner", 512).partition(b"\0")[0] + b"\0"
    made.symbol("linux_banner", TEXT, data=base64.b64encode(banner).decode())
    made.symbol("modules", whole.symbol("modules"), "struct list_head")
    return made.write(tmp_path_factory.mktemp("isf") / "linux.json")


@pytest.fixture(scope="module")
def system_map(whole, tmp_path_factory):
    """As it was linked: this boot moved it."""
    own = hidden(whole).kernel.symbols
    shift = whole.symbol("_text") - TEXT
    rows = [
        f"{address - shift if address >= 1 << 63 else address:016x} {chr(letter)} {name}"
        for address, letter, name in zip(own.addresses.tolist(), own.types.tolist(), own.names(), strict=True)
    ]
    path = tmp_path_factory.mktemp("map") / "System.map"
    path.write_text("\n".join(sorted(rows)) + "\n")
    return path


@pytest.fixture(scope="module")
def given(whole, vmlinux):
    pytest.importorskip("drgn", reason="types are read from DWARF with drgn: pip install 'kernlab[dwarf]'")
    dump = hidden(whole)
    use_debug_files(dump.kernel, vmlinux)
    assert isinstance(dump.kernel.types, DrgnTypes)
    return dump


class TestNothingGiven:
    def test_the_error_says_what_works_and_what_would_help(self, whole):
        bare = hidden(whole)
        with pytest.raises(TypesLostError) as raised:
            _ = bare.tasks
        told = str(raised.value)
        assert "linux-image-6.1.0-56-cloud-amd64-dbg" in told
        assert kernel_build_id(whole.kernel) in told
        assert "dump.log, info, symbols" in told
        assert "--vmlinux" in told
        # And it does work.
        assert_same(bare.log, whole.log)
        assert bare.info["release"] == whole.info["release"]
        assert bare.read("linux_banner", 13) == b"Linux version"
        assert len(bare.kernel.symbols) > 80_000
        assert any("no type information" in each for each in bare.problems)

    @pytest.mark.parametrize(
        ("release", "package"),
        [
            ("6.1.0-56-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64-dbg"),
            ("6.12.107+deb13-arm64", "linux-image-6.12.107+deb13-arm64-dbg"),
            ("5.15.0-91-generic", "linux-image-unsigned-5.15.0-91-generic-dbgsym"),
            ("4.18.0-147.5.1.el8_1.x86_64", "kernel-debuginfo-4.18.0-147.5.1.el8_1.x86_64"),
            ("5.4.17-2136.312.3.4.el8uek.x86_64", "kernel-uek-debuginfo-5.4.17-2136.312.3.4.el8uek.x86_64"),
            ("5.3.18-150300.59.93-default", "kernel-default-debuginfo"),
            ("4.19.90-52.22.v2207.ky10.aarch64", "kernel-debuginfo-4.19.90-52.22.v2207.ky10.aarch64"),
            ("6.9.0-mine+", "the folder that it was built in"),
            ("$(reboot)", "the folder that it was built in"),
        ],
    )
    def test_packages_by_release(self, release, package):
        assert package in debug_packages.told(release)
        assert "reboot" not in debug_packages.told(release)


class TestDwarf:
    @pytest.mark.parametrize("name", COMPARED)
    def test_the_same_tables_cell_by_cell(self, whole, given, name):
        expected, got = getattr(whole, name), getattr(given, name)
        assert_same(got, expected)
        assert got.attrs["problems"] == expected.attrs["problems"]

    def test_the_same_structs_and_enums(self, whole, given):
        own, types = whole.kernel.types, given.kernel.types
        names = own.names("struct")[SEED % 16 :: 16]
        for name in (f"struct {name}" for name in names):
            expected, got = own.get(name), types.get(name)
            if got is not None and got.size == expected.size:
                # Of structs that share a name any may be the one.
                assert members(got.strip()) == members(expected.strip()), name
        assert sum(types.get(f"struct {name}") is not None for name in names) > 0.98 * len(names)
        for name in ("PIDTYPE_PGID", "MIGRATE_PCPTYPES", "NR_FREE_PAGES", "WORK_STRUCT_FLAG_BITS"):
            assert types.enumerator(name) == own.enumerator(name)
        assert types.get("u32").strip().size == 4
        assert types.get("struct page *").size == 8
        assert types.get("struct nothing") is None
        assert types.enumerator_or_none("NO_SUCH_ENUMERATOR") is None
        with pytest.raises(KernlabError, match="did you mean"):
            types.find("struct task_strukt")
        assert {"task_struct", "page"} <= set(types.names("struct"))

    def test_types_of_any_variable_where_it_lies_there(self, whole, given, vmlinux):
        assert given.variable("crash_kexec_post_notifiers") is whole.variable(
            "crash_kexec_post_notifiers", "bool"
        )
        # kernlab's own word goes first: with and without a file the same.
        assert given.variable("super_blocks").type_.c_name == "struct list_head"
        with pytest.raises(KernlabError, match="open the dump with the kernel's vmlinux"):
            whole.variable("crash_kexec_post_notifiers")
        with kernlab.open(kernlab.sample(SAMPLE), vmlinux=vmlinux) as dump:
            assert isinstance(dump.kernel.types, Btf)
            assert dump.variable("crash_kexec_post_notifiers") is False
            row = dump.find_symbols("crash_kexec_post_notifiers").iloc[0]
            assert row["c_type"] == "bool"

    def test_one_that_lies_elsewhere_is_another_variable(self, whole, tmp_path):
        pytest.importorskip("drgn")
        source = tmp_path / "a.c"
        source.write_text("int panic_print = 1; void _start(void) {}\n")
        build = kernel_build_id(whole.kernel)
        options = [
            "-nostdlib",
            "-static",
            "-no-pie",
            f"-Wl,-Ttext={TEXT:#x}",
            f"-Wl,--defsym=_text={TEXT:#x}",
        ]
        made = tmp_path / "vmlinux"
        if shutil.which("gcc") is None:
            pytest.skip("no gcc to make a file with DWARF (apt-get install gcc)")
        subprocess.run(
            ["gcc", "-g", *options, f"-Wl,--build-id=0x{build}", "-o", str(made), str(source)], check=True
        )
        with (
            kernlab.open(kernlab.sample(SAMPLE), vmlinux=made) as dump,
            pytest.raises(KernlabError, match="do not say what type"),
        ):
            dump.variable("panic_print")

    @pytest.mark.parametrize(
        "options",
        [
            ["-gz=zlib"],
            ["-gdwarf-4", "-gz=zlib"],
            ["-gsplit-dwarf"],
            ["-gdwarf-3"],
            ["-fdebug-types-section"],
        ],
    )
    def test_forms_of_dwarf(self, tmp_path, options):
        pytest.importorskip("drgn")
        if shutil.which("gcc") is None:
            pytest.skip("no gcc to make files with DWARF (apt-get install gcc)")
        (tmp_path / "a.c").write_text(
            "struct inner { int a[2][3]; unsigned b : 3, c : 5; }; typedef struct inner inner_t;\n"
            "struct outer { inner_t held; struct { _Bool d; char e[4]; }; int (*call)(struct outer *, ...); } it;\n"
            "enum sign { LESS = -1, MORE = 1 } sign; void _start(void) {}\n"
        )
        done = subprocess.run(
            ["gcc", "-g", *options, "-nostdlib", "-static", "-no-pie", "-o", "made", "a.c"], cwd=tmp_path
        )
        assert done.returncode == 0
        types = DrgnTypes(DebugFile(tmp_path / "made"))
        outer = types.variable("it").strip()
        # As BTF has it, an array of arrays is one of all their elements.
        inner = [("a", 0, 0, "int [6]"), ("b", 192, 3, "unsigned int"), ("c", 195, 5, "unsigned int")]
        assert [
            (one.name, one.bit_offset, one.bit_size, one.type.c_name)
            for one in types.get("inner_t").strip().members
        ] == inner
        assert outer.member_names() == ["held", "d", "e", "call"]
        assert outer.member("call").type.c_name == "int (*)(struct outer *, ...)"
        assert outer.member("e").bit_offset == 28 * 8 + 8
        assert outer.member("d").type.strip().is_bool
        assert types.enumerator("LESS") == -1
        assert types.get("enum sign").signed

    def test_structs_that_share_a_name(self, tmp_path):
        pytest.importorskip("drgn")
        if shutil.which("gcc") is None:
            pytest.skip("no gcc to make files with DWARF (apt-get install gcc)")
        for folder, member in (("events", "pages"), ("trace", "buffers")):
            (tmp_path / "kernel" / folder).mkdir(parents=True)
            (tmp_path / "kernel" / folder / "ring_buffer.c").write_text(
                f"struct ring_buffer {{ int {member}; }} {folder};\n"
            )
        for order in (("events", "trace"), ("trace", "events")):
            sources = [f"kernel/{folder}/ring_buffer.c" for folder in order]
            subprocess.run(
                ["gcc", "-g", "-nostdlib", "-no-pie", "-w", "-o", "made", *sources], cwd=tmp_path, check=True
            )
            types = DrgnTypes(DebugFile(tmp_path / "made"))
            assert types.describing("struct ring_buffer", "buffers").member_names() == ["buffers"]
            assert types.describing("struct ring_buffer", "nothing") is None

    def test_pahole_where_drgn_is_not(self, whole, vmlinux, monkeypatch):
        if shutil.which("pahole") is None:
            pytest.skip("no pahole (apt-get install pahole)")
        monkeypatch.setattr(file_types, "can_read_dwarf", lambda: False)
        types = file_types.types_of_file(DebugFile(vmlinux))
        assert isinstance(types, Btf)
        for name in STRUCTS:
            assert members(types.get(name).strip()) == members(whole.kernel.types.get(name).strip()), name
        monkeypatch.setattr(subprocess, "run", lambda *words, **options: pytest.fail("it was kept"))
        assert len(file_types.types_of_file(DebugFile(vmlinux))) == len(types)

    def test_neither_is_there(self, vmlinux, monkeypatch):
        monkeypatch.setattr(file_types, "can_read_dwarf", lambda: False)
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(MissingDependencyError, match=r"kernlab\[dwarf\].*pahole"):
            file_types.types_of_file(DebugFile(vmlinux))

    def test_damaged_dwarf_is_an_error_of_ours(self, vmlinux, tmp_path):
        pytest.importorskip("drgn")
        broken = tmp_path / "vmlinux"
        file = DebugFile(vmlinux)
        raw, info = bytearray(vmlinux.read_bytes()), bytes(file.section(".debug_info")[:4096])
        at = raw.index(info)
        raw[at + 16 : at + 2048] = bytes(range(256)) * 7 + bytes(240)
        broken.write_bytes(raw)
        with contextlib.suppress(KernlabError):
            DrgnTypes(DebugFile(broken)).get("struct task_struct")

    def test_another_build_is_refused_unless_forced(self, whole, vmlinux, tmp_path):
        other = tmp_path / "vmlinux"
        own = bytes.fromhex(kernel_build_id(whole.kernel))
        other.write_bytes(vmlinux.read_bytes().replace(own, own[::-1]))
        with pytest.raises(KernlabError, match=r"is of another build.*any_build=True"):
            use_debug_files(hidden(whole).kernel, other)
        forced = hidden(whole)
        use_debug_files(forced.kernel, other, any_build=True)
        assert len(forced.kernel.types.find("struct page").strip().members) > 1
        assert any("is of another build" in problem and "asked for" in problem for problem in forced.problems)


class TestBtfOfAFile:
    def test_of_a_vmlinux_goes_before_its_dwarf(self, whole, vmlinux, tmp_path):
        blob, made = tmp_path / "blob", tmp_path / "vmlinux"
        blob.write_bytes(btf_of(whole))
        if shutil.which("objcopy") is None:
            pytest.skip("no objcopy (apt-get install binutils)")
        subprocess.run(["objcopy", f"--add-section=.BTF={blob}", str(vmlinux), str(made)], check=True)
        dump = hidden(whole)
        use_debug_files(dump.kernel, made)
        assert isinstance(dump.kernel.types, Btf)
        assert_same(dump.modules, whole.modules)

    def test_alone_packed_and_plain(self, whole, tmp_path):
        plain, packed = tmp_path / "types.btf", tmp_path / "types.btf.xz"
        plain.write_bytes(btf_of(whole))
        packed.write_bytes(lzma.compress(btf_of(whole), preset=0))
        for path in (plain, packed):
            dump = hidden(whole)
            use_types(dump.kernel, path)
            assert_same(dump.modules, whole.modules)

    def test_of_another_kernel_is_refused_by_what_vmcoreinfo_says(self, whole, opened, tmp_path):
        other = tmp_path / "other.btf"
        other.write_bytes(btf_of(opened("debian-6.12")))
        dump = hidden(whole)
        with pytest.raises(KernlabError, match=r"of another kernel: by it \w+\(\w"):
            use_types(dump.kernel, other)
        use_types(dump.kernel, other, any_build=True)
        assert any("another kernel" in problem for problem in dump.problems)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"\x7fELF" + bytes(100), "give it as vmlinux="),
            (b"what", "has no types"),
            (b"{ what", "it is not JSON"),
            (b'{"symbols": {}}', "no “user_types”"),
            (b"[" * 100_000, "has no types"),
            (b'{"a":' * 100_000, "it is not JSON"),
            (b"\x9f\xeb\x01\x00" + bytes(8), "BTF"),
            (b"\xfd7zXZ\x00 no", "does not unpack"),
        ],
    )
    def test_what_is_none(self, whole, tmp_path, content, told):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(KernlabError, match=told):
            use_types(whole.kernel, path)


class TestIsf:
    def test_the_same_structs(self, whole, isf):
        types = IsfTypes(json.loads(isf.read_text()), str(isf))
        for name in STRUCTS:
            assert members(types.get(name)) == members(whole.kernel.types.get(name).strip()), name
        assert types.get("u64").strip().size == 8
        assert types.get("struct nothing") is None
        assert types.get("atomic_t").size == 4
        assert types.get("char [16]").size == 16
        own = whole.kernel.types
        assert types.get("Elf64_Sym").strip().name == own.get("Elf64_Sym").strip().name == "elf64_sym"
        assert types.variable("modules").name == "list_head"
        assert types.variable("linux_banner") is None
        nameless = next(m.type for m in own.get("struct page").strip().members if not m.name)
        assert "mapping" in nameless.strip().member_names()

    def test_a_table_by_it_and_by_the_command_line(self, whole, isf, capsys):
        dump = hidden(whole)
        use_types(dump.kernel, isf)
        assert_same(
            dump.modules[["name", "base", "size_bytes"]], whole.modules[["name", "base", "size_bytes"]]
        )
        words = [
            "table",
            str(kernlab.sample(SAMPLE)),
            "modules",
            "--columns",
            "name",
            "--format",
            "csv",
            "-q",
        ]
        assert main.main([*words, "--types", str(isf)]) == 0
        assert capsys.readouterr().out.split()[1:] == whole.modules["name"].tolist()

    def test_another_banner_is_refused(self, whole, isf, tmp_path):
        document = json.loads(isf.read_text())
        document["symbols"]["linux_banner"]["constant_data"] = base64.b64encode(
            b"Linux version 5.4\n\0"
        ).decode()
        other = tmp_path / "other.json"
        other.write_text(json.dumps(document))
        with pytest.raises(KernlabError, match=r"Linux version 5\.4"):
            use_types(hidden(whole).kernel, other)

    @pytest.mark.parametrize("part", ["base_types", "user_types", "enums", "symbols"])
    @pytest.mark.parametrize(
        "value", [None, [], {"page": 1, "list_head": {"fields": {"next": []}}}, {"page": {}}]
    )
    def test_damage_is_a_type_without_members(self, isf, part, value):
        document = json.loads(isf.read_text())
        document[part] = value
        try:
            types = IsfTypes(document, "x")
        except KernlabError:
            assert part == "user_types"
            return
        for name in ("struct page", "struct list_head", "int", "u64", "atomic_t", "irq_cpustat_t"):
            kind = types.get(name)
            if kind is not None:
                assert kind.strip().size >= 0
                assert isinstance(getattr(kind.strip(), "members", []), list)
        assert types.near("pagee") is not None
        assert types.banner is not None


class TestSymbols:
    def without_kallsyms(self, whole):
        overlay = Overlay(whole)
        for name in ("kallsyms_token_table", "kallsyms_token_index"):
            overlay.write(whole.kernel.vmcoreinfo.symbol(name), bytes(512))
        return overlay

    def test_where_the_dumps_own_are_lost(self, whole, system_map):
        overlay = self.without_kallsyms(whole)
        with pytest.raises(KernlabError):
            Kernel.open(overlay.file())
        dump = Dump(Kernel.open(overlay.file(), symbols=symbol_source(system_map, None, None, False)))
        assert any(str(system_map) in problem for problem in dump.problems)
        names = ("init_task", "slab_caches", "modules", "runqueues", "_text", "_end", "linux_banner")
        assert [dump.symbol(name) for name in names] == [whole.symbol(name) for name in names]
        columns = ["pid", "comm", "state", "mm"]
        assert_same(dump.tasks[columns], whole.tasks[columns])
        assert dump.symbolize(whole.symbol("schedule") + 8) == whole.symbolize(whole.symbol("schedule") + 8)

    def test_where_they_are_functions_only(self, whole, system_map, monkeypatch):
        from support.absent import Absence

        from kernlab.core import own_symbols

        table = Absence(functions_only=True).symbol_table(whole.kernel.symbols)
        assert table.functions_only
        assert "modules" not in table
        monkeypatch.setattr(own_symbols, "read_kallsyms", lambda memory, info, doubts: table)
        bare = Dump(Kernel.open(Overlay(whole).file()))
        with pytest.raises(SymbolNotFoundError, match="symbols="):
            bare.symbol("modules")
        dump = Dump(Kernel.open(Overlay(whole).file(), symbols=symbol_source(system_map, None, None, False)))
        assert not dump.kernel.symbols.functions_only
        own = whole.kernel.symbols
        for name in own.names()[SEED % 97 : 80_000 : 97]:
            assert set(dump.kernel.symbols.all(name)) <= set(own.all(name)), name
        assert_same(dump.modules, whole.modules)

    def test_of_another_build_are_refused_unless_forced(self, whole, system_map, tmp_path):
        rows = system_map.read_text().splitlines()
        half = len(rows) // 2
        moved = [
            f"{int(row[:16], 16) + (0x40 if at > half else 0):016x}{row[16:]}" for at, row in enumerate(rows)
        ]
        other = tmp_path / "System.map"
        other.write_text("\n".join(moved))
        overlay = Overlay(whole)
        with pytest.raises(KernlabError, match=r"of another build: of [\d,]+ symbols.*any_build=True"):
            Kernel.open(overlay.file(), symbols=symbol_source(other, None, None, False))
        kernel = Kernel.open(overlay.file(), symbols=symbol_source(other, None, None, True))
        assert any("another build" in problem for problem in kernel.problems)
        # It had all itself.
        assert kernel.symbols.get("modules") == whole.symbol("modules")

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"what", "no System.map"), (b"0000000000000000 T _text\n", "all addresses are 0")],
    )
    def test_what_is_none(self, whole, tmp_path, content, told):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(KernlabError, match=told):
            Kernel.open(Overlay(whole).file(), symbols=symbol_source(path, None, None, False))

    def test_those_of_a_vmlinux(self, whole, vmlinux):
        names, addresses, letters = DebugFile(vmlinux).all_symbols()
        at = names.index("crash_kexec_post_notifiers")
        assert int(addresses[at]) - TEXT == whole.symbol("crash_kexec_post_notifiers") - whole.symbol("_text")
        assert chr(letters[at]) in "BbDd"
        assert chr(letters[names.index("_start")]) == "T"
        assert addresses.dtype == np.uint64
        assert "" not in names
