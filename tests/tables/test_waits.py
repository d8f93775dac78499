"""`waits` and `locks` against what the guests said of themselves: wchan, the story of `hung`, /proc/PID/sched."""

from __future__ import annotations

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import FOLDERS, SAMPLES
from support.overlay import Overlay
from support.stack_truth import sleeping_threads, stack_dumps, stacks_without_scheduler

import kernlab
from kernlab.tables.processes.wait_graph import WaitGraph
from kernlab.tables.processes.waits import Waits
from kernlab.tables.suspects.waits import convoys, deadlocks, hung_tasks

#: By the function in which a thread sleeps, what it must be said to wait for.
BY_FUNCTION = {
    "__do_sys_pause": "signal",
    "sigsuspend": "signal",
    "do_sigtimedwait": "signal",
    "hrtimer_nanosleep": "timer",
    "do_epoll_wait": "epoll",
    "ep_poll": "epoll",
    "do_sys_poll": "poll",
    "do_select": "select",
    "futex_wait_queue": "futex",
    "futex_wait_queue_me": "futex",
    "do_wait": "child",
    "rescuer_thread": "idle",
    "worker_thread": "idle",
    "kthread_worker_fn": "idle",
    "smpboot_thread_fn": "idle",
    "kthreadd": "idle",
    "irq_thread": "idle",
    "kauditd_thread": "wait_queue",
    "oom_reaper": "wait_queue",
    "kswapd": "wait_queue",
    "kcompactd": "wait_queue",
    "kjournald2": "jbd2",
    "inet_csk_accept": "socket",
    "ptrace_stop": "ptrace",
    "do_signal_stop": "stopped",
    "percpu_rwsem_wait": "percpu_rwsem",
    "order_place": "mutex",
    "inventory_thread": "completion",
    "bio_await": "request",
    "submit_bio_wait": "request",
}


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


def test_the_story_of_hung(hung):
    """Six orders wait for the lock that inventoryd took 4.49 s after boot, and it for an answer."""
    orders = hung.waits[hung.waits.comm.str.startswith("order-")]
    assert len(orders) == 6
    assert set(orders.type) == {"mutex"}
    assert set(orders.name) == {"inventory_lock [kernlab_story]"}
    assert set(orders.holder_pid) == {176}
    assert set(orders.holder_comm) == {"inventoryd"}
    assert set(orders.state) == {"D"}
    assert set(orders.function) == {"order_place"}
    assert (orders.object == hung.symbol("inventory_lock")).all()
    holder = hung.waits.query("pid == 176").iloc[0]
    assert (holder["type"], holder["name"]) == ("completion", "answer [kernlab_story]")
    lock = hung.locks.iloc[0]
    assert (lock["type"], lock["name"], lock["holder_pid"], lock["waiters"]) == (
        "mutex",
        "inventory_lock [kernlab_story]",
        176,
        6,
    )


def test_asleep_since(hung):
    """Between the two moments that the story tells, by the log's own clock: the lock was held, then came the orders."""
    crash = hung.log[hung.log.text.str.contains("Kernel panic|sysrq: Trigger a crash")].timestamp.iloc[0]
    slept = (crash - hung.waits.set_index("comm").since) / pd.Timedelta("1s")
    assert slept["inventoryd"] < 4.49
    orders = slept[slept.index.str.startswith("order-")]
    assert len(orders) == 6
    assert (orders > 4.49).all()
    assert (orders < 5.52).all()


@pytest.mark.parametrize("name", ["debian-6.1", "hung", "io", "oom", "panic", "oops"])
def test_every_sleeping_thread_has_its_wait(name):
    """By the function that it sleeps in, for all of them; none is left out."""
    with kernlab.open(kernlab.sample(name)) as dump:
        waits = dump.waits
        asleep = dump.tasks[dump.tasks.state.isin(list("SDItT")) & ~dump.tasks.on_cpu & (dump.tasks.pid != 0)]
        assert set(asleep.pid) == set(waits.pid), waits.attrs["problems"]
        called = waits.function.str.partition(".")[0].map(BY_FUNCTION)
        known = waits[called.notna()]
        wrong = known[known.type != called[known.index]]
        assert wrong.empty, wrong[["pid", "comm", "type", "function"]]
        assert len(known) > 0.8 * len(waits)
        assert waits.name.notna().all()


