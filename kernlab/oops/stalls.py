"""Forms of what does not go on: tasks that hang, CPUs that spin, RCU and workqueues that wait, disks and networks."""

from __future__ import annotations

from kernlab.oops.forms import form

_TASK = r"(?P<task>[^\n]{1,64}?):(?P<pid>\d{1,8})"

FORMS = (
    form(
        "hung task",
        " blocked ",
        rf"INFO: task {_TASK} blocked (?:in I/O wait )?for more than (?P<seconds>\d{{1,8}}) seconds",
        "INFO: task hung in {function}",
        "kernel/hung_task.c, check_hung_task (hung_task_info)",
        blame="waiting",
    ),
    form(
        "hung task",
        " blocked ",
        r"[^\n]{0,64}?:(?P<pid>\d{1,8}) blocked (?:in I/O wait )?for more than (?P<seconds>\d{1,8}) seconds",
        "INFO: task hung in {function}",
        "kernel/hung_task.c, of a task in whose name is a line's end",
        blame="waiting",
        below="INFO: task ",
    ),
    form(
        "hung task",
        "can't die for more than",
        rf"INFO: task {_TASK} can't die for more than (?P<seconds>\d{{1,8}}) seconds",
        "INFO: task can't die in {function}",
        "kernel/hung_task.c of linux-next",
        blame="waiting",
    ),
    form(
        "soft lockup",
        "BUG: soft lockup",
        r"(?:(?:NMI )?watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d{1,5}) stuck for (?P<seconds>\d{1,8})s! "
        r"\[(?P<comm>[^\n]{1,64}?):(?P<pid>\d{1,8})\]",
        "BUG: soft lockup in {function}",
        "kernel/watchdog.c, watchdog_timer_fn",
        blame="stalled",
    ),
    form(
        "soft lockup",
        "BUG: soft lockup",
        r"(?:(?:NMI )?watchdog: )?BUG: soft lockup",
        "BUG: soft lockup in {function}",
        "kernel/watchdog.c, watchdog_timer_fn, cut within its line",
        blame="stalled",
    ),
    form(
        "hard lockup",
        "ard LOCKUP",
        r"(?:(?:NMI )?watchdog: )?(?:CPU(?P<by>\d{1,5}): )?Watchdog (?:CPU:\d{1,5} )?detected hard LOCKUP on "
        r"cpu (?P<cpu>\d{1,5})",
        "watchdog: hard LOCKUP in {function}",
        "kernel/watchdog.c, watchdog_hardlockup_check",
        blame="stalled",
    ),
    form(
        "hard lockup",
        "ard LOCKUP",
        r"(?:watchdog: )?CPU (?P<cpu>\d{1,5}) self-detected hard LOCKUP @ ",
        "watchdog: hard LOCKUP in {function}",
        "arch/powerpc/kernel/watchdog.c, soft_nmi_interrupt",
        blame="stalled",
    ),
    form(
        "hard lockup",
        "ard LOCKUP",
        r"(?:watchdog: )?CPU (?P<by>\d{1,5}) detected hard LOCKUP on other CPUs (?P<cpu>\d{1,5})?",
        "watchdog: hard LOCKUP in {function}",
        "arch/powerpc/kernel/watchdog.c, watchdog_smp_panic; of several CPUs the first",
        blame="stalled",
    ),
    form(
        "RCU stall",
        "detected",
        r"(?:rcu: )?(?:INFO: )?(?P<flavour>[\w-]{1,40}) (?:self-)?detected (?:expedited )?stalls? on CPU",
        "INFO: rcu detected stall in {function}",
        "kernel/rcu/tree_stall.h, print_cpu_stall, print_other_cpu_stall; kernel/rcu/tree_exp.h",
        blame="stalled",
    ),
    form(
        "RCU stall",
        "rcu_tasks detected stalls",
        r"(?:rcu: )?INFO: (?P<flavour>rcu_tasks\w{0,16}) detected stalls on tasks",
        "INFO: rcu detected stall in {function}",
        "kernel/rcu/tasks.h, check_all_holdout_tasks",
        blame="waiting",
    ),
    form(
        "workqueue stall",
        "BUG: workqueue lockup",
        r"BUG: workqueue lockup - pool",
        "BUG: workqueue lockup",
        "kernel/workqueue.c, wq_watchdog_timer_fn",
        blame="none",
    ),
    form(
        "I/O error",
        " error, dev ",
        r"(?:blk_update_request: |print_req_error: )?(?P<error>[\w/]{1,16}(?: \w{1,16}){0,2}) error, "
        r"dev (?P<device>\S{1,32}), sector (?P<sector>\d{1,20})",
        "I/O error on {device}",
        "block/blk-mq.c, blk_print_req_error",
        blame="none",
    ),
    form(
        "I/O error",
        ": failed command: ",
        r"(?P<device>ata\d{1,5}\.\d\d): failed command: (?P<command>[^\n]{1,60})",
        "{command} failed on {device}",
        "drivers/ata/libata-eh.c, ata_eh_link_report",
        blame="none",
    ),
    form(
        "I/O error",
        "Buffer I/O error",
        r"Buffer I/O error on dev(?:ice)? (?P<device>[^\s,]{1,32})",
        "Buffer I/O error on {device}",
        "fs/buffer.c, buffer_io_error",
        blame="none",
    ),
    form(
        "file system error",
        "-fs error",
        r"(?P<fs>EXT[234])-fs error \(device (?P<device>[^)\n]{1,32})\)(?::| in) (?P<function>\w{1,64}):\d{1,7}: "
        r"[^\n]{0,200}",
        "{fs}-fs error in {function}",
        "fs/ext4/super.c, __ext4_error",
        blame="head",
    ),
    form(
        "file system error",
        "Remounting filesystem read-only",
        r"(?P<fs>[\w-]{1,16}) \((?P<device>[^)\n]{1,32})\): Remounting filesystem read-only",
        "{fs}: {device} remounted read-only",
        "fs/ext4/super.c, ext4_handle_error",
        blame="none",
    ),
    form(
        "file system error",
        "XFS (",
        r"XFS \((?P<device>[^)\n]{1,32})\): (?P<what>Internal error|Corruption of in-memory data|"
        r"Metadata corruption detected|"
        r"log I/O error|Filesystem has been shut down|User initiated shutdown)",
        "XFS: {what}",
        "fs/xfs/{xfs_error,xfs_fsops}.c",
        blame="none",
    ),
    form(
        "file system error",
        "BTRFS",
        # "BTRFS error (device sda1: state EA): …", and "BTRFS: error (device sda1) in …" of btrfs_handle_fs_error.
        r"BTRFS:? (?:critical|error|info)(?: \(device (?P<device>[^\s):]{1,32})[^)\n]{0,24}\))?[^\n]{0,120}?"
        r"[): ] ?(?P<what>forced readonly|corrupt leaf|corrupt node|errno=-?\d{1,4})",
        "BTRFS: {what}",
        "fs/btrfs/{fs,messages,tree-checker}.c",
        blame="none",
    ),
    form(
        "network stall",
        "NETDEV WATCHDOG: ",
        r"NETDEV WATCHDOG: (?:CPU: \d{1,5}: )?(?P<device>\S{1,32}) ",
        "NETDEV WATCHDOG: transmit queue timed out",
        "net/sched/sch_generic.c, dev_watchdog",
        role="says",
        blame="none",
    ),
    form(
        "network stall",
        "NETDEV WATCHDOG: ",
        r"(?:\S{1,64} \S{1,64} )?(?P<device>[^\s:]{1,32})(?: \([\w ]{1,20}\))?: NETDEV WATCHDOG: CPU: \d{1,5}: "
        r"transmit queue \d{1,6} timed out",
        "NETDEV WATCHDOG: transmit queue timed out",
        "net/sched/sch_generic.c, dev_watchdog since 6.8: no warning, and no stack",
        blame="none",
    ),
    form(
        "network stall",
        "unregister_netdevice: waiting for",
        r"(?:\w{1,16}: )?unregister_netdevice: waiting for (?P<device>\S{1,32}) to become free",
        "unregister_netdevice: waiting for DEV to become free",
        "net/core/dev.c, netdev_wait_allrefs_any",
        blame="none",
    ),
)
