"""Symbols of modules: where each ends, as the kernel finds it (kernel/module/kallsyms.c, find_kallsyms_symbol)."""

from __future__ import annotations

import numpy as np

from kernlab.linux.kernel_modules import loaded


def texts(dump) -> dict[str, tuple[int, int]]:
    """[start, end) of the code of each module, by its name."""
    module = loaded(dump.kernel)
    base, size = (
        ("mem[0].base", "mem[0].size") if module.has("mem") else ("core_layout.base", "core_layout.text_size")
    )
    return {
        str(name): (int(start), int(start) + int(length))
        for name, start, length in zip(
            module["name"].values, module[base].values, module[size].values, strict=True
        )
        if length
    }


def test_the_last_function_of_a_module_ends_with_its_code(dump):
    """Data follows, some way behind: it is not what ends a function."""
    found, symbols, last = texts(dump), dump.symbols, 0
    assert found
    for name, (start, end) in found.items():
        mine = symbols[symbols["module"] == name]["address"].to_numpy(dtype=np.uint64)
        inside = mine[(mine >= start) & (mine < end)]
        if len(inside):
            last += 1
            address = int(inside.max())
            assert dump.symbolize([address])[0].split()[0].endswith(f"+0x0/{end - address:#x}")
            assert dump.symbolize([end - 1])[0].split()[0].split("/")[1] == f"{end - address:#x}"
    assert last == len(found)
