"""What VMCOREINFO says of the kernel, held against what its types say: these are believed where the two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.debuginfo.types import ArrayType, StructType

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel


def settled(kernel: Kernel, key: str, told: int | None, known: int | None, by: str = "types") -> int | None:
    """`known` where it is known, else what VMCOREINFO `told` under `key`; None of neither.

    A contradiction is a problem of the whole dump: one of the two is damaged.
    """
    if known is None or told is None or told == known:
        return told if known is None else known
    kernel.dump_lost(f"VMCOREINFO says {key}={told:,}, the kernel's {by} say {known:,}: these were believed")
    return known


def enumerator(kernel: Kernel, name: str) -> int | None:
    """A constant that is an enumerator, or that VMCOREINFO has as NUMBER(name); None of neither."""
    return settled(
        kernel, f"NUMBER({name})", kernel.vmcoreinfo.number(name), kernel.types.enumerator_or_none(name)
    )


def length(kernel: Kernel, struct: str, member: str, most: int) -> int | None:
    """Elements of an array in a struct, or what VMCOREINFO has as LENGTH(struct.member); None of neither.

    No more than `most` are believed.
    """
    known = array_length(kernel, f"struct {struct}", member)
    told = kernel.vmcoreinfo.length(f"{struct}.{member}")
    return settled(kernel, f"LENGTH({struct}.{member})", told, known if known and known <= most else None)


def array_length(kernel: Kernel, type_name: str, member: str) -> int | None:
    """Elements of an array in a struct by the kernel's types; None where there is no such array."""
    found = kernel.types.get(type_name)
    struct = found.strip() if found is not None else None
    if not isinstance(struct, StructType) or member not in struct.member_names():
        return None
    array = struct.member(member).type.strip()
    return array.count if isinstance(array, ArrayType) else None
