"""The kernel's symbols: its own table (kallsyms), and where that has no variables or is lost, those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernlab.debuginfo.given_symbols import GivenSymbols, with_given
from kernlab.debuginfo.kallsyms.read import read_kallsyms
from kernlab.debuginfo.symbols import SymbolTable
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError
from kernlab.memory import AddressSpace


@dataclass(frozen=True, slots=True)
class SymbolSource:
    """Where symbols come from besides the dump: `read` gives a file's, None where there is none after all.

    A file that was `named` for its symbols is read and held against the dump even where it is not needed.
    """

    read: Callable[[Vmcoreinfo], GivenSymbols | None]
    named: bool = False
    any_build: bool = False


def read_symbols(
    memory: AddressSpace, info: Vmcoreinfo, doubts: list[str], source: SymbolSource | None
) -> SymbolTable:
    """The kernel's symbols; `doubts` is told where they come from a file, and what in them is not sure.

    Raises KernlabError where the dump holds no symbol table that decodes and no file has one, or where the file is of
    another build.
    """
    try:
        own = read_kallsyms(memory, info, doubts)
    except KernlabError as error:
        given = source.read(info) if source is not None else None
        if source is None or given is None:
            raise
        doubts.append(str(error))
        return with_given(None, given, info, memory.arch, any_build=source.any_build, doubts=doubts)
    if source is None or not (source.named or own.functions_only):
        return own
    given = source.read(info)
    if given is None:
        return own
    return with_given(own, given, info, memory.arch, any_build=source.any_build, doubts=doubts)
