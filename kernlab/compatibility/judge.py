"""What trials say of tables on a kernel: that one reads, reads without something, or cannot be made, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kernlab.compatibility.record import Record, Step, record, words_of
from kernlab.compatibility.subjects import Subject, holds
from kernlab.compatibility.trial import Trial, trial, tried
from kernlab.debuginfo.asking import Name
from kernlab.debuginfo.types import Types
from kernlab.dump import Dump
from kernlab.errors import KernlabError, MemberNotFoundError, SymbolNotFoundError, TypeNotFoundError

State = Literal["reads", "reads without", "cannot"]

#: An error that names something which a kernel lacks is about the kernel, whatever was read before.
_LACKING = (SymbolNotFoundError, TypeNotFoundError, MemberNotFoundError)
#: Words with which tables tell of a kernel's making, not of its memory.
_OF_KERNEL = re.compile(r"CONFIG_|[Tt]his kernel|kernel was built")
_IS_OFF = re.compile(r"CONFIG_|has no |is off|are off")
_WORDS = re.compile(r"[A-Za-z_]\w*")
#: Shorter names are words of sentences.
_SHORTEST_NAME = 4
#: So many guesses about symbols that nobody listed are made for a table.
_MOST_GUESSES = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """One table. `without`: columns that it lacks on this kernel; `reason`: why it cannot be made, in its own words, or
    which parts it says it lacks; `untried`: names that real data lead to and this kernel lacks, where no dump has shown
    what comes of that."""

    table: str
    state: State
    without: tuple[str, ...] = ()
    reason: str = ""
    untried: tuple[str, ...] = ()


def judged(subject: Subject, tables: Iterable[str] | None = None) -> list[Judged]:
    """Every table on a kernel, or those that are named."""
    judge = _Judge(subject, record())
    return [judge.table(name) for name in tried(tables)]


class _Judge:
    """Judges tables one after the other: what one asked for, another need not ask again."""

    def __init__(self, subject: Subject, known: Record):
        self._subject, self._known = subject, known
        self._dump = Dump(subject.kernel())
        self._found: dict[Name, bool] = {}

    def table(self, name: str) -> Judged:
        """One table."""
        made_up = self._known.made_up.get(name, frozenset())
        tried_one = trial(self._dump, name)
        self._found |= tried_one.notes.found
        if tried_one.error is not None and self._subject.like and _is_of_kernel(tried_one.error, made_up):
            tried_one = self._guessing(tried_one, made_up)
        error = tried_one.error
        if error is None:
            columns, told = self._columns_gone(tried_one), self._parts_gone(tried_one, made_up)
            state: State = "reads without" if columns or told else "reads"
            # What is off has no data that could lead further.
            untried = () if any(_IS_OFF.search(one) for one in told) else tuple(self._untried(name))
            return Judged(name, state, tuple(columns), "; ".join(told), untried)
        if _is_of_kernel(error, made_up):
            return Judged(name, "cannot", (), _words(error))
        # What names an address tells of memory, which is made up.
        doubt = [] if words_of(str(error)) in made_up or "0x" in str(error) else [_words(error)]
        return Judged(name, "reads", (), "", (*doubt, *self._untried(name)))

    def _guessing(self, failed: Trial, made_up: frozenset[str]) -> Trial:
        """The table with other symbols assumed, where no list says which there are: with those that it asks for, if the
        recorded kernel was not asked for them, and without one that leads to types which are not there.

        A guess that only makes the table say that an option is off is none.
        """
        symbols, attempt = self._subject.symbols.names()[1:-1], failed
        dropped: list[str] = []
        for _ in range(_MOST_GUESSES):
            unknown = [
                name
                for name in attempt.absent_symbols
                if name not in dropped and not self._known_absent(name)
            ]
            if unknown:
                symbols = [*symbols, *unknown]
            elif isinstance(attempt.error, TypeNotFoundError) and (last := attempt.last_symbol) is not None:
                symbols = [name for name in symbols if name != last]
                dropped.append(last)
            else:
                return failed
            attempt = trial(Dump(self._subject.of_symbols(symbols).kernel()), failed.name)
            if attempt.error is None or not _is_of_kernel(attempt.error, made_up):
                off = dropped and any(_IS_OFF.search(told) for told in self._parts_gone(attempt, made_up))
                if off and not any(failed.lacks_type_like(name) for name in dropped):
                    return failed
                self._found |= attempt.notes.found
                return attempt
        return failed

    def _known_absent(self, symbol: str) -> bool:
        number = self._known.kernels.index(self._subject.like)
        has, asked = self._known.symbols.get(symbol, (0, 0))
        return not has >> number & 1 and bool(asked >> number & 1)

    def _columns_gone(self, tried_one: Trial) -> list[str]:
        """Columns that are filled on other kernels, and are not there or have no value here."""
        usual = self._known.columns.get(tried_one.name, frozenset())
        columns, rows = tried_one.columns, tried_one.rows
        return [name for name in sorted(usual) if name not in columns or (rows and not columns[name])]

    def _parts_gone(self, tried_one: Trial, made_up: frozenset[str]) -> list[str]:
        """What the table tells of the kernel's making."""
        lasts = (_WORDS.findall(name)[-1:] for (_, name), found in self._found.items() if not found)
        lacking = {last[0] for last in lasts if last and len(last[0]) >= _SHORTEST_NAME}
        return [
            problem
            for problem in tried_one.problems
            if words_of(problem) not in made_up
            and (_OF_KERNEL.search(problem) or lacking & set(_WORDS.findall(problem)))
        ]

    def _untried(self, table: str) -> list[str]:
        """Names that real data would lead to, as on a recorded kernel, and that this one must have and lacks."""
        can_lack = self._known.can_lack.get(table, frozenset())
        ways: dict[Name, list[str | None]] = {}
        for run in self._known.runs.get(table, ()):
            if self._found.get(run.after) is run.there:
                other = next((step for step in run.steps if self._has(step) is not step.there), None)
                # Where it is another than it was on the recorded kernel, a table that asks softly goes another way.
                goes = other is None or not other.there or other.soft or other.name in can_lack
                stuck = None if goes or other is None or self._is_of_no_type(other.name) else other.name[1]
                ways.setdefault(run.after, []).append(stuck)
        # Several kernels may lead on in several ways, of which one is this kernel's.
        return sorted({name for names in ways.values() if None not in names for name in names if name})

    def _is_of_no_type(self, name: Name) -> bool:
        """Is it a member of a type that the kernel does not have? Nothing is of that type, so nothing leads there."""
        owner = name[1].rpartition(".")[0]
        return name[0] == "member" and not any(types.get(owner) for types in self._every_type)

    @property
    def _every_type(self) -> tuple[Types, ...]:
        return (self._subject.types, *self._subject.module_types)

    def _has(self, step: Step) -> bool:
        kind, what = step.name
        if step.name in self._found:
            return self._found[step.name]
        if kind == "symbol":
            # Of symbols that are assumed those are known which the recorded kernel was asked for.
            symbols = self._subject.symbols
            return what in symbols if not self._subject.like or self._known_absent(what) else step.there
        return any(holds(types, kind, what) for types in self._every_type)


def _is_of_kernel(error: Exception, made_up: frozenset[str]) -> bool:
    """Does an error come of what the kernel is, and not of data that were made up?"""
    if words_of(str(error)) in made_up:
        return False
    if not isinstance(error, KernlabError):
        # No recorded kernel leads a table there.
        return True
    causes = (error, error.__cause__, error.__context__)
    return any(isinstance(one, _LACKING) for one in causes) or bool(_OF_KERNEL.search(str(error)))


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, KernlabError) else f"{type(error).__name__}: {error}"
