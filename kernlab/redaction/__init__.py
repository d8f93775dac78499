"""Redaction: a dump file in, the same file without its users' secrets out, and what became of each of them.

    file, redaction = redacted(below, note, "share")     # a DumpFile like any other

It happens at the page frames, so that tables, widgets, reports and written dumps need to know nothing of it. A first
kernel, over the file as it is, finds what is secret (`plan`); everybody else reads through `RedactedFile`.
"""

from __future__ import annotations

from kernlab.redaction.levels import LEVELS, NONE, SHARE, STRICT, check_level
from kernlab.redaction.redaction import Redaction, redacted

__all__ = ["LEVELS", "NONE", "SHARE", "STRICT", "Redaction", "check_level", "redacted"]
