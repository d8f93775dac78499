"""Which functions work for any caller, by the files of the kernel's sources that define them; and Rust's names."""

from __future__ import annotations

from typing import get_args

import pytest

from kernlab.oops import parse
from kernlab.oops.frames import Frame, frames_of
from kernlab.oops.functions import is_boilerplate, telling
from kernlab.oops.helpers import Group, helps
from kernlab.oops.lines import Line
from kernlab.oops.rust import demangled
from kernlab.oops.sections import sections_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("__kasan_check_write", "reports"),
        ("dump_stack_lvl", "reports"),
        ("rwsem_down_write_slowpath", "waits"),
        ("kmem_cache_alloc_bulk", "allocates"),
        ("__alloc_pages", "allocates"),
        ("skb_put", "allocates"),
        ("strnstr", "copies"),
        ("rb_erase", "copies"),
        ("device_add", "serves"),
        ("sysfs_remove_group", "serves"),
        ("mod_timer", "serves"),
        ("mark_buffer_dirty", "serves"),
        ("filemap_add_folio", "serves"),
        ("perf_trace_init", "serves"),
        ("tty_unregister_device", "unregisters"),
        ("i2c_del_adapter", "unregisters"),
        ("blk_mq_unregister_disk", ""),  # no driver can call it
        ("filemap_read", ""),  # is what a file system hands on as its own
        ("ext4_writepages", ""),
        ("icmp_send", ""),  # where an option is off, a header has an empty one
        ("perf_event_mmap", ""),
        ("test_kmalloc_aligned_oob_write", ""),
    ],
)
def test_a_function_is_of_the_group_of_its_file(name, group):
    assert [each for each in get_args(Group) if helps(name, each)] == ([group] if group else [])


def test_a_familys_end_is_any_but_its_beginning_is_not():
    assert helps("__kfence_of_another_release", "reports")
    assert not helps("__kfence", "reports")
    assert not helps("_", "allocates")


def test_a_module_has_functions_of_its_own_whatever_they_are_called():
    assert is_boilerplate("create_object")
    stack = [Frame("device_add", module="shop"), Frame("shop_probe", module="shop")]
    assert [frame.name for frame in telling(stack)] == ["device_add", "shop_probe"]
    assert [frame.name for frame in telling([Frame("device_add"), stack[1]])] == ["shop_probe"]


def test_of_helpers_alone_the_outermost_is_told():
    stack = [Frame("_raw_spin_lock"), Frame("mod_timer"), Frame("queue_delayed_work_on"), Frame("kthread")]
    assert telling(stack)[0].name == "queue_delayed_work_on"


def test_of_reporting_functions_alone_the_outermost_is_told():
    stack = [Frame("dump_stack"), Frame("check_preemption_disabled"), Frame("__dabt_svc")]
    assert telling(stack)[0].name == "__dabt_svc"


@pytest.mark.parametrize("core", ["", "videodev"])
def test_a_driver_that_unregisters_is_told_and_not_who_does_it_for_all(core):
    stack = [
        Frame("device_del"),
        Frame("video_unregister_device", module=core),
        Frame("shop_exit", module="shop"),
    ]
    assert [frame.name for frame in telling(stack)] == ["shop_exit"]
    assert [frame.name for frame in telling(stack, "wait")] == [
        "device_del",
        "video_unregister_device",
        "shop_exit",
    ]
    own = [Frame("shop_unregister_counter", module="shop"), Frame("shop_exit", module="shop")]
    assert telling(own)[0].name == "shop_unregister_counter"


def test_probes_of_a_tracepoint_work_for_whoever_has_it():
    stack = [
        Frame("perf_trace_lock"),
        Frame("trace_event_raw_event_lock"),
        Frame("bpf_trace_run3"),
        Frame("shop_pay"),
    ]
    assert [frame.name for frame in telling(stack)] == ["shop_pay"]


NOWHERE = """\
BUG: unable to handle {what}
PGD 0 P4D 0
Oops: 0010 [#1] SMP
CPU: 1 PID: 77 Comm: b Not tainted 4.15.0+ #221
RIP: 0010:{place}
RSP: 0018:ffff88021fd07d10 EFLAGS: 00010006
Call Trace:
 <IRQ>
 ? call_timer_fn+0x2b1/0x630
 __run_timers+0xeef/0x1390
 run_timer_softirq+0x45/0xb0
 apic_timer_interrupt+0x86/0x90
RIP: 0010:shop_total+0x163/0x260
RSP: 0018:ffff8801aa906f20 EFLAGS: 00000297 ORIG_RAX: ffffffffffffff10
 </IRQ>
 shop_close+0x1/0x30
 entry_SYSCALL_64_fastpath+0x1e/0xa0"""


