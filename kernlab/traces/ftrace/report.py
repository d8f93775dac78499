"""Events in, lines as `trace-cmd report` prints them out.

They differ from the trace file's in their columns, in what trace-cmd's plugins print of some events (sched, kmem,
timer, tlb, function), and in names of tasks, which trace-cmd learns from the events on the way. Mirrors trace-cmd's
trace-read.c (trace_show_data) and libtraceevent's plugins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.formats import Format
from kernlab.traces.ftrace.record import Compiled, Failed, getter
from kernlab.traces.ftrace.text import Texts

#: (record, CPU) to what a plugin prints, None where it leaves the event to its format.
Plugin = Callable[[bytes, int], str | None]

#: libtraceevent's own, where no format says more.
_STATES = "SDTtXZPI"

_TLB_REASONS = ("flush on task switch", "remote shootdown", "local shootdown", "local mm shootdown")

#: Fields of an event that name a task, and its number: what is printed of it is remembered.
_NAMES = {
    "sched_switch": (("prev_comm", "prev_pid"), ("next_comm", "next_pid")),
    "sched_wakeup": (("comm", "pid"),),
    "sched_wakeup_new": (("comm", "pid"),),
}


@dataclass
class Row:
    """What a line is made of."""

    instance: str
    cpu: int
    pid: int
    time: int
    form: Format | None
    record: bytes
    #: Events that were lost before this one: 0 none, -1 unknown how many.
    missed: int


class Report:
    """`lines(rows)`; `names` are the tasks that are known, `plugins` whether what plugins print is wanted."""

    def __init__(self, texts: Texts, names: Mapping[int, str], plugins: bool, nanoseconds: bool, in_ns: bool):
        self._texts, self._names, self._plugins = texts, dict(names), plugins
        self._nanoseconds, self._in_ns = nanoseconds, in_ns
        self._of: dict[int, Plugin | None] = {}
        self._stacks: dict[int, list[str]] = {}
        #: Of an event's number: functions that read a task's name and number.
        self._tells: dict[int, list[tuple[Compiled, Compiled]]] = {}

    def lines(self, rows: Iterator[Row], width: int) -> Iterator[str]:
        """One line an event, more where it says more; `width` of the instances' names, 0 where there is one only."""
        for row in rows:
            before = ""
            if width:
                before = f"{row.instance:>{width}}: " if row.instance else " " * (width + 2)
            if row.missed:
                count = f"{row.missed} " if row.missed > 0 else ""
                yield f"{before}CPU:{row.cpu} [{count}EVENTS DROPPED]"
                before = ""
            yield before + self._line(row)

    def _line(self, row: Row) -> str:
        if row.form is None:
            unknown = "[UNKNOWN EVENT]"
            return f"{unknown * 2}{unknown} (NULL): {' ' * 14}{unknown}"
        comm = "<idle>" if not row.pid else self._names.get(row.pid, "<...>")
        said = self._said(row)
        self._learn(row)
        name = f" {row.form.name}: ".ljust(23)
        line = f"{comm:>16}-{row.pid:<5} [{row.cpu:03}]{self._time(row.time)}:{name}{said}"
        return line.removesuffix("\n")

    def _time(self, time: int) -> str:
        if not self._in_ns:
            return f"{time:12}"
        if self._nanoseconds:
            return f" {time // 10**9:5}.{time % 10**9:09}"
        micro = (time + 500) // 1000
        return f" {micro // 10**6:5}.{micro % 10**6:06}"

    def _said(self, row: Row) -> str:
        form = row.form
        assert form is not None
        if form.id not in self._of:
            self._of[form.id] = (
                _PLUGINS.get(f"{form.system}:{form.name}", _none)(self, form) if self._plugins else None
            )
        plugin = self._of[form.id]
        if plugin is not None:
            try:
                said = plugin(row.record, row.cpu)
            except (Failed, KeyError, TypeError, ValueError):
                # A record that is cut short, or a format that is not what the plugin knows.
                said = "!"
            if said is not None:
                return said
        return self._texts.one(form, row.record) or ""

    def _learn(self, row: Row) -> None:
        """Names of tasks in events of the scheduler help out where the file lacks them (tep_register_comm)."""
        form = row.form
        if not self._plugins or form is None or form.system != "sched" or form.name not in _NAMES:
            return
        if form.id not in self._tells:
            get = getters(form)
            pairs = _NAMES[form.name]
            self._tells[form.id] = [(get[n], get[p]) for n, p in pairs if n in get and p in get]
        for name, number in self._tells[form.id]:
            try:
                pid = number(row.record)
                if pid not in self._names:
                    self._names[pid] = str(name(row.record))
            except Failed:
                continue

    # Plugins, each of a form.

    def symbol(self, address: int) -> tuple[str, int] | None:
        """The name of the function around an address, and how far behind its start that is."""
        named = self._texts.symbolize(address)
        name, plus, offset = named.partition("+")
        return (name, int(offset, 16)) if plus else None

    def switch(self, form: Format) -> Plugin:
        """sched_switch: `a:1 [120] S ==> b:2 [120]`."""
        get, states = getters(form), _states(form)

        def said(record: bytes, cpu: int) -> str:
            state = get["prev_state"](record)
            letters = "|".join(letter for bit, letter in enumerate(states) if state >> bit & 1 and letter)
            before = f"{get['prev_comm'](record)}:{get['prev_pid'](record)} [{get['prev_prio'](record)}] "
            after = f"{get['next_comm'](record)}:{get['next_pid'](record)} [{get['next_prio'](record)}]"
            return f"{before}{letters or 'R'} ==> {after}"

        return said if {"prev_comm", "prev_state", "next_comm"} <= get.keys() else _nothing

    def wakeup(self, form: Format) -> Plugin:
        """sched_wakeup: `a:1 [120] success=1 CPU:002`."""
        get = getters(form)

        def said(record: bytes, cpu: int) -> str:
            text = f"{get['comm'](record)}:{get['pid'](record)} [{get['prio'](record)}]"
            if "success" in get:
                text += f" success={get['success'](record)}"
            return text + (f" CPU:{get['target_cpu'](record):03}" if "target_cpu" in get else "")

        return said if {"comm", "pid", "prio"} <= get.keys() else _nothing

    def call_site(self, form: Format) -> Plugin:
        """kmem: who called, before what the format says."""
        get = getters(form)

        def said(record: bytes, cpu: int) -> str | None:
            found = self.symbol(get["call_site"](record))
            text = self._texts.one(form, record) or ""
            return f"({found[0]}+{found[1]:#x}) {text}" if found else text

        return said if "call_site" in get else _nothing

    def tlb(self, form: Format) -> Plugin:
        """tlb_flush: `pages=-1 reason=flush on task switch (0)`."""
        get = getters(form)

        def said(record: bytes, cpu: int) -> str:
            reason = get["reason"](record)
            why = _TLB_REASONS[reason] if 0 <= reason < len(_TLB_REASONS) else ""
            return f"pages={get['pages'](record)} reason={why} ({reason})"

        return said if {"pages", "reason"} <= get.keys() else _nothing

    def hrtimer(self, form: Format) -> Plugin:
        """hrtimer_start and hrtimer_expire_entry: the function by its name."""
        get = getters(form)
        timer = get.get("timer", get.get("hrtimer"))
        if timer is None or "function" not in get:
            return _nothing

        def said(record: bytes, cpu: int) -> str:
            address = get["function"](record)
            found = self.symbol(address)
            by = f"function={found[0] if found else f'{address:#x}'}"
            text = f"hrtimer={timer(record):#x}"
            if form.name == "hrtimer_expire_entry":
                return f"{text} now={get['now'](record)} {by}"
            return f"{text} {by} expires={get['expires'](record)} softexpires={get['softexpires'](record)}"

        return said

    def function(self, form: Format) -> Plugin:
        """ftrace's function tracer: what was called, as deep as what called it is known to be."""
        get = getters(form)

        def said(record: bytes, cpu: int) -> str:
            address, parent = get["ip"](record), get["parent_ip"](record)
            own, of = self.symbol(address), self.symbol(parent)
            depth = self._depth(of[0], own[0] if own else "", cpu) if of else 0
            return " " * 3 * depth + (own[0] if own else f"{address:#x}")

        return said if {"ip", "parent_ip"} <= get.keys() else _nothing

    def _depth(self, parent: str, child: str, cpu: int) -> int:
        stack = self._stacks.setdefault(cpu, [])
        if parent in stack:
            depth = stack.index(parent)
        else:
            depth = 0
            stack[:1] = [parent]
        # What was deeper stays: a later call may come from there.
        stack[depth + 1 : depth + 2] = [child]
        return depth

    def stack(self, form: Format) -> Plugin:
        """kernel_stack: one line a caller."""
        caller = next((field for field in form.fields if field.name == "caller"), None)
        if caller is None:
            return _nothing
        machine = caller.machine

        def said(record: bytes, cpu: int) -> str:
            out = ["<stack trace >"]
            for at in range(caller.offset, len(record) - machine.word + 1, machine.word):
                address = int.from_bytes(record[at : at + machine.word], machine.order)
                if address == (1 << 8 * machine.word) - 1 or address & 0xFFFF_FFFF == 0xFFFF_FFFF:
                    break
                found = self.symbol(address)
                out.append(f"=> {found[0]} ({address:x})" if found else f"=> {address:x}")
            return "\n".join(out) + "\n"

        return said


