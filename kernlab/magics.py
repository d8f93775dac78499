"""`%vmcore` and how IPython shows our frames: thin shells over public functions."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

import kernlab
from kernlab import frames
from kernlab.dump import Dump
from kernlab.errors import KernlabError

_FRAME = ("pandas", "DataFrame")


@magics_class
class KernlabMagics(Magics):  # type: ignore[misc]
    """The magics that `%load_ext kernlab` brings."""

    @no_var_expand  # type: ignore[untyped-decorator]
    @magic_arguments()  # type: ignore[untyped-decorator]
    @argument("path", nargs="?", help="the dump file; without it, what is open is listed")  # type: ignore[untyped-decorator]
    @argument("--name", default="dump", help="the variable to put the dump into (default: dump)")  # type: ignore[untyped-decorator]
    @line_magic  # type: ignore[untyped-decorator]
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
            raise UsageError(str(error)) from error
        self.shell.push({arguments.name: dump})
        return dump

    def _open_dumps(self) -> Any:
        """The dumps that the user's variables hold, as a frame of name, file and release."""
        import pandas as pd

        found = [(n, v) for n, v in sorted(self.shell.user_ns.items()) if isinstance(v, Dump) and n[:1] != "_"]
        return pd.DataFrame(
            {
                "name": [name for name, _ in found],
                "file": [dump.kernel.source for _, dump in found],
                "release": [dump.kernel.vmcoreinfo.release for _, dump in found],
            }
        )


def load(shell: Any) -> None:
    """Register the magics, and the HTML of kernlab's frames (other frames are shown as ever)."""
    shell.register_magics(KernlabMagics)
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type_by_name(*_FRAME, _frame_html)
    shell.user_ns.setdefault("kernlab", kernlab)


def unload(shell: Any) -> None:
    """Take back what `load` registered."""
    shell.magics_manager.magics["line"].pop("vmcore", None)
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (_FRAME, "pandas.DataFrame"):
        try:
            formatter.pop(kind)
        except KeyError:
            continue


def _frame_html(frame: Any) -> str | None:
    return frames.to_html(frame) if frames.is_ours(frame) else frame._repr_html_()
