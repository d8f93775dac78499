"""One thread's frames in, HTML out: each frame opens to its instructions and what its registers point to.

One element, no scripts, nothing fetched: what a frame opens to is in the page, so a saved notebook shows it without a
kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kernlab.debuginfo.source_lines import SourceFrame
from kernlab.display.stacks.parts import Frame
from kernlab.display.stacks.text import registers
from kernlab.errors import KernlabError
from kernlab.escape import NO_MATH, escape_attribute, escape_html
from kernlab.util.text import shorten

if TYPE_CHECKING:
    import pandas as pd

#: What gives the instructions around an address; raises KernlabError where it cannot.
Instructions = Callable[[int, str], "pd.DataFrame"]

#: Frames that open: of a stack that is longer (a recursion) the others are lines.
_MOST_OPENED = 64
_MOST_FRAMES = 400
_LONGEST = 200
_HERE = ' class="here"'

_STYLE = """\
.kernlab-stack{--module:#955500;color:var(--jp-ui-font-color1,inherit);font-family:var(--jp-code-font-family,monospace);
font-size:var(--jp-code-font-size,13px);line-height:1.5;overflow-x:auto}
.kernlab-stack .head{font-family:var(--jp-ui-font-family,system-ui,sans-serif);margin:0 0 .4em}
.kernlab-stack .head b{font-size:1.08em}
[data-jp-theme-light="false"] .kernlab-stack,.vscode-dark .kernlab-stack{--module:#ffb74d}
.kernlab-stack .soft,.kernlab-stack .mark,.kernlab-stack .at,.kernlab-stack .guess{\
color:var(--jp-ui-font-color2,inherit)}
.kernlab-stack .mark{padding-left:.3em}
.kernlab-stack details,.kernlab-stack .line{padding-left:1.2em;white-space:pre}
.kernlab-stack .line{padding-left:2.3em}
.kernlab-stack summary{cursor:pointer;border-radius:3px}
.kernlab-stack summary:hover{background:var(--jp-layout-color2,rgba(127,127,127,.14))}
.kernlab-stack summary:hover .at,.kernlab-stack summary:hover .soft{color:inherit}
.kernlab-stack .at{display:inline-block;min-width:2.4em;text-align:right;padding-right:.2em}
.kernlab-stack .module{color:var(--module)}
.kernlab-stack .guess{font-style:italic}
.kernlab-stack .inside{margin:.15em 0 .5em 3.2em;padding:.3em .8em;
border-left:2px solid var(--jp-border-color2,rgba(127,127,127,.4))}
.kernlab-stack .inside p{margin:0;white-space:pre-wrap}
.kernlab-stack .inside .here{font-weight:600;background:var(--jp-layout-color2,rgba(127,127,127,.16))}
.kernlab-stack .lost{border-left:3px solid var(--jp-warn-color1,#d80);padding:.15em .8em;margin:.4em 0 0;
font-family:var(--jp-ui-font-family,system-ui,sans-serif)}"""


def stack_html(
    title: str,
    facts: Sequence[str],
    frames: Sequence[Frame],
    problems: Sequence[str],
    instructions: Instructions | None,
) -> str:
    """The whole of it. `title` is the thread, `facts` what follows it.

    Without `instructions` the frames do not open.
    """
    said = " · ".join(escape_html(shorten(fact, _LONGEST)) for fact in facts)
    parts = [
        f'<div class="head"><b>{escape_html(shorten(title, _LONGEST))}</b> <span class="soft">{said}</span></div>'
    ]
    mark = ""
    for place, frame in enumerate(frames[:_MOST_FRAMES]):
        if frame.mark != mark:
            parts += [_mark(f"</{mark}>")] if mark else []
            mark = frame.mark
            parts.append(_mark(f"<{mark}>"))
        parts.append(_frame(frame, instructions if place < _MOST_OPENED else None))
    if len(frames) > _MOST_FRAMES:
        parts.append(f'<div class="line soft">{len(frames) - _MOST_FRAMES:,} more frames</div>')
    elif mark:
        parts.append(_mark(f"</{mark}>"))
    parts += [f'<div class="lost">{escape_html(shorten(problem, 500))}</div>' for problem in problems]
    return f'<div class="kernlab-stack {NO_MATH}"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _mark(text: str) -> str:
    return f'<div class="mark">{escape_html(text)}</div>'


def _frame(frame: Frame, instructions: Instructions | None) -> str:
    name, _, module = frame.symbol.partition(" [")
    shown = escape_html(shorten(name, _LONGEST))
    if module:
        shown += f' <span class="module">[{escape_html(shorten(module, _LONGEST))}</span>'
    if frame.interrupted:
        shown = f"{frame.machine.headline(frame.registers, '')}{shown}"
    if not frame.reliable:
        shown = f'<span class="guess" title="a guess: nothing proves that this was called">? {shown}</span>'
    calls = "".join(f'<span class="at"></span> {_inlined(one)}<br>' for one in frame.lines[:-1])
    line = f'{calls}<span class="at">{frame.number}</span> {shown}{_source(frame.lines[-1]) if frame.lines else ""}'
    if instructions is None:
        return f'<div class="line">{line}</div>'
    inside = "".join(_inside(frame, instructions))
    return f'<details><summary>{line}</summary><div class="inside">{inside}</div></details>'


def _inlined(call: SourceFrame) -> str:
    name = escape_html(shorten(call.function, _LONGEST))
    return f'<i title="inlined: it has no frame of its own">{name}</i>{_source(call)}'


def _source(line: SourceFrame) -> str:
    shown = escape_html(shorten(str(line), _LONGEST))
    return f' <span class="soft" title="{escape_attribute(line.path)}">{shown}</span>'


def _inside(frame: Frame, instructions: Instructions) -> Iterator[str]:
    yield f'<p class="soft">{frame.address:#018x}, stack pointer {frame.sp:#018x}, {escape_html(frame.kind)}</p>'
    if frame.interrupted:
        yield from (f"<p>{escape_html(line)}</p>" for line in registers(frame))
    else:
        yield from (
            f"<p>{frame.machine.spelt(name)} {value:#018x} = {escape_html(shorten(label, _LONGEST))}</p>"
            for name, value, label in frame.known
        )
    try:
        code = instructions(frame.address, frame.symbol)
    except KernlabError as error:
        yield f'<p class="soft">{escape_html(shorten(str(error), 300))}</p>'
        return
    # The call is what lies before where it returns to.
    ends = code["address"].shift(-1)
    here = code["address"] == frame.address if frame.interrupted else ends == frame.address
    for address, offset, instruction, target, is_here in zip(
        code["address"], code["offset"], code["instruction"], code["target"], here.fillna(False), strict=True
    ):
        to = "" if target != target or target is None else f"   <{target}>"
        text = f"{'→' if is_here else ' '} {int(address):016x} +{int(offset):#06x}  {instruction}{to}"
        yield f"<p{_HERE if is_here else ''}>{escape_html(shorten(text, _LONGEST))}</p>"
