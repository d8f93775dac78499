"""A dump file and a level in, the redacted file and the account of it out: what `dump.redaction` is."""

from __future__ import annotations

import os

from kernlab.core.kernel import Kernel
from kernlab.formats.base import DumpFile
from kernlab.redaction.as_written import level_before, plan_as_written
from kernlab.redaction.columns import columns
from kernlab.redaction.house_key import dump_key
from kernlab.redaction.levels import LEVELS, check_level
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.plan import Plan, make_plan
from kernlab.redaction.redacted_file import RedactedFile


class Redaction:
    """What was hidden in a dump, at which `level`.

    `before` is the level at which it had been redacted already when its file was written (`kernlab redact`), or None.
    Where that hides as much as was asked for, it is the `level`, the memory stays as it is, and nothing is counted.
    """

    def __init__(self, file: RedactedFile, plan: Plan, before: str | None = None):
        self._file = file
        self._plan = plan
        self.level = plan.level
        self.before = before

    @property
    def is_as_written(self) -> bool:
        """Did the file's own redaction hide enough, so that nothing was hidden now?"""
        return self.before == self.level

    @property
    def counts(self) -> dict[str, int]:
        """How many things of each kind were hidden so far, the most first.

        Pages that were left out and places that were rewritten count from the start; what is found in text, once, as
        its page is read for the first time.
        """
        return dict(sorted(self._file.counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns of tables whose values may differ from those of the same dump without redaction."""
        return {"info": ["file"]} if self.is_as_written else columns(self.level)

    def text(self, text: str) -> str:
        """The same of text that does not come from the dump's memory, such as a file's name or a log beside it."""
        return self._plan.text(text)

    def write_map(self, path: str | os.PathLike[str]) -> None:
        """Write what became of what, as JSON that its owner alone can read: who has it can undo the redaction.

        Raises KernlabError where the file cannot be written.
        """
        self._plan.map.write(path)

    def __repr__(self) -> str:
        if self.is_as_written:
            return f"<redaction {self.level}: as it was written>"
        told = ", ".join(f"{count:,} × {kind}" for kind, count in self.counts.items())
        return f"<redaction {self.level}: {told or 'nothing'}>"


def _fresh_map(file: DumpFile) -> RedactionMap:
    """An empty map with the key of this dump: of when and where the machine died, and which kernel lay where."""
    header = sorted((name, str(value)) for name, value in file.header.items())
    identity = b"\0".join([file.vmcoreinfo or b"", repr(header).encode(), str(file.max_pfn).encode()])
    return RedactionMap(dump_key(identity))


def redacted(
    kernel: Kernel, file: DumpFile, level: str, redaction_map: str | os.PathLike[str] | None = None
) -> tuple[RedactedFile, Redaction]:
    """The file as others may see it. `kernel` reads it as it is, and is needed no more afterwards.

    Parameters: level "share" or "strict"; redaction_map, the file of an earlier redaction's map, whose names and
    addresses become what they became then. Raises KernlabError for a level that there is not, a map that is none, and
    a dump of which not even the users' pages can be told. A dump that was written redacted as much stays as it is.
    """
    check_level(level)
    known = _fresh_map(file) if redaction_map is None else RedactionMap.read(redaction_map)
    before = level_before(kernel)
    if before is not None and LEVELS.index(before) >= LEVELS.index(level):
        plan = plan_as_written(kernel, before, known)
    else:
        plan = make_plan(kernel, level, known)
    hidden = RedactedFile(file, plan)
    return hidden, Redaction(hidden, plan, before)