@pytest.mark.parametrize(
    ("what", "place", "told"),
    [
        ("kernel paging request at ffffffffffffffff", "0xffffffffffffffff", "__run_timers"),
        ("kernel NULL pointer dereference at           (null)", "          (null)", "__run_timers"),
        ("kernel paging request at ffffffffffffffff", "memcpy+0x1/0x10", "run_timer_softirq"),
    ],
)
def test_who_calls_through_a_bad_pointer_is_told_even_if_it_calls_for_all(what, place, told):
    assert parse(NOWHERE.format(what=what, place=place))["function"].tolist() == [told]


def test_an_allocator_that_takes_a_lock_of_its_own_is_told_but_not_what_all_ask_for_memory():
    stack = [
        Frame("lock_acquire"),
        Frame("_raw_spin_lock"),
        Frame("deactivate_slab"),
        Frame("kmem_cache_alloc"),
    ]
    assert [frame.name for frame in telling([*stack, Frame("shop_pay")], "lock")] == [
        "deactivate_slab",
        "shop_pay",
    ]
    assert [frame.name for frame in telling([*stack, Frame("shop_pay")])] == ["shop_pay"]
    log = """\
================================
WARNING: inconsistent lock state
5.9.0-1 #15 Not tainted
--------------------------------
inconsistent {IN-SOFTIRQ-W} -> {SOFTIRQ-ON-W} usage.

stack backtrace:
CPU: 1 PID: 77 Comm: b Not tainted 5.9.0-1 #15
Call Trace:
 dump_stack+0x1b0/0x254
 print_usage_bug+0x1/0x2
 lock_acquire+0x69c/0xa68
 fs_reclaim_acquire+0x170/0x1b0
 kmem_cache_alloc_node+0x1/0x2
 shop_pay+0x418/0x798"""
    assert parse(log)["function"].tolist() == ["fs_reclaim_acquire"]


def test_a_check_that_a_lock_report_names_is_not_who_took_the_lock():
    log = """\
=====================================
WARNING: bad unlock balance detected!
5.9.0-1 #15 Not tainted
-------------------------------------
b/77 is trying to release lock (&mm->mmap_lock) at:
[<ffffa00010726344>] {at}+0x154/0x1b0
but there are no more locks to release!

other info that might help us debug this:
no locks held by b/77.

stack backtrace:
CPU: 1 PID: 77 Comm: b Not tainted 5.9.0-1 #15
Call trace:
 dump_stack+0x1b0/0x254
 lock_release+0x69c/0xa68
 __might_fault+0x170/0x1b0
 shop_pay+0x418/0x798"""
    tables = [parse(log.format(at=name)) for name in ("__might_fault", "shop_lock_cart")]
    assert [table["function"].tolist() for table in tables] == [["shop_pay"], ["shop_lock_cart"]]
    assert "__might_fault+0x170/0x1b0" in tables[0]["frames"][0]


def test_who_gave_memory_away_is_no_helper_for_it():
    leak = (
        "BUG: KMSAN: kernel-infoleak in _copy_to_iter+0x1/0x2\n _copy_to_iter+0x1/0x2\n filemap_read+0x1/0x2"
    )
    assert parse(leak)["function"].tolist() == ["filemap_read"]


def test_who_asked_for_memory_that_nobody_freed_is_told_and_not_who_gave_it():
    leak = """\
BUG: memory leak
unreferenced object 0xffff8881112c5000 (size 1024):
  comm "b", pid 77, jiffies 4294937296 (age 12.345s)
  backtrace:
    [<00000000a1b2c3d4>] __kmalloc+0x1/0x2
    [<00000000a1b2c3d4>] shop_cart_alloc+0x1/0x2
    [<00000000a1b2c3d4>] shop_pay+0x1/0x2"""
    assert parse(leak)["function"].tolist() == ["shop_pay"]
    assert telling([Frame("shop_cart_alloc"), Frame("shop_pay")])[0].name == "shop_cart_alloc"


