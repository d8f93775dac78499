"""`dump.stack`: text as the kernel prints a call trace, HTML that opens without a kernel, and what is refused."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from support.absent import Absence
from support.hostile import IMG, hostile
from support.overlay import Overlay
from support.truth import Truth

import kernlab
from kernlab.display.html import to_html
from kernlab.display.plain_text import to_text
from kernlab.display.stacks.html import stack_html
from kernlab.display.stacks.parts import Frame
from kernlab.display.stacks.text import call_trace
from kernlab.errors import KernlabError
from kernlab.plots.stacks import GUESS, KERNEL, ROOT, flames

#: What goes with CONFIG_UNWINDER_ORC.
NO_ORC = Absence(
    symbols=("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind"),
    types=("struct orc_entry",),
)


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


@pytest.fixture(scope="module")
def truth():
    return Truth(SAMPLES / "hung" / "truth.tar.xz")


class Elements(HTMLParser):
    """The elements of a page, and the text of each frame that opens."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.lines = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "summary":
            self.lines.append("")

    def handle_data(self, data):
        if self.lines:
            self.lines[-1] += data


def test_text_is_the_kernel_s_own(hung, truth):
    lines = repr(hung.stack(179)).split("\n")
    assert re.fullmatch(
        r"PID: 179 Comm: order-1 State: D \(disk sleep\) CPU: \d Task: 0xff[0-9a-f]{14}", lines[0]
    )
    assert lines[1:3] == ["Call Trace:", " <TASK>"]
    assert lines[-1] == " </TASK>"
    frames = [line.strip() for line in lines[3:-1] if line.startswith(" ")]
    # /proc/PID/stack leaves out the scheduler's own frames.
    assert [line for line in frames if line in truth.stacks[179]] == truth.stacks[179]
    assert frames == hung.stack(179).frames["symbol"].tolist()


def test_a_thread_by_any_of_its_names(hung):
    wanted = repr(hung.stack(176))
    address = int(hung.tasks.query("pid == 176")["address"].iloc[0])
    for name in (
        "176",
        "inventoryd",
        address,
        hex(address),
        hung.struct("task_struct", address),
        np.int64(176),
    ):
        assert repr(hung.stack(name)) == wanted


def test_what_is_refused_says_what_there_is(hung):
    for asked, said in (
        ({"pid": 178}, r"no thread 178; the nearest are .*inventoryd \(176\), order-1 \(179\)"),
        ({"pid": "inventry"}, "no thread is called 'inventry'; did you mean inventoryd"),
        ({"pid": 0}, r"2 threads have pid 0: swapper/\d \(0\) of CPU \d: dump.stack\(0xff"),
        ({"cpu": 7}, "CPU 7 .* it is known of CPU 0, 1"),
        ({}, "name a thread or a CPU"),
        ({"pid": 1, "cpu": 0}, "name a thread or a CPU"),
        ({"pid": 0xFFFF_8000_0000_0000}, "no task_struct at 0xffff800000000000"),
        ({"pid": 1.5}, "1.5"),
    ):
        with pytest.raises(KernlabError, match=said):
            hung.stack(**asked)


def test_a_frame_opens_to_the_call_that_it_is_in(hung):
    pytest.importorskip("capstone", reason="capstone is not installed (the extra 'disassembly')")
    page = hung.stack(176)._repr_html_()
    elements = Elements(page)
    assert "script" not in elements.tags
    assert "http" not in page
    assert len(elements.lines) == len(hung.stack(176).frames)
    inner = next(line for line in elements.lines if "inventory_thread" in line)
    here = [line for line in re.split(r"(?=[→ ] ffffffff)", inner) if line.startswith("→")]
    assert len(here) == 1
    assert "call" in here[0]
    assert "<wait_for_completion+0x0/" in here[0]


