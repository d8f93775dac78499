"""The errors and warnings that every room raises: each says what was found, where, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from kernlab.escape import escape_terminal


class _Shown(Exception):  # noqa: N818 - what errors and warnings have in common
    """Text for a terminal: Python prints tracebacks and warnings by `str`, and escapes nothing."""

    def __str__(self) -> str:
        return escape_terminal(super().__str__(), lines=True)


class KernlabError(_Shown):
    """Base of everything that kernlab raises on purpose."""

    _told = False

    def words(self) -> str:
        """What went wrong, for a terminal: without what Python puts before an OSError's words."""
        told = str(self)
        if isinstance(self, OSError) and self.strerror and self.filename is not None:
            told = f"{self.filename}: {self.strerror}"
        return escape_terminal(told, lines=True)

    def _render_traceback_(self) -> list[str]:
        """How IPython shows it: at first its sentence, which says what to do; with %tb the way there."""
        if self._told:
            return _without_ipython(self)
        self._told = True
        return [f"{type(self).__name__}: {self.words()}", "(%tb shows where it was raised)"]


def _without_ipython(error: BaseException) -> list[str]:
    """A traceback from the user's own cell on."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "IPython":
        step = step.tb_next
    lines = traceback.format_exception(type(error), error, step)
    return [escape_terminal(line.rstrip("\n"), lines=True) for line in lines]


@contextmanager
def no_attribute_error(what: str, module: str) -> Iterator[None]:
    """Let an AttributeError out as a KernlabError, its cause.

    For what stands behind an attribute: `hasattr` and `__getattr__` take an AttributeError for there being none.
    """
    try:
        yield
    except AttributeError as error:
        told = str(error) if isinstance(error, KernlabError) else f"a fault in {module}: {error!r}"
        raise KernlabError(f"{what} cannot be made: {told}") from error


class DumpFormatError(KernlabError):
    """The file is not a dump that kernlab reads, or is damaged beyond use."""


class DumpFileError(KernlabError, OSError):
    """The file cannot be opened at all: missing, a directory, no permission."""


class AddressError(KernlabError, TypeError, ValueError):
    """What was given is not an address. Both of Python's errors: pandas takes now the one for it and now the other."""


class FaultError(KernlabError):
    """A virtual address that no page table maps, or a physical address where the machine had no memory."""

    def __init__(self, message: str, address: int | None = None):
        super().__init__(message)
        self.address = address


class PageExcluded(KernlabError):  # noqa: N818 - the name is part of the public contract
    """The address is good, but the dump was saved (or cut short) without the page."""

    def __init__(self, message: str, address: int | None = None):
        super().__init__(message)
        self.address = address


class SymbolNotFoundError(KernlabError, LookupError):
    """No such symbol in the kernel of this dump."""


class TypeNotFoundError(KernlabError, LookupError):
    """No such type in the type information of this kernel."""


class TypesLostError(KernlabError):
    """The kernel's type information is not in the dump, or not whole: no struct can be read, but memory can."""


class MemberNotFoundError(KernlabError, AttributeError, LookupError):
    """A struct of this kernel has no such member."""


class BudgetError(KernlabError):
    """What the dump says would take more memory than what the dump holds can need, or than this machine has."""


class WorkSpentError(KernlabError):
    """A walk read far more than what the dump holds can need: damage leads it round. What it found before stays."""


class MissingDependencyError(KernlabError, ImportError):
    """An optional library is not installed; the message says how to install it."""


class CacheFullError(KernlabError):
    """The disk cache, or the folder that stands in for it, has no room for what must be unpacked into it."""


class KernlabWarning(_Shown, UserWarning):
    """Base of kernlab's warnings: reading goes on, but something was lost."""


class TruncatedDumpWarning(KernlabWarning):
    """The dump file ends before its own index says it should."""


class MissingPiecesWarning(KernlabWarning):
    """A split dump was opened without all of its pieces."""


class PluginWarning(KernlabWarning):
    """A plug-in offers something that cannot be used."""
