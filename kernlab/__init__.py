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
    from kernlab.dump import Dump, open  # noqa: A004
    from kernlab.sample_dumps import sample, samples  # noqa: F401
    from kernlab.traces.relay import files as relay  # noqa: F401

__version__ = "0.1.0"

__all__ = ["Dump", "FaultError", "KernlabError", "PageExcluded", "__version__", "open"]


def __getattr__(name: str) -> Any:
    if name == "relay":
        from kernlab.traces.relay import files

        globals()["relay"] = files
        return files
    if name == "plain":
        from kernlab.dataframes.plain import plain

        globals()["plain"] = plain
        return plain
    if name == "show":
        from kernlab.display.grid import show

        globals()["show"] = show
        return show
    if name in ("sample", "samples"):
        from kernlab import sample_dumps

        globals().update(sample=sample_dumps.sample, samples=sample_dumps.samples)
        return globals()[name]
    if name not in ("Dump", "open"):
        from kernlab.util.text import nearest

        hint = nearest(name, __dir__()) if name[0] != "_" else ""
        raise AttributeError(f"module 'kernlab' has no attribute {name!r}{hint}")
    from kernlab import dump

    # What hangs off a dump lies below it, so it is named here and imported when first looked at.
    dump.VIEWS.setdefault("_card", "kernlab.display.card:card")
    dump.VIEWS.setdefault("_plain_card", "kernlab.display.card:plain")
    dump.VIEWS.setdefault("disassemble", "kernlab.struct_browser.disassembly:Disassemble")
    dump.VIEWS.setdefault("entries", "kernlab.struct_browser.entries:Entries")
    dump.VIEWS.setdefault("explore", "kernlab.struct_browser.explore:Explore")
    dump.VIEWS.setdefault("explorer", "kernlab.dashboard.explorer:view")
    dump.VIEWS.setdefault("find_symbols", "kernlab.struct_browser.find:FindSymbols")
    dump.VIEWS.setdefault("ftrace", "kernlab.traces.ftrace.view:view")
    dump.VIEWS.setdefault("identify", "kernlab.struct_browser.identify:Identify")
    dump.VIEWS.setdefault("layout", "kernlab.struct_browser.find:TypeLayout")
    dump.VIEWS.setdefault("plot", "kernlab.plots:Plots")
    dump.VIEWS.setdefault("relay", "kernlab.traces.relay.view:view")
    globals()["Dump"], globals()["open"] = dump.Dump, dump.open
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), "Dump", "open", "plain", "relay", "sample", "samples", "show"})


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext kernlab`: the %vmcore magic, and tables that show hexadecimal addresses and what was lost."""
    from kernlab.jupyter.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext kernlab`: everything as before."""
    from kernlab.jupyter.magics import unload

    unload(shell)
