"""A report's text in, the words out of it that not every reader knows, each with what it means in one clause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.errors import KernlabError
from kernlab.report import memory_sections, sections, trace_sections, wait_sections
from kernlab.report.parts import Figure, Items, Part, Section
from kernlab.verdict.glossary import explained

if TYPE_CHECKING:
    from kernlab.dump import Dump


def words_used(dump: Dump) -> Section:
    """The words of a report that not every reader knows, with what they mean; only those that its sections use."""
    said = _text(dump)
    found = explained(said)
    return Section("Words used here", [Items(found)] if found else [])


def _text(dump: Dump) -> str:
    """What the sections say in words and tables, without their figures, which take time to draw."""
    said = []
    for make in (
        sections.in_short,
        sections.leads,
        sections.cpus,
        sections.machine,
        memory_sections.in_words,
        wait_sections.waits,
        trace_sections.in_words,
    ):
        try:
            said.append(_shown(make(dump)))
        except KernlabError:
            # A section that cannot be made uses no words.
            continue
    return "\n".join(said)


def _shown(section: Section) -> str:
    parts: list[Part] = [part for part in section.parts if not isinstance(part, Figure)]
    return Section(section.title, parts).html()
