"""The debug files of a dump's kernel and modules: those that were given, and those in folders, matched by build id."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError
from kernlab.debuginfo.debug_search import DebugSearch, folders, module_of
from kernlab.errors import KernlabError
from kernlab.linux.build_ids import kernel_build_id, module_build_ids

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def use_debug_files(kernel: Kernel, given: Paths, *, any_build: bool = False) -> None:
    """Have types and source lines come from these files (of the kernel or of modules) or folders, before any others.

    `any_build` takes files of another build, too, and says so in the dump's problems. Raises DebugInfoError for what
    does not belong to this dump: a file of another build id, a folder that has neither the kernel's file nor a
    module's.
    """
    listed = [given] if isinstance(given, str | os.PathLike) else list(given)
    paths = [Path(os.path.expanduser(path)) for path in listed]
    # The modules' build ids lie in structs, whose types these files may have.
    kernel.debug_paths, kernel.any_build = tuple(paths), any_build
    own = kernel_build_id(kernel)
    for path in paths:
        if os.path.isdir(path):
            _check_folder(kernel, path, own)
        else:
            _check_file(kernel, path, own, any_build)


def _check_file(kernel: Kernel, path: Path, own: str, any_build: bool) -> None:
    file = DebugFile(path)
    if file.machine != kernel.arch.machine:
        raise DebugInfoError(
            f"{path} is of a {file.machine} machine, {kernel.source} of a {kernel.arch.machine} one"
        )
    if not (file.has_lines or file.has_types):
        raise DebugInfoError(
            f"{path} has no line tables (sections .debug_info and .debug_line) nor types (.BTF): it was stripped. Its "
            "debug package has the file that was not"
        )
    wrong = _another_build(kernel, file, own)
    if wrong and not any_build:
        raise DebugInfoError(
            f"{wrong}. The debug package of exactly {kernel.vmcoreinfo.release or 'that kernel'} has the right file; "
            "any_build=True (--any-build) takes this one all the same"
        )
    if wrong:
        kernel.dump_lost(f"{wrong}: it was used because that was asked for, and what it says may be wrong")


def _another_build(kernel: Kernel, file: DebugFile, own: str) -> str:
    """Why a file does not belong to the kernel or one of its modules; "" where it does."""
    path = file.path
    if not file.build_id:
        return f"{path} has no build id, so whether it belongs to {kernel.source} cannot be known"
    if file.build_id == own:
        return ""
    try:
        modules = module_build_ids(kernel)
    except KernlabError:
        # Without types no module is known.
        modules = {}
    if file.build_id in modules.values():
        return ""
    named = module_of(path)
    if named in modules:
        known = f"{named} of {kernel.source} has {modules[named]}, and neither the kernel nor another module"
    elif own:
        known = f"the kernel of {kernel.source} has {own}, and none of its modules"
    else:
        known = f"{kernel.source} does not say its kernel's, and none of its modules"
    return (
        f"{path} is of another build: its build id is {file.build_id}, but {known} has it (the ids of "
        f"{len(modules):,} modules are known)"
    )


def _check_folder(kernel: Kernel, path: Path, own: str) -> None:
    search = DebugSearch([path], kernel.vmcoreinfo.release or "")
    if search.kernel(own) is not None:
        return
    modules = module_build_ids(kernel)
    if any(search.module(name, build_id) is not None for name, build_id in modules.items()):
        return
    known = f"build id {own}" if own else "whose build id the dump does not say"
    more = f" ({search.others[0]})" if search.others else ""
    raise DebugInfoError(
        f"{path} has no debug file of the kernel of {kernel.source} ({known}) or of its modules{more}; it is looked "
        "for as .build-id/ab/cdef….debug, BUILD-ID/debuginfo, vmlinux, vmlinux-RELEASE and MODULE.ko.debug"
    )


class DebugFiles:
    """The debug files of one kernel, each opened when first asked for.

    `problems` has a sentence for each that was given and cannot be read any more; `may_have_any` is False where none
    was given and no folder is looked in.
    """

    def __init__(self, kernel: Kernel):
        self._lock = threading.RLock()
        self._given: dict[str, DebugFile] = {}
        self._forced: dict[str, DebugFile] = {}
        self._found: dict[str, DebugFile | None] = {}
        self.problems: list[str] = []
        given = [path for path in kernel.debug_paths if os.path.isdir(path)]
        for path in kernel.debug_paths:
            if path not in given:
                try:
                    file = DebugFile(path)
                except DebugInfoError as error:
                    # It was a good one when the dump was opened.
                    self.problems.append(f"source lines of {path.name} are not known: {error}")
                    continue
                self._given[file.build_id] = file
                if kernel.any_build:
                    self._forced.setdefault(module_of(path), file)
        places = [*given, *folders()]
        self._search = DebugSearch(places, kernel.vmcoreinfo.release or "")
        self.may_have_any = bool(places or self._given or self.problems)

    def of(self, kernel: Kernel, module: str) -> DebugFile | None:
        """The file of a module, of the kernel itself for "", where there is one.

        Raises DebugInfoError for one of another machine, KernlabError where the modules' build ids cannot be known.
        """
        with self._lock:
            if module not in self._found:
                self._found[module] = self._find(kernel, module)
            return self._found[module]

    def _find(self, kernel: Kernel, module: str) -> DebugFile | None:
        if not self.may_have_any:
            return None
        build_id = module_build_ids(kernel).get(module, "") if module else kernel_build_id(kernel)
        file = self._given.get(build_id) if build_id else None
        if file is None:
            file = self._search.module(module, build_id) if module else self._search.kernel(build_id)
        if file is None:
            file = self._forced.get(module)
        if file is not None and file.machine != kernel.arch.machine:
            raise DebugInfoError(f"{file.path} is of a {file.machine} machine")
        return file


@fact
def debug_files(kernel: Kernel) -> DebugFiles:
    """The debug files of this kernel, as they are known once it is open."""
    return DebugFiles(kernel)
