"""docs/design.md is true: its rooms are those of the import rules, its columns those of the tables."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from conftest import ALL_DUMPS, ROOT

PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
#: Of three kernels, for a checkout without the other dumps.
SAMPLES = ("hung", "io", "panic")


@dataclass(frozen=True)
class Promise:
    """One line of the contract: a column, or with a `*` in its name the columns that match."""

    name: str
    dtypes: tuple[str, ...]

    @property
    def may_be_absent(self) -> bool:
        return "absent" in self.dtypes

    @property
    def is_pattern(self) -> bool:
        return "*" in self.name

    def covers(self, column: str) -> bool:
        return fnmatch.fnmatchcase(column, self.name)

    def allows(self, dtype: str) -> bool:
        return dtype in self.dtypes or "any" in self.dtypes


def part(heading: str) -> str:
    """The text below a heading of the second level."""
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def contract() -> dict[str, list[Promise]]:
    """What follows `dump.`, or a call of `kernlab` -> the columns that it has."""
    promises: dict[str, list[Promise]] = {}
    for section in part("The column contract").split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        rows = [cells(line) for line in body.splitlines() if line.startswith("| `")]
        promises[heading.strip().strip("`")] = [
            Promise(name.strip("`"), tuple(dtype.split(" or "))) for name, dtype, _ in rows
        ]
    return promises


CONTRACT = contract()


def differences(promises: list[Promise], columns: list[tuple[str, str]]) -> list[str]:
    """How columns (name, dtype) differ from what was promised; their order counts."""
    found = []
    places = []
    for name, dtype in columns:
        place = next((i for i, promise in enumerate(promises) if promise.covers(name)), None)
        if place is None:
            found.append(f"{name} ({dtype}) is not in docs/design.md")
            continue
        places.append(place)
        if not promises[place].allows(dtype):
            found.append(f"{name} is {dtype}, not {' or '.join(promises[place].dtypes)}")
    there = set(places)
    found += [
        f"{promise.name} is missing"
        for i, promise in enumerate(promises)
        if i not in there and not promise.may_be_absent
    ]
    # Where patterns take turns, the kernel orders what they stand for.
    fixed = [place for place in places if not promises[place].is_pattern]
    if fixed != sorted(fixed):
        found.append("the columns are in another order than in docs/design.md")
    return found


def columns_of(table: Any) -> list[tuple[str, str]]:
    if isinstance(table, pd.DataFrame):
        return [(str(name), str(dtype)) for name, dtype in table.dtypes.items()]
    if table.dtype != object:
        return [(str(key), str(table.dtype)) for key in table.index]
    return [(str(key), type(value).__name__) for key, value in table.items() if not pd.isna(value)]


def check(dump: Any, source: str) -> None:
    import kernlab

    table = eval(
        source if source.startswith("kernlab.") else f"dump.{source}", {"dump": dump, "kernlab": kernlab}
    )
    promises = CONTRACT[source]
    if isinstance(table, pd.Series):
        # The type of a missing value says nothing; its key is there all the same.
        named = {str(key) for key in table.index}
        missing = [p.name for p in promises if not any(p.covers(key) for key in named)]
        assert not missing, f"dump.{source} lacks {missing}"
        promises = [Promise(p.name, (*p.dtypes, "absent")) for p in promises]
    assert differences(promises, columns_of(table)) == [], f"dump.{source}"


def without_blktrace(dump: Any, source: str) -> bool:
    return "vda/trace" in source and "vda/trace" not in set(dump.relay.channels["name"])


def without_events(dump: Any, source: str) -> bool:
    return "sched_switch" in source and "sched_switch" not in set(dump.ftrace.counts["event"])


@pytest.mark.parametrize("source", CONTRACT)
def test_bundled_dump(opened: Callable[[str], Any], source: str) -> None:
    """Every section, those of traces too: this dump holds some of each."""
    check(opened("debian-6.1"), source)


@pytest.mark.parametrize("name", [name for name in ALL_DUMPS if name != "debian-6.1"])
def test_other_kernels(opened: Callable[[str], Any], name: str) -> None:
    """The same columns and dtypes, whatever the kernel's layouts and whatever is damaged."""
    dump = opened(name)
    for source in CONTRACT:
        if not without_blktrace(dump, source) and not without_events(dump, source):
            check(dump, source)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name: str) -> None:
    import kernlab

    with kernlab.open(kernlab.sample(name)) as dump:
        for source in CONTRACT:
            if not without_blktrace(dump, source) and not without_events(dump, source):
                check(dump, source)


def test_every_table_is_in_the_contract(opened: Callable[[str], Any]) -> None:
    described = {re.split(r"\W", source, maxsplit=1)[0] for source in CONTRACT}
    missing = set(opened("debian-6.1").tables["name"]) - described
    assert not missing, f"docs/design.md, The column contract, has no section for {sorted(missing)}"


def test_every_line_says_what_the_column_is() -> None:
    """A dtype that no table has would pass unseen in a line that may be absent."""
    known = {"address", "str", "bool", "boolean", "category", "float64", "any", "absent", "int", "Timestamp"}
    known |= {"object"}
    known |= {"Timedelta", "timedelta64[ns]", "datetime64[ns, UTC]"}
    known |= {f"{kind}{bits}" for kind in ("int", "uint", "Int", "UInt") for bits in (8, 16, 32, 64)}
    for source, promises in CONTRACT.items():
        assert promises, f"{source} has no columns"
        for promise in promises:
            assert set(promise.dtypes) <= known, f"{source}, {promise.name}: {promise.dtypes}"


def test_differences_are_seen() -> None:
    promises = [Promise("pid", ("Int64",)), Promise("nr_*", ("Int64", "absent")), Promise("comm", ("str",))]
    assert differences(promises, [("pid", "Int64"), ("nr_free", "Int64"), ("comm", "str")]) == []
    assert differences(promises, [("pid", "Int64"), ("comm", "str")]) == []
    assert differences(promises, [("pid", "int64"), ("comm", "str")]) == ["pid is int64, not Int64"]
    assert differences(promises, [("pid", "Int64")]) == ["comm is missing"]
    assert differences(promises, [("comm", "str"), ("pid", "Int64")]) == [
        "the columns are in another order than in docs/design.md"
    ]
    assert differences(promises, [("pid", "Int64"), ("comm", "str"), ("x", "str")]) == [
        "x (str) is not in docs/design.md"
    ]


def test_rooms_are_those_of_the_import_rules() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["kernlab"])
    rules = [{name.strip("() ") for name in layer.split("|")} for layer in reversed(layers)]
    rows = [cells(line)[0] for line in part("The rooms").splitlines() if line.startswith("| `")]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == rules


def test_nothing_cites_what_a_user_does_not_have() -> None:
    """Test data may lie in a folder beside the checkout; knowledge lies in the repository."""
    folders = ("kernlab", "docs", "notebooks", "scripts", "benchmarks", "tests", "extensions")
    paths = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml", "Makefile")]
    for folder in folders:
        for suffix in ("py", "md", "toml", "ipynb", "ts", "js", "txt"):
            paths += (ROOT / folder).rglob(f"*.{suffix}")
    cites = [
        str(path.relative_to(ROOT))
        for path in paths
        if "node_modules" not in path.parts
        and re.search(r"\bshared/[\w-]+\.md", path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert cites == []
