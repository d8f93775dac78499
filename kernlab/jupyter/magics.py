"""`%vmcore`, `%struct`, `%sym`, `%dis`, `%bt`, and how IPython shows and completes what kernlab gives.

Each is a thin shell over a public function: `kernlab.open`, `dump.layout` and `dump.struct`, `dump.find_symbols` and
`dump.identify`, `dump.disassemble`, `dump.stack` and `dump.stacks`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import Any

import traitlets
from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.utils.text import DollarFormatter

import kernlab
from kernlab.dump import Dump
from kernlab.errors import KernlabError
from kernlab.jupyter import completion
from kernlab.struct_browser import address_bar

#: Named, not imported: pandas is imported when a table is first built.
_SHOWN = (("pandas", "DataFrame"), ("pandas", "Series"))
_MAGICS = ("vmcore", "struct", "sym", "dis", "bt")


@magics_class
class KernlabMagics(Magics):
    """The magics that `%load_ext kernlab` brings, and how its tables are shown."""

    max_rows = traitlets.Int(20, allow_none=True, help="Rows of a table that are shown; None shows all.").tag(
        config=True
    )
    human_sizes = traitlets.Bool(
        True, help="Show columns of bytes as 1.5 GiB (the exact number as a tooltip), or as exact numbers."
    ).tag(config=True)

    @no_var_expand
    @magic_arguments()
    @argument("path", nargs="?", help="the dump file; without it, what is open is listed")
    @argument("--name", default="dump", help="the variable to put the dump into (default: dump)")
    @argument("--format", help="its format, where its content does not tell: raw for a plain image of memory")
    @argument(
        "--vmlinux",
        action="append",
        help="for kernels without BTF, types of variables, and source lines: a vmlinux, .debug or .ko.debug file, or a "
        "folder that has them",
    )
    @argument(
        "--types", help="a file with the kernel's types, for kernels without BTF: BTF, or Volatility's ISF"
    )
    @argument("--symbols", help="a System.map, for kernels whose own symbol table has no variables")
    @argument("--any-build", action="store_true", help="take these files though they are of another build")
    @line_magic
    def vmcore(self, line: str) -> Any:
        """Open a crash dump: `%vmcore crash.vmcore` puts it into the variable `dump` and shows its summary."""
        arguments = parse_argstring(self.vmcore, line)
        if arguments.path is None:
            return self._open_dumps()
        if not arguments.name.isidentifier():
            raise UsageError(f"--name {arguments.name}: not a name that a variable can have")
        path = self._path(arguments.path)
        vmlinux = [self._path(word) for word in arguments.vmlinux] if arguments.vmlinux else None
        types, symbols = (self._path(word) if word else None for word in (arguments.types, arguments.symbols))
        dump = _told(
            lambda: kernlab.open(
                path,
                format=arguments.format,
                vmlinux=vmlinux,
                types=types,
                symbols=symbols,
                any_build=arguments.any_build,
            )
        )
        replaced = self._namespace.get(arguments.name)
        self._namespace[arguments.name] = dump
        if isinstance(replaced, Dump):
            self._forget(replaced)
        return dump

    @no_var_expand
    @magic_arguments()
    @argument("--dump", default="", help="the variable that holds the dump (default: dump, or the only one)")
    @argument("words", nargs="*", help="TYPE [ADDRESS]: `task_struct`, or `task_struct init_task`")
    @line_magic
    def struct(self, line: str) -> Any:
        """A type's layout: `%struct page`; or a struct's content: `%struct task_struct 0xffff…` (or an expression)."""
        arguments = parse_argstring(self.struct, line)
        dump = self._dump(arguments.dump)
        words = [self._word(word) for word in arguments.words]
        if not words:
            raise UsageError("name a type: %struct task_struct, %struct task_struct 0xffff…")
        # `struct page` is one name.
        count = 2 if words[0] in ("struct", "union") and len(words) > 1 else 1
        name, where = " ".join(words[:count]), " ".join(words[count:])
        if not where:
            return _told(dump.layout, name)
        return _told(lambda: dump.struct(name, address_bar.address_of(dump.kernel, where)))

    @no_var_expand
    @magic_arguments()
    @argument("--dump", default="", help="the variable that holds the dump (default: dump, or the only one)")
    @argument("name", help="a symbol, a pattern such as *_alloc?, or an address")
    @line_magic
    def sym(self, line: str) -> Any:
        """Symbols by name or pattern (`%sym slab_*`), or what lies at an address (`%sym 0xffff…`)."""
        arguments = parse_argstring(self.sym, line)
        dump, name = self._dump(arguments.dump), self._word(arguments.name)
        if name[:2].lower() == "0x" or name.isdecimal():
            return _told(dump.identify, name if not name.isdecimal() else int(name))
        return _told(dump.find_symbols, name)

    @no_var_expand
    @magic_arguments()
    @argument("--dump", default="", help="the variable that holds the dump (default: dump, or the only one)")
    @argument(
        "--size", type=int, default=None, help="so many bytes from the address on, not the whole function"
    )
    @argument("what", help="a function, or an address in one")
    @line_magic
    def dis(self, line: str) -> Any:
        """The instructions of a function, as they stood in memory: `%dis do_idle`."""
        arguments = parse_argstring(self.dis, line)
        dump = self._dump(arguments.dump)
        return _told(dump.disassemble, self._word(arguments.what), arguments.size)

    @no_var_expand
    @magic_arguments()
    @argument("--dump", default="", help="the variable that holds the dump (default: dump, or the only one)")
    @argument("-a", "--all", action="store_true", help="the stacks of all threads, equal ones together")
    @argument("-c", "--cpu", type=int, default=None, help="the thread that ran on this CPU")
    @argument("thread", nargs="?", help="a pid, a name, or the address of a task_struct")
    @line_magic
    def bt(self, line: str) -> Any:
        """The stack of a thread: `%bt 176`; of who ran on a CPU: `%bt -c 0`; of the one that panicked: `%bt`; of all,
        equal ones together: `%bt -a`.
        """
        arguments = parse_argstring(self.bt, line)
        dump = self._dump(arguments.dump)
        given = sum((arguments.all, arguments.cpu is not None, arguments.thread is not None))
        if given > 1:
            raise UsageError("one of these: %bt PID, %bt -c CPU, %bt -a, or %bt for the thread that panicked")
        if arguments.all:
            return _told(lambda: dump.stacks.groups())
        if arguments.cpu is not None:
            return _told(lambda: dump.stack(cpu=arguments.cpu))
        if arguments.thread is not None:
            return _told(dump.stack, self._word(arguments.thread))
        return _told(lambda: dump.stack.of_panic())

    def _forget(self, dump: Dump) -> None:
        """Take a dump out of IPython's history of results, which would hold it, and its memory, for ever."""
        shell: Any = self.shell
        history = getattr(shell, "history_manager", None)
        for held in (self._namespace, shell.user_ns_hidden, getattr(history, "output_hist", {})):
            for name in [name for name, value in held.items() if value is dump and _is_result(name)]:
                del held[name]
        for name in ("_", "__", "___"):
            if getattr(shell.displayhook, name, None) is dump:
                setattr(shell.displayhook, name, None)
        last = getattr(shell, "last_execution_result", None)
        if last is not None and last.result is dump:
            last.result = None

    def _path(self, word: str) -> str:
        """A word that names a file, with `~` and the environment's variables in it."""
        return os.path.expanduser(os.path.expandvars(self._word(word)))

    def _word(self, word: str) -> str:
        """A word of a magic's line without its quotes, with `$name` and `{expression}` of the user's in it.

        Expanded after the line was taken apart, so that a path with blanks stays one word.
        """
        # What parse_argstring leaves of quotes is the shell's business to take off.
        bare = "".join(shlex.split(word)) if word[:1] in ("'", '"') else word
        if "$" not in bare and "{" not in bare:
            return bare
        try:
            return str(DollarFormatter().vformat(bare, args=[], kwargs=self._namespace))
        except Exception:
            # What names nothing stays as it was written, as in IPython's own magics.
            return bare

    @property
    def _namespace(self) -> dict[str, Any]:
        assert self.shell is not None
        held: dict[str, Any] = self.shell.user_ns
        return held

    def _dump(self, name: str) -> Dump:
        dump = completion.open_dump(self._namespace, name)
        if dump is None:
            there = ", ".join(completion.open_dumps(self._namespace)) or "none: %vmcore FILE opens one"
            which = f"{name} is not an open dump" if name else "which dump? Choose with --dump NAME"
            raise UsageError(f"{which}; there are: {there}")
        return dump

    def _open_dumps(self) -> Any:
        """The dumps that the user's variables hold, as a frame of name, file and release."""
        import pandas as pd

        found = completion.open_dumps(self._namespace).items()
        return pd.DataFrame(
            {
                "name": pd.array([name for name, _ in found], dtype="str"),
                "file": pd.array([dump.kernel.source for _, dump in found], dtype="str"),
                "release": pd.array([dump.kernel.vmcoreinfo.release for _, dump in found], dtype="str"),
            }
        )

    def html(self, shown: Any) -> str:
        """How a DataFrame or Series is shown, whoever made it: joins and groupings forget where they are from."""
        from kernlab.display.html import to_html

        return to_html(shown, max_rows=self.max_rows, human_sizes=self.human_sizes)

    def plain(self, shown: Any, printer: Any, cycle: bool) -> None:
        """The same for a terminal: control characters that a dump's strings hold must not reach it."""
        from kernlab.display.plain_text import to_text

        printer.text(to_text(shown, human_sizes=self.human_sizes))

    @property
    def matcher(self) -> Callable[..., Any]:
        """What IPython asks for completions."""
        namespace = self._namespace

        @context_matcher(identifier="kernlab")
        def kernlab_matcher(context: Any) -> dict[str, Any]:
            line = context.text_until_cursor
            found = completion.suggestions(line, namespace)
            replaced = found[0].replaced if found else 0
            return {
                "completions": [SimpleCompletion(text=one.text, type=one.kind) for one in found],
                "matched_fragment": line[len(line) - replaced :],
                # Inside such a string names of files are no help.
                "suppress": bool(found),
                "ordered": True,
            }

        matcher: Callable[..., Any] = kernlab_matcher
        return matcher


