"""True callers behind trampolines: notes planted in dumps of kernels that traced nothing, and captures of the lab's
story `probes` (KERNLAB_LAB_CAPTURES names a folder of them), where /proc/PID/stack told the callers, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from support.captures import captures
from support.overlay import PAGE, Overlay
from support.stack_truth import sleeping_threads, stacks_without_scheduler, trampolines, until_trampoline
from support.truth import Truth

import kernlab
from kernlab.linux.stacks.code import behind_call

CAPTURES = captures("probes-*")
GRAPH, PROBE = "graph", "probe"
TASK, RETURN, HOOK = "struct task_struct", "struct ftrace_ret_stack", "struct rethook_node"
INSTANCE = "struct kretprobe_instance"


@dataclass(frozen=True)
class Call:
    """A return address: where it lies on the stack of which thread, and what it is."""

    pid: int
    task: int
    slot: int
    caller: int


class Notes:
    """A dump in which tracers took return addresses: their trampolines on the stack, and what they noted of it."""

    def __init__(self, dump):
        self.dump, self.kernel = dump, dump.kernel
        self.overlay = Overlay(dump)
        self.page = bytearray(PAGE)
        self.used = 0
        self.place = self.overlay.make(1, lambda _: bytes(self.page))
        self.trampoline = dict(zip((GRAPH, PROBE), sorted(trampolines(dump), key=self.order), strict=True))
        # A shadow stack of words, or an array.
        self.is_shadow = "struct" not in self.kernel.find_type(TASK).member("ret_stack").type.c_name

    def order(self, address: int) -> bool:
        return address != self.dump.symbol("return_to_handler")

    def has(self, type_name: str, member: str) -> bool:
        return self.kernel.types.has_member(type_name, member)

    def take(self, calls: Sequence[Call], *tracers: str) -> None:
        """Functions are called, the outermost one first; one tracer after the other takes the address it finds."""
        noted: dict[str, list[tuple[Call, int]]] = {GRAPH: [], PROBE: []}
        for call in calls:
            lies = call.caller
            for tracer in tracers:
                noted[tracer].append((call, lies))
                lies = self.trampoline[tracer]
            self.overlay.word(call.slot, lies)
        if noted[GRAPH]:
            self.note_graph(noted[GRAPH])
        if noted[PROBE]:
            self.note_probes(noted[PROBE])

    def note_graph(self, taken: list[tuple[Call, int]]) -> None:
        first = self.used
        for call, address in taken:
            at = self.struct(RETURN, ret=address, retp=call.slot)
            if self.is_shadow:
                # How far below the entry is; two words that somebody asked for, and once more how far.
                words = (self.place + self.used - at) // 8
                for word in (words | 1 << 10, 0x1234, 0x5678, words + 3 | 2 << 10):
                    self.word(word)
        task = taken[0][0].task
        self.overlay.set(TASK, task, "ret_stack", self.place + first)
        depth = (self.used - first) // 8 if self.is_shadow else len(taken) - 1
        self.overlay.set(TASK, task, "curr_ret_stack", depth)

    def note_probes(self, taken: list[tuple[Call, int]]) -> None:
        node = 0
        for call, address in taken:
            node = self.node(call, address, node)
        self.head(taken[0][0].task, node)

    def node(self, call: Call, address: int, after: int) -> int:
        """A probe's note; its place in its list, in which `after` comes behind it."""
        if self.has(TASK, "rethooks"):
            kind, link = HOOK, "llist"
            note = self.struct(kind, ret_addr=address, frame=call.slot)
        else:
            kind, link = INSTANCE, "hlist" if self.has(INSTANCE, "hlist") else "llist"
            note = self.struct(kind, ret_addr=address, fp=call.slot)
            if link == "hlist":
                self.put(kind, note, "task", call.task)
        self.put(kind, note, link, after)
        return note + self.overlay.where(kind, 0, link)[0]

    def head(self, task: int, node: int) -> None:
        """The list of a thread's notes, or one of the table of them all, begins with a node."""
        if self.has(INSTANCE, "hlist"):
            self.overlay.word(self.dump.symbol("kretprobe_inst_table") + 8 * 17, node)
        else:
            name = "rethooks" if self.has(TASK, "rethooks") else "kretprobe_instances"
            self.overlay.word(self.overlay.where(TASK, task, name)[0], node)

    def struct(self, type_name: str, **members: int) -> int:
        """A struct in the page of notes."""
        at = self.place + self.used
        self.used += (self.kernel.find_type(type_name).size + 7) // 8 * 8
        for name, value in members.items():
            self.put(type_name, at, name, value)
        return at

    def put(self, type_name: str, address: int, member: str, value: int) -> None:
        at = self.overlay.where(type_name, address, member)[0] - self.place
        self.page[at : at + 8] = value.to_bytes(8, "little")

    def word(self, value: int) -> None:
        self.page[self.used : self.used + 8] = value.to_bytes(8, "little")
        self.used += 8


