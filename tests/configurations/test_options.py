"""Kernels of other configurations: each option's absence leaves every table right, empty, or refused by its name.

And every name that a table asks for is known to be in each kernel, or goes with an option that is tested. Who asks for
a new global variable, type, member or enumerator looks up what makes it (Kconfig, #ifdef) and adds it to the option's
absence in options.py, or to always.txt: what every x86-64 kernel of some release has, whatever its configuration.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from configurations.asked import hidden, of_absence
from configurations.options import LAYOUTS, OPTIONS, Changed, Empty, Expected, Others, Refused
from support.absent import Absence
from support.seed import SEED, in_turn

from kernlab.compatibility.record import record
from kernlab.compatibility.subjects import of_kernel
from kernlab.compatibility.trial import trial, tried
from kernlab.debuginfo.asking import Name, noted
from kernlab.dump import TABLES as EVERY
from kernlab.dump import Dump
from kernlab.errors import KernlabError

pytestmark = pytest.mark.long

DUMPS = ("debian-5.10", "debian-6.1", "debian-7.2")
#: `symbols` is what is hidden; the others are asked for something, and built of what the other tables are.
TABLES = [name for name in EVERY if name not in ("symbols", "owner", "search", "holders", "timeline")]
#: These look at everything, and take as long as all others: of the options that say nothing of one a third is tried,
#: of the verdict, which looks at most of what the leads look at, a fourth.
DEAR = {"suspects": 3, "verdict": 4}

ALWAYS = {
    tuple(line.split(" ", 1))
    for line in (Path(__file__).parent / "always.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
OPTIONAL = set().union(
    *(of_absence(option.absence) for option in OPTIONS.values()), *map(of_absence, LAYOUTS.values())
)


def build(dump, name):
    """A table with all its columns made; of a Series its one row."""
    made = dump.slab_objects("dentry", stacks=True) if name == "slab_objects" else getattr(dump, name)
    if not isinstance(made, pd.Series):
        return made
    frame = made.to_frame("value").T
    frame.attrs = made.attrs
    return frame


def values(column: pd.Series) -> pd.Series:
    """Values as text, so that the address dtypes of two dumps compare."""
    return column.astype(object).map(str).where(column.notna(), "missing").reset_index(drop=True)


def rows_that_differ(mine: pd.Series, theirs: pd.Series) -> list[int]:
    """As text, where they are not the same already: most columns are, of tens of thousands of rows."""
    if mine.dtype == theirs.dtype and mine.reset_index(drop=True).equals(theirs.reset_index(drop=True)):
        return []
    return (values(mine) != values(theirs)).to_numpy().nonzero()[0].tolist()


def differences(found, whole, expected: Changed) -> list[str]:
    """In what a table is not the whole dump's, but for what is expected."""
    wrong = []
    gone = [name for name in whole.columns if name not in found.columns]
    if unexpected := [
        name for name in gone if not any(re.fullmatch(part, str(name)) for part in expected.gone)
    ]:
        wrong.append(f"columns gone: {unexpected}")
    if missed := [name for name in expected.gone if name in found.columns]:
        wrong.append(f"columns that should not be there: {missed}")
    if len(found) != len(whole):
        return [*wrong, f"{len(found)} rows instead of {len(whole)}"]
    for name in found.columns:
        if name not in whole.columns:
            wrong.append(f"new column {name}")
        elif name in expected.missing:
            wrong += [f"{name} has values"] * bool(found[name].notna().any())
        elif name not in expected.other:
            rows = rows_that_differ(found[name], whole[name])
            if rows:
                mine, theirs = values(found[name]), values(whole[name])
                wrong.append(f"{name}: {mine[rows[0]]} instead of {theirs[rows[0]]} ({len(rows)} rows)")
    return wrong