def _is_result(name: int | str) -> bool:
    """Is this a name by which IPython keeps what a cell gave: 12 in Out, or _, __, ___, _12?"""
    return isinstance(name, int) or not name.strip("_") or (name[:1] == "_" and name[1:].isdigit())


def _told(function: Callable[..., Any], *given: Any) -> Any:
    """What a function gives; its error as one line, not as a traceback."""
    try:
        return function(*given)
    except KernlabError as error:
        raise UsageError(error.words()) from error


def load(shell: Any) -> None:
    """Register the magics, how tables are shown (DataFrames and Series, whoever made them), and completion."""
    unload(shell)
    magics = KernlabMagics(shell)
    shell.register_magics(magics)
    formatters = shell.display_formatter.formatters
    for name in _SHOWN:
        formatters["text/html"].for_type_by_name(*name, magics.html)
        formatters["text/plain"].for_type_by_name(*name, magics.plain)
    if getattr(shell, "Completer", None) is not None:
        shell.Completer.custom_matchers.append(magics.matcher)
    shell.user_ns.setdefault("kernlab", kernlab)


def unload(shell: Any) -> None:
    """Take back what `load` registered; nothing where it was not."""
    registered = shell.magics_manager.magics["line"]
    for name in _MAGICS:
        if isinstance(getattr(registered.get(name), "__self__", None), KernlabMagics):
            del registered[name]
    shell.magics_manager.registry.pop(KernlabMagics.__name__, None)
    for kind in ("text/html", "text/plain"):
        formatter = shell.display_formatter.formatters[kind]
        # What was named and not yet met is kept by name, what was met by type.
        _drop(formatter.deferred_printers)
        _drop(formatter.type_printers)
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        kept = [m for m in completer.custom_matchers if getattr(m, "__name__", "") != "kernlab_matcher"]
        completer.custom_matchers[:] = kept


def _drop(printers: dict[Any, Any]) -> None:
    ours = [
        k for k, printer in printers.items() if isinstance(getattr(printer, "__self__", None), KernlabMagics)
    ]
    for key in ours:
        del printers[key]
