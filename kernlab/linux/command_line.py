"""The kernel's command line: the text in, its parameters out, cut as the kernel cuts them (lib/cmdline.c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.errors import KernlabError
from kernlab.linux.kernel_modules import has_modules, loaded
from kernlab.walk.strings import c_strings

#: include/linux/ctype.h: what isspace() takes for a space (0xa0 is the kernel's own).
_SPACES = " \t\n\v\f\r\xa0"

#: COMMAND_LINE_SIZE is 256 to 4096 by architecture; a boot configuration comes before it.
_LONGEST = 1 << 16

#: init/main.c, MAX_INIT_ARGS and MAX_INIT_ENVS: 32, and two more that end the arrays.
_MOST_FOR_INIT = 34


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, its value (None without a "="), and where it begins in the line, quotes left out."""

    name: str
    value: str | None
    start: int
    #: Behind "--", where all is for init.
    for_init: bool = False


def parameters(line: str) -> list[Parameter]:
    """The parameters of a command line, in its order, duplicates and all (next_arg, parse_args).

    A quote keeps spaces together, wherever it stands; one that begins a value, or the whole parameter, is taken off
    with the one that ends it. "--" is no parameter: what comes behind it is for init.
    """
    found: list[Parameter] = []
    at, for_init = _skipped(line, 0), False
    while at < len(line):
        start, quoted = (at + 1, True) if line[at] == '"' else (at, False)
        end, equals, inside = start, -1, quoted
        while end < len(line) and (inside or line[end] not in _SPACES):
            # A "=" that comes first is part of the name (equals is 0 there, which stands for none).
            if line[end] == "=" and equals < 0 and end > start:
                equals = end
            if line[end] == '"':
                inside = not inside
            end += 1
        text = line[start:end]
        name, value = (line[start:equals], line[equals + 1 : end]) if equals >= 0 else (text, None)
        if value is not None and value.startswith('"'):
            value = value[1:].removesuffix('"') if end > start and line[end - 1] == '"' else value[1:]
        elif quoted and end > start and line[end - 1] == '"':
            name, value = (name, value[:-1]) if value is not None else (name[:-1], None)
        if name == "--" and value is None and not for_init:
            for_init = True
        else:
            found.append(Parameter(name, value, start, for_init))
        at = _skipped(line, end)
    return found


def _skipped(line: str, at: int) -> int:
    while at < len(line) and line[at] in _SPACES:
        at += 1
    return at


def kernel_parameters(kernel: Kernel) -> set[str]:
    """The names of the parameters of what is built into the kernel, with _ for - ("printk.time", "sched_itmt")."""
    first, end = kernel.find_symbol("__start___param"), kernel.find_symbol("__stop___param")
    if first is None or end is None:
        return set()
    size = kernel.find_type("struct kernel_param").size
    count = kernel.budget.count((end - first) // size, size, "parameters of the kernel")
    where = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(size)
    names = c_strings(kernel, StructArray(kernel, "struct kernel_param", where)["name"], 256)
    return {name.replace("-", "_") for name in names.tolist() if name}


def module_parameters(kernel: Kernel) -> dict[str, set[str]]:
    """The names of each loaded module's parameters, by the module's name; both with _ for -."""
    if not has_modules(kernel):
        return {}
    module = loaded(kernel)
    size = kernel.find_type("struct kernel_param").size
    counts = kernel.budget.counts(module["num_kp"].int64.filled(0), size, "parameters of modules")
    owner = np.repeat(np.arange(len(module)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = module["kp"].filled(0)[owner] + index.astype(np.uint64) * np.uint64(size)
    names = c_strings(kernel, StructArray(kernel, "struct kernel_param", where)["name"], 256)
    modules = module["name"].tolist()
    found: dict[str, set[str]] = {name.replace("-", "_"): set() for name in modules if name}
    for row, name in zip(owner.tolist(), names.tolist(), strict=True):
        if name and modules[row]:
            found[modules[row].replace("-", "_")].add(name.replace("-", "_"))
    return found


def given_to_init(kernel: Kernel) -> set[int] | None:
    """Where in the command line what the kernel did not know begins, which init was given (init/main.c); None where
    that cannot be told."""
    try:
        line = kernel.word("static_command_line")
        arrays = [kernel.symbol("argv_init"), kernel.symbol("envp_init")]
    except KernlabError:
        return None
    step = np.arange(_MOST_FOR_INIT, dtype=np.uint64) * np.uint64(8)
    words, read = kernel.words(np.concatenate([np.uint64(at) + step for at in arrays]), what="")
    inside = (words >= line) & (words < line + _LONGEST)
    return {int(word) - line for word in words[read & inside].tolist()}
