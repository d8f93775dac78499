"""Small logs in the kernel's formats, written for these tests: names of functions and modules are made up."""

from __future__ import annotations

#: x86 since 6.10 (arch/x86/mm/fault.c, show_fault_oops; arch/x86/kernel/dumpstack.c).
NULL_WRITE = """\
BUG: kernel NULL pointer dereference, address: 0000000000000018
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 0 P4D 0
Oops: Oops: 0002 [#1] SMP NOPTI
CPU: 3 UID: 0 PID: 812 Comm: billing worker Tainted: G           OE       6.12.9-test #1 PREEMPT(voluntary)
Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE
Hardware name: Test Machine
RIP: 0010:shop_total.isra.0+0x1c/0x30 [shop]
Code: 00 00 0f 1f 44 00 00
RSP: 0018:ffffc90000a07d90 EFLAGS: 00010246
RAX: 0000000000000000 RBX: ffff888003b5e000 RCX: 0000000000000000
Call Trace:
 <TASK>
 ? __die_body.cold+0x19/0x27
 shop_write+0x5e/0xe0 [shop]
 proc_reg_write+0x5a/0xa0
 vfs_write+0xf8/0x390
 ksys_write+0x6d/0xf0
 do_syscall_64+0x82/0x190
 entry_SYSCALL_64_after_hwframe+0x76/0x7e
RIP: 0033:0x7f0d5a2f1aa7
 </TASK>
Modules linked in: shop(OE) virtio_net
CR2: 0000000000000018
---[ end trace 0000000000000000 ]---"""

#: x86 of 4.9: two addresses before a name.
NULL_OLD = """\
BUG: unable to handle kernel NULL pointer dereference at 0000000000000018
IP: [<ffffffffa0001c1c>] shop_total+0x1c/0x30 [shop]
PGD 0
Oops: 0002 [#1] SMP
Modules linked in: shop(OE)
CPU: 3 PID: 812 Comm: billing Tainted: G           OE   4.9.30 #1
task: ffff88003b5e0000 task.stack: ffffc90000a04000
RIP: 0010:[<ffffffffa0001c1c>]  [<ffffffffa0001c1c>] shop_total+0x1c/0x30 [shop]
RSP: 0018:ffffc90000a07d90  EFLAGS: 00010246
Stack:
 ffffc90000a07db0 ffffffffa0001d5e 0000000000000000 ffff88003b5e0000
Call Trace:
 [<ffffffffa0001d5e>] shop_write+0x5e/0xe0 [shop]
 [<ffffffff81234567>] ? __fget+0x77/0xa0
 [<ffffffff81212345>] vfs_write+0xb5/0x1a0
 [<ffffffff81213456>] SyS_write+0x46/0xa0
 [<ffffffff81800000>] entry_SYSCALL_64_fastpath+0x1e/0xad
Code: 00 00 0f 1f 44 00 00
---[ end trace 2f3a5b6c7d8e9f00 ]---"""

#: arm64 (arch/arm64/mm/fault.c, die_kernel_fault; arch/arm64/kernel/traps.c).
PAGING_ARM64 = """\
Unable to handle kernel paging request at virtual address dead000000000108
Mem abort info:
  ESR = 0x0000000096000004
  EC = 0x25: DABT (current EL), IL = 32 bits
Data abort info:
  ISV = 0, ISS = 0x00000004
  CM = 0, WnR = 1
[dead000000000108] address between user and kernel address ranges
Internal error: Oops: 0000000096000004 [#1] SMP
Modules linked in: shop(O)
CPU: 1 PID: 77 Comm: kworker/1:2 Tainted: G           O       6.1.55 #3
Hardware name: linux,dummy-virt (DT)
pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
pc : shop_drop+0x40/0x90 [shop]
lr : shop_drop+0x24/0x90 [shop]
sp : ffff80000a2c3d20
x29: ffff80000a2c3d20 x28: 0000000000000000 x27: 0000000000000000
Call trace:
 shop_drop+0x40/0x90 [shop]
 process_one_work+0x1f4/0x460
 worker_thread+0x188/0x4e0
 kthread+0xe0/0xe4
 ret_from_fork+0x10/0x20
Code: f9400000 f9400661 f9000420
---[ end trace 0000000000000000 ]---"""

