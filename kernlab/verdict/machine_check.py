"""A machine check bank's status register in, what the processor says in it out."""

from __future__ import annotations

#: Bits of IA32_MCi_STATUS (arch/x86/include/asm/mce.h): the error was not corrected; the processor's state is lost.
_UNCORRECTED, _CONTEXT_CORRUPT = 1 << 61, 1 << 57
#: The compound and simple error codes in its low half (Intel SDM volume 3B, "Interpreting Machine Check Error Codes";
#: AMD64 volume 2, "Machine Check Error Codes"): mask, value, what it is. Bit 12 only says that others were filtered.
_CODES = (
    (0xEFFF, 0x0001, "unclassified"),
    (0xEFFF, 0x0002, "parity of the microcode's ROM"),
    (0xEFFF, 0x0003, "reported by another chip"),
    (0xEFFF, 0x0005, "parity within the processor"),
    (0xEFFF, 0x0400, "a timer within the processor ran out"),
    (0xFFFF, 0x0E0B, "input and output"),
    (0xEFFC, 0x000C, "a cache of the processor"),
    (0xEFF0, 0x0010, "a TLB of the processor"),
    (0xEF80, 0x0080, "the memory controller"),
    (0xEF80, 0x0280, "the memory controller, memory used as a cache"),
    (0xEF00, 0x0100, "a cache of the processor"),
    (0xE800, 0x0800, "the bus between processors and memory"),
    (0xFC00, 0x0400, "within the processor"),
)


def is_uncorrected(status: int) -> bool:
    """Could the hardware not correct the error?"""
    return bool(status & _UNCORRECTED)


def lost_context(status: int) -> bool:
    """Is what the processor did not to be relied on any more?"""
    return bool(status & _CONTEXT_CORRUPT)


def part_of(status: int) -> str:
    """What part of the machine a status is about; '' for a code that is not one of the architecture's.

    >>> from kernlab.verdict.machine_check import part_of
    >>> part_of(0xBE00000000800400), part_of(0x8C00004000010090)
    ('a timer within the processor ran out', 'the memory controller')
    """
    code = status & 0xFFFF
    return next((what for mask, value, what in _CODES if code & mask == value), "")