def test_registers_of_a_sleeper_say_whom_they_point_to(hung):
    """struct inactive_task_frame: in __schedule, one of them holds the task itself."""
    frames = hung.stack(176)._frames
    assert any(label.startswith("inventoryd (176): task_struct") for _, _, label in frames[0].known)
    assert all(not frame.registers for frame in frames[1:])
    address = int(hung.tasks.query("pid == 176")["address"].iloc[0])
    assert address in frames[0].registers.values()
    assert "inventoryd (176): task_struct" in hung.stack(176)._repr_html_()


def frame(symbol, kind="task", **more):
    given = {
        "number": 0,
        "address": 0xFFFFFFFF81000000,
        "sp": 0xFFFF0000,
        "reliable": True,
        "interrupted": False,
    }
    return Frame(symbol=symbol, kind=kind, **{**given, **more})


def test_marks_guesses_and_registers_are_the_kernel_s():
    """show_trace_log_lvl and __show_regs, as of a panic in an interrupt."""
    registers = {"ip": 0xFFFFFFFF81000123, "cs": 0x10, "flags": 0x246, "sp": 0xFFFFC90000013EB8, "ss": 0x18}
    registers |= {"orig_ax": (1 << 64) - 1, "ax": 1, "bx": 2, "cx": 3, "dx": 4, "si": 5, "di": 6, "bp": 7}
    registers |= {f"r{number}": number for number in range(8, 16)}
    frames = [
        frame("panic+0x1/0x2", "nmi"),
        frame("handle+0x1/0x2", "irq"),
        frame("guess+0x1/0x2", "irq", reliable=False),
        frame("cpuidle+0xf/0x20", interrupted=True, registers=registers, known=(("bx", 2, "page 7"),)),
        frame("do_idle+0x1/0x2", "idle"),
    ]
    assert call_trace("head", frames, ["the stack ends here: why"]).split("\n") == [
        "head",
        "Call Trace:",
        " <NMI>",
        " panic+0x1/0x2",
        " </NMI>",
        " <IRQ>",
        " handle+0x1/0x2",
        " ? guess+0x1/0x2",
        " </IRQ>",
        " <TASK>",
        "RIP: 0010:cpuidle+0xf/0x20",
        "RSP: 0018:ffffc90000013eb8 EFLAGS: 00000246",
        "RAX: 0000000000000001 RBX: 0000000000000002 RCX: 0000000000000003",
        "RDX: 0000000000000004 RSI: 0000000000000005 RDI: 0000000000000006",
        "RBP: 0000000000000007 R08: 0000000000000008 R09: 0000000000000009",
        "R10: 000000000000000a R11: 000000000000000b R12: 000000000000000c",
        "R13: 000000000000000d R14: 000000000000000e R15: 000000000000000f",
        "     RBX = page 7",
        " do_idle+0x1/0x2",
        " </TASK>",
        " (the stack ends here: why)",
    ]


def test_an_oops_reads_as_the_log_has_it():
    """The panic's own registers, and those with which the thread had come from user mode, line by line."""
    with kernlab.open(kernlab.sample("oops")) as dump:
        shown = repr(dump.stack.of_panic()).split("\n")
    log = (SAMPLES / "oops" / "vmcore-dmesg.txt").read_text()
    log = log[log.index("BUG: kernel NULL pointer") :]
    said = [re.sub(r"^\[[^]]*\] (\[ *[TC]\d+\] ?)?", "", line) for line in log.split("\n")]
    wanted = [
        line.rstrip()
        for line in said
        if re.match(r"R[A-Z0-9]{2}: |Call Trace:| <?/?TASK>| [a-z_]\S+\+0x\S+", line)
    ]
    end = next(at for at, line in enumerate(wanted) if line == " </TASK>")
    ours = [line for line in shown[1:] if " = " not in line]
    assert ours == wanted[: end + 1]


