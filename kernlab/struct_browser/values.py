"""A C value's bytes in, the text that a kernel developer would write out: names for enums, flags, times, strings."""

from __future__ import annotations

import datetime
import stat
import struct

from kernlab.core.members import is_char
from kernlab.debuginfo.types import (
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    FunctionType,
    IntType,
    PointerType,
    StructType,
    Type,
    Types,
)
from kernlab.escape import show_controls
from kernlab.memory.arch import Architecture
from kernlab.struct_browser.conventions import FLAG_ENUMS, FLAGS, NANOSECONDS, POISON
from kernlab.util import text

#: What a string may take in one line; and how many elements of an array stand in it.
LONGEST = 160
MOST_ELEMENTS = 8
#: Structs in structs are unwrapped so deep where each has one member that counts (refcount_t, spinlock_t).
_DEEPEST = 6
#: Bytes of a value that are read to show it in one line.
MOST_BYTES = 1024
#: Types that are sets of numbers (include/linux/cpumask_types.h, nodemask_types.h).
_MASKS = {"struct cpumask", "cpumask_t", "nodemask_t"}
_NS = 1_000_000_000


def plain(type_: Type) -> Type:
    """The type itself, or what a struct with a single member (atomic_t, kuid_t) wraps."""
    current = type_.strip()
    for _ in range(_DEEPEST):
        if not (isinstance(current, StructType) and len(current.members) == 1 and current.size):
            return current
        inner = current.members[0].type.strip()
        if inner.size != current.size or current.members[0].bit_size:
            return current
        current = inner
    return current


def number(kind: Type, raw: bytes, bit_offset: int = 0, bit_size: int = 0) -> int:
    """The integer in the bytes of a scalar or of a bitfield."""
    value = int.from_bytes(raw, "little")
    width = 8 * len(raw)
    if bit_size:
        value, width = (value >> bit_offset) & ((1 << bit_size) - 1), bit_size
    signed = isinstance(kind, IntType | EnumType) and kind.signed
    return value - (1 << width) if signed and width and value >> (width - 1) else value


def scalar(
    types: Types,
    arch: Architecture,
    declared: Type,
    owner: tuple[str, str],
    raw: bytes,
    bit_offset: int = 0,
    bit_size: int = 0,
) -> str:
    """One value that is not a pointer to follow and no struct: as text. `owner` is (struct, member)."""
    kind = plain(declared)
    if isinstance(kind, ArrayType):
        if kind.element.strip().size == 8 and not _MASKS.isdisjoint(
            (*_names(declared), declared.strip().c_name)
        ):
            return bit_ranges(int.from_bytes(raw, "little"), 8 * kind.size > 8 * len(raw))
        return _array(types, arch, kind, owner, raw)
    if isinstance(kind, FloatType):
        return (
            repr(struct.unpack("<f" if kind.size == 4 else "<d", raw)[0])
            if kind.size in (4, 8)
            else raw.hex(" ")
        )
    value = number(kind, raw, bit_offset, bit_size)
    if isinstance(kind, EnumType):
        name = next((name for name, n in kind.enumerators.items() if n == value), None)
        return f"{name} ({value})" if name else flags(_bits(kind), value) or str(value)
    if isinstance(kind, PointerType):
        return pointer(value)
    named = _by_member(types, owner, value)
    if named:
        return named
    if isinstance(kind, IntType):
        if kind.is_bool:
            return "true" if value else "false"
        if is_char(kind):
            return f"{chr(value)!r} ({value})" if 0x20 <= value < 0x7F else str(value)
    typed = _by_type(declared, value)
    return typed or integer(arch, value)


def integer(arch: Architecture, value: int) -> str:
    """A number; large ones in hexadecimal, too, and what looks like an address only so."""
    if value >= arch.kernel_start or value in POISON:
        return pointer(value)
    # A small negative number would be an address near the end of the kernel's half, too.
    if -(1 << arch.half_bits) <= value < -(1 << arch.half_bits - 1):
        # An atomic_long_t that holds an address (rw_semaphore.owner), with marks in its low bits.
        return pointer(value % (1 << 64))
    return f"{value} ({value:#x})" if value >= 0x1000 else str(value)


def is_kernel_address(arch: Architecture, value: int) -> bool:
    """May this be an address of the kernel, and no error pointer?"""
    return arch.kernel_start <= value <= (1 << 64) - 4096


def pointer(value: int) -> str:
    """An address, never rounded; NULL, poison and error pointers by name."""
    if not value:
        return "NULL"
    if value in POISON:
        return f"{value:#018x} ({POISON[value]})"
    if value > (1 << 64) - 4096:
        return f"ERR_PTR({value - (1 << 64)})"
    return f"{value:#018x}"


def flags(bits: dict[int, str], value: int) -> str:
    """A number as the names of its bits; the rest of it in hexadecimal."""
    names = [name for bit, name in bits.items() if value & bit == bit and bit]
    rest = value & ~sum(bit for bit in bits if value & bit == bit)
    parts = names + ([f"{rest:#x}"] if rest else [])
    return f"{' | '.join(parts)} ({value:#x})" if names else ""


