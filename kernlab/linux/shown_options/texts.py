"""What all functions of this package build texts of options with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray

#: Super_blocks of one type and the root dentries of their mounts in, a text or None (not known) for each out.
Teller = Callable[[Kernel, StructArray, StructArray], list[str | None]]


def rows_of(structs: StructArray, *paths: str) -> Iterator[tuple[Any, ...] | None]:
    """The members of each struct, in that order; None where one cannot be read."""
    columns = [structs[path].tolist() for path in paths]
    for row in zip(*columns, strict=True):
        yield None if None in row else row


def number(structs: StructArray, path: str) -> list[int | None]:
    """A member of each struct, 0 where this kernel's type does not have it."""
    if not structs.has(path):
        return [0] * len(structs)
    return structs[path].tolist()


def owner(user: int, group: int) -> str:
    """uid= and gid=, of those that are not root's."""
    return (f",uid={user}" if user else "") + (f",gid={group}" if group else "")


def valued(name: str, value: str) -> str:
    """An option and its value, escaped as seq_show_option does."""
    return f",{name}={escaped(value)}"


def escaped(value: str) -> str:
    """What would be taken for another option or field stands in octal (include/linux/seq_file.h, seq_show_option)."""
    return "".join(f"\\{ord(letter):03o}" if letter in ",= \t\n\\" else letter for letter in value)


def word_or_none(kernel: Kernel, name: str, size: int = 1) -> int | None:
    """A global variable of the kernel or of a module; None where there is none by that name, or it cannot be read."""
    kernel.with_modules()
    address = kernel.symbols.get(name)
    if address is None:
        return None
    values, read = kernel.words([address], size, what="")
    return int(values[0]) if read[0] else None


def setting(kernel: Kernel, name: str) -> bool:
    """A module's parameter that is a bool; False where it is not known."""
    return bool(word_or_none(kernel, name))
