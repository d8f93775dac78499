"""One case in a process of its own: a name in, what happened at each step out, as plain JSON."""

from __future__ import annotations

import json
import os
import re
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import kernlab
from fuzz import limits
from fuzz.cases import Damaged
from fuzz.kinds import apply
from fuzz.pictures import REFUSED, Difference, differences, picture
from fuzz.steps import show, steps
from fuzz.subjects import OPEN, Subject
from kernlab.errors import KernlabError

#: What kernlab/memory/address_space.py says of a page that it cannot read (fault).
_SHOWN = re.compile(
    r"left out of the dump|cut off or damaged|had no memory at|nothing is mapped at|is not in the dump|"
    r"^# .*cannot be read",
    re.MULTILINE,
)
_HOME = str(Path(kernlab.__file__).parent)
#: Address space that a case may use beyond what it has at the start: twice the memory it may fill.
_SPACE = 2 * limits.MEMORY


def run(
    subjects: dict[str, Subject],
    name: str,
    slot: int,
    tell: Callable[[str], None],
    only: Sequence[str] | None = None,
) -> None:
    """Do a case in this process (`only` these steps, if given), telling each result as it comes, in a line of JSON."""
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    limits.limit_memory(_SPACE)
    subject, damaged = apply(subjects, name, slot)
    before = subject.fresh().kernel.problems
    dump = _guarded(tell, OPEN, damaged.open, 0)
    if dump is None:
        return
    tell(json.dumps({"step": "rule", "rule": damaged.rule}))
    every = steps()
    last: Any = None
    for step in damaged.steps if only is None else only:
        changed = _step(tell, subject, damaged, every[step], dump, before)
        last = last if changed is None else changed
    if last is not None:
        _guarded(tell, "show", lambda: show(last), 0)


def _step(
    tell: Callable[[str], None], subject: Subject, damaged: Damaged, step: Any, dump: Any, before: list[str]
) -> Any:
    answer = subject.answers[step.name]
    result: dict[str, Any] = {}

    def do() -> Any:
        try:
            value = step.run(dump, subject.known)
            seen = picture(value)
        except KernlabError as error:
            # It says why: that is told.
            refused = Difference("", REFUSED, 1, str(error)[:200])
            result.update(differences=[refused.plain()], told=[str(error)[:200]])
            return None
        known = {*answer.picture.problems, *answer.kernel_problems, *before}
        told = [said for said in (*seen.problems, *dump.kernel.problems) if said not in known]
        if text := seen.all_text:
            # Text has no attrs: it shows why something is not there, or is made of tables, which tell it.
            told += [said for said in dump.problems if said not in known]
            shown = _SHOWN.findall(text)
            told += shown if len(shown) > len(_SHOWN.findall(answer.picture.all_text)) else []
        found = differences(answer.picture, seen, damaged.planted)
        result.update(differences=[one.plain() for one in found], told=[said[:200] for said in told[:3]])
        return value if found else None

    return _guarded(tell, step.name, do, answer.peak, result)


def _guarded(
    tell: Callable[[str], None],
    name: str,
    do: Callable[[], Any],
    peak_before: int,
    result: dict[str, Any] | None = None,
) -> Any:
    """Do something, and tell what it cost or how it failed; None where it failed."""
    tell(json.dumps({"step": name, "started": True}))
    outcome: dict[str, Any] = {"step": name}
    start = time.process_time()
    value = None
    with limits.peak_beyond() as peak:
        try:
            with limits.cpu_seconds(limits.SECONDS):
                value = do()
        except KernlabError as error:
            outcome["told"] = [str(error)[:200]]
        except limits.HangError as error:
            outcome |= {"failed": "hang", "place": place(error.__traceback__)}
        except MemoryError as error:
            outcome |= {"failed": "memory", "place": place(error.__traceback__), "message": str(error)[:200]}
        except Exception as error:
            outcome |= {
                "failed": type(error).__name__,
                "place": place(error.__traceback__),
                "message": str(error)[:200],
                "trace": _trace(error.__traceback__),
            }
    outcome |= {"seconds": round(time.process_time() - start, 3), "peak": peak.bytes, **(result or {})}
    if "failed" not in outcome and peak.bytes > peak_before + limits.MEMORY:
        outcome |= {"failed": "memory", "place": name}
    tell(json.dumps(outcome))
    return value


def _trace(trace: TracebackType | None) -> str:
    """The last lines of kernlab in a traceback, from the outermost on."""
    own = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(_HOME)][-4:]
    return "\n".join(f"{Path(f.filename).relative_to(Path(_HOME).parent)}:{f.lineno}: {f.line}" for f in own)


def place(trace: TracebackType | None) -> str:
    """The innermost line of kernlab in a traceback, as file:function:line."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if frame.filename.startswith(_HOME)] or frames
    if not own:
        return "?"
    file = os.path.relpath(own[-1].filename, Path(_HOME).parent)
    return f"{file}:{own[-1].name}:{own[-1].lineno}"