def calls(dump) -> list[Call]:
    """The return addresses of a thread that sleeps deep in a system call, from the outermost on."""
    table = dump.stacks
    asleep = table[table["cpu"].isna() & (table["pid"] > 1)]
    pid = int(asleep.groupby("pid").size().idxmax())
    mine = table[table["pid"] == pid]
    found = [
        Call(pid, int(row.task), int(row.sp) - 8, int(row.address)) for row in mine.iloc[1:-1].itertuples()
    ]
    assert [int.from_bytes(dump.read(call.slot, 8), "little") for call in found] == [
        call.caller for call in found
    ]
    return found[::-1]


def shown(table: pd.DataFrame, pid: int | None = None) -> list[tuple[object, ...]]:
    rows = table if pid is None else table[table["pid"] == pid]
    return list(rows[["pid", "frame", "symbol", "sp", "reliable"]].itertuples(index=False, name=None))


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "tracers",
    [
        (GRAPH,),
        (PROBE,),
        (GRAPH, PROBE),
        (PROBE, GRAPH),
        (PROBE, PROBE),
        (GRAPH, GRAPH),
        (GRAPH, PROBE, GRAPH, PROBE),
    ],
    ids="-".join,
)
def test_what_tracers_took_is_given_back(dump, tracers):
    """Of functions that one traces, or two, and of those that end in a jump to another (each notes the one address)."""
    whole, notes = calls(dump), Notes(dump)
    notes.take(whole, *tracers)
    with notes.overlay.dump() as traced:
        lies = {int.from_bytes(traced.read(call.slot, 8), "little") for call in whole}
        assert lies == {notes.trampoline[tracers[-1]]}
        assert shown(traced.stacks) == shown(dump.stacks)
        assert traced.stacks.attrs["problems"] == dump.stacks.attrs["problems"]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1"])
def test_who_is_within_a_trampoline_has_no_caller(opened, name):
    """It pops the note while it runs (and in newer kernels leaves its own address on the stack until then)."""
    dump = opened(name)
    call, start = calls(dump)[3], dump.symbol("return_to_handler")
    inside = np.arange(start, start + dump.kernel.symbols.room(start), dtype=np.uint64)
    back = int(inside[behind_call(dump.kernel, inside)[0]][0])
    with Overlay(dump).word(call.slot, back).dump() as traced:
        table = traced.stacks
        sure, before = table[(table["pid"] == call.pid) & table["reliable"]], shown(dump.stacks, call.pid)
        assert shown(sure)[:-1] == before[: len(sure) - 1]
        assert int(sure["address"].iloc[-1]) == back
        assert any("returned to return_to_handler" in problem for problem in table.attrs["problems"])