@pytest.mark.parametrize("guest", list(stack_dumps(SAMPLES, FOLDERS["server"])), ids=lambda guest: guest.name)
def test_where_a_thread_sleeps_is_its_wchan(guest):
    """Of all that have slept on since /proc/PID/wchan was read: who was woken and got no CPU waits for nothing else."""
    if guest.truth.release().startswith("5."):
        pytest.skip("before 5.16 wchan was found by frame pointers, which this kernel does not have")
    with kernlab.open(guest.vmcore) as dump:
        told, known = sleeping_threads(guest.truth), stacks_without_scheduler(dump)
        woken = set(dump.tasks[dump.tasks.state == "R"].pid)
        wchan = {
            pid: told[pid][2]
            for pid in (told.keys() & known.keys()) - woken
            # Who only stays somewhere (lab/guest/modules/kernlab_depot) waits for nothing.
            if told[pid][0] == known[pid].switches
            and not told[pid][2].startswith(("0", "stay"))
            and told[pid][2]
        }
        function = dump.waits.set_index("pid").function
        assert len(wchan) > 20
        assert {pid: function.get(pid) for pid in wchan} == wchan


def test_filtered_waits_keep_their_graph(hung):
    graph = hung.waits[hung.waits.state == "D"].graph()
    assert len(graph.edges) == 6
    assert graph.cycles == []
    with pytest.raises(kernlab.KernlabError, match="holder_pid"):
        hung.waits[["pid"]].graph()


def test_a_circle_is_named(hung):
    """inventoryd, made to wait for a lock that one of the waiters holds, never goes on: nor do the others."""
    waits = hung.waits.copy()
    waits.loc[waits.pid == 176, ["holder_pid", "holder_comm"]] = [181, "order-3"]
    graph = waits.graph()
    assert graph.cycles == [[176, 181]]
    assert graph.deadlocks == [
        "deadlock: inventoryd (176) → answer [kernlab_story] → order-3 (181) → "
        "inventory_lock [kernlab_story] → inventoryd (176)"
    ]


class TestDamage:
    """Overlays over `hung`: what cannot be is said, and costs no more than itself."""

    def lock(self, hung):
        return hung.symbol("inventory_lock")

    def orders(self, dump):
        return dump.waits[dump.waits.comm.str.startswith("order-").fillna(False)]

    def test_an_owner_that_is_no_task(self, hung):
        owner = hung.tasks.address.iloc[0] + 64
        dump = Overlay(hung).set("struct mutex", self.lock(hung), "owner.counter", int(owner) | 1).dump()
        orders = self.orders(dump)
        assert len(orders) == 6
        assert orders.holder_pid.isna().all()
        assert orders.note.str.contains("holder is gone").all()
        assert any("no tasks any more" in problem for problem in dump.waits.attrs["problems"])

    def test_no_owner(self, hung):
        dump = Overlay(hung).set("struct mutex", self.lock(hung), "owner.counter", 0).dump()
        orders = self.orders(dump)
        assert orders.holder_pid.isna().all()
        assert orders.note.str.contains("nobody holds it").all()

    def test_an_owner_who_is_another_task_by_now(self, hung):
        """A task_struct that was used again: its task is younger than the waiters' sleep."""
        young = hung.waits.query("pid == 193").iloc[0]
        dump = (
            Overlay(hung)
            .set("struct mutex", self.lock(hung), "owner.counter", int(young["address"]))
            .set("struct task_struct", int(young["address"]), "start_time", 9_000_000_000)
            .dump()
        )
        orders = self.orders(dump)
        assert orders.holder_pid.isna().all()
        assert orders.note.str.contains("another task's by now").all()

    @pytest.mark.parametrize("value", [0, 1, 0xFFFF_FFFF_FFFF_FFFF, 0xDEAD_0000_0000_0100])
    def test_a_list_of_waiters_that_is_damaged(self, hung, value):
        """The head's `next` overwritten: the waiters are still found, by their own stacks, and the damage is told."""
        dump = Overlay(hung).set("struct mutex", self.lock(hung), "wait_list.next", value).dump()
        orders = self.orders(dump)
        assert len(orders) == 6
        assert set(orders.holder_pid) == {176}
        assert (orders.object == self.lock(hung)).all()
        assert any("damaged" in problem for problem in dump.waits.attrs["problems"])

    def test_a_list_that_goes_round_without_its_head(self, hung):
        first = int(hung.struct("mutex", self.lock(hung)).wait_list.next)
        second = int.from_bytes(hung.read(first, 8), "little")
        dump = Overlay(hung).word(second, first).word(first + 8, second).dump()
        orders = self.orders(dump)
        assert len(orders) == 6
        assert (orders.object == self.lock(hung)).all()

    @pytest.mark.parametrize("value", [0, 8, 0xFFFF_FFFF_FFFF_FFF8, 1 << 63])
    def test_saved_stack_pointers(self, hung, value):
        overlay = Overlay(hung)
        for address in hung.waits.query("type == 'mutex'").address:
            overlay.set("struct task_struct", int(address), "thread.sp", value)
        dump = overlay.dump()
        assert not len(self.orders(dump).query("type == 'mutex'"))
        assert any("stack" in problem for problem in dump.waits.attrs["problems"])
        assert len(dump.locks) >= 0
        assert repr(dump.waits.graph())

    def test_stacks_that_the_dump_lacks(self, hung):
        stacks = hung.structs("task_struct", hung.waits.query("comm == 'order-2'").address)["stack"]
        dump = Overlay(hung).exclude(*(int(stacks.values[0]) + 4096 * page for page in range(4))).dump()
        orders = self.orders(dump)
        assert len(orders[orders.type == "mutex"]) >= 4
        assert any("stack" in problem for problem in dump.waits.attrs["problems"])
        assert np.isin(orders.pid, [179, 180, 181, 182, 183, 184]).all()


