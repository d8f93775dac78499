"""Pages in a state that no page may be in, and copies to or from programs that would pass the end of an object."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kernlab.escape import show_controls, show_short
from kernlab.util.text import human_bytes
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.leads import why_it_leads
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import label_of, lines_cell, text_or_none
from kernlab.verdict.trap import who_did_it

#: Reports of pages that are told at most, the last before the end.
_MOST = 5
#: mm/page_alloc.c, bad_page; mm/debug.c, __dump_page.
_WHY = re.compile(r"page dumped because: (?P<why>[^\n]{1,200})")
_PFN = re.compile(
    r"BUG: Bad page \w+ in process (?P<comm>[^\n]{1,64}?)\s+(?:pfn|pte):(?P<number>[0-9a-f]{1,16})"
)
#: mm/usercopy.c, usercopy_abort; report_usercopy before 4.16.
_COPY = re.compile(
    r"usercopy: [Kk]ernel memory (?P<did>exposure|overwrite) attempt detected (?:from|to) (?P<what>[^\n']{1,60}?)"
    r"(?: '(?P<cache>[^'\n]{1,80})')? \(offset (?P<offset>\d{1,20}), size (?P<size>\d{1,20})\)!"
)
_OLD_COPY = re.compile(
    r"usercopy: [Kk]ernel memory (?P<did>exposure|overwrite) attempt detected (?:from|to) [0-9a-f]{1,16} "
    r"\((?P<cache>[^)\n]{1,80})\) \((?P<size>\d{1,20}) bytes\)"
)
#: The check's words stand above the line that the report begins with.
_ABOVE = 4


@rule
def bad_pages(case: Case) -> Iterator[Finding]:
    """A page that the kernel found in a state that no page may be in was used after it was freed, or overwritten."""
    reports = case.reports
    for _, report in reports[reports["kind"] == "bad page"].tail(_MOST).iterrows():
        lines = case.lines(int(report["offset"]), int(report["end"]))
        first, said = lines[0]
        evidence = [Evidence("log", show_short(said.splitlines()[0], 300), (first,))]
        why = next(((label, found["why"]) for label, line in lines if (found := _WHY.match(line))), None)
        if why is not None:
            evidence.append(
                Evidence("log", show_controls(f"what was wrong with it: {why[1].strip()}"), (why[0],))
            )
        leads = why_it_leads(case, report)
        if leads:
            evidence.append(Evidence("log", leads, (first,)))
        against = ["Who had the page before is to blame more often than who was there when it was found."]
        if leads is None and case.end.report is not None:
            against.append("Nothing shows that the end has to do with it.")
        found = _PFN.match(said)
        yield Finding(
            "bad page",
            f"page frame {found['number']}" if found else show_short(str(report["title"])),
            0.92,
            tuple(evidence),
            lines_cell(report),
            pid=who_did_it(case, report),
            module=text_or_none(report["module"]),
            function=text_or_none(report["function"]),
            against=tuple(against),
            explains=frozenset({case.end.kind}) if leads is not None else frozenset(),
            since=case.before_end(report["timestamp"]),
        )


@rule
def bad_user_copy(case: Case) -> Iterator[Finding]:
    """A copy to or from a program that the kernel refused would have passed the end of the object that it names."""
    report = case.end.report
    if report is None or report["kind"] != "bad user copy":
        return
    first = max(int(report["offset"]) - _ABOVE, 0)
    for label, record in case.lines(first, int(report["end"])):
        found = _COPY.match(record) or _OLD_COPY.match(record)
        if found is None:
            continue
        named = found.groupdict()
        cache, what = named.get("cache"), (named.get("what") or "object").strip()
        whose = f"an object of {cache}" if cache else what
        offset = named.get("offset")
        begins = f", from byte {int(offset):,} on" if offset and cache else ""
        did = "read by" if found["did"] == "exposure" else "written by"
        said = f"{human_bytes(int(found['size']))} of {whose} would have been {did} a program{begins}"
        yield Finding(
            "bad user copy",
            show_short(whose),
            0.97,
            (
                Evidence("log", "", (label_of(case, report),)),
                Evidence("log", show_controls(record.strip()), (label,)),
                Evidence("log", show_controls(said), (label,)),
            ),
            f"dump.log.iloc[{first}:{int(report['end'])}]",
            pid=who_did_it(case, report),
            module=text_or_none(report["module"]),
            function=text_or_none(report["function"]),
            explains=frozenset({case.end.kind}),
            since=case.before_end(report["timestamp"]),
        )
        return