def test_stacks_of_a_trap_are_those_with_registers():
    lines = """\
Call Trace:
general protection fault: 0000 [#1] SMP KASAN
 ? shop_other+0x12/0x49
 shop_alloc+0x4f0/0x650
CPU: 0 PID: 77 Comm: b Not tainted 4.15.0+ #221
RIP: 0010:shop_total+0x1/0x30
Call Trace:
 shop_write+0x1/0x30"""
    assert parse(lines)["function"].tolist() == ["shop_total"]


@pytest.mark.parametrize(
    ("symbol", "path"),
    [
        ("_RNvMs3_NtCshgDM7dBCdno_4shop4cartNtB5_4Cart3pay", "<shop::cart::Cart>::pay"),
        (
            "_RNvXs_Cs123_4shopNtB4_4CartNtNtCsabc_6kernel3foo5Trait3pay",
            "<shop::Cart as kernel::foo::Trait>::pay",
        ),
        ("_RNvNtCs9jEwPDbx20M_4core9panicking9panic_fmt", "core::panicking::panic_fmt"),
        ("_RINvCs1_4shop3paymRShE", "shop::pay"),
        ("_RNCNvCs1_4shop3pay0B3_", "shop::pay::{closure}"),
        ("_RNvMCs1_4shopINtB2_3VecAhj4_E3pay", "<shop::Vec::<[u8; 0x4]>>::pay"),
    ],
)
def test_paths_of_rust(symbol, path):
    assert demangled(symbol) == path
    assert demangled(f"{symbol}.llvm.12345") == path


@pytest.mark.parametrize(
    "name",
    [
        "_R",
        "_RB_",
        "_RNvB_",
        "_RNvNvNv",
        "_RNvC9999999shop",
        "_R" + "Nv" * 3000,
        "_RMB0_",
        "_RNvC4shopu3pay",
        "pay",
    ],
)
def test_what_is_no_path_stays(name):
    assert demangled(name) == name


def test_a_signature_has_no_hash_of_a_crate():
    log = """\
rust_kernel: panicked at shop.rs:1:1:
------------[ cut here ]------------
kernel BUG at rust/helpers/bug.c:7!
Oops: invalid opcode: 0000 [#1] SMP
RIP: 0010:rust_helper_BUG+0x1/0x2
Call Trace:
 _RNvCs{hash}_7___rustc17rust_begin_unwind+0x1/0x2
 _RNvNtCs{hash}_4core9panicking9panic_fmt+0x1/0x2
 _RNvMs3_NtCs{hash}_4shop4cartNtB5_4Cart3pay+0x1/0x2
 shop_write+0x1/0x2"""
    one, two = (parse(log.replace("{hash}", each)).iloc[0] for each in ("hgDM7dBCdno", "9jEwPDbx20M"))
    assert one.function == two.function == "<shop::cart::Cart>::pay"
    assert one.signature == two.signature == "v1:bug:kernel:shop::cart::Cart::pay<shop_write"


def test_a_return_address_behind_a_function_is_not_of_it():
    """Its caller does not return: the name is that of what lies behind."""
    frames = [Frame("shop_next", 0x20, 0x20, "shop"), Frame("shop_pay", 1, 0x20, "shop")]
    assert telling(frames)[0].name == "shop_pay"


def test_what_a_tick_interrupted_lasts_and_what_ran_above_it_does_not():
    names = (
        "bell_ring",
        "sysvec_apic_timer_interrupt",
        "asm_sysvec_apic_timer_interrupt",
        "shop_spin",
        "shop_write",
    )
    frames = [Frame(name, 1, 2, "shop" if name.startswith(("bell", "shop")) else "") for name in names]
    assert telling(frames, "stall")[0].name == "shop_spin"


def test_frames_that_a_machine_is_not_sure_of():
    """arch/powerpc/kernel/process.c, show_stack."""
    assert not frames_of("[c000000001234567] [c000000000012345] shop_pay+0x1/0x2 (unreliable)").reliable
    assert frames_of("[c000000001234567] [c000000000012345] shop_pay+0x1/0x2").reliable


def test_what_follows_the_registers_of_user_space_is_another_stack():
    lines = (" shop_pay+0x1/0x2", "RIP: 0033:0x7f12", " other+0x1/0x2")
    (section,) = sections_of(Line(number, text, None, "") for number, text in enumerate(lines))
    assert [frame.name for frame in section.frames] == ["shop_pay"]
