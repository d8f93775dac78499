"""What an arm64 machine shows otherwise than x86-64's do; what is alike the tests of each table hold against its truth.

The sample `arm64` is a kdump of a machine with addresses of 52 bits and signed pointers.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay
from support.seed import SEED

from kernlab.core.kernel import Kernel
from kernlab.core.page_structs import section_table
from kernlab.dump import Dump
from kernlab.memory.arch.arm64 import Arm64


@pytest.fixture(scope="module")
def arm64(machine_of):
    return machine_of("arm64")


def test_what_the_file_and_the_kernel_say(arm64):
    info = arm64.dump.info
    assert (info["machine"], info["cpus"]) == ("aarch64", arm64.truth.cpus())
    assert info["memory_bytes"] == arm64.truth.meminfo()["MemTotal"]
    assert isinstance(arm64.dump.kernel.arch, Arm64)
    assert not [
        problem for problem in arm64.dump.problems if "VMCOREINFO" in problem or "believed" in problem
    ]


def test_the_vmalloc_space_is_as_large_as_meminfo_says(arm64):
    assert arm64.dump.meminfo["VmallocTotal"] == arm64.truth.meminfo()["VmallocTotal"]


def test_page_tables_map_the_image_and_all_memory_where_the_layout_says(arm64):
    kernel = arm64.dump.kernel
    layout, page = kernel.layout, kernel.page_size
    image = [kernel.symbol(name) & -page for name in ("_text", "init_task", "slab_caches", "swapper_pg_dir")]
    tasks = [int(at) & -page for at in arm64.dump.tasks["address"].tolist() if int(at) < layout.image_start]
    assert len(tasks) > 50
    ask = np.array(image + tasks, dtype=np.uint64)
    fixed, status = kernel.memory.translate(ask)
    assert not status.any()
    walked, status = kernel.memory.lookup(np.full(len(ask), layout.page_table, dtype=np.uint64), ask)
    assert not status.any()
    assert walked.tolist() == fixed.tolist()


def test_tags_of_pointers_make_no_difference(arm64):
    kernel = arm64.dump.kernel
    address = int(arm64.dump.tasks["address"].iloc[2])
    tagged = address & (1 << 56) - 1 | 0xF4 << 56
    assert kernel.read(tagged, 64) == kernel.read(address, 64)
    # What lies in a process's half is nothing of the kernel's.
    with pytest.raises(Exception, match="nothing is mapped"):
        kernel.read(address & (1 << 48) - 1 | 0x1000, 8)


def test_interrupts_are_those_of_proc(arm64):
    """Each line, but for the counts, which go on: none is less than it was."""
    rows = arm64.dump.irqs.set_index("name")
    lines = arm64.truth.lines("interrupts")
    count = len(lines[0].split())
    seen = 0
    for line in lines[1:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        row = rows.loc[name.strip()]
        if name.strip() == "Err":
            assert row["count"] == int(words[0])
            continue
        seen += 1
        was = [int(word) for word in words[:count]]
        assert all(row[f"cpu{cpu}"] >= number for cpu, number in enumerate(was)), name
        if name.strip().isdigit():
            chip, hwirq, kind, *actions = words[count:]
            assert (row["chip"], row["hwirq"], row["type"]) == (chip, int(hwirq), kind.lower()), name
            assert row["actions"] == " ".join(actions)
        else:
            assert row["actions"] == " ".join(words[count:])
    assert seen > 15
    # A timer that each CPU has for itself is on, though the interrupt as a whole is not.
    assert rows[rows["actions"] == "arch_timer"]["state"].tolist() == [""]
    assert not set(rows.index[rows["actions"] == "IPI"])


def test_the_memory_sections_of_a_kernel_whose_variable_only_vmcoreinfo_names(arm64):
    """Where kallsyms has functions only its symbols are added: of mem_section that is what the variable points to."""
    kernel = arm64.dump.kernel
    said = kernel.vmcoreinfo.symbol("mem_section")
    assert section_table(kernel.memory, {"mem_section": said}, kernel.vmcoreinfo) == (said, None)
    assert kernel.section_table == said != kernel.symbol("mem_section")


#: What is damaged of VMCOREINFO, and what is said then.
DAMAGED = {
    "NUMBER(VA_BITS)": ("39", "VA_BITS)=39, which does not reach"),
    "NUMBER(TCR_EL1_T1SZ)": ("16", "addresses of 48 of 52 bits"),
    "SYMBOL(swapper_pg_dir)": ("ffff800080000000", "which map the kernel, were taken"),
    "NUMBER(PHYS_OFFSET)": ("0x7000000000", ""),
    "NUMBER(VMEMMAP_START)": ("0xffffc10000000000", ""),
}


@pytest.mark.parametrize("key", [key for place, key in enumerate(DAMAGED) if (place + SEED) % 2 == 0])
def test_what_is_wrong_of_vmcoreinfo_is_found_out(arm64, key):
    value, said = DAMAGED[key]
    info = arm64.dump.kernel.vmcoreinfo
    text = "\n".join(f"{name}={value if name == key else old}" for name, old in info.items())
    assert key in info
    file = Overlay(arm64.dump).file()
    dump = Dump(Kernel.open(file, vmcoreinfo=text.encode()))
    assert dump.tasks["pid"].tolist() == arm64.dump.tasks["pid"].tolist()
    assert dump.pages["flags"].head(1000).tolist() == arm64.dump.pages["flags"].head(1000).tolist()
    assert any(said in problem for problem in dump.problems) if said else True
