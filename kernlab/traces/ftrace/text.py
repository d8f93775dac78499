"""The text of trace events, as the trace file has it: records and their formats in, strings out.

What follows an event's name comes from its print format (trace_events.c); the events that ftrace makes itself have
texts of their own (trace_output.c). What a format asks of the running kernel (what lies behind a pointer, a function
that is not a macro) stands as a number, or as the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.traces.ftrace.expression import Parser
from kernlab.traces.ftrace.fields import Records
from kernlab.traces.ftrace.formats import Field, Format
from kernlab.traces.ftrace.printf import OF_LIBC, SILENT, Directive, parse, render, render_packed
from kernlab.traces.ftrace.record import Compiled, Failed, NotKnown, dynamic, getter
from kernlab.traces.ftrace.source import Source
from kernlab.traces.ftrace.tokens import NotUnderstood
from kernlab.util import text

#: More strings of the kernel, or names of addresses, than these are not kept.
_MOST_KEPT = 1 << 16

#: Pointers that trace-cmd's library shows as what they point to or are called; others it prints as they are.
_KNOWN_POINTERS = tuple("FfSsMmIiUh")

#: In the place of what only the running kernel knows.
_NOT_KNOWN = "?"

Renderer = Callable[[bytes], str | None]
I64 = npt.NDArray[np.int64]


def _of_libc(part: str | Directive) -> str | Directive:
    """A directive as trace-cmd's library has it printed."""
    if isinstance(part, str):
        return part
    if part.conversion == "p":
        if part.pointer[:2] in ("IS", "iS"):
            return replace(part, pointer=part.pointer + SILENT)
        known = part.pointer[:1] in _KNOWN_POINTERS
        return part if known else replace(part, pointer=OF_LIBC, width=None)
    return replace(part, pointer=OF_LIBC) if "#" in part.flags else part


