"""What a rule concludes: one thing that went wrong, what shows it, what speaks against it, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

#: What a finding is to the end of the machine: that which ended it as the machine itself saw it, the cause of that, or
#: something else that is wrong.
Role = Literal["end", "cause", "beside"]


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """Rows of a table that show something: the table's name, the labels of rows in its index, and what they say."""

    table: str
    says: str
    rows: tuple[int | str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """As a row of `verdict` has it: table, rows, says."""
        return {"table": self.table, "rows": list(self.rows), "says": self.says}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One conclusion of a rule.

    `finding` is what went wrong, in a few words that are always the same; `subject` who or what, as people say it.
    `confidence` is the rule's own, from 0 to 1, before the second pass weighs it. `explains` are the ends of a machine
    (kinds of `kernlab.oops`, or "stopped") that this can lead to. `since` is when it began, in seconds before the end;
    None where that is not known.
    """

    finding: str
    subject: str
    confidence: float
    evidence: tuple[Evidence, ...]
    cell: str
    pid: int | None = None
    module: str | None = None
    function: str | None = None
    device: str | None = None
    against: tuple[str, ...] = ()
    explains: frozenset[str] = frozenset()
    since: float | None = None
    role: Role = "beside"

    def doubted(self, why: str, factor: float) -> Finding:
        """The same, less sure by a factor, and why."""
        return dataclasses.replace(self, confidence=self.confidence * factor, against=(*self.against, why))

    def confirmed(self, evidence: Evidence, share: float) -> Finding:
        """The same, with more evidence, which takes this share of the doubt away."""
        return dataclasses.replace(
            self,
            confidence=1 - (1 - self.confidence) * (1 - share),
            evidence=(*self.evidence, evidence),
        )


def rows_of(table: pd.DataFrame, chosen: Iterable[int] | pd.Series) -> tuple[int | str, ...]:
    """Labels of rows of a table for evidence, by a mask or by labels; the first hundred are enough."""
    if isinstance(chosen, pd.Series) and pd.api.types.is_bool_dtype(chosen.dtype):
        # A mask of what may be missing is pandas' own boolean.
        labels = table.index[chosen.fillna(False).to_numpy(dtype=bool)].tolist()
    else:
        labels = list(chosen)
    return tuple(label.item() if isinstance(label, np.generic) else label for label in labels[:100])
