"""What threads wait for, one kind after the other, on stacks as each kernel's own code would have left them.

Of these no dump here has a thread asleep at the crash: `support.sleepers` puts one to sleep there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.captures import captures
from support.overlay import Overlay
from support.sleepers import Sleeper, enlist
from support.truth import Truth

import kernlab
from kernlab.linux.locks.workqueues import find_workers
from kernlab.walk.cpus import percpu

COMPLETES = ("wait_for_completion", "__wait_for_common")


@pytest.fixture
def sleeper(dump):
    """A process that slept until a time."""
    return Sleeper(Overlay(dump), pid_in(dump, "hrtimer_nanosleep"))


def pid_in(dump, function, which=0):
    return int(dump.waits[dump.waits.function == function].pid.iloc[which])


def row_of(sleeper):
    with sleeper.overlay.dump() as made:
        waits = made.waits
        assert waits.attrs["problems"] == sleeper.dump.waits.attrs["problems"]
        return waits[waits.pid == sleeper.pid].iloc[0]


def page_of(dump, pfn):
    """The struct page of a frame."""
    return dump.kernel.word("vmemmap_base") + pfn * dump.kernel.find_type("struct page").size


def task_of(dump, comm):
    row = dump.tasks[dump.tasks.comm == comm].iloc[0]
    return int(row["address"]), int(row["pid"])


def member(dump, type_name, path):
    """Where a member lies in a struct."""
    return Overlay(dump).where(type_name, 0, path)[0]


def put(page, offset, value):
    """Write a word of a made page."""
    page[offset : offset + 8] = value.to_bytes(8, "little")


def complete(sleeper, completion):
    """Wait for a completion, in the innermost frame."""
    overlay = sleeper.overlay
    at = sleeper.room(COMPLETES, "struct swait_queue")
    overlay.set("struct swait_queue", at, "task", sleeper.task)
    head = completion + member(sleeper.dump, "struct completion", "wait.task_list")
    enlist(overlay, head, at + member(sleeper.dump, "struct swait_queue", "task_list"))


def queue_up(sleeper, entry, head, function="autoremove_wake_function"):
    """Put a wait_queue_entry on a wait_queue_head."""
    overlay, dump = sleeper.overlay, sleeper.dump
    overlay.set("struct wait_queue_entry", entry, "private", sleeper.task)
    overlay.set("struct wait_queue_entry", entry, "func", dump.symbol(function))
    enlist(
        overlay,
        head + member(dump, "struct wait_queue_head", "head"),
        entry + member(dump, "struct wait_queue_entry", "entry"),
    )


def barrier(sleeper, worker):
    """Put a work behind the one that a worker does, and wait for it (insert_wq_barrier)."""
    overlay, dump = sleeper.overlay, sleeper.dump
    at = sleeper.room("__flush_work", "struct wq_barrier")
    overlay.set("struct wq_barrier", at, "task", sleeper.task)
    overlay.set("struct wq_barrier", at, "work.func", dump.symbol("wq_barrier_func"))
    entry = at + member(dump, "struct wq_barrier", "work.entry")
    enlist(overlay, worker + member(dump, "struct worker", "scheduled"), entry)
    overlay.set("struct worker", worker, "current_func", dump.symbol("vmstat_update"))
    complete(sleeper, at + member(dump, "struct wq_barrier", "done"))


def test_semaphore(sleeper, dump):
    sleeper.sleep("schedule_timeout", "__down_common", "down", "console_lock")
    lock, at = dump.symbol("console_sem"), sleeper.room("__down_common", "struct semaphore_waiter")
    sleeper.overlay.set("struct semaphore_waiter", at, "task", sleeper.task)
    kind = dump.kernel.find_type("struct semaphore")
    names = [each.name for each in kind.members]
    last, pid = task_of(dump, "kthreadd")
    if "wait_list" in names:
        enlist(sleeper.overlay, lock + member(dump, "struct semaphore", "wait_list"), at)
    else:
        enlist(sleeper.overlay, at)
        sleeper.overlay.set("struct semaphore", lock, "first_waiter", at)
    if "last_holder" in names:
        sleeper.overlay.set("struct semaphore", lock, "last_holder", last)
    # A register that `down` keeps for its caller.
    sleeper.overlay.word(sleeper.frames["down"][0], lock)
    row = row_of(sleeper)
    assert (row["type"], row["name"], row["object"]) == ("semaphore", "console_sem", lock)
    assert row["function"] in ("down", "console_lock")
    if "last_holder" in names:
        assert row["holder_pid"] == pid
        assert "a semaphore has no owner: this is who last took it" in row["note"]
    else:
        assert row["holder_pid"] is pd.NA


def test_rt_mutex(sleeper, dump):
    sleeper.sleep(
        ("rt_mutex_slowlock_block", "__rt_mutex_slowlock"),
        ("__rt_mutex_slowlock_locked", "rt_mutex_slowlock"),
        "rt_mutex_lock",
    )
    at = sleeper.room(("__rt_mutex_slowlock_locked", "rt_mutex_slowlock"), "struct rt_mutex_waiter")
    lock = dump.symbol("cgroup_mutex")
    overlay = sleeper.overlay
    owner, pid = task_of(dump, "kthreadd")
    overlay.set("struct rt_mutex_waiter", at, "task", sleeper.task)
    overlay.set("struct rt_mutex_waiter", at, "lock", lock)
    base = "struct rt_mutex_base" if dump.kernel.type_or_none("struct rt_mutex_base") else "struct rt_mutex"
    overlay.set(base, lock, "owner", owner | 1)
    overlay.set("struct task_struct", sleeper.task, "pi_blocked_on", at)
    row = row_of(sleeper)
    assert (row["type"], row["name"], row["holder_pid"]) == ("rtmutex", "cgroup_mutex", pid)


def test_percpu_rwsem_writer(sleeper, dump):
    sleeper.sleep("percpu_down_write", "cgroup_attach_task")
    lock = dump.symbol("cgroup_threadgroup_rwsem")
    sleeper.overlay.set("struct percpu_rw_semaphore", lock, "writer.task", sleeper.task)
    at = sleeper.frames["percpu_down_write"][0]
    # Further in lies what points to where the thread's own address stands, but is not a lock.
    decoy = at + 8 - member(dump, "struct percpu_rw_semaphore", "writer.task")
    for place, word in enumerate((decoy, sleeper.task, lock)):
        sleeper.overlay.word(at + 8 * place, word)
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("percpu_rwsem", "cgroup_threadgroup_rwsem")
    assert row["note"] == "waits for the readers to leave, of whom nothing tells"


def test_percpu_rwsem_reader(sleeper, dump):
    """Behind a writer that itself waits for other readers: the lock names it."""
    sleeper.sleep("percpu_rwsem_wait", "__percpu_down_read", "cgroup_attach_task")
    lock, entry = (
        dump.symbol("cgroup_threadgroup_rwsem"),
        sleeper.room("percpu_rwsem_wait", "struct wait_queue_entry"),
    )
    queue_up(
        sleeper,
        entry,
        lock + member(dump, "struct percpu_rw_semaphore", "waiters"),
        "percpu_rwsem_wake_function",
    )
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("percpu_rwsem", "cgroup_threadgroup_rwsem")
    assert row["note"] == "a percpu_rw_semaphore does not say which writer holds it"
    writer, pid = task_of(dump, "kthreadd")
    sleeper.overlay.set("struct percpu_rw_semaphore", lock, "writer.task", writer)
    row = row_of(sleeper)
    assert (row["holder_pid"], row["note"]) == (pid, "")


def test_rcu(sleeper, dump):
    where = ("synchronize_rcu_normal", "synchronize_rcu")
    sleeper.sleep("schedule_timeout", COMPLETES, "__wait_rcu_gp", where)
    at = sleeper.room(where, "struct rcu_synchronize")
    sleeper.overlay.set("struct rcu_synchronize", at, "head.func", dump.symbol("wakeme_after_rcu"))
    complete(sleeper, at + member(dump, "struct rcu_synchronize", "completion"))
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("rcu", "an RCU grace period")


def test_rcu_without_a_callback(sleeper, dump):
    where = ("synchronize_rcu_normal", "synchronize_rcu")
    sleeper.sleep("schedule_timeout", COMPLETES, where)
    at = sleeper.room(where, "struct rcu_synchronize")
    complete(sleeper, at + member(dump, "struct rcu_synchronize", "completion"))
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("rcu", "an RCU grace period")


@pytest.mark.parametrize(
    ("function", "path", "name"),
    [
        ("kthread_stop", "exited", "the end of a kernel thread"),
        ("kthread_park", "parked", "the parking of a kernel thread"),
    ],
)
def test_kthread(sleeper, dump, function, path, name):
    sleeper.sleep("schedule_timeout", COMPLETES, function)
    task, pid = task_of(dump, "kswapd0")
    kind = dump.struct("task_struct", task)
    own = kind.worker_private if "worker_private" in dir(kind) else kind.set_child_tid
    complete(sleeper, int(own) + member(dump, "struct kthread", path))
    row = row_of(sleeper)
    assert (row["type"], row["name"], row["holder_pid"]) == ("completion", name, pid)


def test_flush_work(sleeper, dump):
    sleeper.sleep("schedule_timeout", COMPLETES, "__flush_work")
    workers = find_workers(dump.kernel)
    one = int(np.flatnonzero(workers.worker["pool"].true & (workers.task != 0))[0])
    barrier(sleeper, int(workers.worker.addresses[one]))
    row = row_of(sleeper)
    pid = int(dump.tasks[dump.tasks.address == int(workers.task[one])].pid.iloc[0])
    assert (row["type"], row["name"], row["holder_pid"]) == ("work", "the work vmstat_update", pid)


def test_flush_work_of_softirqs(sleeper, dump):
    """Since Linux 6.9 works can be done there, by workers without a thread."""
    workers = find_workers(dump.kernel)
    without = np.flatnonzero(workers.worker["pool"].true & (workers.task == 0))
    if not len(without):
        pytest.skip("this kernel does no works in softirqs")
    sleeper.sleep("schedule_timeout", COMPLETES, "__flush_work")
    barrier(sleeper, int(workers.worker.addresses[without[0]]))
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("work", "the work vmstat_update")
    assert "its works are done in softirqs" in row["note"]


def test_folio(sleeper, dump):
    where = ("folio_wait_bit_common", "wait_on_page_bit_common")
    sleeper.sleep("io_schedule", where)
    at = sleeper.room(where, "struct wait_page_queue")
    symbols = dump.kernel.symbols
    table = symbols.get("folio_wait_table") or symbols.get("page_wait_table")
    queue_up(sleeper, at + member(dump, "struct wait_page_queue", "wait"), table, "wake_page_function")
    maps = dump.maps[dump.maps.path.str.startswith("/")]
    mapping = maps.kern.field("vm_file->f_mapping")
    pages = dump.pages[dump.pages.mapping.isin(mapping)]
    page, path = page_of(dump, int(pages.pfn.iloc[0])), maps.path[mapping == pages.mapping.iloc[0]].iloc[0]
    names = [each.name for each in dump.kernel.find_type("struct wait_page_queue").members]
    sleeper.overlay.set("struct wait_page_queue", at, "folio" if "folio" in names else "page", page)
    row = row_of(sleeper)
    assert (row["type"], row["object"]) == ("folio", page)
    folio = "folio" if dump.kernel.types.has_member("struct folio", "index") else "page"
    assert row["name"] == f"page {int(dump.struct(folio, page).index):,} of {path}"


def test_futex_with_priority_inheritance(sleeper, dump):
    """The kernel knows who has it, by an rt_mutex of its own: what is waited for is the futex."""
    sleeper.sleep(
        ("rt_mutex_slowlock_block", "__rt_mutex_slowlock"), "rt_mutex_wait_proxy_lock", "futex_lock_pi"
    )
    overlay, made = sleeper.overlay, bytearray(4096)
    queued = sleeper.room("futex_lock_pi", "struct futex_q")
    above = dump.kernel.find_type("struct futex_q").size
    waiter = sleeper.room("futex_lock_pi", "struct rt_mutex_waiter", above)
    state = overlay.make(1, lambda _: bytes(made))
    owner, pid = task_of(dump, "kthreadd")
    base = "struct rt_mutex_base" if dump.kernel.type_or_none("struct rt_mutex_base") else "struct rt_mutex"
    mutex = member(dump, "struct futex_pi_state", "pi_mutex")
    put(made, mutex + member(dump, base, "owner"), owner | 1)
    overlay.set("struct futex_q", queued, "task", sleeper.task)
    overlay.set("struct futex_q", queued, "lock_ptr", dump.symbol("console_sem"))
    overlay.set("struct futex_q", queued, "pi_state", state)
    overlay.set("struct futex_q", queued, "key.both.word", 0x5000)
    overlay.set("struct futex_q", queued, "key.both.offset", 0x128)
    enlist(overlay, queued + member(dump, "struct futex_q", "list.node_list"))
    overlay.set("struct rt_mutex_waiter", waiter, "task", sleeper.task)
    overlay.set("struct rt_mutex_waiter", waiter, "lock", state + mutex)
    overlay.set("struct task_struct", sleeper.task, "pi_blocked_on", waiter)
    row = row_of(sleeper)
    assert (row["type"], row["object"], row["holder_pid"]) == ("futex", 0x5128, pid)
    assert row["name"] == f"memory of sleep ({sleeper.pid})"


def test_bit(sleeper, dump):
    sleeper.sleep("bit_wait_io", "__wait_on_bit", "out_of_line_wait_on_bit")
    at = sleeper.room("out_of_line_wait_on_bit", "struct wait_bit_queue_entry")
    queue_up(
        sleeper,
        at + member(dump, "struct wait_bit_queue_entry", "wq_entry"),
        dump.symbol("bit_wait_table"),
        "wake_bit_function",
    )
    where = dump.symbol("console_sem")
    sleeper.overlay.set("struct wait_bit_queue_entry", at, "key.flags", where)
    row = row_of(sleeper)
    assert (row["type"], row["object"], row["name"]) == ("bit", where, "console_sem")


@pytest.mark.parametrize(
    ("functions", "type_name", "queue", "kind"),
    [
        (("pipe_read", "anon_pipe_read"), "struct pipe_inode_info", "rd_wait", "pipe"),
        (("pipe_write", "anon_pipe_write"), "struct pipe_inode_info", "wr_wait", "pipe"),
        ("eventfd_read", "struct eventfd_ctx", "wqh", "wait_queue"),
    ],
)
def test_queues_of_files(sleeper, dump, functions, type_name, queue, kind):
    """By the file on the stack of who reads or writes: the file as it is called in /proc/PID/fd."""
    sleeper.sleep(functions, ("vfs_read", "vfs_write"))
    maps = dump.maps[dump.maps.path.str.startswith("/")]
    file, path = int(maps.kern.field("vm_file").iloc[0]), maps.path.iloc[0]
    behind = dump.symbol("console_sem")
    at = sleeper.room(functions, "struct wait_queue_entry")
    queue_up(sleeper, at, behind + member(dump, type_name, queue))
    sleeper.overlay.set("struct file", file, "private_data", behind)
    sleeper.overlay.word(sleeper.frames["vfs_read"][0], file)
    row = row_of(sleeper)
    assert (row["type"], row["object"], row["name"]) == (kind, behind, path)


def test_pipes_of_the_lab():
    """Against /proc/PID/fd of the same threads."""
    folders = captures("probes-*")
    if not folders:
        pytest.skip("KERNLAB_LAB_CAPTURES names no folder with captures of the lab's scenario probes")
    for folder in folders:
        truth = Truth(folder / "truth.tar.xz")
        with kernlab.open(folder / "vmcore") as dump:
            rows = dump.waits[dump.waits.type == "pipe"]
            assert len(rows)
            for pid, name in zip(rows.pid, rows.name, strict=True):
                assert f"-> {name}" in truth.text(f"p/{pid}/fd")


def disk_of(dump, queue):
    if "disk" in dir(queue):
        return str(queue.disk.disk_name) if queue.disk is not None else ""
    parent = queue["kobj.parent"]
    return dump.read(int(parent.name), 16).partition(b"\0")[0].decode() if parent is not None else ""


def hardware_queue(dump):
    """Of vda: a blk_mq_hw_ctx, its tags, and where one waits for one."""
    kernel = dump.kernel
    queues = dump.slab_objects("request_queue")
    for address in queues[queues.allocated].address:
        queue = dump.struct("request_queue", int(address))
        if queue.queue_ctx is None or disk_of(dump, queue) != "vda":
            continue
        first = dump.struct("blk_mq_ctx", int(percpu(kernel, int(queue.queue_ctx), np.array([0]))[0]))
        hardware = int(first.hctxs[0])
        tags = int(dump.struct("blk_mq_hw_ctx", hardware).tags)
        if tags:
            bitmap = dump.struct("blk_mq_tags", tags).bitmap_tags
            return hardware, tags, int(bitmap.ws)
    raise AssertionError("no disk has tags")


def test_journal(sleeper, dump):
    """Who waits for a commit waits for the journal's thread, and that for who writes to the transaction."""
    if dump.kernel.type_or_none("struct journal_s") is None:
        pytest.skip("this kernel keeps no type information of its modules")
    journals = dump.waits[dump.waits.function == "kjournald2"]
    journal = int(journals.object.iloc[0]) - member(dump, "struct journal_s", "j_wait_commit")
    sleeper.sleep("wait_transaction_locked", "start_this_handle")
    at = sleeper.room("wait_transaction_locked", "struct wait_queue_entry")
    queue_up(sleeper, at, journal + member(dump, "struct journal_s", "j_wait_transaction_locked"))
    row = row_of(sleeper)
    assert (row["type"], row["holder_pid"]) == ("jbd2", journals.pid.iloc[0])


