"""A kind and a stack in, one line to find siblings by out: the same over releases, builds and CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kernlab.oops.frames import Frame, frame_of
from kernlab.oops.functions import Stack, shown, telling

if TYPE_CHECKING:
    import pandas as pd

#: What a signature begins with: another version has other rules, and compares with none of this.
VERSION = "v1"
#: Functions of a fine signature; a coarse one has the first.
_FINE = 3

#: What divides a signature's parts.
_NO_MARKS = str.maketrans({"<": None, ">": None, " ": "-"})

_STACKS: dict[str, Stack] = {
    "hung task": "wait",
    "sleeping in atomic": "wait",
    "information leak": "leak",
    "RCU stall": "stall",
    "soft lockup": "spin",
    "hard lockup": "spin",
    "stack overflow": "spin",
}


def signature(report: Mapping[str, Any] | pd.Series[Any] | str, coarse: bool = False) -> str:
    """The signature of a report, a row of `parse`: version, kind, module, and the first three functions that tell.

    A coarse one has the first function only, so that it is how the fine one begins.

    >>> report = {"signature": "v1:null-dereference:shop:shop_check<shop_write<vfs_write"}
    >>> kernlab.oops.signature(report, coarse=True)
    'v1:null-dereference:shop:shop_check'
    """
    text = report if isinstance(report, str) else str(report["signature"])
    return text.partition("<")[0] if coarse else text


def stack_signature(
    kind: str, frames: Iterable[Frame | tuple[str, str | None] | str], coarse: bool = False
) -> str:
    """The signature of a kind and a stack, its innermost function first: that of a dump compares with that of a log.

    `frames` are names, (name, module) pairs, or frames as `parse` lists them.

    >>> kernlab.oops.stack_signature("hung task", ["schedule", ("shop_pay.isra.0", "shop"), "ksys_write"])
    'v1:hung-task:shop:shop_pay<sys_write'
    """
    given = [_frame(each) for each in frames]
    told = telling(given, _STACKS.get(kind, "report")) if given else []
    return signature(signature_of(kind, told), coarse)


def signature_of(kind: str, told: Iterable[Frame]) -> str:
    """The signature of a kind and the frames that tell, the one to blame first."""
    told = list(told)
    names = list(dict.fromkeys(_word(each.name) for each in told))[:_FINE]
    module = told[0].module if told else ""
    slug = kind.lower().replace(" ", "-").replace("/", "-")
    return f"{VERSION}:{slug}:{module or 'kernel'}:{'<'.join(names) or '-'}"


def _word(name: str) -> str:
    """A function in a signature, whose own marks no path of Rust may have."""
    return shown(name).translate(_NO_MARKS)


def _frame(given: Frame | tuple[str, str | None] | str) -> Frame:
    if isinstance(given, Frame):
        return given
    if isinstance(given, str):
        return frame_of(given) or Frame(given)
    name, module = given
    return Frame(name, module=module or "")
