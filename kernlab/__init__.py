"""kernlab: Linux kernel crash dumps as pandas DataFrames, with nothing but the dump.

    import kernlab
    dump = kernlab.open("vmcore")
    dump.tasks

Importing kernlab is light: pandas, matplotlib and IPython are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernlab.errors import FaultError, KernlabError, PageExcluded

if TYPE_CHECKING:
    from kernlab import oops, verdict
    from kernlab.compatibility.check import kernel_check
    from kernlab.dataframes.plain import plain
    from kernlab.dataframes.spreadsheets import for_spreadsheets
    from kernlab.display.grid import show
    from kernlab.dump import Dump, open  # noqa: A004
    from kernlab.sample_dumps import sample, samples
    from kernlab.traces.ftrace import files as ftrace
    from kernlab.traces.relay import files as relay

__version__ = "0.1.0"

__all__ = [
    "Dump",
    "FaultError",
    "KernlabError",
    "PageExcluded",
    "__version__",
    "for_spreadsheets",
    "ftrace",
    "kernel_check",
    "oops",
    "open",
    "plain",
    "relay",
    "sample",
    "samples",
    "show",
    "verdict",
]

#: Where the names lie that are imported when first used; a place without a name after the colon is a module.
_LATER = {
    "Dump": "kernlab.dump:Dump",
    "for_spreadsheets": "kernlab.dataframes.spreadsheets:for_spreadsheets",
    "ftrace": "kernlab.traces.ftrace.files:",
    "kernel_check": "kernlab.compatibility.check:kernel_check",
    "oops": "kernlab.oops:",
    "open": "kernlab.dump:open",
    "plain": "kernlab.dataframes.plain:plain",
    "relay": "kernlab.traces.relay.files:",
    "sample": "kernlab.sample_dumps:sample",
    "samples": "kernlab.sample_dumps:samples",
    "show": "kernlab.display.grid:show",
    "verdict": "kernlab.verdict:",
}

if not TYPE_CHECKING:
    # A type checker shall find a name that is spelt wrong.
    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            from kernlab.util.text import nearest

            hint = nearest(name, __dir__()) if name[0] != "_" else ""
            raise AttributeError(f"module 'kernlab' has no attribute {name!r}{hint}")
        from importlib import import_module

        module, _, member = _LATER[name].partition(":")
        found = import_module(module)
        return globals().setdefault(name, getattr(found, member) if member else found)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext kernlab`: the %vmcore magic, and tables that show hexadecimal addresses and what was lost."""
    from kernlab.jupyter.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext kernlab`: everything as before."""
    from kernlab.jupyter.magics import unload

    unload(shell)
