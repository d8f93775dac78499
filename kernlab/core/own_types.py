"""The kernel's types: its own (BTF), where the symbols say or found by its shape, else those of a debug file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernlab.debuginfo import debug_packages
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.btf_search import find_btf
from kernlab.errors import KernlabError, TypesLostError

if TYPE_CHECKING:
    from kernlab.core.kernel import Kernel
    from kernlab.debuginfo.types import Types

#: BTF of the kernel image larger than this is not BTF (today's are 4 to 8 MB).
_LARGEST = 256 << 20

_STILL_WORKS = (
    "Without types no struct can be read, nor a table of structs. What needs none still works: dump.log, info, "
    "symbols, symbol, symbolize, read, translate, search, find_symbols"
)


def read_types(kernel: Kernel) -> Types:
    """The kernel's types. Raises TypesLostError where it has none, or the dump lacks any of them, and no file has them;
    KernlabError for BTF that is damaged."""
    try:
        return Btf(_own_btf(kernel))
    except TypesLostError as error:
        try:
            other = kernel.host.other_types(kernel) if kernel.host is not None else None
        except KernlabError as problem:
            raise TypesLostError(
                f"{error} A file with debug information is there, but: {problem}"
            ) from problem
        if other is None:
            help_with = debug_packages.told(
                kernel.vmcoreinfo.release or "", kernel.vmcoreinfo.get("BUILD-ID", "")
            )
            told = f"{error} {_STILL_WORKS}. {help_with}"
            kernel.dump_lost(told)
            raise TypesLostError(told) from None
        return other


def _own_btf(kernel: Kernel) -> bytes:
    """The BTF of the kernel image. Raises TypesLostError where it has none, or the dump lacks any of it."""
    start, stop = kernel.symbols.get("__start_BTF"), kernel.symbols.get("__stop_BTF")
    if start is not None and stop is not None and start < stop <= start + _LARGEST:
        return _between(kernel, start, stop)
    found = find_btf(kernel.memory, kernel.vmcoreinfo)
    if found is not None:
        return found
    if kernel.symbols.functions_only:
        raise TypesLostError(
            f"{kernel.source}: no type information (BTF) was found in the kernel image, and nothing says where it "
            "should lie, as this kernel's symbol table names functions only (CONFIG_KALLSYMS_ALL is off): the "
            "kernel was built without CONFIG_DEBUG_INFO_BTF, or the dump lacks pages of the image."
        )
    raise TypesLostError(
        f"{kernel.source}: this kernel carries no type information of its own (built without CONFIG_DEBUG_INFO_BTF)."
    )


def _between(kernel: Kernel, start: int, stop: int) -> bytes:
    data, there = kernel.memory.read_partial(start, stop - start)
    if there.all():
        return data.tobytes()
    page = kernel.page_size
    lost = np.unique(np.flatnonzero(~there) + start % page >> page.bit_length() - 1)
    pages = (stop - 1) // page - start // page + 1
    try:
        kernel.memory.read(start, stop - start)
        why = ""
    except KernlabError as error:
        why = f" ({error})"
    raise TypesLostError(
        f"the kernel's types are gone: {len(lost):,} of the {pages:,} pages that hold its BTF ({start:#018x} to "
        f"{stop:#018x}) are not in {kernel.source}{why}."
    )