class Texts:
    """`of(format, records)`; formats are read once each.

    With `report` as trace-cmd's library prints them, where that differs from the kernel: symbols without their sizes,
    pointers as the C library has them, variables by their addresses.
    """

    def __init__(self, source: Source, report: bool = False):
        self._source = source
        self._report = report
        self._machine = source.machine
        self._renderers: dict[int, Renderer] = {}
        self._strings: dict[int, str | None] = {}
        self._symbols: dict[int, str] = {}

    def of(self, form: Format, records: Records) -> list[str | None]:
        """The text of each record; None where the format is not understood, or the record lacks what it needs."""
        render_one = self._renderer(form)
        data = records.data
        pairs = zip(records.start.tolist(), records.size.tolist(), strict=True)
        return [render_one(data[start : start + size].tobytes()) for start, size in pairs]

    def one(self, form: Format, record: bytes) -> str | None:
        """The text of one record."""
        return self._renderer(form)(record)

    def read(self, forms: Iterable[Format]) -> None:
        """Read these formats now; the scope that is open is told which of them are not understood."""
        for form in forms:
            self._renderer(form)

    def _renderer(self, form: Format) -> Renderer:
        if form.id not in self._renderers:
            try:
                self._renderers[form.id] = self._own(form) or self._by_format(form)
            except NotUnderstood as error:
                self._source.lost(f"the text of {form.system}:{form.name} events is left out: {error}")
                self._renderers[form.id] = lambda record: None
        return self._renderers[form.id]

    def _by_format(self, form: Format) -> Renderer:
        fields = {field.name: field for field in (*self._common, *form.fields)}
        if self._report:
            # What a format shows of a field has no sign but the one that its own directive gives it.
            fields = {name: replace(field, signed=False) for name, field in fields.items()}
        parser = Parser(
            form.print_fmt,
            fields,
            self._constant,
            self._source.size_of,
            self._machine,
            report=self._report,
        )
        written, arguments = parser.format_and_arguments()
        names = [field.name for field in form.fields]
        # trace_kprobe.c and trace_uprobe.c print addresses by name, where their formats have numbers.
        if written.startswith("(%lx)") and "__probe_ip" in names:
            written = f"(%pS){written[5:]}"
        elif written.startswith("(%lx <- %lx)") and "__probe_ret_ip" in names:
            written = f"(%pS <- %ps){written[12:]}"
            arguments[:2] = reversed(arguments[:2])
        parts = self._parse(written)
        symbolize = self.symbolize

        def text_of(record: bytes) -> str | None:
            try:
                return render(parts, self._values(parts, arguments, record), symbolize).rstrip("\n")
            except Failed:
                return None

        return text_of

    def _parse(self, written: str) -> list[str | Directive]:
        parts = parse(written, self._machine)
        return [_of_libc(part) for part in parts] if self._report else parts

    def _constant(self, name: str) -> int | None:
        known = self._source.constant(name)
        return self._source.address_of(name) if known is None and self._report else known

    @cached_property
    def _common(self) -> list[Field]:
        """struct trace_entry, for the formats that look into it."""
        return [
            Field(name, kind, offset, size, signed, machine=self._machine)
            for name, kind, offset, size, signed in (
                ("common_type", "unsigned short", 0, 2, False),
                ("common_flags", "unsigned char", 2, 1, False),
                ("common_preempt_count", "unsigned char", 3, 1, False),
                ("common_pid", "int", 4, 4, True),
            )
        ]

    def _values(
        self, parts: list[str | Directive], arguments: list[Compiled], record: bytes
    ) -> Iterator[object]:
        """The arguments' values; a pointer that %s shows is read from the kernel's memory."""
        kinds: list[str] = []
        for part in parts:
            if isinstance(part, Directive):
                kinds += ["*"] * ((part.width == -1) + (part.precision == -1)) + [part.conversion]
        for kind, argument in zip(kinds, arguments, strict=False):
            try:
                value = argument(record)
            except NotKnown:
                value = 0 if self._report else _NOT_KNOWN
            if kind == "s" and isinstance(value, int):
                yield self._pointed_to(value)
            else:
                yield value

    def _pointed_to(self, address: int) -> str:
        """A string of the kernel for %s, its address where it is not known."""
        if not address and not self._report:
            return "(null)"
        known = self.string(address)
        return f"{address % (1 << 8 * self._machine.word):x}" if known is None else known

    def _own(self, form: Format) -> Renderer | None:
        """Events that ftrace prints by functions of its own (trace_output.c, trace_syscalls.c)."""
        if self._report and form.name != "bprint":
            # trace-cmd knows them by their formats alone.
            return None
        fields = {field.name: field for field in form.fields}
        get = {name: getter(field) for name, field in fields.items()}
        where = self._name_of

        def guarded(function: Callable[[bytes], str]) -> Renderer:
            def text_of(record: bytes) -> str | None:
                try:
                    return function(record)
                except Failed:
                    return None

            return text_of

        if form.system == "syscalls":
            if "__syscall_nr" not in get:
                return None
            shows_strings = self._source.records_strings
            if shows_strings and "__print_flags" in form.print_fmt:
                # Flags by their names, all else in decimal.
                plain = replace(form, print_fmt=form.print_fmt.replace("0x%08lx", "%lu"))
                inner = self._by_format(plain)
                return lambda record: f"{_syscall_name(form)}({inner(record) or ''})"
            return guarded(_syscall(form, shows_strings))
        if form.system != "ftrace":
            return None
        if form.name == "print" and {"ip", "buf"} <= set(get):
            return guarded(lambda record: f"{where(get['ip'](record))}: {self.message(form, record)}")
        if form.name in ("bprint", "bputs") and "ip" in get:
            return guarded(lambda record: f"{where(get['ip'](record))}: {self.message(form, record)}")
        if form.name == "function" and {"ip", "parent_ip"} <= set(get):
            return guarded(lambda record: f"{where(get['ip'](record))} <-{where(get['parent_ip'](record))}")
        if form.name == "kernel_stack" and "caller" in get:
            return guarded(lambda record: "<stack trace>\n" + self._stack(record, fields["caller"], fields))
        return None

    def _stack(self, record: bytes, caller: Field, fields: dict[str, Field]) -> str:
        raw = record[caller.offset :]
        word = self._machine.word
        count = len(raw) // word
        if "size" in fields:
            count = min(count, max(getter(fields["size"])(record), 0))
        addresses = np.frombuffer(raw[: word * count], dtype=f"{self._machine.mark}u{word}").tolist()
        # An address of all ones ends a trace that is shorter than its place.
        names = [f" => {self._name_of(a)}" for a in addresses if a not in (0, (1 << 8 * word) - 1)]
        return "\n".join(names)

    def message(self, form: Format, record: bytes) -> str:
        """The message of print, bprint and bputs without its line feed. Raises Failed."""
        fields = {field.name: field for field in form.fields}

        def value(name: str) -> Any:
            if name not in fields:
                raise Failed
            return getter(fields[name])(record)

        if form.name == "print":
            said = str(value("buf"))
        elif form.name == "bputs":
            said = self._string(value("str"))
        else:
            packed = record[fields["buf"].offset :] if "buf" in fields else b""
            written = self._string(value("fmt"))
            said = render_packed(written, packed, self.symbolize, self._source.smallest, self._machine)
        return said.removesuffix("\n")

    def _string(self, address: Any) -> str:
        found = self.string(address) if isinstance(address, int) else None
        if found is None:
            raise Failed
        return found

    def string(self, address: int) -> str | None:
        """A string of the kernel, None where it cannot be read."""
        address %= 1 << 64
        if address not in self._strings:
            if len(self._strings) >= _MOST_KEPT:
                self._strings.clear()
            self._strings[address] = self._source.string(address)
        return self._strings[address]

    def symbolize(self, address: int) -> str:
        """`name+0x1f/0x80 [module]` of an address, the number where no symbol covers it."""
        if address not in self._symbols:
            if len(self._symbols) >= _MOST_KEPT:
                self._symbols.clear()
            (name,) = self._source.symbolize(np.array([address % (1 << 64)], dtype=np.uint64))
            if name is not None and self._report:
                name = name.partition("/")[0]
            self._symbols[address] = name if name is not None else f"{address:#x}"
        return self._symbols[address]

    def _name_of(self, address: int) -> str:
        """The function's name alone, as seq_print_ip_sym prints it without the option sym-offset."""
        return self.symbolize(address).partition("+")[0]


