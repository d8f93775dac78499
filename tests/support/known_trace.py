"""A trace whose every event is known, as a trace.dat of any machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from support.trace_dat import Dat, Instance, Machine, Subbuf, form

STATES = (
    "(REC->prev_state & ((((0x0000 | 0x0001 | 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0020 | 0x0040) + 1) << 1) - 1)) ? "
    '__print_flags(REC->prev_state & 0xff, "|", { 0x0001, "S" }, { 0x0002, "D" }, { 0x0004, "T" }, { 0x0008, "t" }, '
    '{ 0x0010, "X" }, { 0x0020, "Z" }, { 0x0040, "P" }, { 0x0080, "I" }) : "R", REC->prev_state & 0x100 ? "+" : ""'
)
SWITCH, WORK, PRINT, BPRINT, FUNCTION, STACK = 300, 301, 5, 6, 1, 4


def function_address(machine: Machine, number: int) -> int:
    """Where the functions f0, f1 … of the made-up kernel begin; each has 256 bytes."""
    return (0xC0100000 if machine.word == 4 else 0xFFFFFFFF81000000) + 0x100 * number


def formats(machine: Machine) -> tuple[list[str], dict[str, list[str]]]:
    """(formats of ftrace's own events, those of the others by system)."""
    word = machine.word
    buf = 8 + 2 * word
    own = [
        form(
            "function",
            FUNCTION,
            [("unsigned long ip", 8, word, 0), ("unsigned long parent_ip", 8 + word, word, 0)],
            '" %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip',
        ),
        form(
            "kernel_stack",
            STACK,
            [("int size", 8, 4, 1), ("unsigned long caller[]", 8 + max(word, 4), 0, 0)],
            '"\\t=> %ps\\n", (void *)REC->caller[0]',
        ),
        form(
            "print",
            PRINT,
            [("unsigned long ip", 8, word, 0), ("char buf[]", 8 + word, 0, 1)],
            '"%ps: %s", (void *)REC->ip, REC->buf',
        ),
        form(
            "bprint",
            BPRINT,
            [
                ("unsigned long ip", 8, word, 0),
                ("const char * fmt", 8 + word, word, 0),
                ("u32 buf[]", buf, 0, 0),
            ],
            '"%ps: %s", (void *)REC->ip, REC->fmt',
        ),
        form("func_repeats", 20, [("unsigned long ip", 8, word, 0)], '" %ps", (void *)REC->ip'),
    ]
    state = 32
    switch = form(
        "sched_switch",
        SWITCH,
        [
            ("char prev_comm[16]", 8, 16, 0),
            ("pid_t prev_pid", 24, 4, 1),
            ("int prev_prio", 28, 4, 1),
            ("long prev_state", state, word, 1),
            ("char next_comm[16]", state + word, 16, 0),
            ("pid_t next_pid", state + word + 16, 4, 1),
            ("int next_prio", state + word + 20, 4, 1),
        ],
        '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", '
        f"REC->prev_comm, REC->prev_pid, REC->prev_prio, {STATES}, REC->next_comm, REC->next_pid, REC->next_prio",
    )
    work = form(
        "work_done",
        WORK,
        [
            ("void * function", 8, word, 0),
            ("__data_loc char[] name", 16, 4, 0),
            ("__data_loc u32[] numbers", 20, 4, 0),
            ("u64 bytes", 24, 8, 0),
            ("u8 cdb[4]", 32, 4, 0),
            ("s16 error", 36, 2, 1),
            ("bool last", 38, 1, 0),
            ("unsigned char kind", 39, 1, 0),
            ("unsigned short pairs[2]", 40, 4, 0),
            ("__data_loc unsigned long[] cpus", 44, 4, 0),
        ],
        '"%pS name=%s numbers=%s bytes=%llu cdb=%s error=%d last=%d kind=%-6s cpus=%s '
        'mask=%s code=%#x", REC->function, __get_str(name), '
        "__print_hex(__get_dynamic_array(numbers), __get_dynamic_array_len(numbers)), "
        "(unsigned long long)REC->bytes, __print_hex(REC->cdb, 4), REC->error, REC->last, "
        '__print_symbolic(REC->kind, { 0, "none" }, { 1, "read" }, { 2, "write" }), '
        "__get_bitmask(cpus), __get_cpumask(cpus), REC->error",
    )
    return own, {"sched": [switch], "work": [work]}


@dataclass
class Event:
    """An event as it was meant."""

    time: int
    cpu: int
    pid: int
    name: str
    values: dict[str, Any]
    flags: int = 1
    instance: str = ""


def record(machine: Machine, event: Event) -> bytes:
    """The bytes of an event."""
    pack, word, values = machine.pack, machine.word, event.values
    numbers = {
        "sched_switch": SWITCH,
        "work_done": WORK,
        "print": PRINT,
        "bprint": BPRINT,
        "function": FUNCTION,
    }
    number = numbers.get(event.name, STACK)
    out = pack("HBBi", number, event.flags, 0x12, event.pid)
    if event.name == "sched_switch":
        out += values["prev_comm"].encode().ljust(16, b"\0") + pack("ii", values["prev_pid"], 120)
        out += pack("L", values["prev_state"]) + values["next_comm"].encode().ljust(16, b"\0")
        return out + pack("ii", values["next_pid"], 100)
    if event.name == "work_done":
        name = values["name"].encode() + b"\0"
        name += bytes(-len(name) % 4)
        numbers_at = 48 + len(name)
        cpus_at = numbers_at + 4 * len(values["numbers"])
        out += pack("L", values["function"]).ljust(8, b"\0")
        out += pack("II", (len(values["name"]) + 1) << 16 | 48, 4 * len(values["numbers"]) << 16 | numbers_at)
        out += pack("Q", values["bytes"]) + values["cdb"]
        out += pack("hBB", values["error"], int(values["last"]), values["kind"]) + pack(
            "HH", *values["pairs"]
        )
        out += pack("I", word << 16 | cpus_at) + name
        return out + pack(f"{len(values['numbers'])}I", *values["numbers"]) + pack("L", values["cpus"])
    if event.name == "print":
        return out + pack("L", values["ip"]) + values["buf"].encode() + b"\n\0"
    if event.name == "bprint":
        text = values["text"].encode() + b"\0"
        # vbin_printf: %d, %s, %lx, each aligned to 4 bytes at most.
        packed = pack("i", values["number"]) + text + bytes(-len(text) % 4) + pack("L", values["long"])
        return out + pack("LL", values["ip"], values["fmt"]) + packed
    if event.name == "function":
        return out + pack("LL", values["ip"], values["parent_ip"])
    return (
        out
        + pack("i", len(values["caller"])).ljust(max(word, 4), b"\0")
        + b"".join(pack("L", one) for one in (*values["caller"], (1 << 8 * word) - 1))
    )


def known_events(machine: Machine, count: int = 400) -> list[Event]:
    """Events of all kinds, on two CPUs and in two instances, in the order of time."""
    address = [function_address(machine, row) for row in range(8)]
    found = []
    time = 5_000_000_000
    for row in range(count):
        # Now and then further apart than an event's own 27 bits say.
        time += 1 + row * 7919 % 50_000 + (1 << 29 if row % 90 == 89 else 0)
        cpu, instance = row % 2, "more" if row % 5 == 4 else ""
        pid = 100 + row % 4
        kinds: list[tuple[str, dict[str, Any]]] = [
            (
                "sched_switch",
                {
                    "prev_comm": f"task-{pid}",
                    "prev_pid": pid,
                    "prev_state": (0, 1, 2, 128, 256, 64)[row % 6],
                    "next_comm": f"other/{row % 3}",
                    "next_pid": 200 + row % 3,
                },
            ),
            (
                "work_done",
                {
                    "function": address[row % 8] + row % 200,
                    "name": f"work {row}",
                    "numbers": [row, 0xFFFF_FFFF][: row % 3],
                    "bytes": row << 33,
                    "cdb": bytes([0x2A, row % 256, 0, 1]),
                    "error": -(row % 300),
                    "last": row % 2 == 1,
                    "kind": row % 4,
                    "pairs": (row, 65535 - row),
                    "cpus": 1 << row % (8 * machine.word) | 1,
                },
            ),
            ("print", {"ip": address[1] + 4, "buf": f"marker {row}"}),
            (
                "bprint",
                {
                    "ip": address[2] + 8,
                    "fmt": address[7] + 0x40,
                    "number": -row,
                    "text": "ab" * (row % 4),
                    "long": row * 3,
                },
            ),
            ("function", {"ip": address[row % 4], "parent_ip": address[(row + 1) % 4] + 9}),
            ("kernel_stack", {"caller": [address[row % 8] + 3, address[0] + 1]}),
        ]
        name, values = kinds[row % 6]
        found.append(Event(time, cpu, pid, name, values, instance=instance))
    return found


@dataclass
class Known:
    """A trace.dat that is not written yet, and what it holds."""

    machine: Machine
    events: list[Event]
    dat: Dat = field(init=False)
    page_size: int = 4096
    #: Events said to be lost before each CPU's second sub-buffer.
    missed: int = 0

    def __post_init__(self) -> None:
        own, others = formats(self.machine)
        start = function_address(self.machine, 0)
        width = 2 * self.machine.word
        symbols = "".join(f"{start + 0x100 * row:0{width}x} T f{row}\n" for row in range(8))
        symbols += f"{start + 0x800:0{width}x} T _end_of_text\n"
        self.dat = Dat(
            self.machine,
            self.page_size,
            [Instance(name, {0: [], 1: []}) for name in ("", "more")],
            own,
            others,
            symbols,
            f'0x{function_address(self.machine, 7) + 0x40:x} : "number %d text %s long %lx\\n"\n',
            "100 task-100\n101 task-101\n102 task 102\n",
        )
        for instance in self.dat.instances:
            for cpu, pages in instance.cpus.items():
                self._fill(pages, [e for e in self.events if (e.instance, e.cpu) == (instance.name, cpu)])

    def _fill(self, pages: list[bytes], events: list[Event]) -> None:
        page: Subbuf | None = None
        for event in events:
            payload = record(self.machine, event)
            if page is not None and not page.room(payload):
                pages.append(page.bytes(self.missed if pages else 0))
                page = None
            if page is None:
                page = Subbuf(self.machine, event.time, self.page_size)
            page.event(event.time, payload)
        if page is not None:
            pages.append(page.bytes())

    def bytes(self, version: int, compression: str = "none") -> bytes:
        """The file."""
        return self.dat.version6() if version == 6 else self.dat.version7(compression)


def oldest_letters(line: str) -> str:
    """A line of trace-cmd's with the letters of states that its library had before 1.8 brought to the kernel's."""
    letters = str.maketrans("ZXxW", "XZPI")
    return re.sub(r"(sched_switch: .*\] )(\S+)( ==> )", lambda m: m[1] + m[2].translate(letters) + m[3], line)