class TestDrawing:
    """`.graph()` in a notebook: an SVG that needs nothing else, with the names of the dump escaped."""

    def test_who_waits_for_whom(self, hung):
        text = hung.waits.graph().to_svg()
        root = ElementTree.fromstring(text)
        words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {
            "order-1 (179)",
            "order-6 (184)",
            "inventory_lock [kernlab_story]",
            "inventoryd (176)",
        } <= set(words)
        # One lock, one holder, six who wait: seven arrows.
        assert text.count("marker-end") == 7
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")

    def test_hostile_names(self, hung):
        waits = hung.waits.copy()
        waits.loc[waits.pid == 179, "comm"] = "<script>\x1b[31m&"
        text = waits.graph().to_svg()
        ElementTree.fromstring(text)
        assert "<script" not in text
        assert "\x1b" not in text

    def test_nothing_to_draw(self, hung):
        text = hung.waits[hung.waits.type == "signal"].graph().to_svg()
        assert "no thread is known to wait for another" in text

    def test_a_circle_in_a_long_chain_is_drawn(self, hung):
        waits = hung.waits.copy()
        waits.loc[waits.pid == 176, ["holder_pid", "holder_comm"]] = [181, "order-3"]
        text = waits.graph().to_svg()
        assert text.count('class="bad" marker-end=') == 4


def test_what_does_not_hang_together_is_drawn_apart():
    """Two circles side by side were wider than a page, and drawn too small to be read."""
    with kernlab.open(kernlab.sample("deadlock")) as dump:
        text = dump.waits.graph().to_svg()
    root = ElementTree.fromstring(text)
    assert float(root.get("width")) < 1050
    assert root.get("aria-label").startswith("Who waits for whom, 8 threads: ")
    assert "deadlock: checkout (" in root.get("aria-label")
    svg = "{http://www.w3.org/2000/svg}"
    row = {
        group.find(f"{svg}text").text.split(" ")[0]: float(group.find(f"{svg}rect").get("y"))
        for group in root.iter(f"{svg}g")
    }
    first = {"checkout", "refund", "invoice", "cart", "sweep", "ledger_lock", "stock_lock", "lock"}
    assert max(row[name] for name in first) < min(row[name] for name in set(row) - first)
    assert set(row) - first == {"import", "reprice", "search", "price_lock", "catalog_sem"}
    # All of one circle in a row.
    assert row["checkout"] == row["ledger_lock"] == row["refund"] == row["stock_lock"]


def test_a_circle_of_any_length_is_found_once():
    count = 5000
    pids = pd.array(range(1, count + 1), dtype="Int64")
    rows = pd.DataFrame({"pid": pids, "holder_pid": pd.array([*range(2, count + 1), 4000], dtype="Int64")})
    assert WaitGraph.of(rows).cycles == [list(range(4000, count + 1))]