def test_commit(sleeper, dump):
    if dump.kernel.type_or_none("struct journal_s") is None:
        pytest.skip("this kernel keeps no type information of its modules")
    overlay = sleeper.overlay
    journals = dump.waits[dump.waits.function == "kjournald2"]
    journal = int(journals.object.iloc[0]) - member(dump, "struct journal_s", "j_wait_commit")
    sleeper.sleep("jbd2_journal_commit_transaction")
    at = sleeper.room("jbd2_journal_commit_transaction", "struct wait_queue_entry")
    queue_up(sleeper, at, journal + member(dump, "struct journal_s", "j_wait_updates"))
    transaction, made = dump.symbol("console_sem"), bytearray(4096)
    handle = overlay.make(1, lambda _: bytes(made))
    overlay.set("struct journal_s", journal, "j_committing_transaction", transaction)
    put(made, member(dump, "struct jbd2_journal_handle", "h_transaction"), transaction)
    writer, pid = task_of(dump, "kthreadd")
    overlay.set("struct task_struct", writer, "journal_info", handle)
    row = row_of(sleeper)
    assert (row["type"], row["holder_pid"]) == ("jbd2", pid)
    assert row["note"] == "1 thread has its transaction open"


def test_request_tag(sleeper, dump):
    sleeper.sleep("io_schedule", "blk_mq_get_tag")
    overlay = sleeper.overlay
    at = sleeper.room("blk_mq_get_tag", "struct sbq_wait")
    hardware, tags, ws = hardware_queue(dump)
    queue_up(sleeper, at + member(dump, "struct sbq_wait", "wait"), ws)
    kind = dump.kernel.find_type("struct blk_mq_tags")
    own = "__bitmap_tags" if "__bitmap_tags" in [each.name for each in kind.members] else "bitmap_tags"
    overlay.set("struct sbq_wait", at, "sbq", tags + member(dump, "struct blk_mq_tags", own))
    overlay.word(sleeper.room("blk_mq_get_tag", "struct sbq_wait", 56), hardware)
    row = row_of(sleeper)
    assert (row["type"], row["name"]) == ("request", "a tag of vda")