KASAN = """\
==================================================================
BUG: KASAN: slab-use-after-free in shop_total+0x44/0x90 [shop]
Write of size 8 at addr ffff888003b5e018 by task billing/812

CPU: 3 PID: 812 Comm: billing Not tainted 6.6.3 #1
Hardware name: Test Machine
Call Trace:
 <TASK>
 dump_stack_lvl+0x37/0x50
 print_report+0xcc/0x620
 kasan_report+0xae/0xe0
 ? shop_total+0x44/0x90 [shop]
 shop_total+0x44/0x90 [shop]
 shop_write+0x5e/0xe0 [shop]
 ksys_write+0x6d/0xf0
 do_syscall_64+0x3c/0x90
 </TASK>

Allocated by task 801:
 kasan_save_stack+0x33/0x60
 __kmalloc+0x59/0x150
 shop_open+0x21/0x80 [shop]
 do_dentry_open+0x31c/0x870

Freed by task 804:
 kasan_save_stack+0x33/0x60
 kfree+0x7a/0x120
 shop_release+0x1d/0x30 [shop]
 __fput+0x1fb/0x450

The buggy address belongs to the object at ffff888003b5e000
 which belongs to the cache kmalloc-64 of size 64
Memory state around the buggy address:
 ffff888003b5df00: fc fc fc fc fc fc fc fc
==================================================================
Disabling lock debugging due to kernel taint"""

HUNG = """\
INFO: task order-1:179 blocked for more than 120 seconds.
      Tainted: G           OE      6.12.9-test #1
"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.
task:order-1         state:D stack:0     pid:179   tgid:179   ppid:1      flags:0x00004002
Call Trace:
 <TASK>
 __schedule+0x4ea/0xbe0
 schedule+0x27/0xc0
 schedule_preempt_disabled+0x15/0x30
 __mutex_lock.constprop.0+0x4ce/0x6e0
 shop_order+0x20/0x60 [shop]
 shop_write+0x5e/0xe0 [shop]
 vfs_write+0xf8/0x390
 do_syscall_64+0x82/0x190
 </TASK>"""

SOFT_LOCKUP = """\
watchdog: BUG: soft lockup - CPU#2 stuck for 23s! [receipt-1:143]
Modules linked in: shop(OE)
CPU: 2 PID: 143 Comm: receipt-1 Tainted: G           OE      6.1.0-56-test #1
RIP: 0010:native_queued_spin_lock_slowpath+0x1f4/0x2a0
RSP: 0018:ffffd428403cbbd8 EFLAGS: 00010202
Call Trace:
 <TASK>
 _raw_spin_lock+0x25/0x30
 receipt_print+0x27/0x40 [shop]
 shop_ioctl+0x25d/0x2a9 [shop]
 __x64_sys_ioctl+0x8d/0xd0
 do_syscall_64+0x55/0xb0
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
RIP: 0033:0x4b0642
 </TASK>"""

RCU_STALL = """\
rcu: INFO: rcu_preempt self-detected stall on CPU
rcu: 	1-....: (20999 ticks this GP) idle=4c4/1/0x4000000000000000 softirq=531/531 fqs=5248
rcu: 	(t=21000 jiffies g=853 q=21 ncpus=4)
CPU: 1 PID: 150 Comm: sweeper Tainted: G           OE      6.6.3 #1
RIP: 0010:shop_sweep+0x10/0x20 [shop]
Call Trace:
 <IRQ>
 ? rcu_dump_cpu_stacks+0xc4/0x100
 ? rcu_sched_clock_irq+0x4f2/0x1170
 </IRQ>
 <TASK>
 shop_sweep_all+0x31/0x50 [shop]
 shop_mmap+0x25/0x40 [shop]
 mmap_region+0x277/0x9c0
 do_mmap+0x362/0x4b0
 ksys_mmap_pgoff+0x16c/0x210
 do_syscall_64+0x3c/0x90
 </TASK>"""

