"""What the kernel's own checkers of memory report: KASAN, KFENCE, KMSAN and UBSAN say what was wrong and with what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kernlab.escape import show_controls, show_short
from kernlab.oops.frames import frame_of
from kernlab.oops.functions import normal, telling
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.leads import why_it_leads
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import lines_cell, text_or_none
from kernlab.verdict.trap import who_did_it

#: Reports that are told at most, the last before the end.
_MOST = 20
_CHECKERS = ("KASAN: ", "KFENCE: ", "KMSAN: ", "UBSAN: ")
_KINDS = frozenset(
    {
        "use after free",
        "out of bounds",
        "invalid free",
        "memory corruption",
        "uninitialised value",
        "information leak",
        "bad pointer",
        "UBSAN",
    }
)
#: Whose memory it was. mm/kasan/report.c, describe_object_addr and print_address_description (before 4.9 on one line);
#: mm/kfence/report.c, kfence_print_object; mm/kmsan/report.c.
_CACHE = re.compile(
    r".*(?:which belongs to the cache |, in cache |, cache=)(?P<cache>[^\s,\]]{1,80})"
    r"(?:(?: of size | size: )(?P<size>\d{1,9}))?"
)
_VARIABLE = re.compile(
    r"(?:Address belongs to variable (?P<old>[\w.]{1,200})|"
    r"The buggy address belongs to the variable:|Local variable (?:-{2,4})?(?P<local>[\w.]{1,200}))"
)
_NAMED = re.compile(r"\s+(?!__start_|__end_|_s?text\b)(?P<name>[A-Za-z_][\w.]{0,200})(?:\+0x|$)")
_STACK = re.compile(r"The buggy address belongs to stack of task (?P<comm>.{1,64})/(?P<pid>\d{1,8})")
#: Where in it: "The buggy address is located 0 bytes inside of", then "208-byte region [ffff…, ffff…)" (freed, since
#: 6.4), on a line of its own or the same; "8B left of kfence-#7" since 5.12.
_PLACE = re.compile(r"The buggy address is located (?P<place>[^\n]{1,120})")
_REGION = re.compile(r"\s*(?P<region>(?:\w+ )?\d{1,9}-byte region)")
#: lib/ubsan.c: what the check has to say, on the line behind the report's first.
_UBSAN = re.compile(
    r"(?:index |shift |signed |unsigned |left shift|division|load of|member access|store to|null ptr|upper|pointer)"
)


@rule
def checked(case: Case) -> Iterator[Finding]:
    """A report of KASAN, KFENCE, KMSAN or UBSAN is true as it stands: each access is checked when it is made."""
    reports = case.reports
    own = reports[reports["kind"].isin(_KINDS) & reports["title"].str.startswith(_CHECKERS)]
    for _, report in own.tail(_MOST).iterrows():
        lines = case.lines(int(report["offset"]), int(report["end"]))
        first, said = lines[0]
        evidence = [Evidence("log", show_short(said.splitlines()[0], 300), (first,))]
        subject, about = _subject(report, lines)
        if about is not None:
            evidence.append(about)
        evidence += _history(report, first)
        leads = why_it_leads(case, report)
        if leads:
            evidence.append(Evidence("log", leads, (first,)))
        against = list[str]()
        if leads is None and case.end.report is not None:
            against.append("Nothing shows that the end has to do with it.")
        if str(report["kind"]) == "memory corruption":
            against.append("Who wrote there is not known: it was found when the object was freed.")
        if report["corrupted"]:
            against.append(f"The report is not whole: {report['why']}.")
        yield Finding(
            _finding(report),
            subject,
            0.9 if report["corrupted"] else 0.97,
            tuple(evidence),
            lines_cell(report),
            pid=who_did_it(case, report),
            module=text_or_none(report["module"]),
            function=text_or_none(report["function"]),
            against=tuple(against),
            explains=frozenset({case.end.kind}) if leads is not None else frozenset(),
            since=case.before_end(report["timestamp"]),
        )


def _finding(report: pd.Series[Any]) -> str:
    # "double-free or invalid-free" (before 6.1) is either.
    if str(report["title"]).startswith("KASAN: double-free in"):
        return "double free"
    return str(report["kind"])


def _subject(report: pd.Series[Any], lines: list[tuple[int, str]]) -> tuple[str, Evidence | None]:
    """What memory it was: an object's slab cache, a variable, a stack; and the line that says so."""
    whose = None
    place = region = ""
    for at, (label, record) in enumerate(lines):
        for line in record.splitlines():
            if found := _PLACE.match(line):
                place = found["place"].strip()
            elif place and not region and (found := _REGION.match(line)):
                region = found["region"]
            if whose is not None:
                continue
            if found := _CACHE.match(line):
                size = found["size"]
                told = f"it belongs to an object of {found['cache']}" + (f", {size} bytes" if size else "")
                whose = show_short(found["cache"]), told, label
            elif found := _STACK.match(line):
                told = f"it is on the stack of {found['comm']} ({found['pid']})"
                whose = "a variable on the stack", told, label
            elif found := _VARIABLE.match(line):
                name = found["old"] or found["local"]
                if name is None and at + 1 < len(lines) and (next_line := _NAMED.match(lines[at + 1][1])):
                    name = next_line["name"]
                if name is not None:
                    name = name.partition("@")[0]
                    whose = f"the variable {show_short(name)}", f"it belongs to the variable {name}", label
    if whose is None:
        detail = next((line for _, line in lines[1:3] if _UBSAN.match(line)), None)
        told_by = None if detail is None else Evidence("log", show_short(detail.strip(), 200), (lines[1][0],))
        return show_controls(str(report["title"])), told_by
    subject, told, label = whose
    where = f"{place} {region}".strip() if place else ""
    if where and not where.endswith(("of", "to")):
        told += f", {where.removesuffix(' of').split(' [')[0]}"
    return subject, Evidence("log", show_controls(told), (label,))


def _history(report: pd.Series[Any], label: int) -> Iterator[Evidence]:
    """Who allocated and who freed it, where the checker remembered."""
    for did in ("allocated", "freed"):
        frames = [one for text in report["details"].get(did, []) if (one := frame_of(text)) is not None]
        told = telling([one for one in frames if not _ALLOCATOR.match(one.name)])
        if not told:
            continue
        pid = report["details"].get(f"{did}_by")
        module = f" [{told[0].module}]" if told[0].module else ""
        by = f", by thread {pid}" if pid is not None else ""
        yield Evidence("log", show_controls(f"{did} in {normal(told[0].name)}{module}{by}"), (label,))


#: What allocators and checkers do on behalf of whoever allocates or frees.
_ALLOCATOR = re.compile(
    r"_*(?:kasan|asan|kmsan|msan|kfence|slab_|save_stack|stack_trace_save|kmem_cache_|kmalloc|kfree)"
)