class TestPoll:
    """Tables of files on the stack of who polls."""

    def poll(self, sleeper, file):
        """One entry in the table itself (fs/select.c, do_sys_poll)."""
        sleeper.sleep("schedule_hrtimeout_range_clock", "do_sys_poll")
        at, overlay = sleeper.room("do_sys_poll", "struct poll_wqueues"), sleeper.overlay
        overlay.set("struct poll_wqueues", at, "polling_task", sleeper.task)
        overlay.set("struct poll_wqueues", at, "inline_index", 1)
        entry = at + member(sleeper.dump, "struct poll_wqueues", "inline_entries")
        overlay.set("struct poll_table_entry", entry, "filp", file)
        overlay.set("struct poll_table_entry", entry, "wait_address", sleeper.dump.symbol("log_wait"))

    def test_one_file(self, sleeper, dump):
        maps = dump.maps[dump.maps.path.str.startswith("/")]
        self.poll(sleeper, int(maps.kern.field("vm_file").iloc[0]))
        row = row_of(sleeper)
        assert (row["type"], row["name"], row["note"]) == ("poll", maps.path.iloc[0], "")
        assert row["object"] == dump.symbol("log_wait")

    def test_a_file_that_cannot_be(self, sleeper):
        self.poll(sleeper, 0x7FFE_D7A4_4210)
        row = row_of(sleeper)
        assert (row["type"], row["name"], row["note"]) == ("poll", "no file", "its table of files is damaged")