def judge(dump, below, table: str, expected: Expected) -> list[str]:
    """What is wrong with one table."""
    try:
        found = build(dump, table)
    except KernlabError as error:
        said = isinstance(expected, Refused) and re.search(expected.match, str(error))
        return [] if said else [f"refused: {error}"]
    if isinstance(expected, Refused):
        return ["not refused"]
    whole = build(below, table)
    new = [problem for problem in found.attrs["problems"] if problem not in whole.attrs["problems"]]
    if isinstance(expected, Empty):
        kept = [column for column in whole.columns if "_node" not in column]
        same = [(name, str(found[name].dtype)) for name in found] == [
            (name, str(whole[name].dtype)) for name in kept
        ]
        return [*new, *["rows"] * bool(len(found)), *[f"other columns: {list(found.columns)}"] * (not same)]
    same = isinstance(expected, Others)
    wrong = ["other columns"] * (list(found) != list(whole)) if same else differences(found, whole, expected)
    may_say = (*expected.told, *(() if same else expected.may_be_told))
    wrong += [f"told: {problem}" for problem in new if not any(part in problem for part in may_say)]
    return wrong + [
        f"not told: {part}" for part in expected.told if not any(part in problem for problem in new)
    ]


@pytest.fixture(scope="module")
def asked(opened):
    """`asked("debian-6.1")`: for each table, the names that it asks for."""
    found: dict[str, dict[str, set[Name]]] = {}

    def once(name: str) -> dict[str, set[Name]]:
        if name not in found:
            found[name] = {}
            for table in TABLES:
                dump = Absence().of(opened(name))
                with noted() as notes:
                    build(dump, table)
                found[name][table] = set(notes.found)
        return found[name]

    return once


def is_turn(option: str, seeds: int) -> bool:
    """Each option's with one of so many seeds, those of one dump with different ones."""
    return (list(OPTIONS).index(option) // len(DUMPS) + SEED) % seeds == 0


@pytest.mark.parametrize(("name", "option"), in_turn(DUMPS, OPTIONS)[SEED % 2 :: 2])
def test_without(opened, asked, name, option):
    """One option at a time, every second one, each on one of the dumps (support/seed.py): six seeds have all of them.

    Nothing raises what is no KernlabError, no number is another, no problem is false.
    """
    below, chosen = opened(name), OPTIONS[option]
    gone = of_absence(chosen.absence)
    # What does not ask for any of it cannot be another.
    tables = [table for table, names in asked(name).items() if names & gone]
    tables = [
        table
        for table in tables
        if table not in DEAR or table in chosen.tables or is_turn(option, DEAR[table])
    ]
    dump = chosen.absence.of(below)
    wrong = {table: judge(dump, below, table, chosen.tables.get(table, Changed())) for table in tables}
    assert {table: found for table, found in wrong.items() if found} == {}


@pytest.mark.parametrize("name", [*DUMPS, "debian-6.12"])
def test_what_makes_each_name_is_known(opened, asked, name):
    below = opened(name)
    dump = Absence().of(below)
    with noted() as notes:
        dump.owner([below.symbol("init_task"), int(below.tasks["address"].iloc[5])])
    names = set(notes.found).union(*asked(name).values())
    # Of types also those of the names that caches and variables of this dump have.
    named = {f"struct {name}" for name in (*below.slabs["name"], *below.kernel.symbols.names())}
    found = {name for name in names if "{…}" not in name[1] and not (name[0] == "type" and name[1] in named)}
    new = sorted(f"{kind} {what}" for kind, what in found - ALWAYS if not hidden((kind, what), OPTIONAL))
    assert new == [], "what configuration makes these? See this file's first lines"


@pytest.mark.parametrize("name", [DUMPS[SEED % len(DUMPS)]])
def test_kernel_check_knows_what_they_ask_for(opened, asked, name):
    """Without memory, or by its record: else `python -m scripts.record_requests` writes that anew."""
    hollow = Dump(of_kernel(opened(name).kernel).kernel())
    known = set().union(*(trial(hollow, table).notes.found for table in tried()))
    steps = {
        table: {step.name for run in runs for step in run.steps} for table, runs in record().runs.items()
    }
    # It asks more here than there.
    new = {
        table: names - known - steps.get(table, set())
        for table, names in asked(name).items()
        if table != "slab_objects"
    }
    found = {table: sorted(one for one in names if "{…}" not in one[1]) for table, names in new.items()}
    assert {table: names for table, names in found.items() if names} == {}


def test_no_name_is_both():
    assert sorted(name for name in ALWAYS if hidden(name, OPTIONAL)) == []