def test_hostile_names_are_shown_and_do_nothing(opened):
    name = IMG.decode()
    page = stack_html(name, [name], [frame(f"{name}+0x1/0x2 [{name}]", name)], [name], None)
    assert Elements(page).tags == {"div", "style", "b", "span"}
    assert "\x1b" not in call_trace("a\x1b[31m\nb", [frame("x\x1b]0;y\x07+0x1/0x2")], ["\x1b"])
    assert call_trace("a\nb", [frame("f")], []).count("\n") == 4
    dump = hostile(opened("debian-6.1"))
    for pid in dump.tasks.query("pid > 0")["pid"].tail(8):
        shown = dump.stack(int(pid))
        assert "\x1b" not in repr(shown)
        assert Elements(shown._repr_html_()).tags <= {"div", "style", "b", "span", "details", "summary", "p"}
    dump.close()


def test_a_kernel_without_tables_for_unwinding_is_shown_with_guesses(hung):
    """As CONFIG_UNWINDER_GUESS leaves it: only where a thread was switched from is sure."""
    dump = NO_ORC.of(hung)
    shown = dump.stack(179)
    first, *lines = repr(shown).split("\n")[3:]
    assert first == " __schedule+0x4ea/0xbe0"
    assert " ? order_place+0x11/0x30 [kernlab_story]" in lines
    assert all(line.startswith(" ? ") for line in lines[:-2])
    assert lines[-1].startswith(" (frames with a question mark are guesses: ")
    page = shown._repr_html_()
    assert page.count('class="guess"') == len(shown.frames) - 1
    assert "frames with a question mark are guesses" in page
    assert any("return addresses on them are guessed" in problem for problem in dump.stacks.attrs["problems"])
    kinds = {box.kind for box in flames(dump.stacks[dump.stacks["pid"] == 179]).boxes}
    assert kinds == {ROOT, KERNEL, GUESS}


def test_groups_are_shown_line_by_line(hung):
    groups = hung.stacks[hung.stacks["state"] == "D"].groups()
    page = to_html(groups)
    assert "__mutex_lock.constprop.0+0x41f/0x730<br>order_place+0x11/0x30 [kernlab_story]<br>" in page
    text = to_text(groups)
    assert "\n      pids  179, 180, 181, 182, 183, 184\n     comms  order-1, order-2" in text
    assert re.search(r"\n +frames +__schedule\+0x4ea/0xbe0\n +schedule\+0x27/0xc0\n", text)


def test_a_terminal_has_the_largest_groups_whole(hung):
    """Those of a server were one line each, 10,000 letters wide."""
    groups = hung.stacks.groups()
    one = groups.iloc[[0]].assign(pids=[list(range(2000))], comms=["thread, " * 2000])
    many = pd.concat([one] * 50, ignore_index=True)
    many.attrs = groups.attrs
    lines = to_text(many).split("\n")
    assert max(map(len, lines)) < 120
    assert lines[-1] == "… and 20 more rows"
    assert sum(line.endswith(" and 1,960 more") for line in lines) == 30
    assert sum("kthread+0x" in line for line in lines) == 30


def test_what_is_missing_is_said(hung):
    second = int(hung.stack(176).frames["sp"].iloc[2])
    with Overlay(hung).word(second - 8, 0x1234).dump() as broken:
        stack = broken.stack(176)
        # The scan goes on from there.
        assert stack.problems[0].startswith(
            "frames with a question mark are guesses: the return address of its frame"
        )
        assert len(stack.problems) == 1
        assert repr(stack).endswith(f" ({stack.problems[0]})")
        assert stack.problems[0] in stack._repr_html_()
    start = int(hung.tasks.query("pid == 176").kern.field("stack").iloc[0])
    with Overlay(hung).exclude(*range(start, start + 16384, 4096)).dump() as broken:
        stack = broken.stack(176)
        assert len(stack.frames) <= 1
        assert stack.problems
        assert "PID: 176 Comm: inventoryd" in repr(stack)
