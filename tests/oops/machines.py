"""Reports of other machines, and of parts of the kernel that say more than a stack: written for these tests."""

from __future__ import annotations

POWERPC = """\
BUG: Kernel NULL pointer dereference on write at 0x00000018
Faulting instruction address: 0xc00800000f4d1c1c
Oops: Kernel access of bad area, sig: 11 [#1]
LE PAGE_SIZE=64K MMU=Radix SMP NR_CPUS=2048 NUMA pSeries
Modules linked in: shop(OE)
CPU: 3 PID: 812 Comm: billing Tainted: G           OE      6.1.55 #1
NIP:  c00800000f4d1c1c LR: c00800000f4d1d5e CTR: c0000000005f1000
REGS: c00000000a2c3a10 TRAP: 0300   Tainted: G           OE       (6.1.55)
NIP [c00800000f4d1c1c] shop_total+0x1c/0x30 [shop]
LR [c00800000f4d1d5e] shop_write+0x5e/0xe0 [shop]
Call Trace:
[c00000000a2c3cb0] [c00800000f4d1d5e] shop_write+0x5e/0xe0 [shop] (unreliable)
[c00000000a2c3cf0] [c0000000005f1234] vfs_write+0xf4/0x4a0
[c00000000a2c3d50] [c0000000005f1888] ksys_write+0x88/0x150
---[ end trace 0000000000000000 ]---"""

S390 = """\
Unable to handle kernel pointer dereference in virtual kernel address space
Failing address: 0000000000000000 TEID: 0000000000000483
Fault in home space mode while using kernel ASCE.
AS:0000000001a28007 R3:00000000ffff4007
Oops: 0004 ilc:3 [#1] SMP
Modules linked in: shop(OE)
CPU: 0 PID: 812 Comm: billing Tainted: G           OE      6.1.55 #1
Krnl PSW : 0704e00180000000 000003ff80151c1c (shop_total+0x1c/0x30 [shop])
Krnl GPRS: 0000000000000000 0000000000000000 0000000000000000 0000000000000000
Call Trace:
 [<000003ff80151c1c>] shop_total+0x1c/0x30 [shop]
([<000003ff80151c10>] shop_total+0x10/0x30 [shop])
 [<000003ff80151d5e>] shop_write+0x5e/0xe0 [shop]
 [<00000000003f1234>] vfs_write+0xf4/0x4a0
Last Breaking-Event-Address:
 [<000003ff80151d58>] shop_write+0x58/0xe0 [shop]
---[ end trace 0000000000000000 ]---"""

RISCV = """\
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000018
Oops [#1]
Modules linked in: shop(OE)
CPU: 0 PID: 812 Comm: billing Tainted: G           OE      6.1.55 #1
Hardware name: riscv-virtio,qemu (DT)
epc : shop_total+0x1c/0x30 [shop]
 ra : shop_write+0x5e/0xe0 [shop]
epc : ffffffff01a2dc1c ra : ffffffff01a2dd5e sp : ffffffc80a2c3d20
status: 0000000200000120 badaddr: 0000000000000018 cause: 000000000000000f
[<ffffffff01a2dc1c>] shop_total+0x1c/0x30 [shop]
[<ffffffff01a2dd5e>] shop_write+0x5e/0xe0 [shop]
[<ffffffff802f1234>] vfs_write+0xf4/0x4a0
---[ end trace 0000000000000000 ]---"""

ARM = """\
8<--- cut here ---
Unable to handle kernel NULL pointer dereference at virtual address 00000018 when write
[00000018] *pgd=00000000
Internal error: Oops: 805 [#1] SMP ARM
Modules linked in: shop(O)
CPU: 1 PID: 812 Comm: billing Tainted: G           O       6.1.55 #1
Hardware name: Generic DT based system
PC is at shop_total+0x1c/0x30 [shop]
LR is at shop_write+0x5e/0xe0 [shop]
pc : [<bf000c1c>]    lr : [<bf000d5e>]    psr: 60000013
 shop_total [shop] from shop_write+0x5e/0xe0 [shop]
 shop_write [shop] from vfs_write+0xf4/0x4a0
 vfs_write from ksys_write+0x88/0x150
Code: e1a00000 e1a00000
---[ end trace 0000000000000000 ]---"""

