"""A function of the kernel in, its instructions out as they stood in memory: patched code shows as patched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kernlab import dataframes
from kernlab.core.column import Column
from kernlab.errors import KernlabError, MissingDependencyError
from kernlab.struct_browser import address_bar

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame

#: No function of a kernel is longer than this; of longer symbols the beginning is shown.
_LONGEST = 1 << 16
#: Instructions are shown for so many bytes where no symbol says where the code ends.
_WITHOUT_SYMBOL = 256
#: add x0, x0, #0x448
_ADDED = re.compile(r"(x\d+), (x\d+), #(0x[0-9a-f]+|\d+)")
_RELATIVE = re.compile(r"\[rip ([+-]) 0x([0-9a-f]+)\]")


class Disassemble:
    """`dump.disassemble(…)`: a function as a DataFrame of instructions."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, what: Any, size: int | None = None) -> Frame:
        """The instructions of the function that a name, an address or an expression lies in.

        `size` in bytes begins at the address itself instead. Returns a DataFrame: address, offset (into the function),
        bytes (hexadecimal), instruction (Intel's notation; Arm's on arm64), target (the symbol that a call, a jump or a
        memory operand names; missing elsewhere).
        Raises MissingDependencyError without capstone, KernlabError for what is not code of this dump.

        >>> dump.disassemble("native_halt")["instruction"].tolist()[2:4]
        ['hlt', 'ret']
        """
        with self._dump.kernel.scope("disassembly"):
            return self._disassemble(what, size)

    def _disassemble(self, what: Any, size: int | None) -> Frame:
        kernel = self._dump.kernel
        if not kernel.arch.instructions:
            raise KernlabError(f"kernlab does not disassemble code of {kernel.arch.machine}")
        capstone = _capstone()
        address = self._address(what)
        kernel.with_modules()
        rows, offsets, sizes = kernel.lookup(np.array([address], dtype=np.uint64))
        start, end = address, address + (_WITHOUT_SYMBOL if size is None else size)
        if size is None and rows[0] >= 0:
            start = address - int(offsets[0])
            end = start + min(int(sizes[0]), _LONGEST)
            if int(sizes[0]) > _LONGEST:
                kernel.lost(f"the symbol covers {int(sizes[0]):,} bytes, of which {_LONGEST:,} are shown")
        if not 0 < end - start <= _LONGEST:
            raise KernlabError(f"{end - start:,} bytes of code are refused: at most {_LONGEST:,} at once")
        code = kernel.read(start, end - start)
        engine = capstone.Cs(*(_constant(capstone, name) for name in kernel.arch.instructions))
        # What is not an instruction (data between functions) is shown as bytes, and decoding goes on behind it.
        engine.skipdata = True
        found = list(engine.disasm_lite(code, start))
        targets = _with_pages(found, [_target(*one) for one in found])
        named = kernel.symbolize(np.array(targets, dtype=np.uint64))
        name = kernel.symbolize(np.array([start], dtype=np.uint64))[0]
        where = np.array([at for at, *_ in found], dtype=np.uint64)
        made = dataframes.frame(
            kernel,
            (name or f"{start:#018x}").split("+0x0/")[0],
            address=dataframes.addresses(kernel, where),
            offset=(where - np.uint64(start)).astype(np.int64),
            bytes=[code[at - start : at - start + length].hex(" ") for at, length, *_ in found],
            instruction=[f"{mnemonic} {operands}".rstrip() for _, _, mnemonic, operands in found],
            target=Column.texts(named),
        )
        return cast("Frame", made)

    def _address(self, what: Any) -> int:
        kernel = self._dump.kernel
        return address_bar.find(kernel, what).address if isinstance(what, str) else kernel.address(what)


def _target(address: int, size: int, mnemonic: str, operands: str) -> int:
    """The address that an instruction names, 0 for none."""
    relative = _RELATIVE.search(operands)
    if "gs:" in operands:
        # A per-CPU variable: what is named is not an address.
        return 0
    if relative is not None:
        distance = int(relative[2], 16)
        return (address + size + (distance if relative[1] == "+" else -distance)) % (1 << 64)
    if mnemonic.startswith((".", "nop")):
        return 0
    absolute = re.search(r"0x([0-9a-f]{8,16})$", operands)
    value = int(absolute[1], 16) if absolute is not None else 0
    # mov rdi, 0xffffffff9bc1aa40 is sign-extended from 32 bits.
    return value if value >> 63 else value | 0xFFFFFFFF00000000 if value >> 31 == 1 else 0


def _with_pages(found: list[tuple[int, int, str, str]], targets: list[int]) -> list[int]:
    """Targets of instructions: of arm64's adrp, which names a page, and the add behind it, what both together name."""
    made = list(targets)
    pages: dict[str, tuple[int, int]] = {}
    for row, (_, _, mnemonic, operands) in enumerate(found):
        written = operands.partition(",")[0]
        if mnemonic == "adrp":
            pages[written] = (row, targets[row])
            continue
        added = _ADDED.fullmatch(operands) if mnemonic == "add" else None
        if added is not None and added[2] in pages:
            at, page = pages[added[2]]
            made[row] = page + int(added[3], 0)
            # The page itself is nothing that is meant.
            made[at] = made[row]
        pages.pop(written, None)
    return made


def _constant(capstone: Any, name: str) -> Any:
    """Capstone 6 calls ARM64 by its other name."""
    other = name.replace("ARM64", "AARCH64")
    return getattr(capstone, name if hasattr(capstone, name) else other)


def _capstone() -> Any:
    try:
        import capstone
    except ImportError as error:
        raise MissingDependencyError(
            'disassembling needs capstone: pip install "kernlab[disassembly]"'
        ) from error
    return capstone
