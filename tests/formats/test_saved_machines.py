"""Machines that VMware and QEMU saved: synthetic files, what QEMU 10.0 wrote, and what the QEMU that is here writes."""

from __future__ import annotations

import json
import lzma
import shutil
import socket
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from formats.make_dump import PAGE, page
from formats.make_saved import block, regions, state_file, stream, tag
from formats.reading import check_present, frame, frames, open_quietly, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import DumpFormatError, KernlabError, TruncatedDumpWarning
from kernlab.formats import FrameStatus, open_dump_file
from kernlab.formats.cpu_notes import cpu_notes

EXCLUDED, ABSENT, LOST = FrameStatus.EXCLUDED, FrameStatus.ABSENT, FrameStatus.LOST
#: A machine of two NUMA nodes of 8 MiB, stopped before its first instruction, with PATTERN at 1 MiB and 9 MiB.
RECORDED = Path(__file__).with_name("recorded") / "qemu-10.0-numa.qevm.xz"
PATTERN = b"".join(bytes([i]) * 64 + i.to_bytes(4, "little") * 1008 for i in range(16))


def content(pages: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(pages * PAGE)


def cpu(number: int) -> list[bytes]:
    """A CPU's registers as newer hosts write them, and its control registers one by one."""
    values = struct.pack("<16Q", *(0x1000 * number + i for i in range(16)))
    return [
        block("gpregs", values, number),
        *(tag("CR64", struct.pack("<Q", 0xC000 + i), number, i) for i in range(5)),
        tag("rip", struct.pack("<Q", 0xFFFFFFFF81000000 + number), number),
        tag("eflags", struct.pack("<I", 0x246), number),
        *(tag("S", struct.pack("<I", 0x10 + i), number, i) for i in range(6)),
        tag("S.base64", struct.pack("<Q", 0xFFFF888000000000), number, 5),
    ]


class TestVmware:
    def saved(self, folder: Path, image: bytes, rows=(), end=".vmss") -> Path:
        state = state_file(
            {"cpu": [*cpu(0), *cpu(1)], "memory": [tag("align_mask", bytes(4), 0), *regions(rows)]}
        )
        write(folder, image, "machine.vmem")
        return write(folder, state, f"machine{end}")

    @pytest.mark.parametrize("end", [".vmss", ".vmsn"])
    def test_memory_lies_beside_it(self, tmp_path, end):
        image = content(8)
        with open_dump_file(self.saved(tmp_path, image, end=end)) as dump:
            assert (dump.format, dump.machine, dump.problems) == ("vmware", "x86_64", [])
            assert frames(dump, list(range(9))) == {
                **{i: image[i * PAGE : (i + 1) * PAGE] for i in range(8)},
                8: ABSENT,
            }
            check_present(dump)

    def test_regions_leave_the_hole_out(self, tmp_path):
        image = content(8)
        with open_dump_file(self.saved(tmp_path, image, [(0, 0, 5), (5, 0x100000, 3)])) as dump:
            assert frame(dump, 4) == image[4 * PAGE : 5 * PAGE]
            assert [frame(dump, pfn) for pfn in (5, 0xFFFFF, 0x100003)] == [ABSENT] * 3
            assert frame(dump, 0x100002) == image[7 * PAGE :]
            check_present(dump)

    @pytest.mark.parametrize("padding", [0, 7])
    def test_memory_lies_in_the_state_file(self, tmp_path, padding):
        image = content(4)
        state = state_file({"memory": [*regions([(0, 0, 4)]), block("Memory", image, 0, 0, padding=padding)]})
        with open_dump_file(write(tmp_path, state, "machine.vmss")) as dump:
            assert b"".join(frames(dump, [0, 1, 2, 3]).values()) == image

    def test_registers(self, tmp_path):
        with open_dump_file(self.saved(tmp_path, content(1))) as dump:
            found = cpu_notes(dump.notes)
        assert [note.source for note in found] == ["NT_PRSTATUS", "NT_PRSTATUS", "QEMU", "QEMU"]
        for number, note in enumerate(found[:2]):
            expected = dict(zip(("ax", "cx", "dx", "bx", "bp", "sp"), range(6), strict=True))
            for name, value in expected.items():
                assert note.registers[name] == 0x1000 * number + value, name
            assert note.registers["ip"] == 0xFFFFFFFF81000000 + number
            assert (note.registers["cs"], note.registers["flags"]) == (0x11, 0x246)
        assert (found[2].registers["cr3"], found[3].registers["gs_base"]) == (0xC003, 0xFFFF888000000000)

    def test_older_hosts_write_registers_one_by_one(self, tmp_path):
        state = state_file(
            {
                "cpu": [
                    tag("rsp", struct.pack("<Q", 77), 0),
                    tag("r15", struct.pack("<Q", 88), 0),
                    block("CR64", struct.pack("<9Q", *range(9)), 0),
                ],
                "memory": [],
            }
        )
        write(tmp_path, content(1), "old.vmem")
        with open_dump_file(write(tmp_path, state, "old.vmss")) as dump:
            registers = cpu_notes(dump.notes)[1].registers
        assert (registers["sp"], registers["r15"], registers["cr3"], registers["ax"]) == (77, 88, 3, 0)

    def test_what_is_missing_is_named(self, tmp_path):
        alone = write(tmp_path, state_file({"memory": []}), "alone.vmss")
        with pytest.raises(
            DumpFormatError, match=r"alone\.vmem beside it, which cannot be read \(.*No such file"
        ):
            open_dump_file(alone)
        without = write(tmp_path, state_file({"cpu": []}), "without.vmsn")
        with pytest.raises(DumpFormatError, match="snapshot taken without it"):
            open_dump_file(without)
        packed = write(
            tmp_path, state_file({"memory": [block("Memory", b"x" * 9, packed=True)]}), "packed.vmss"
        )
        with pytest.raises(DumpFormatError, match="compressed memory"):
            open_dump_file(packed)
        self.saved(tmp_path, content(2))
        with pytest.raises(KernlabError, match=r"open .*machine\.vmss"):
            open_dump_file(tmp_path / "machine.vmem")

    def test_an_image_that_was_cut(self, tmp_path):
        path = self.saved(tmp_path, content(8), [(0, 0, 5), (5, 0x100000, 3)])
        image = path.with_suffix(".vmem")
        image.write_bytes(image.read_bytes()[: 6 * PAGE])
        with pytest.warns(TruncatedDumpWarning):
            dump = open_dump_file(path)
        with dump:
            assert [frame(dump, pfn) for pfn in (0x100001, 0x100002)] == [LOST, LOST]
            assert dump.problems

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_damage_is_told_and_bounded(self, tmp_path, data):
        path = self.saved(tmp_path, content(4), [(0, 0, 2), (2, 0x100, 2)])
        state = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            state[data.draw(st.integers(4, len(state) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(state[: data.draw(st.integers(12, len(state)))])
        with suppress(KernlabError), open_quietly(path) as dump:
            assert dump.frame_count <= 8
            frames(dump, list(range(0x104)))


def filled(byte: int) -> bytes:
    return bytes([byte]) * PAGE


class TestQemuStream:
    def test_pages_filled_and_not(self, tmp_path):
        pages = {0: page(1), 1: 0, 2: 7, 3: page(2), 5: page(3)}
        path = write(tmp_path, stream({"pc.ram": pages}, {"pc.ram": 8 * PAGE, "vga.vram": 4 * PAGE}))
        with open_dump_file(path) as dump:
            assert (dump.format, dump.machine, dump.problems) == ("qemu-saved", "x86_64", [])
            found = frames(dump, list(range(9)))
            # What was never sent the guest had given back.
            expected = [page(1), filled(0), filled(7), page(2), EXCLUDED, page(3), EXCLUDED, EXCLUDED, ABSENT]
            assert [found[number] for number in range(9)] == expected
            check_present(dump)

    def test_the_last_content_counts(self, tmp_path):
        later = [("pc.ram", 0, page(9)), ("pc.ram", 1, 3), ("pc.ram", 0, page(10))]
        path = write(
            tmp_path, stream({"pc.ram": {0: page(1), 1: page(2)}}, {"pc.ram": 2 * PAGE}, later=later)
        )
        with open_dump_file(path) as dump:
            assert frames(dump, [0, 1]) == {0: page(10), 1: filled(3)}

    def test_pages_of_other_blocks_are_passed_by(self, tmp_path):
        blocks = {"vga.vram": {0: page(5), 1: 1}, "pc.ram": {0: page(1)}, "pc.bios": {0: page(6)}}
        path = write(tmp_path, stream(blocks, {"vga.vram": 2 * PAGE, "pc.ram": PAGE, "pc.bios": PAGE}))
        with open_dump_file(path) as dump:
            assert (frame(dump, 0), frame(dump, 1)) == (page(1), ABSENT)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(
            st.tuples(
                st.sampled_from(["pc.ram", "pc.bios"]),
                st.integers(0, 63),
                st.one_of(st.integers(0, 255), st.integers(0, 3).map(page)),
            ),
            max_size=60,
        ),
        libvirt=st.booleans(),
    )
    def test_any_order(self, tmp_path, rows, libvirt):
        known = {}
        for name, number, data in rows:
            if name == "pc.ram":
                known[number] = filled(data) if isinstance(data, int) else data
        data = stream({"pc.ram": {0: 1}}, {"pc.ram": 64 * PAGE, "pc.bios": 64 * PAGE}, later=rows)
        if libvirt:
            xml = b"<domain/>\0" + bytes(100)
            data = b"LibvirtQemudSave" + struct.pack("<4I60x", 2, len(xml), 1, 0) + xml + data
        with open_dump_file(write(tmp_path, data)) as dump:
            found = frames(dump, list(range(64)))
            check_present(dump)
        known.setdefault(0, filled(1))
        assert found == {number: known.get(number, EXCLUDED) for number in range(64)}

    def test_numa_nodes_follow_each_other_by_number(self, tmp_path):
        names = [f"ram-node{number}" for number in (10, 0, 2)]
        blocks = {name: {0: int(name[8:])} for name in names}
        with open_dump_file(write(tmp_path, stream(blocks, dict.fromkeys(names, PAGE)))) as dump:
            assert frames(dump, [0, 1, 2]) == {0: filled(0), 1: filled(2), 2: filled(10)}

    def test_arm_memory_begins_at_1_gib(self, tmp_path):
        path = write(
            tmp_path, stream({"mach-virt.ram": {1: page(4)}}, {"mach-virt.ram": 2 * PAGE}, "virt-9.2")
        )
        with open_dump_file(path) as dump:
            assert dump.machine == "aarch64"
            assert (frame(dump, 1), frame(dump, 0x40001)) == (ABSENT, page(4))

    @pytest.mark.parametrize(
        ("machine", "block", "named"),
        [
            ("pseries-9.2", "ppc_spapr.ram", "ppc64le"),
            ("s390-ccw-virtio-9.2", "s390.ram", "s390x"),
            ("virt-9.2", "riscv_virt_board.ram", "riscv64"),
            ("virt", "loongarch.ram", "loongarch64"),
        ],
    )
    def test_other_machines_are_refused_by_name(self, tmp_path, machine, block, named):
        path = write(tmp_path, stream({}, {block: PAGE}, machine))
        with pytest.raises(DumpFormatError, match=named):
            open_dump_file(path)

    def test_a_machine_of_unknown_layout(self, tmp_path):
        with pytest.raises(DumpFormatError, match=r"of the type 'raspi3b'.*--memory-only"):
            open_dump_file(write(tmp_path, stream({}, {"ram": PAGE}, "raspi3b")))

    def test_memory_that_was_plugged_in_is_told(self, tmp_path):
        sizes = {"mem1": 4 * PAGE, "pc.ram": PAGE, "pc.bios": PAGE}
        with open_dump_file(write(tmp_path, stream({"pc.ram": {0: 1}}, sizes))) as dump:
            assert len(dump.problems) == 1
            assert "16,384 bytes in 1 RAM blocks" in dump.problems[0]

    @pytest.mark.parametrize(("way", "named"), [(1, "gzip"), (3, "xz"), (6, "sparse"), (9, "way 9")])
    def test_what_libvirt_compressed(self, tmp_path, way, named):
        data = b"LibvirtQemudSave" + struct.pack("<4I60x", 2, 10, 1, way) + bytes(200)
        with pytest.raises(DumpFormatError, match=named):
            open_dump_file(write(tmp_path, data))

    def test_a_form_that_is_not_read(self, tmp_path):
        mapped = b"\x05\x1aconfiguration/capabilities" + bytes(8) + b"mapped-ram"
        for data, named in (
            (stream({"pc.ram": {}}, {"pc.ram": PAGE}, capabilities=mapped), "mapped-ram"),
            (stream({}, {"pc.ram": PAGE}).replace(b"\x03ram", b"\x03blk"), "section 'blk'"),
        ):
            with pytest.raises(DumpFormatError, match=named):
                open_dump_file(write(tmp_path, data))

    def test_a_stream_that_was_cut(self, tmp_path):
        whole = stream({"pc.ram": {number: page(number) for number in range(20)}}, {"pc.ram": 20 * PAGE})
        path = write(tmp_path, whole[: len(whole) // 2])
        with pytest.warns(TruncatedDumpWarning, match="inside the stream"):
            dump = open_dump_file(path)
        with dump:
            assert frame(dump, 3) == page(3)
            assert frame(dump, 19) is LOST
            assert len(dump.problems) == 1

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(place=st.integers(4, 400), byte=st.integers(0, 255), end=st.integers(20, 30_000))
    def test_damage_is_told_and_bounded(self, tmp_path, place, byte, end):
        whole = bytearray(stream({"pc.ram": {0: page(1), 1: 0, 2: page(2), 3: 4}}, {"pc.ram": 6 * PAGE}))
        whole[min(place, len(whole) - 1)] = byte
        with suppress(KernlabError), open_quietly(write(tmp_path, bytes(whole[:end]))) as dump:
            assert dump.frame_count <= len(whole) // 9
            frames(dump, list(range(8)))


class TestWhatQemuWrote:
    @pytest.fixture
    def recorded(self):
        with open_dump_file(RECORDED) as dump:
            yield dump

    def test_memory_of_both_nodes(self, recorded):
        assert (recorded.format, recorded.frame_count, recorded.problems) == ("qemu-saved (xz)", 4096, [])
        for start in (0x100, 0x900):
            assert b"".join(frames(recorded, list(range(start, start + 16))).values()) == PATTERN
        assert frame(recorded, 0x111) == bytes(PAGE)

    def test_registers_are_those_after_reset(self, recorded):
        """Intel's manual, volume 3, table 10-1: EIP 0xfff0, CS's base 0xffff0000, FLAGS 2."""
        found = cpu_notes(recorded.notes)
        assert [note.source for note in found] == ["NT_PRSTATUS", "QEMU"]
        registers = found[1].registers
        assert (registers["ip"], registers["cs"], registers["flags"]) == (0xFFF0, 0xF000, 2)
        assert (registers["cr0"], registers["cr3"]) == (0x60000010, 0)

    def test_an_arm_machine(self):
        """Of two CPUs the first was to begin at 0x40200000, in EL1 with all interrupts masked."""
        with open_dump_file(RECORDED.with_name("qemu-10.0-virt.qevm.xz")) as dump:
            assert (dump.machine, dump.frame_count) == ("aarch64", 4096)
            assert b"".join(frames(dump, list(range(0x40100, 0x40110))).values()) == PATTERN
            first, second = cpu_notes(dump.notes)
        assert (first.ip, second.ip) == (0x40200000, 0)
        assert first.registers["pstate"] & 0x3FF == 0x3C5
        assert not first.user

    def test_a_description_that_is_damaged_costs_the_registers_only(self, tmp_path):
        data = lzma.decompress(RECORDED.read_bytes())
        cut = data.rindex(b'"env.eip"')
        with open_dump_file(write(tmp_path, data[:cut] + b"\xff\xff" + data[cut + 2 :])) as dump:
            assert (dump.notes, dump.frame_count) == ([], 4096)


@pytest.mark.parametrize(
    ("machine", "size"), [("q35", 2815), ("q35", 2817), ("pc", 3583), ("pc", 3585), ("microvm", 16)]
)
def test_where_the_hole_is(tmp_path, machine, size):
    """Against the QEMU that is here: bytes that it loads on both sides of the hole lie where they were put."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        pytest.skip("no QEMU here: install it with scripts/install-system-packages.sh lab")
    places = [0x100000]
    if machine != "microvm":
        below = {"q35": (0xB0000000, 0x80000000), "pc": (0xE0000000, 0xC0000000)}[machine]
        split = size << 20 >= below[0]
        places += [(below[1] if split else size << 20) - len(PATTERN)] + [1 << 32] * split
    write(tmp_path, PATTERN, "pattern")
    write(tmp_path, bytes(65536), "bios")
    loaders = [f"loader,file={tmp_path}/pattern,addr={place:#x},force-raw=on" for place in places]
    command = [
        program,
        "-accel",
        "tcg",
        "-M",
        machine,
        "-m",
        str(size),
        "-S",
        "-nodefaults",
        "-display",
        "none",
    ]
    command += ["-bios", f"{tmp_path}/bios", "-qmp", f"unix:{tmp_path}/q,server=on,wait=off"]
    command += [word for loader in loaders for word in ("-device", loader)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as guest:
        try:
            saved = _save(tmp_path, guest)
        finally:
            guest.kill()
    with open_dump_file(saved) as dump:
        assert dump.frame_count == size << 8
        for place in places:
            assert b"".join(frames(dump, list(range(place >> 12, (place >> 12) + 16))).values()) == PATTERN, (
                hex(place)
            )
        assert frame(dump, dump.max_pfn) is ABSENT


def _save(folder: Path, guest: subprocess.Popen[bytes]) -> Path:
    """Let a stopped guest save itself into a file; its path."""
    end = time.monotonic() + 60
    with socket.socket(socket.AF_UNIX) as monitor:
        while True:
            try:
                monitor.connect(f"{folder}/q")
                break
            except OSError:
                if guest.poll() is not None or time.monotonic() > end:
                    assert guest.stderr is not None
                    pytest.skip(f"QEMU does not start here: {guest.stderr.read()[:200]!r}")
                time.sleep(0.05)
        lines = monitor.makefile("rw")
        lines.readline()

        def ask(what: str, **arguments: object) -> dict[str, object]:
            lines.write(json.dumps({"execute": what, "arguments": arguments}) + "\n")
            lines.flush()
            while True:
                answer = json.loads(lines.readline())
                if "return" in answer or "error" in answer:
                    return answer

        ask("qmp_capabilities")
        assert "error" not in ask("migrate", uri=f"exec:cat > {folder}/saved")
        while (status := ask("query-migrate")["return"]["status"]) != "completed":
            assert status != "failed"
            assert time.monotonic() < end
            time.sleep(0.05)
        ask("quit")
    return folder / "saved"
