"""The OOM killer's report: the lines of a log in, what was asked for and what was left in each zone out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

#: Zones and processes of a report that are read at most; more are none of the kernel's own (MAX_NUMNODES is 1024).
_MOST_ZONES, _MOST_TASKS = 1 << 12, 1 << 17

# mm/oom_kill.c, dump_header; until v5.0 the nodes stood in this line.
_INVOKED = re.compile(
    r"(?P<comm>.*?) invoked oom-killer: gfp_mask=(?P<mask>0x[0-9a-f]+)(?:\((?P<flags>[^)]*)\))?"
    r"(?:, nodemask=(?P<nodes>[^ ]*?))?,? +order=(?P<order>-?\d+)"
)
# mm/oom_kill.c, dump_oom_summary (since v5.0); kernel/cgroup/cpuset.c, cpuset_print_current_mems_allowed.
_CONSTRAINT = re.compile(
    r"oom-kill:constraint=(?P<constraint>CONSTRAINT_\w+),nodemask=(?P<nodes>[^c]*?),"
    r"cpuset=(?P<cpuset>.*?),mems_allowed=(?P<mems>[\d,-]+)"
    r"(?:,oom_memcg=(?P<group>.*?),task_memcg=|,global_oom)"
)
# mm/memcontrol.c, mem_cgroup_print_oom_context (until v5.0) and mem_cgroup_print_oom_meminfo.
_GROUP = re.compile(
    r"Memory cgroup stats for (?P<stats>/.*?):(?:$| )|Task in .* killed as a result of limit of (?P<limit>/.*)$"
)
_CPUSET = re.compile(r".{0,80}? cpuset=(?P<cpuset>.*?) mems_allowed=(?P<mems>[\d,-]+)$")
# mm/show_mem.c (until v6.3 mm/page_alloc.c), show_free_areas.
_ZONE = re.compile(
    r"Node (?P<node>\d+) (?P<zone>\w+) free:(?P<free>\d+)kB (?:boost:\d+kB )?min:(?P<min>\d+)kB "
    r"low:(?P<low>\d+)kB high:(?P<high>\d+)kB .*?managed:(?P<managed>\d+)kB"
)
_CMA = re.compile(r" free_cma:(\d+)kB")
_ATOMIC = re.compile(r" reserved_highatomic:(\d+)KB")
_BLOCKS = re.compile(r"Node (?P<node>\d+) (?P<zone>\w+): (?P<blocks>\d+\*\d+kB.*) = \d+kB")
_BLOCK = re.compile(r"(\d+)\*(\d+)kB")
_RESERVE = re.compile(r"lowmem_reserve\[\]:(?P<pages>(?: \d+)+)")
_COUNTER = re.compile(r"(?:^| )(\w+(?:\(\w+\))?):(\d+)(?= |$)")
_PAGES = re.compile(r"(\d+) pages (RAM|reserved|hwpoisoned)$")
_HUGE = re.compile(
    r"Node \d+ hugepages_total=(\d+) hugepages_free=(\d+) hugepages_surp=\d+ hugepages_size=(\d+)kB"
)
# mm/oom_kill.c, dump_tasks and dump_task; numbers are pages but for the page tables' bytes (since v4.16).
_TASKS = re.compile(r"\[ *pid *\] +uid +tgid (?P<numbers>[a-z_ ]+) name$")
_TASK = re.compile(r"\[ *\d+\] +(?P<rest>\d+ +\d+ .*)")
_NUMBER = re.compile(r"-?\d{1,20}$")
# mm/slab_common.c, dump_unreclaimable_slab.
_SLAB = re.compile(r"(?P<name>\S(?:.*\S)?) +(?P<used>\d+)KB +(?P<total>\d+)KB$")


@dataclasses.dataclass(frozen=True, slots=True)
class Zone:
    """A zone as the report shows it; bytes. `cma` and `atomic` are free, but only for pages that can be moved and for
    who must not wait. `blocks` are free blocks by their size in bytes, `reserve` what it keeps from allocations that
    may use a higher zone: by that zone's place, in pages."""

    node: int
    name: str
    free: int
    marks: tuple[int, int, int]
    managed: int
    cma: int = 0
    atomic: int = 0
    blocks: dict[int, int] = dataclasses.field(default_factory=dict)
    reserve: tuple[int, ...] = ()

    def usable(self, movable: bool) -> int:
        """Free bytes that an ordinary allocation may use; `movable`: for pages that can be moved."""
        return max(self.free - self.atomic - (0 if movable else self.cma), 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A process of the report's list; bytes, -1 where the release does not tell. `anonymous`: `resident` is without
    the pages of files."""

    pid: int
    comm: str
    resident: int
    swapped: int
    anonymous: bool


@dataclasses.dataclass(frozen=True, slots=True)
class OomReport:
    """What the report says.

    `flags` are the names in gfp_mask; `constraint`, `cpuset`, `mems`, `nodes` and `group` are '' where it does not say;
    `counted` are Mem-Info's counters (pages), `machine` the pages of the machine; `huge` the free and all bytes of
    pools of huge pages; `page_size` in bytes, by the smallest blocks that it lists; `slabs` the bytes of caches that
    cannot be shrunk.
    """

    comm: str
    order: int
    flags: frozenset[str]
    constraint: str = ""
    nodes: str = ""
    cpuset: str = ""
    mems: str = ""
    group: str = ""
    zones: tuple[Zone, ...] = ()
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    machine: dict[str, int] = dataclasses.field(default_factory=dict)
    huge: tuple[int, int] = (0, 0)
    page_size: int = 4096
    tasks: tuple[Task, ...] = ()
    slabs: dict[str, int] = dataclasses.field(default_factory=dict)


def read_oom_report(lines: Iterable[str]) -> OomReport | None:
    """A report's lines, without their times, in; None where they do not begin with "invoked oom-killer"."""
    texts = [text for line in lines for text in line.splitlines()]
    head = next((found for text in texts if (found := _INVOKED.match(text))), None)
    if head is None:
        return None
    said = next((found for text in texts if (found := _CONSTRAINT.match(text))), None)
    old = next((found for text in texts if (found := _CPUSET.match(text))), None)
    where = said or old
    # The smallest block is one page.
    sizes = [
        int(size) << 10
        for text in texts
        if (found := _BLOCKS.match(text))
        for _, size in _BLOCK.findall(found["blocks"])
    ]
    page_size = min(sizes, default=4096)
    huge = [found for text in texts if (found := _HUGE.match(text))]
    nodes = (said["nodes"] if said else head["nodes"]) or ""
    return OomReport(
        comm=head["comm"],
        order=int(head["order"]),
        flags=frozenset(word.removeprefix("__") for word in (head["flags"] or "").split("|") if word),
        constraint=said["constraint"] if said else "",
        nodes="" if nodes in ("(null)", "null") else nodes,
        cpuset=where["cpuset"] if where else "",
        mems=where["mems"] if where else "",
        group=_group(texts, (said["group"] or "") if said else ""),
        zones=read_zones(texts),
        counted=_counted(texts),
        machine={found[2]: int(found[1]) for text in texts if (found := _PAGES.match(text))},
        huge=(
            sum(int(found[2]) * int(found[3]) << 10 for found in huge),
            sum(int(found[1]) * int(found[3]) << 10 for found in huge),
        ),
        page_size=page_size,
        tasks=_tasks(texts, page_size),
        slabs=_slabs(texts),
    )


def _group(texts: list[str], summary: str) -> str:
    if summary:
        return summary
    told = next((found for text in texts if (found := _GROUP.match(text))), None)
    return str(told["stats"] or told["limit"]) if told else ""


def read_zones(texts: list[str]) -> tuple[Zone, ...]:
    """The zones that Mem-Info shows, as it does for any allocation that failed; lines without their times in."""
    found: dict[tuple[int, str], Zone] = {}
    last: tuple[int, str] | None = None
    for text in texts:
        if (match := _ZONE.match(text)) and len(found) < _MOST_ZONES:
            last = (int(match["node"]), match["zone"])
            cma, atomic = (
                int(told[1]) << 10 if (told := each.search(text)) else 0 for each in (_CMA, _ATOMIC)
            )
            marks = (int(match["min"]) << 10, int(match["low"]) << 10, int(match["high"]) << 10)
            free, managed = int(match["free"]) << 10, int(match["managed"]) << 10
            found[last] = Zone(*last, free, marks, managed, cma, atomic)
        elif last in found and (match := _RESERVE.match(text)):
            reserve = tuple(int(number) for number in match["pages"].split())
            found[last] = dataclasses.replace(found[last], reserve=reserve)
        elif (match := _BLOCKS.match(text)) and (key := (int(match["node"]), match["zone"])) in found:
            blocks = {int(size) << 10: int(count) for count, size in _BLOCK.findall(match["blocks"])}
            found[key] = dataclasses.replace(found[key], blocks=blocks)
    return tuple(found.values())


def _counted(texts: list[str]) -> dict[str, int]:
    """The machine's counters, from "Mem-Info:" to the first line of a node; pages."""
    start = next((place for place, text in enumerate(texts) if text.startswith("Mem-Info:")), len(texts))
    counted: dict[str, int] = {}
    for text in texts[start + 1 : start + 20]:
        if text.startswith("Node "):
            break
        counted |= {name: int(number) for name, number in _COUNTER.findall(text)}
    return counted


def _tasks(texts: list[str], page_size: int) -> tuple[Task, ...]:
    head = next((found for text in texts if (found := _TASKS.match(text))), None)
    if head is None:
        return ()
    # Those of the uid, the tgid and all between it and the name.
    names = ("uid", "tgid", *head["numbers"].split())
    tasks = []
    for text in texts[:_MOST_TASKS]:
        if not (found := _TASK.match(text)):
            continue
        words = found["rest"].split(None, len(names))
        if len(words) <= len(names) or not all(_NUMBER.match(word) for word in words[:-1]):
            continue
        numbers = dict(zip(names, (int(word) for word in words[:-1]), strict=True))
        # What lies in files can be had back; releases before v6.8 tell all that is resident only.
        resident = numbers["rss_anon"] if "rss_anon" in numbers else numbers.get("rss", -1)
        swapped = numbers.get("swapents", 0)
        size = resident * page_size if resident >= 0 else -1
        tasks.append(Task(numbers["tgid"], words[-1], size, swapped * page_size, "rss_anon" in numbers))
    return tuple(tasks)


def _slabs(texts: list[str]) -> dict[str, int]:
    start = next(
        (place for place, text in enumerate(texts) if text.startswith("Unreclaimable slab info:")), None
    )
    if start is None:
        return {}
    return {
        found["name"]: int(found["total"]) << 10
        for text in texts[start + 1 :]
        if (found := _SLAB.match(text))
    }
