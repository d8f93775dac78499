"""From a dump to a report: sections for notebooks, and `make`, which runs a template and writes one file to pass on.

A template is a notebook. A cell tagged `parameters` is given `vmcore` (the path of a dump, or a list of pieces),
`redact` ("share", "strict" or "none"), `format` and `vmlinux` (None, or what kernlab.open takes), and opens the dump by
`dump = kernlab.report.open_dump(vmcore, redact=redact, format=format, vmlinux=vmlinux)`. A cell ends with one of the
functions below, which shows a section, or nothing where the dump has nothing for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernlab.report.glossary import words_used
    from kernlab.report.memory_sections import memory, memory_in_depth
    from kernlab.report.opening import open_dump
    from kernlab.report.page.report_data import REPORT_MIME
    from kernlab.report.page_head import head, provenance
    from kernlab.report.run import make
    from kernlab.report.sections import cpus, in_short, last_words, leads, machine, missing, stacks
    from kernlab.report.templates import TEMPLATES
    from kernlab.report.trace_sections import disks, last_seconds
    from kernlab.report.wait_sections import all_threads, waits

__all__ = [
    "REPORT_MIME",
    "TEMPLATES",
    "all_threads",
    "cpus",
    "disks",
    "head",
    "in_short",
    "last_seconds",
    "last_words",
    "leads",
    "machine",
    "make",
    "memory",
    "memory_in_depth",
    "missing",
    "open_dump",
    "provenance",
    "stacks",
    "waits",
    "words_used",
]

#: Where each name lies; imported when first used.
_LATER = {
    "REPORT_MIME": "page.report_data",
    "TEMPLATES": "templates",
    "all_threads": "wait_sections",
    "cpus": "sections",
    "disks": "trace_sections",
    "head": "page_head",
    "in_short": "sections",
    "last_seconds": "trace_sections",
    "last_words": "sections",
    "leads": "sections",
    "machine": "sections",
    "make": "run",
    "memory": "memory_sections",
    "memory_in_depth": "memory_sections",
    "missing": "sections",
    "open_dump": "opening",
    "provenance": "page_head",
    "stacks": "sections",
    "waits": "wait_sections",
    "words_used": "glossary",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module 'kernlab.report' has no attribute {name!r}")
        return getattr(import_module(f"kernlab.report.{_LATER[name]}"), name)