def getters(form: Format) -> dict[str, Compiled]:
    """Functions that read an event's fields, by name."""
    return {field.name: getter(field) for field in form.fields}


def _states(form: Format) -> list[str]:
    """Letters of the bits of prev_state, as the format lists them."""
    table = re.search(r"__print_flags\s*\(\s*REC->prev_state(.*)", form.print_fmt, re.DOTALL)
    pairs = re.findall(r'\{\s*(0x[0-9a-fA-F]+|\d+)\s*,\s*"(.)[^"]*"\s*\}', table[1]) if table else []
    found = [""] * 32
    for number, letter in pairs:
        value = int(number, 0)
        if value and (value & -value).bit_length() <= 32:
            found[(value & -value).bit_length() - 1] = letter
    # A C string ends at the first bit that has no letter.
    known = found[: found.index("")] if "" in found else found
    return known if any(found) else list(_STATES)


def _nothing(record: bytes, cpu: int) -> None:
    return None


def _none(report: Report, form: Format) -> Plugin | None:
    return None


_PLUGINS: Mapping[str, Callable[[Report, Format], Plugin | None]] = {
    "sched:sched_switch": Report.switch,
    "sched:sched_wakeup": Report.wakeup,
    "sched:sched_wakeup_new": Report.wakeup,
    "tlb:tlb_flush": Report.tlb,
    "timer:hrtimer_start": Report.hrtimer,
    "timer:hrtimer_expire_entry": Report.hrtimer,
    "ftrace:function": Report.function,
    "ftrace:kernel_stack": Report.stack,
} | {
    f"kmem:{name}": Report.call_site
    for name in (
        "kfree",
        "kmalloc",
        "kmalloc_node",
        "kmem_cache_alloc",
        "kmem_cache_alloc_node",
        "kmem_cache_free",
    )
}


def rows_of(
    records: Records,
    columns: Iterator[tuple[str, int, int, int, int, int]],
    formats: Mapping[int, Format],
) -> Iterator[Row]:
    """Rows of events; columns are (instance, CPU, pid, time, kind, missed) of each."""
    spans = zip(records.start.tolist(), records.size.tolist(), strict=True)
    for (start, size), (instance, cpu, pid, time, kind, missed) in zip(spans, columns, strict=True):
        record = records.data[start : start + size].tobytes()
        yield Row(instance, cpu, pid, time, formats.get(kind), record, missed)