#: Whether the task must give way: now, when it can be preempted, when it is convenient.
_RESCHED = {
    (True, True, True): "B",
    (True, True, False): "N",
    (False, True, True): "L",
    (True, False, True): "b",
    (True, False, False): "n",
    (False, False, True): "l",
    (False, True, False): "p",
    (False, False, False): ".",
}


def _syscall_name(form: Format) -> str:
    return f"sys_{form.name.removeprefix('sys_enter_').removeprefix('sys_exit_')}"


def _syscall(form: Format, shows_strings: bool) -> Callable[[bytes], str]:
    """trace_syscalls.c, print_syscall_enter and print_syscall_exit: `sys_close(fd: 3)`, `sys_close -> 0x0`.

    `shows_strings`: kernels that record what pointers to user memory point to; they write 0x before hexadecimals.
    """
    fields = {field.name: field for field in form.fields if field.name != "__syscall_nr"}
    name = _syscall_name(form)
    values = [(key, getter(field)) for key, field in fields.items() if not field.is_dynamic]

    def number(get: Compiled, record: bytes) -> int:
        value = get(record)
        if not isinstance(value, int):
            raise Failed
        return value % (1 << 64)

    if form.name.startswith("sys_exit_") and values:
        return lambda record: f"{name} -> {number(values[0][1], record):#x}"

    def shown(argument: str, get: Compiled, record: bytes) -> str:
        value = number(get, record)
        if not shows_strings:
            return f"{argument}: {value:x}"
        said = f"{argument}: {value:#x}" if value > 9 else f"{argument}: {value}"
        held = fields.get(f"__{argument}_val")
        if held is None or held.element != "char":
            return said
        raw = dynamic(held)(record)
        if f"__print_dynamic_array({held.name}" not in form.print_fmt:
            return f'{said} "{text.decode(raw, cut=True)}"'
        # A buffer: bytes, and what of them is ASCII; it goes on where its size, the next argument, says so.
        ascii_of = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in raw)
        following = [get for name, get in values[[name for name, _ in values].index(argument) + 1 :]]
        more = bool(following) and number(following[0], record) > len(raw)
        return f'{said} ({raw.hex(":")}{", ..." if more else ""}) "{ascii_of}"{"..." if more else ""}'

    return lambda record: f"{name}({', '.join(shown(key, get, record) for key, get in values)})"


def latency_marks(
    flags: I64,
    preempt_count: I64,
    enumerator: Callable[[str], int | None],
    lazy_count: I64 | None = None,
    migrate_disable: I64 | None = None,
) -> list[str]:
    """The column of the trace file that says in what context an event was recorded: `d..2.` (trace_print_lat_fmt).

    Four characters where the kernel does not record whether migration was disabled (before v5.13), else five. Kernels
    with PREEMPT_RT's patch before 6.12 have a `lazy_count` in each event, of 5.10 migrate_disable as well, and print
    seven.
    """
    columns = [flags.tolist(), preempt_count.tolist()]
    columns += [
        [None] * len(flags) if more is None else more.tolist() for more in (lazy_count, migrate_disable)
    ]
    known: dict[tuple[Any, ...], str] = {}
    found = []
    for key in zip(*columns, strict=True):
        if key not in known:
            mark, count, lazy, migrate = key
            known[key] = _latency(mark, count, lazy, migrate, enumerator)
        found.append(known[key])
    return found


def _digit(count: int) -> str:
    return f"{count:x}" if count else "."


def _latency(
    flags: int,
    count: int,
    lazy: int | None,
    migrate: int | None,
    enumerator: Callable[[str], int | None],
) -> str:
    def has(name: str) -> bool:
        return bool(flags & (enumerator(f"TRACE_FLAG_{name}") or 0))

    bh_off = has("BH_OFF")
    irqs = "D" if has("IRQS_OFF") and bh_off else "d" if has("IRQS_OFF") else "b" if bh_off else "."
    # TRACE_FLAG_NEED_RESCHED_LAZY since v6.13; on x86 its bit meant nothing before.
    # PREEMPT_RT's patch had a mark of its own for it.
    late = has("NEED_RESCHED_LAZY")
    resched = _RESCHED[has("NEED_RESCHED"), has("PREEMPT_RESCHED"), late and lazy is None]
    if lazy is not None:
        resched += "L" if late else "."
    nmi, hard, soft = has("NMI"), has("HARDIRQ"), has("SOFTIRQ")
    context = (
        "Z"
        if nmi and hard
        else "z"
        if nmi
        else "H"
        if hard and soft
        else "h"
        if hard
        else "s"
        if soft
        else "."
    )
    # Linux v5.13 put what migration is disabled by into the upper half of preempt_count.
    halves = migrate is None and enumerator("TRACE_FLAG_BH_OFF") is not None
    depth = _digit(count & 0xF if halves else count)
    if lazy is not None:
        depth += _digit(lazy)
    if halves:
        depth += _digit(count >> 4)
    elif migrate is not None:
        depth += _digit(migrate)
    return irqs + resched + context + depth
