"""`%vmcore`, and how IPython shows what kernlab gives: thin shells over public functions."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

import kernlab
from kernlab import frames
from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.text import escape_terminal

#: Named, not imported: pandas is imported when a table is first built.
_SHOWN = (("pandas", "DataFrame"), ("pandas", "Series"))


@magics_class
class KernlabMagics(Magics):
    """The magics that `%load_ext kernlab` brings."""

    @no_var_expand
    @magic_arguments()
    @argument("path", nargs="?", help="the dump file; without it, what is open is listed")
    @argument("--name", default="dump", help="the variable to put the dump into (default: dump)")
    @line_magic
    def vmcore(self, line: str) -> Any:
        """Open a crash dump: `%vmcore crash.vmcore` puts it into the variable `dump` and shows its summary."""
        arguments = parse_argstring(self.vmcore, line)
        if arguments.path is None:
            return self._open_dumps()
        # What parse_argstring leaves of quotes is the shell's business to take off.
        path = "".join(shlex.split(arguments.path)) if arguments.path[0] in "'\"" else arguments.path
        if not arguments.name.isidentifier():
            raise UsageError(f"--name {arguments.name}: not a name that a variable can have")
        try:
            dump = kernlab.open(path)
        except KernlabError as error:
            raise UsageError(escape_terminal(str(error), lines=True)) from error
        self._namespace[arguments.name] = dump
        return dump

    @property
    def _namespace(self) -> dict[str, Any]:
        assert self.shell is not None
        held: dict[str, Any] = self.shell.user_ns
        return held

    def _open_dumps(self) -> Any:
        """The dumps that the user's variables hold, as a frame of name, file and release."""
        import pandas as pd

        found = [(n, v) for n, v in sorted(self._namespace.items()) if isinstance(v, Dump) and n[:1] != "_"]
        return pd.DataFrame(
            {
                "name": pd.array([name for name, _ in found], dtype="str"),
                "file": pd.array([dump.kernel.source for _, dump in found], dtype="str"),
                "release": pd.array([dump.kernel.vmcoreinfo.release for _, dump in found], dtype="str"),
            }
        )


def load(shell: Any) -> None:
    """Register the magics, and how kernlab's tables are shown (other frames are shown as ever)."""
    shell.register_magics(KernlabMagics)
    formatters = shell.display_formatter.formatters
    for name in _SHOWN:
        formatters["text/html"].for_type_by_name(*name, _html)
        formatters["text/plain"].for_type_by_name(*name, _plain)
    shell.user_ns.setdefault("kernlab", kernlab)


def unload(shell: Any) -> None:
    """Take back what `load` registered."""
    shell.magics_manager.magics["line"].pop("vmcore", None)
    for kind, ours in (("text/html", _html), ("text/plain", _plain)):
        formatter = shell.display_formatter.formatters[kind]
        # What was named and not yet met is kept by name, what was met by type.
        _drop(formatter.deferred_printers, ours)
        _drop(formatter.type_printers, ours)


def _drop(printers: dict[Any, Any], ours: Callable[..., Any]) -> None:
    for key in [key for key, printer in printers.items() if printer is ours]:
        del printers[key]


def _html(shown: Any) -> str | None:
    if frames.is_ours(shown):
        return frames.to_html(shown)
    # A Series has no HTML of its own.
    made: str | None = shown._repr_html_() if hasattr(shown, "_repr_html_") else None
    return made


def _plain(shown: Any, printer: Any, cycle: bool) -> None:
    # Control characters that a dump's strings hold stay in the table, and must not reach the terminal.
    printer.text(escape_terminal(repr(shown), lines=True) if frames.is_ours(shown) else repr(shown))