DEADLOCK = """\
======================================================
WARNING: possible circular locking dependency detected
6.6.3 #1 Tainted: G           OE
------------------------------------------------------
refund/177 is trying to acquire lock:
ffffffffc0a3e0a0 (cart_lock){+.+.}-{3:3}, at: refund_pay+0x1d/0x50 [shop]

but task is already holding lock:
ffffffffc0a3e040 (till_lock){+.+.}-{3:3}, at: refund_begin+0x12/0x30 [shop]

which lock already depends on the new lock.

the existing dependency chain (in reverse order) is:

-> #1 (till_lock){+.+.}-{3:3}:
       __mutex_lock+0x9e/0x9a0
       checkout_pay+0x33/0x60 [shop]

stack backtrace:
CPU: 0 PID: 177 Comm: refund Tainted: G           OE      6.6.3 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x57/0x90
 check_noncircular+0x126/0x140
 __lock_acquire+0x135f/0x2100
 lock_acquire+0xc0/0x2b0
 __mutex_lock+0x9e/0x9a0
 refund_pay+0x1d/0x50 [shop]
 </TASK>"""

LIST_BUG = """\
list_del corruption. prev->next should be ffff888003b5e010, but was dead000000000100. (prev=ffff888003b5e020)
------------[ cut here ]------------
kernel BUG at lib/list_debug.c:59!
invalid opcode: 0000 [#1] PREEMPT SMP PTI
CPU: 0 PID: 90 Comm: cart Not tainted 5.10.197 #1
RIP: 0010:__list_del_entry_valid.cold+0x1d/0x69
Call Trace:
 cart_remove+0x15/0x60 [shop]
 cart_sweep+0x33/0x50 [shop]
 kthread+0x11b/0x140
 ret_from_fork+0x22/0x30
---[ end trace 3b5c2e8f0d1a4c6e ]---"""

WARNING = """\
------------[ cut here ]------------
refcount_t: underflow; use-after-free.
WARNING: CPU: 1 PID: 55 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
Modules linked in: shop(OE)
CPU: 1 PID: 55 Comm: till Tainted: G           OE      6.1.90 #1
RIP: 0010:refcount_warn_saturate+0xba/0x110
Call Trace:
 <TASK>
 till_close+0x22/0x40 [shop]
 __fput+0x91/0x250
 task_work_run+0x59/0x90
 </TASK>
---[ end trace 0000000000000000 ]---"""

PANIC = "Kernel panic - not syncing: "

NULL_TITLE = "BUG: unable to handle kernel NULL pointer dereference in shop_total"
PAGING_TITLE = "BUG: unable to handle kernel paging request in shop_drop"

#: (log, kind, title, function, module)
ALL = {
    "null": (NULL_WRITE, "null dereference", NULL_TITLE, "shop_total", "shop"),
    "null of 4.9": (NULL_OLD, "null dereference", NULL_TITLE, "shop_total", "shop"),
    "arm64": (PAGING_ARM64, "bad pointer", PAGING_TITLE, "shop_drop", "shop"),
    "kasan": (KASAN, "use after free", "KASAN: slab-use-after-free Write in shop_total", "shop_total", "shop"),
    "hung": (HUNG, "hung task", "INFO: task hung in shop_order", "shop_order", "shop"),
    "soft lockup": (SOFT_LOCKUP, "soft lockup", "BUG: soft lockup in shop_ioctl", "shop_ioctl", "shop"),
    "rcu": (RCU_STALL, "RCU stall", "INFO: rcu detected stall in shop_mmap", "shop_mmap", "shop"),
    "deadlock": (DEADLOCK, "lock bug", "possible deadlock in refund_pay", "refund_pay", "shop"),
    "list": (LIST_BUG, "list corruption", "BUG: corrupted list in cart_remove", "cart_remove", "shop"),
    "refcount": (WARNING, "refcount", "WARNING: refcount bug in till_close", "till_close", "shop"),
}  # fmt: skip