X86_32 = """\
BUG: kernel NULL pointer dereference, address: 00000018
#PF: supervisor write access in kernel mode
*pde = 00000000
Oops: 0002 [#1] SMP
CPU: 1 PID: 812 Comm: billing Tainted: G           OE      6.1.55 #1
EIP: shop_total+0x1c/0x30 [shop]
Code: 00
EAX: 00000000 EBX: c1a2b3c4 ECX: 00000000 EDX: 00000000
Call Trace:
 shop_write+0x5e/0xe0 [shop]
 vfs_write+0xf4/0x4a0
EIP: 0xb7f1c549
---[ end trace 0000000000000000 ]---"""

WARNING_NEW = """\
------------[ cut here ]------------
WARNING: drivers/shop/a.c:77 at shop_total+0x1c/0x30 [shop], CPU#3: billing/812
Modules linked in: shop(OE)
CPU: 3 UID: 0 PID: 812 Comm: billing Tainted: G           OE       6.18.0 #1 PREEMPT(voluntary)
RIP: 0010:shop_total+0x1c/0x30 [shop]
Call Trace:
 <TASK>
 shop_write+0x5e/0xe0 [shop]
 </TASK>
---[ end trace 0000000000000000 ]---"""

SLUB = """\
=============================================================================
BUG kmalloc-64 (Tainted: G    B      OE     ): Poison overwritten
-----------------------------------------------------------------------------

0xffff888003b5e018-0xffff888003b5e01f @offset=24. First byte 0x0 instead of 0x6b
Allocated in shop_open+0x21/0x80 [shop] age=12 cpu=1 pid=801
 __kmalloc+0x59/0x150
 shop_open+0x21/0x80 [shop]
Freed in shop_release+0x1d/0x30 [shop] age=3 cpu=2 pid=804
 kfree+0x7a/0x120
 shop_release+0x1d/0x30 [shop]
Slab 0x1 objects=16 used=1
Object 0xffff888003b5e000 @offset=0 fp=0x0
CPU: 3 PID: 812 Comm: billing Tainted: G    B      OE      6.6.3 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x37/0x50
 check_bytes_and_report+0x100/0x110
 check_object+0x1f0/0x2a0
 alloc_debug_processing+0x6a/0x1b0
 ___slab_alloc+0x9a1/0xf20
 __kmalloc+0x89/0x150
 shop_next+0x21/0x80 [shop]
 </TASK>
FIX kmalloc-64: Restoring Poison"""

OOM = """\
glutton invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
CPU: 1 PID: 165 Comm: glutton Not tainted 5.10.0-46 #1
Call Trace:
 dump_stack+0x6b/0x83
 dump_header+0x4a/0x1f5
 oom_kill_process.cold+0xb/0x10
 out_of_memory+0x101/0x4f0
 mem_cgroup_out_of_memory+0x133/0x150
memory: usage 65536kB, limit 65536kB, failcnt 27
Memory cgroup out of memory: Killed process 165 (glutton) total-vm:131kB"""

MCE = """\
mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 1: be00000000800400
mce: [Hardware Error]: TSC 0 ADDR 100
mce: [Hardware Error]: Machine check: Processor context corrupt
Kernel panic - not syncing: Fatal machine check"""

NETDEV = """\
------------[ cut here ]------------
NETDEV WATCHDOG: eth0 (virtio_net): transmit queue 0 timed out
WARNING: CPU: 1 PID: 0 at net/sched/sch_generic.c:525 dev_watchdog+0x1f9/0x200
CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.90 #1
RIP: 0010:dev_watchdog+0x1f9/0x200
Call Trace:
 <IRQ>
 call_timer_fn+0x24/0x130
 </IRQ>
---[ end trace 0000000000000000 ]---"""