def span(nanoseconds: int) -> str:
    """A time as people read it: `1 h 02 min 03.5 s`, `12.25 ms`."""
    if abs(nanoseconds) < 1000:
        return f"{nanoseconds} ns"
    if abs(nanoseconds) < _NS:
        return f"{nanoseconds / 1e6:.3f} ms"
    whole, rest = divmod(abs(nanoseconds), _NS)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if nanoseconds < 0 else ""
    text_ = f"{seconds}.{rest // 1_000_000:03} s"
    if hours:
        return f"{sign}{hours} h {minutes:02} min {text_}"
    return f"{sign}{minutes} min {text_}" if minutes else f"{sign}{text_}"


def string(raw: bytes) -> str:
    """Bytes up to their NUL, quoted, what would act made visible, cut to a line."""
    whole = text.decode(raw, cut=True)
    shown = show_controls(whole[: LONGEST + 1])
    more = f"… ({len(whole):,} characters)" if len(whole) > LONGEST else ""
    return f'"{shown[:LONGEST]}{more}"'


def is_text(kind: Type) -> bool:
    """Is it an array of plain char?"""
    return isinstance(kind, ArrayType) and is_char(kind.element.strip())


def is_function(kind: Type) -> bool:
    """Is it a pointer to a function?"""
    return isinstance(kind, PointerType) and isinstance(kind.target.strip(), FunctionType)


def _array(types: Types, arch: Architecture, kind: ArrayType, owner: tuple[str, str], raw: bytes) -> str:
    element = kind.element.strip()
    if is_char(element):
        return string(raw)
    if owner[1] in ("cpumask", "bits") and element.size == 8:
        return bit_ranges(int.from_bytes(raw, "little"), 8 * kind.size > 8 * len(raw))
    size = element.size
    if not size or isinstance(element, StructType | ArrayType):
        return f"{kind.count:,} elements"
    shown = min(kind.count, MOST_ELEMENTS, len(raw) // size)
    parts = [
        scalar(types, arch, kind.element, ("", ""), raw[i * size : (i + 1) * size]) for i in range(shown)
    ]
    return f"[{', '.join(parts)}{', …' if kind.count > shown else ''}]"


def bit_ranges(mask: int, cut: bool) -> str:
    """The numbers of the bits that are set, as /proc prints CPU lists: `0-3,8`."""
    found, first = [], None
    for bit in range(mask.bit_length() + 1):
        if mask >> bit & 1:
            first = bit if first is None else first
        elif first is not None:
            found.append(str(first) if first == bit - 1 else f"{first}-{bit - 1}")
            first = None
    return ",".join(found[:64]) + (" …" if cut or len(found) > 64 else "") if found else "none"


def _bits(kind: EnumType) -> dict[int, str]:
    """An enum's enumerators that are single bits."""
    return {value: name for name, value in kind.enumerators.items() if value > 0 and value & (value - 1) == 0}


def _by_member(types: Types, owner: tuple[str, str], value: int) -> str:
    """What is known of one member of one struct: flags, times."""
    if owner in FLAGS:
        if FLAGS[owner].get(1) == "TASK_INTERRUPTIBLE" and not value:
            return "TASK_RUNNING (0x0)" if owner[1] != "exit_state" else "0"
        return flags(FLAGS[owner], value)
    if owner in FLAG_ENUMS:
        enum_name, prefix = FLAG_ENUMS[owner]
        enum = types.get(enum_name)
        if isinstance(enum, EnumType):
            bits = {
                1 << n: name
                for name, n in enum.enumerators.items()
                if 0 <= n < 32 and name.startswith(prefix)
            }
            last = enum.enumerators.get("__NR_PAGEFLAGS", 32)
            return flags({bit: name for bit, name in bits.items() if bit < 1 << last}, value)
    if owner in NANOSECONDS:
        since = " after boot" if NANOSECONDS[owner] else ""
        return f"{span(value)}{since} ({value} ns)"
    return ""


def _by_type(declared: Type, value: int) -> str:
    """What a typedef's name says of a number."""
    for name in _names(declared):
        if name in ("dev_t", "__kernel_dev_t"):
            return f"{value >> 20}:{value & 0xFFFFF}"
        if name in ("umode_t", "mode_t"):
            return f"{stat.filemode(value)} ({value:#o})"
        if name == "ktime_t":
            return f"{span(value)} ({value} ns)"
        if name in ("time64_t", "__kernel_time64_t") and 0 < value < 1 << 35:
            when = datetime.datetime.fromtimestamp(value, datetime.UTC)
            return f"{when:%Y-%m-%d %H:%M:%S} UTC ({value})"
        if name in ("gfp_t", "fmode_t", "slab_flags_t", "netdev_features_t", "blk_opf_t"):
            return f"{value:#x}"
    return ""


def _names(declared: Type) -> list[str]:
    found, current = [], declared
    for _ in range(_DEEPEST):
        if not isinstance(current, AliasType):
            break
        found.append(current.name)
        current = current.target
    return found
