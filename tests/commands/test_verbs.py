"""Verbs and their list agree, each page says what it has to, and the recorder's two parsers take the same."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from kernlab.commands import verbs
from kernlab.recorder import service


def pages() -> Iterator[tuple[str, Any]]:
    """Every command that is there, with what has to be typed for it."""
    top = verbs.everything()

    def of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield name, command
        for one in inner:
            yield from of(inner[one], f"{name} {one}")

    for name in top.list_commands(None):
        yield from of(verbs.load(name), name)


@pytest.mark.parametrize(("name", "command"), list(pages()), ids=[name for name, _ in pages()])
def test_a_page_says_what_everything_is(name: str, command: Any) -> None:
    first = command.help.partition("\n\n")[0]
    assert first.endswith((".", "?")), name
    for param in command.params:
        if param.hidden:
            continue
        assert param.help, f"{name}: {param.name}"
        assert param.help[-1] not in ".", f"{name}: {param.name} is no sentence"
        if param.param_type_name == "argument" or not param.is_flag:
            assert param.metavar, f"{name}: {param.name} has no name for its value"


def test_each_verb_is_told_in_a_line() -> None:
    for name, verb in verbs.VERBS.items():
        assert len(verb.about) <= 85, name
        assert not verb.about.endswith("."), name


def test_the_recorder_takes_what_its_service_takes() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    service.arguments_of(parser)
    wanted = {
        action.option_strings[0]: (action.default or None, type(action).__name__ == "_AppendAction")
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    }
    app = verbs.load("recorder")
    for verb in ("start", "install"):
        offered = {
            param.opts[0]: (param.default or None, param.multiple)
            for param in app.commands[verb].params
            if param.opts[0] in wanted
        }
        assert offered == wanted, verb


def test_functions_are_called_as_their_verbs_are() -> None:
    for name, verb in verbs.VERBS.items():
        if name not in verbs.everything().list_commands(None):
            continue
        command = verbs.load(name)
        callback = getattr(command, "callback", None)
        if callback is not None and not getattr(command, "commands", None):
            assert inspect.unwrap(callback).__name__ == (verb.module or name).replace("-", "_")
