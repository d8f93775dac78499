"""How `--help` looks: options in groups, examples as they are typed, headings bold where a terminal shows it.

Plain text on purpose: nothing of a dump can be taken for markup, and no library has to be imported to ask for help.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: A heading, and what a page begins with.
_HEADING = re.compile(r"^(?:Usage:|\S.*:$)", re.MULTILINE)
#: A number that somebody gives as an argument: an address may be negative.
_NEGATIVE = re.compile(r"-(?:0[xX][0-9a-fA-F]+|\d+)")
#: What the pages of all verbs have in common.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def coloured(stream: Any) -> bool:
    """Is this a terminal whose user has nothing against bold and colours (NO_COLOR, TERM=dumb)?"""
    return bool(
        stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    )


class _Pages:
    """What commands and groups share."""

    #: Lines to type, each as it is.
    examples = ""

    def get_help(self, ctx: Any) -> str:
        """The whole page."""
        text: str = super().get_help(ctx)  # type: ignore[misc]
        return _HEADING.sub("\033[1m\\g<0>\033[0m", text) if coloured(sys.stdout) else text

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command: options, then its arguments, in brackets what may be left out."""
        params = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]  # type: ignore[attr-defined]
        words = [_argument(one) if one.required else f"[{_argument(one)}]" for one in params]
        metavar = getattr(self, "subcommand_metavar", "")
        return ["[OPTIONS]", *words, *([metavar] if metavar else [])]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then options by the group that each names (`rich_help_panel`)."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                groups.setdefault("Arguments", []).append((_argument(param), param.help or ""))
            else:
                about = "show this page" if "--help" in param.opts else record[1]
                groups.setdefault(param.rich_help_panel or "Options", []).append((record[0], about))
        # What a verb does not have for itself comes last.
        for name in sorted(groups, key=lambda name: name == "Options"):
            with formatter.section(name):
                formatter.write_dl(groups[name])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples, and what else there is to say."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples.strip().splitlines()))
        super().format_epilog(ctx, formatter)  # type: ignore[misc]


def _argument(param: Any) -> str:
    """An argument by its name, with … where there may be several."""
    return f"{param.metavar or param.name.upper()}{'…' if param.nargs == -1 else ''}"


class HelpCommand(_Pages, TyperCommand):
    """One verb."""

    def make_parser(self, ctx: Any) -> Any:
        """typer's, for which a negative number is an argument and not the option -1."""
        parser: Any = super().make_parser(ctx)
        process: Callable[[str, Any], None] = parser._process_opts

        def process_options(word: str, state: Any) -> None:
            if _NEGATIVE.fullmatch(word) and word[:2] not in parser._short_opt:
                state.largs.append(word)
            else:
                process(word, state)

        parser._process_opts = process_options
        return parser


class HelpGroup(_Pages, TyperGroup):
    """A verb with verbs of its own."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each verb with the first paragraph of its page."""
        pages = {name: getattr(self.get_command(ctx, name), "help", None) for name in self.list_commands(ctx)}
        rows = [(name, " ".join((page or "").partition("\n\n")[0].split())) for name, page in pages.items()]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Its verbs before its options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def group(about: str) -> typer.Typer:
    """A verb that has verbs of its own: `app = group("…")`, and `@verb(app)` on each of their functions."""
    return typer.Typer(
        cls=HelpGroup,
        help=about,
        subcommand_metavar="VERB …",
        no_args_is_help=True,
        context_settings=SETTINGS,
        add_completion=False,
        rich_markup_mode=None,
    )


def verb(
    app: typer.Typer,
    name: str | None = None,
    *,
    examples: str = "",
    epilog: str | None = None,
    hidden: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a verb of `app`: its docstring is the page, its parameters the arguments and options."""
    shown = examples

    class Command(HelpCommand):
        examples = shown

    return app.command(name, cls=Command, epilog=epilog, hidden=hidden, context_settings=SETTINGS)
