"""`dump.identify(addresses)`: what lies at addresses, each in one line; and the same for what the browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from kernlab import dataframes
from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.debuginfo.types import Type
from kernlab.errors import KernlabError
from kernlab.linux.whatis.answers import Answer
from kernlab.linux.whatis.engine import what_lies_at
from kernlab.tables.memory.owner import owner_columns

if TYPE_CHECKING:
    from kernlab.dataframes.typed import Frame


def identify(kernel: Kernel, addresses: Sequence[int] | npt.NDArray[np.uint64]) -> list[Answer]:
    """What lies at each address, as `dump.owner` says it.

    Of pages that only a look at all of memory tells apart the kind stays '': a browser does not wait for that.
    """
    # What a glance at a damaged place lost is not a loss of the dump's own.
    with kernel.scope("identify") as here:
        answers = what_lies_at(kernel, kernel.addresses(addresses).values, quick=True)
        answers.label  # noqa: B018 - is worked out when it is asked for, and may lose something, too
    answers.failed |= bool(here)
    return list(answers)


def type_of(kernel: Kernel, answer: Answer) -> Type | None:
    """The C type of the whole of what lies there; None where it is not known."""
    try:
        found = kernel.type_anywhere(answer.type) if answer.type else None
    except KernlabError:
        return None
    return found.strip() if found is not None else None


class Identify:
    """`dump.identify(addresses)`: what lies at addresses, as a DataFrame."""

    def __init__(self, dump: Any):
        self._dump = dump

    def __call__(self, addresses: Any) -> Frame:
        """What lies at each address, a row each also for a single one: the columns of `dump.owner` and label.

        `addresses` is one or many (integers, symbols' names, a list, an array, a column). label says all of it in one
        line: "slab_caches+0x8/0x10", "inventoryd (176): task_struct+0x64 (slab object)"; missing where nothing is
        known by a name.

        >>> dump.identify(["init_task", 0x400000])[["kind", "type"]]
                   kind                type
        0        symbol  struct task_struct
        1  user address                 NaN
        """
        kernel = self._dump.kernel
        given = kernel.addresses(addresses)
        with kernel.scope("identify"):
            answers = what_lies_at(kernel, given.values)
            columns = owner_columns(answers, given.values, ~given.missing)
            said = (
                np.array([text is not None for text in answers.label.tolist()], dtype=bool) & ~given.missing
            )
            label = Column.of(np.where(said, answers.label, ""), said)
            return cast("Frame", dataframes.frame(kernel, "identify", **columns, label=label))
