"""Types of global and per-CPU variables: as the dump's types tell them, or files given with it, or kernlab itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.debuginfo import global_variables
from kernlab.debuginfo.types import ArrayType, StructType
from kernlab.errors import TypesLostError

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel
    from kernlab.debuginfo.types import Type, Types


def variable_type(kernel: Kernel, name: str) -> Type | None:
    """The type of a plain global variable; None for what is none, or is not described, or is a per-CPU variable."""
    per_cpu = _is_per_cpu(kernel, name)
    known = global_variables.TYPES.get(name) if not per_cpu else None
    if known is not None:
        return kernel.type_or_none(known)
    return _described(kernel, name) if per_cpu is False else None


def spelt(kernel: Kernel, name: str) -> str:
    """The type of a plain global variable as C spells it, "" where it is not known; without a look into BTF, which has
    per-CPU variables only."""
    known = global_variables.TYPES.get(name)
    if known is not None:
        return known if kernel.type_or_none(known) is not None else ""
    if kernel.host is None or kernel.host.variable_types(kernel) is None:
        return ""
    found = variable_type(kernel, name)
    return found.c_name if found is not None else ""


def percpu_type(kernel: Kernel, name: str) -> Type | None:
    """The type of a per-CPU variable, None where it is none or not known."""
    if _is_per_cpu(kernel, name) is False:
        return None
    found = _described(kernel, name)
    if found is not None:
        return found
    known = global_variables.PERCPU_TYPES.get(name)
    return kernel.type_or_none(known) if known else None


def nameless_type(kernel: Kernel, variable: str, *members: str) -> StructType | None:
    """The struct without a name that a variable, or an array, is declared with: by its members, in order, or by the
    variable where the types describe that. Raises TypesLostError."""
    found = kernel.types.nameless(*members)
    if found is not None:
        return found
    described = _of(kernel, kernel.types, variable)
    kind = described.strip() if described is not None else None
    if isinstance(kind, ArrayType):
        kind = kind.element.strip()
    is_it = isinstance(kind, StructType) and [member.name for member in kind.members] == list(members)
    return kind if isinstance(kind, StructType) and is_it else None


def _described(kernel: Kernel, name: str) -> Type | None:
    """What the dump's own types say, else those of a file with debug information."""
    try:
        own = kernel.types
    except TypesLostError:
        return None
    found = _of(kernel, own, name)
    if found is None and kernel.host is not None:
        other = kernel.host.variable_types(kernel)
        found = _of(kernel, other, name) if other is not None else None
    return found


def _of(kernel: Kernel, types: Types, name: str) -> Type | None:
    """What types say of a variable, unless they place it elsewhere than the symbol: static ones share names."""
    found, place = types.variable(name), types.place(name)
    here, text = kernel.symbols.get(name), kernel.symbols.get("_text")
    if found is None or place is None or here is None or text is None:
        return found
    # A per-CPU variable is not moved with the rest of the image (x86-64 until Linux 6.15).
    return found if here in (place.address, (place.address - place.text + text) % (1 << 64)) else None


def _is_per_cpu(kernel: Kernel, name: str) -> bool | None:
    """Does a symbol lie among the per-CPU variables? None where that cannot be known.

    BTF had the types of no others until pahole 1.30, so where nothing says where those lie, what it has is one.
    """
    start, end = kernel.symbols.get("__per_cpu_start"), kernel.symbols.get("__per_cpu_end")
    address = kernel.symbols.get(name)
    if address is None or start is None or end is None:
        return None
    return start <= address < end