@pytest.mark.parametrize("tracer", [GRAPH, PROBE])
def test_a_caller_that_is_noted_nowhere_is_not_guessed(dump, tracer):
    """A trampoline forgets its note before it returns."""
    whole, notes = calls(dump), Notes(dump)
    lost = whole[len(whole) // 2]
    notes.take([call for call in whole if call is not lost], tracer)
    notes.overlay.word(lost.slot, notes.trampoline[tracer])
    with notes.overlay.dump() as traced:
        table, before = traced.stacks, shown(dump.stacks, lost.pid)
        mine = table[table["pid"] == lost.pid]
        known = [frame[2] for frame in before].index(dump.symbolize([lost.caller])[0])
        assert shown(mine)[:known] == before[:known]
        assert mine["reliable"].tolist() == [True] * known + [False] * (len(mine) - known)
        assert int(mine["address"].iloc[known]) == notes.trampoline[tracer]
        assert any("noted nowhere" in problem for problem in table.attrs["problems"])
        assert shown(table[table["pid"] != lost.pid]) == shown(dump.stacks[dump.stacks["pid"] != lost.pid])


@pytest.mark.parametrize("tracers", [(GRAPH,), (PROBE,), (GRAPH, PROBE)], ids="-".join)
def test_what_is_guessed_are_true_callers_too(dump, tracers):
    """Within them a return address is lost: the rest is looked for on the stack, where trampolines lie."""
    whole, notes = calls(dump), Notes(dump)
    inner, outer = whole[-1], whole[:-2]
    notes.take(outer, *tracers)
    notes.overlay.word(inner.slot, dump.symbol("init_task"))
    with notes.overlay.dump() as traced:
        table = traced.stacks
        mine = table[(table["pid"] == inner.pid) & ~table["reliable"]]
        found = set(zip(mine["sp"].astype("uint64"), mine["address"].astype("uint64"), strict=True))
        assert {(call.slot + 8, call.caller) for call in outer} <= found
        assert not set(mine["address"].astype("uint64")) & trampolines(dump)


def cycle(notes: Notes, whole: list[Call]) -> None:
    """A list of notes that leads back to its first one, whose own is not there."""
    first = notes.node(whole[0], whole[0].caller, 0)
    kind = HOOK if notes.has(TASK, "rethooks") else INSTANCE
    link = "hlist" if notes.has(INSTANCE, "hlist") else "llist"
    second = notes.node(whole[1], notes.trampoline[PROBE], first)
    notes.put(kind, notes.place, link, second)
    notes.head(whole[0].task, second)


DAMAGE = {
    "depth 2^31": lambda notes, task: notes.overlay.set(TASK, task, "curr_ret_stack", 1 << 31),
    "depth 2^30": lambda notes, task: notes.overlay.set(TASK, task, "curr_ret_stack", 1 << 30),
    "depth 600": lambda notes, task: notes.overlay.set(TASK, task, "curr_ret_stack", 600),
    "no such place": lambda notes, task: notes.overlay.set(TASK, task, "ret_stack", 0xDEAD_0000_0000_0000),
    "among other things": lambda notes, task: notes.overlay.set(TASK, task, "ret_stack", task),
    "not in the dump": lambda notes, task: notes.overlay.exclude(
        notes.place - notes.kernel.layout.direct_start, physical=True
    ),
    "zeros": lambda notes, task: notes.page.__setitem__(slice(None), bytes(PAGE)),
    "ones": lambda notes, task: notes.page.__setitem__(slice(None), b"\xff" * PAGE),
}


@pytest.mark.in_turn
@pytest.mark.parametrize(
    ("tracer", "damage"),
    [(GRAPH, damage) for damage in DAMAGE]
    + [(PROBE, damage) for damage in ("not in the dump", "zeros", "ones")],
)
def test_damaged_notes_give_no_false_callers(dump, tracer, damage):
    whole, notes = calls(dump), Notes(dump)
    notes.take(whole, tracer)
    DAMAGE[damage](notes, whole[0].task)
    with notes.overlay.dump() as traced:
        check_damaged(dump, traced, whole[0].pid)


def test_notes_in_a_circle_end(dump):
    whole, notes = calls(dump), Notes(dump)
    for call in whole:
        notes.overlay.word(call.slot, notes.trampoline[PROBE])
    cycle(notes, whole)
    with notes.overlay.dump() as traced:
        check_damaged(dump, traced, whole[0].pid)


def check_damaged(dump, traced, pid: int) -> None:
    """What is called reliable is as it was; all others' stacks are whole."""
    table = traced.stacks
    before, after = shown(dump.stacks, pid), shown(table, pid)
    reliable = [frame for frame in after if frame[-1]]
    assert reliable == before[: len(reliable)]
    assert shown(table[table["pid"] != pid]) == shown(dump.stacks[dump.stacks["pid"] != pid])
    assert after[: len(reliable)] == reliable
    assert len(after) > len(reliable)
    assert any("noted nowhere" in problem for problem in table.attrs["problems"])


@pytest.fixture(params=CAPTURES or [None], ids=[path.name for path in CAPTURES] or ["none"], scope="module")
def capture(request):
    if request.param is None:
        pytest.skip(
            "no capture of the lab's scenario probes is here (KERNLAB_LAB_CAPTURES names a folder of them)"
        )
    with kernlab.open(request.param / "vmcore") as dump:
        yield dump, Truth(request.param / "truth.tar.xz")


def test_stacks_under_probes_are_as_the_kernel_gave_them_back(capture):
    """Frame by frame, and on behind the trampolines at which the kernel itself stops."""
    dump, truth = capture
    told, known = sleeping_threads(truth), stacks_without_scheduler(dump)
    asleep = [pid for pid in told.keys() & known.keys() if told[pid][0] == known[pid].switches]
    assert len(asleep) > 50
    behind = [pid for pid in asleep if until_trampoline(dump, told[pid][1]) is not None]
    assert len(behind) >= 3
    for pid in behind:
        stops = until_trampoline(dump, told[pid][1])
        assert known[pid].names[-1].startswith("entry_SYSCALL_64_after_hwframe+")
        assert len(known[pid].names) > stops + 1
    table = dump.stacks
    assert table["reliable"].all()
    assert not set(table["address"].astype("uint64").tolist()) & trampolines(dump)
    assert table.attrs["problems"] == []


def test_addresses_that_were_given_back_lie_behind_calls(capture):
    dump, _ = capture
    table = dump.stacks
    rows = table[table["cpu"].isna() & (table["frame"] > 0)]
    lies = np.array(
        [int.from_bytes(dump.read(int(sp) - 8, 8), "little") for sp in rows["sp"]], dtype=np.uint64
    )
    taken = rows[lies != rows["address"].to_numpy(dtype=np.uint64)]
    assert set(lies[lies != rows["address"].to_numpy(dtype=np.uint64)].tolist()) == trampolines(dump)
    assert len(taken) > 15
    callees = table.set_index(["pid", "frame"])["address"]
    direct = 0
    for row in taken.itertuples():
        code = dump.read(int(row.address) - 5, 5)
        if code[0] != 0xE8:
            # Through a register, or memory that one points to.
            assert 0xFF in code, row
            continue
        target = int(row.address) + int.from_bytes(code[1:], "little", signed=True)
        callee = int(callees[row.pid, row.frame - 1])
        within = dump.symbolize([callee])[0].split("+")[0]
        direct += dump.symbolize([target])[0].split("+")[0] == within
    # The others' callees ended in a jump, or are reached through a thunk.
    assert direct > len(taken) // 2


def test_symbols_of_what_was_made_are_kallsyms(capture):
    dump, truth = capture
    made = dump.symbols[dump.symbols["module"].isin(["bpf", "__builtin__ftrace", "__builtin__kprobes"])]
    theirs = truth.kallsyms()
    theirs = theirs[theirs["module"].isin(["bpf", "__builtin__ftrace", "__builtin__kprobes"])]
    assert made["name"].tolist() == theirs["name"].tolist()
    assert made["address"].astype("uint64").tolist() == theirs["address"].astype("uint64").tolist()
    assert {re.sub(r"_[0-9a-f]{16}_|_\d+", "_", name) for name in made["name"]} >= {
        "ftrace_trampoline",
        "bpf_prog_story_filter",
        "bpf_prog_story_exit",
        "kprobe_optinsn_page",
    }
