"""A report while it is read: the lines that belong to it, and what was found in them."""

from __future__ import annotations

import dataclasses
import re

from kernlab.oops.forms import Form
from kernlab.oops.lines import Line


@dataclasses.dataclass(slots=True)
class Report:
    """A report while it is read: its lines, and what was found in them."""

    form: Form
    match: re.Match[str]
    lines: list[Line]
    kept: int = 1  # of its lines, what is surely its own
    trapped: bool = False  # the line of its trap was there
    says: list[tuple[Form, re.Match[str]]] = dataclasses.field(default_factory=list)
    panic: str = ""  # that followed from it
    nested: Report | None = None  # what broke it off
    inside: Report | None = None  # what it broke off
    other_cpus: list[Line] = dataclasses.field(default_factory=list)  # what others print meanwhile

    @property
    def naming(self) -> tuple[Form, re.Match[str]]:
        """The form that names it: what is said about a BUG or a warning names it better than its own line."""
        return self.says[0] if self.says else (self.form, self.match)

    @property
    def kind(self) -> str:
        """One of KINDS."""
        form, match = self.naming
        return form.kind_of(match)
