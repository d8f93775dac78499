"""What a right verdict on a dump says, as its guest told before it died, and what a verdict says that is not so.

Of a capture of the lab that is `verdict.json` of its truth; of the other dumps tests/verdict/truth, written by hand
from their stories. Shares no code with kernlab.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from support.truth import Truth

HERE = Path(__file__).resolve().parents[1] / "verdict" / "truth"

#: A finding that is this sure is told as true.
SURE = 0.5
#: And the first row has to be this sure of the cause.
CERTAIN = 0.8

#: What the lab calls something, and what a verdict may call it.
WORDS = {
    "out of memory": {"OOM", "process took the memory"},
    "memory cgroup out of memory": {"memory cgroup out of memory"},
    "memory leak": {"slab leak", "vmalloc leak", "per-CPU memory", "large kmalloc", "kernel memory leak"},
    "hung task": {"hung task", "lock not released"},
    "warning": {"WARNING"},
    "double free": {"double free", "invalid free"},
}
#: The kernel's last words, and what an end that they tell of may be called.
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
ENDS = {
    "sysrq triggered crash": "sysrq",
    "Out of memory": "OOM",
    "out of memory": "OOM",
    "hung_task": "hung task",
    "softlockup": "soft lockup",
    "Hard LOCKUP": "hard lockup",
    "RCU Stall": "RCU stall",
    "panic_on_warn": "WARNING",
}


@dataclasses.dataclass(frozen=True)
class VerdictTruth:
    """What is true. `either`: findings as right in the first row; `also`: true beside it; `before`: over by then.

    `end` is what the kernel itself said. `pids` are those that may be named, none where nobody is to blame or each is
    as right as another; so `functions`.
    """

    finding: str
    either: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    module: str | None = None
    functions: tuple[str, ...] = ()
    subject: str | None = None
    also: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    innocent: tuple[str, ...] = ()
    end: str | None = None

    @property
    def first(self) -> set[str]:
        """What the first row may be."""
        return _words((self.finding, *self.either))

    @property
    def true(self) -> set[str]:
        """What any row may be, of what was so at the end."""
        return self.first | _words(self.also)

    @property
    def past(self) -> set[str]:
        """What rows may be that tell of what was over."""
        return _words(self.before)


def _words(told: Iterable[str]) -> set[str]:
    return {word for each in told for word in {each} | WORDS.get(each, set())}


def truth_of_capture(folder: Path) -> VerdictTruth | None:
    """Of a folder of the lab; None where its guest did not say."""
    try:
        told = json.loads(Truth(folder / "truth.tar.xz").text("verdict.json"))
    except KeyError:
        return None
    return _truth(told, folder)


def truth_of(name: str, folder: Path) -> VerdictTruth:
    """Of a sample, or of another dump that tests use, by its name."""
    return _truth(json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")), folder)


def _truth(told: dict[str, Any], folder: Path) -> VerdictTruth:
    pids = told.get("pids") or ([told["pid"]] if told["pid"] is not None else [])
    functions = [told["function"], *told.get("callers", [])] if told["function"] else []
    return VerdictTruth(
        told["finding"],
        tuple(told.get("either", ())),
        tuple(pids),
        told["module"],
        tuple(functions),
        told["subject"],
        tuple(told["also"]),
        tuple(told["before"]),
        tuple(told["innocent"]),
        _end((folder / "vmcore-dmesg.txt").read_text(encoding="utf-8", errors="replace")),
    )


def _end(log: str) -> str | None:
    """What the panic's line says it ended by, None where there is none."""
    said = _PANIC.findall(log)
    return next(
        (name for words, name in ENDS.items() if said and words in said[-1]), "panic" if said else None
    )


