"""Types from the debug files of a dump's kernel and modules, where the dump has none of its own."""

from __future__ import annotations

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.drgn_types import DrgnTypes
from kernlab.debuginfo.file_types import can_read_dwarf, types_of_file
from kernlab.debuginfo.types import Types
from kernlab.errors import KernlabError
from kernlab.linux.debug_files import debug_files


def other_types(kernel: Kernel) -> Types | None:
    """The kernel's types from its debug file; None where no file is known.

    Raises KernlabError for a file whose types cannot be read, MissingDependencyError where nothing installed reads
    them.
    """
    file = debug_files(kernel).of(kernel, "")
    return types_of_file(file) if file is not None else None


@fact
def variable_types(kernel: Kernel) -> Types | None:
    """Types that know global variables, too, from the kernel's debug file; None where no file has them, or drgn, which
    reads them, is not installed."""
    if not can_read_dwarf():
        return None
    try:
        file = debug_files(kernel).of(kernel, "")
        return DrgnTypes(file) if file is not None and file.has_dwarf else None
    except KernlabError as error:
        kernel.dump_lost(f"the types of global variables are not known: {error}")
        return None


def types_of_module(kernel: Kernel, module: str) -> Types | None:
    """A module's types from its debug file; None where no file is known. Raises KernlabError as `other_types` does."""
    file = debug_files(kernel).of(kernel, module)
    return types_of_file(file) if file is not None else None
