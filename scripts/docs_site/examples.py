"""A page's code blocks in, what they print out: run in order, compared with the page, or written into it.

A `python` or `ipython` block is a cell of one notebook; a `console` block holds `$ kernlab …` commands, each with its
output. The `text` block right after a cell is what it printed and what its last line is; `...` stands for anything.
`<!-- vmcore: oom -->` puts a bundled sample beside the page as `vmcore`. A block of another language is not run.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernlab
from kernlab.errors import KernlabWarning

_BLOCK = re.compile(
    r"^```(?P<kind>python|ipython|console)\n(?P<code>.*?)^```$(?:\n\n?```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_VMCORE = re.compile(r"<!-- vmcore: (\S+) -->")
#: What a table looks like on a page.
_PANDAS: dict[str, Any] = {
    "display.width": 110,
    "display.max_columns": 12,
    "display.max_rows": 12,
    "display.max_colwidth": 80,
    "display.show_dimensions": False,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A block that does not print what its page says: its first line's number, both texts ('' for no output)."""

    line: int
    code: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"line {self.line}:\n{self.code}--- the page says\n{self.expected}--- it prints\n{self.got}"


def check(page: Path) -> list[Difference]:
    """Run a page's blocks. Returns those whose output differs; raises what a block raises."""
    return [each for each in _run(page.read_text("utf-8")) if not _same(each.expected, each.got)]


def write(page: Path) -> None:
    """Run a page's blocks, and write what they print after them; an output that still fits stays as it is."""
    text = page.read_text("utf-8")
    ran = iter(list(_run(text)))

    def anew(match: re.Match[str]) -> str:
        one = next(ran)
        if _same(one.expected, one.got):
            return match[0]
        if match["kind"] == "console":
            return f"```console\n{one.got}```"
        code = f"```{match['kind']}\n{match['code']}```"
        return f"{code}\n\n```text\n{one.got}```" if one.got else code

    page.write_text(_BLOCK.sub(anew, text), "utf-8")


def _same(expected: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)


def _run(text: str) -> Iterator[Difference]:
    """Every block, with what it prints."""
    with _folder(text), _notebook() as cell:
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if match["kind"] == "console":
                yield Difference(line, "", match["code"], _console(match["code"]))
            else:
                yield Difference(line, match["code"], match["output"] or "", cell(match["code"]))


@contextmanager
def _folder(text: str) -> Iterator[None]:
    """A folder of its own to work in, with the dump that the page asks for."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        if wanted := _VMCORE.search(text):
            shutil.copyfile(kernlab.sample(wanted[1]), Path(name) / "vmcore")
        os.chdir(name)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def _notebook() -> Iterator[Callable[[str], str]]:
    """A function that runs a cell as IPython does, and returns what it prints and gives, as text."""
    import matplotlib.pyplot as plt
    import pandas as pd
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Hook(DisplayHook):
        """The value of a cell's last line, without a prompt."""

        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
            if "image/png" not in format_dict and "Axes" not in format_dict["text/plain"]:
                print(format_dict["text/plain"])

        def finish_displayhook(self) -> None:
            self._is_active = False

    class Publisher(DisplayPublisher):
        """What is displayed on the way."""

        def publish(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
            print(data.get("text/plain", ""))

    plt.switch_backend("agg")
    shell = InteractiveShell(
        displayhook_class=Hook,
        display_pub_class=Publisher,
        config=Config({"HistoryManager": {"enabled": False}}),
    )

    def run(code: str) -> str:
        said = io.StringIO()
        with redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("error", KernlabWarning)
            shell.run_cell(code).raise_error()
        return _tidy(said.getvalue())

    with ExitStack() as stack:
        for name, value in _PANDAS.items():
            stack.enter_context(pd.option_context(name, value))
        try:
            yield run
        finally:
            for value in list(shell.user_ns.values()):
                if isinstance(value, kernlab.Dump):
                    value.close()
            shell.reset(new_session=False)
            plt.close("all")


def _console(block: str) -> str:
    """The commands of a block again, each with what it prints now."""
    from kernlab.commands.main import main

    parts = []
    for command in re.findall(r"^\$ (.*(?:\\\n.*)*)\n", block, re.MULTILINE):
        name, *arguments = shlex.split(command.replace("\\\n", " "), comments=True)
        if name != "kernlab":
            raise ValueError(f"only kernlab is run here, not {name!r}: make the block one of sh")
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(io.StringIO()) as errors:
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
        if status:
            raise RuntimeError(f"$ {command}\nexit status {status}\n{errors.getvalue()}")
        parts.append(f"$ {command}\n{_tidy(said.getvalue())}")
    return "".join(parts)


def _tidy(text: str) -> str:
    """Without spaces at the ends of lines, which editors take away."""
    text = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    return f"{text}\n" if text else ""


def main(arguments: list[str]) -> int:
    """Write the outputs of these pages anew. Returns the exit status."""
    if not arguments:
        print(__doc__)
        return 2
    for name in arguments:
        write(Path(name).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
