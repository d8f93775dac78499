"""Files that are given with a dump: options that every verb which opens one has, without naming them itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import typer

from kernlab.commands.options import OPENING

_Vmlinux = Annotated[
    list[str] | None,
    typer.Option(
        "--vmlinux",
        metavar="PATH",
        rich_help_panel=OPENING,
        help="for kernels without types (BTF), for types of variables, and for source lines: the kernel's vmlinux or "
        ".debug file, a module's .ko.debug, or a folder with them; may be given several times. Without it they are "
        "looked for in KERNLAB_DEBUG_PATH",
    ),
]
_Types = Annotated[
    str | None,
    typer.Option(
        "--types",
        metavar="FILE",
        rich_help_panel=OPENING,
        help="the kernel's types as BTF, or as a symbol file of Volatility (ISF)",
    ),
]
_Symbols = Annotated[
    str | None,
    typer.Option(
        "--symbols",
        metavar="FILE",
        rich_help_panel=OPENING,
        help="a System.map, for kernels whose own symbol table has no variables",
    ),
]
_AnyBuild = Annotated[
    bool,
    typer.Option(
        "--any-build",
        rich_help_panel=OPENING,
        help="take --vmlinux, --types and --symbols though they are of another build",
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "vmlinux": (_Vmlinux, None),
    "types": (_Types, None),
    "symbols": (_Symbols, None),
    "any_build": (_AnyBuild, False),
}

_given: ContextVar[dict[str, Any] | None] = ContextVar("given", default=None)


def files() -> dict[str, Any]:
    """What `kernlab.open` takes of the files that the running verb was given; nothing of those that it was not."""
    return dict(_given.get() or {})


def with_files(verb: Callable[..., int]) -> Callable[..., int]:
    """A verb that opens a dump (it has `dump_format`), with the options for files beside it; others as they are."""
    signature = inspect.signature(verb, eval_str=True)
    if "dump_format" not in signature.parameters:
        return verb
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in _OPTIONS.items()
    ]

    @functools.wraps(verb)
    def run(**given: Any) -> int:
        told = {name: value for name in _OPTIONS if (value := given.pop(name, None))}
        token = _given.set(told)
        try:
            return verb(**given)
        finally:
            _given.reset(token)

    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]
    # Before the last options, which are those of every verb.
    at = [each.name for each in own].index("dump_format") + 1
    listed = [*own[:at], *more, *own[at:]]
    run.__signature__ = signature.replace(parameters=listed)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in listed} | {"return": int}
    return run