def wrong(found: pd.DataFrame, truth: VerdictTruth) -> list[str]:
    """What a verdict on a whole dump says that is not so, or does not say."""
    if found.empty:
        return ["there is no finding"]
    first = found.iloc[0]
    said = []
    if first["finding"] not in truth.first:
        said.append(f"the first row is {first['finding']}, not {truth.finding}")
    if first["confidence"] < CERTAIN:
        said.append(f"the first row is only {first['confidence']:.2f} sure")
    if truth.pids and (pd.isna(first["pid"]) or first["pid"] not in truth.pids):
        said.append(f"pid is {first['pid']}, not {truth.pids}")
    # Where somebody pressed a key, module, function and subject are of what was amiss then.
    about = found[found["finding"].isin(_words(truth.also))] if truth.finding == "sysrq" else found.head(1)
    modules, functions = about["module"].tolist(), about["function"].tolist()
    if truth.module and truth.module not in modules:
        said.append(f"module is {', '.join(map(str, modules))}, not {truth.module}")
    if truth.functions and not set(truth.functions) & set(functions):
        said.append(f"function is {', '.join(map(str, functions))}, not {truth.functions}")
    if truth.subject and not any(truth.subject in _told(row) for _, row in about.iterrows()):
        said.append(f"{truth.subject} is not named")
    if truth.finding == "sysrq":  # What was so when somebody pressed it is all there is to tell.
        said += [f"{each} is not told" for each in truth.also if not _words((each,)) & set(found["finding"])]
    return said + false(found, truth)


def false(found: pd.DataFrame, truth: VerdictTruth) -> list[str]:
    """What a verdict says that is not so: sure of what did not happen, or somebody is named who is innocent."""
    said = []
    for place, (_, row) in enumerate(found.iterrows()):
        past = row["role"] == "beside" and row["finding"] in truth.past
        true = truth.true | ({truth.end} if row["role"] == "end" else set())
        if place and row["confidence"] >= SURE and not past and row["finding"] not in true:
            said.append(f"{row['finding']} of {row['subject']} is not so ({row['confidence']:.2f})")
        if not past:
            accused = [name for name in truth.innocent if _is_named(name, row)]
            said += [f"{row['finding']} accuses {name}" for name in accused]
    return said


#: What a verdict may add about a dump that was damaged: that it is.
_DAMAGE = {"incomplete dump", "lost log lines"}


def untrue(found: pd.DataFrame, whole: pd.DataFrame, truth: VerdictTruth) -> list[str]:
    """What a verdict on a damaged twin is sure of that neither the verdict on the whole dump says nor is true."""
    said = []
    for _, row in found[found["confidence"] >= SURE].iterrows():
        told = whole[whole["finding"] == row["finding"]]
        if row["finding"] in _DAMAGE or row["subject"] in set(told["subject"]):
            continue
        if not pd.isna(row["pid"]) and row["pid"] in told["pid"].dropna().tolist():
            continue
        # Whom the kernel itself named at its end it did name, though that may be a victim.
        end = row["role"] == "end"
        # And a panic is one, also where the line that says of what kind is torn.
        ends = {truth.end} | ({"panic"} if truth.end else set()) if end else set()
        known = row["finding"] in truth.true | truth.past | ends
        other = bool(truth.pids) and not pd.isna(row["pid"]) and row["pid"] not in truth.pids
        accused = [name for name in truth.innocent if _is_named(name, row)]
        if not known or (not end and (other or accused)):
            said.append(f"{row['finding']} of {row['subject']} is not so ({row['confidence']:.2f})")
    return said


def _is_named(name: str, row: pd.Series) -> bool:
    """Is this the name of who or what a row is about? One that ends in - begins a name."""
    words = " ".join(
        str(row[column]) for column in ("subject", "module", "function") if not pd.isna(row[column])
    )
    end = "" if name.endswith("-") else r"(?![\w-])"
    return bool(re.search(r"(?<![\w-])" + re.escape(name) + end, words))


def _told(row: pd.Series) -> str:
    return "\n".join([str(row["subject"]), *(each["says"] for each in row["evidence"])])