def test_suspects_of_hung(hung):
    """The order that cannot go on is what looks wrong first, with its holder."""
    leads = hung.suspects
    assert hung.log.text.str.contains("blocked for more than 10 seconds").any()
    assert leads.lead[0] == "hung tasks"
    assert leads.subject[0] == "order-1 (179) and 5 others"
    assert leads.evidence[0].startswith(
        "In uninterruptible sleep for more than 10 s (the longest 16 s), for mutex inventory_lock [kernlab_story]. "
        "inventoryd (176) holds it"
    )
    assert leads.cell[1] == "dump.stack(176)"
    convoy = leads[leads.lead == "lock convoy"].iloc[0]
    assert convoy["subject"] == "mutex inventory_lock [kernlab_story]"
    assert convoy["evidence"].startswith("6 threads wait for it")


def test_suspects_rules(hung):
    waits = hung.waits.copy()
    evidence = SimpleNamespace(waits=Waits.of(waits), hung_after=10, uninterruptible=[176, *range(179, 185)])
    leads = hung_tasks(evidence)
    assert [lead.lead for lead in leads] == ["hung tasks", "hung task"]
    assert "order-1 (179) and 5 others" in leads[0].subject
    assert "inventoryd (176) holds it" in leads[0].evidence
    assert deadlocks(evidence) == []
    waits.loc[waits.pid == 176, ["holder_pid", "holder_comm"]] = [181, "order-3"]
    circle = deadlocks(SimpleNamespace(waits=Waits.of(waits)))[0]
    assert circle.subject.startswith("inventoryd (176) → answer [kernlab_story] → order-3 (181) →")
    assert "5 more threads wait" in circle.evidence
    assert circle.weight > leads[0].weight > convoys(evidence)[0].weight


def test_every_sleeping_thread_of_a_whole_server_has_its_wait(server):
    """240 processes with epoll, poll, select, futexes, sockets, a tracer, a frozen file system, a vfork."""
    waits = server.waits
    asleep = server.tasks[
        server.tasks.state.isin(list("SDItT")) & ~server.tasks.on_cpu & (server.tasks.pid != 0)
    ]
    assert set(asleep.pid) == set(waits.pid), waits.attrs["problems"]
    called = waits.function.str.partition(".")[0].map(BY_FUNCTION)
    known = waits[called.notna()]
    wrong = known[known.type != called[known.index]]
    assert wrong.empty, wrong[["pid", "comm", "type", "function"]]
    assert len(known) > 0.95 * len(waits)
    by_pid = waits.set_index("pid")
    # What strace traces waits for strace; who called vfork for its child; the frozen file system is a percpu_rwsem's.
    tracee = by_pid[by_pid.type == "ptrace"].iloc[0]
    assert tracee["holder_comm"] == "strace"
    forker = by_pid[by_pid.type == "completion"].iloc[0]
    assert server.tasks.set_index("pid").loc[forker["holder_pid"], "ppid"] == forker.name
    frozen = by_pid[by_pid.type == "percpu_rwsem"].iloc[0]
    assert frozen["name"].startswith("s_writers of super_block ")


def test_epolls_watch_what_fdinfo_says(server, server_files):
    """Of who has slept on since, and has one epoll: as many files, and those that are named are among them."""
    truth, uptime = server_files.truth, server.info["uptime"].total_seconds()
    slept_on = server.waits[server.waits.since.dt.total_seconds() > uptime - truth.uptime() + 1]
    compared = 0
    for pid, name in slept_on[slept_on.type == "epoll"].set_index("pid").name.items():
        file = f"p/{pid}/fdinfo"
        watched = [part for part in truth.files.get(file, b"").decode().split("== ") if "\ntfd:" in part]
        if len(watched) != 1:
            continue
        inodes = [int(number, 16) for number in re.findall(r"^tfd:.* ino:([0-9a-f]+)", watched[0], re.M)]
        named, _, more = name.partition(" and ")
        assert len(named.split(", ")) + int(more.split()[0] if more else 0) == len(inodes)
        assert {int(number) for number in re.findall(r"socket:\[(\d+)\]", named)} <= set(inodes)
        compared += 1
    assert compared >= 5
