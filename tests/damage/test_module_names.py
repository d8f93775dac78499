"""Where the names of a module's symbols lie is said by a number in each symbol: one that is damaged costs that name."""

from __future__ import annotations

import tracemalloc

from support.overlay import Overlay


def test_names_that_lie_256_mib_away_cost_nothing(opened):
    below = opened("debian-6.1")
    table = below.structs("module", below.modules["address"])
    overlay = Overlay(below)
    size = below.kernel.find_type("Elf64_Sym").size
    damaged = 0
    for symtab, count in zip(
        table["kallsyms->symtab"].tolist(), table["kallsyms->num_symtab"].tolist(), strict=True
    ):
        if damaged == 3 or not symtab or not count:
            continue
        # Symbol 0 is of no name.
        overlay.set("Elf64_Sym", symtab + size, "st_name", 0xFFFFFFF)
        damaged += 1
    assert damaged == 3
    dump = overlay.dump()
    tracemalloc.start()
    symbols = dump.symbols
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 128 << 20
    assert len(below.symbols) - 3 <= len(symbols) < len(below.symbols)
    assert any("the symbols of module" in problem for problem in dump.problems)
