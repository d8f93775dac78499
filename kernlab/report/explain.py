"""A stack in, plain words out: what well-known functions of the kernel do, and what a thread was about."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: What functions do, by their name; the first pattern that matches the whole name.
_KNOWN = (
    (r"__crash_kexec|crash_kexec", "starts the crash kernel that writes the dump"),
    (r"v?panic|nmi_panic", "the kernel gives up"),
    (r"sysrq_handle_crash", "SysRq c: a crash on request"),
    (r"__handle_sysrq|write_sysrq_trigger|sysrq_\w+", "a SysRq command was given"),
    (r"out_of_memory|oom_kill_process|dump_header", "memory has run out: the OOM killer"),
    (r"__alloc_pages\w*|alloc_pages\w*|__folio_alloc\w*|vma_alloc_folio\w*|folio_alloc\w*", "takes pages of memory"),
    (r"try_to_free_pages|shrink_\w+|do_try_to_free_pages|kswapd|balance_pgdat", "tries to free memory"),
    (r"do_anonymous_page|do_fault|(?:__)?handle_mm_fault|do_wp_page|do_swap_page", "brings in a page that was touched"),
    (r"exc_page_fault|do_user_addr_fault|asm_exc_page_fault|do_page_fault|page_fault_oops", "a page fault"),
    (r"asm_exc_\w+|exc_\w+|die|oops_end|__die_body", "the processor found an error"),
    (r"watchdog_timer_fn|softlockup\w*", "the watchdog for CPUs that do not let go"),
    (r"watchdog|check_hung_uninterruptible_tasks|check_hung_task", "the watchdog for tasks that hang"),
    (r"watchdog_overflow_callback|watchdog_hardlockup\w*", "the watchdog for CPUs that hear no interrupt"),
    (r"(?:asm_)?sysvec_\w+|__sysvec_\w+|__irq_exit\w*", "an interrupt"),
    (r"hrtimer_interrupt|__hrtimer_run_queues|tick_\w+", "a timer interrupt"),
    (r"asm_common_interrupt|common_interrupt|handle_\w+_irq|handle_irq_event\w*", "an interrupt of a device"),
    (r"(?:native_)?queued_spin_lock_slowpath|_raw_spin_lock\w*", "spins for a lock"),
    (r"queued_(?:read|write)_lock_slowpath|_raw_(?:read|write)_lock\w*", "spins for a lock"),
    (r"__mutex_lock\w*|mutex_lock\w*", "waits for a mutex"),
    (r"rwsem_down_\w+|down_(?:read|write)\w*|__down_\w+|down\w*", "waits for a semaphore"),
    (r"__wait_for_common|wait_for_completion\w*", "waits for somebody to say that something is done"),
    (r"io_schedule\w*|wait_on_page_bit\w*|folio_wait_\w+|bit_wait_io", "waits for a disk"),
    (r"blk_mq_get_tag|submit_bio_wait", "waits for a disk"),
    (r"jbd2_\w+|wait_transaction_\w+", "waits for the file system's journal"),
    (r"futex_\w+|do_futex|__futex_\w+", "waits for another thread of its program"),
    (r"do_(?:epoll_wait|poll|select)|ep_poll|core_sys_select|do_sys_poll", "waits for input"),
    (r"do_wait|kernel_wait4|__do_sys_wait4", "waits for a child to end"),
    (r"hrtimer_nanosleep|do_nanosleep|schedule_timeout|schedule_hrtimeout\w*|msleep\w*", "sleeps for some time"),
    (r"__schedule|schedule\w*|preempt_schedule\w*", "gave up its CPU"),
    (r"default_idle\w*|do_idle|cpu_startup_entry|cpuidle_\w+", "an idle CPU"),
    (r"acpi_\w*idle\w*|intel_idle\w*|\w*idle_enter\w*", "an idle CPU"),
    (r"proc_reg_write|proc_sys_call_handler|seq_\w+|proc_\w+", "a file of /proc"),
    (r"vfs_writev?|ksys_write|__x64_sys_p?write\w*|__arm64_sys_p?write\w*|do_iter_write", "a program writes to a file"),
    (r"vfs_readv?|ksys_read|__x64_sys_p?read\w*|__arm64_sys_p?read\w*", "a program reads a file"),
    (r"do_sys_openat2|do_filp_open|path_openat|__x64_sys_open\w*", "a program opens a file"),
    (r"\w*_sys_(\w+)", "a system call"),
    (r"do_syscall_64|entry_SYSCALL_\w+|x64_sys_call", "a program asked the kernel for something"),
    (r"invoke_syscall|el0_svc\w*|el0t_64_sync\w*", "a program asked the kernel for something"),
    (r"kthread|ret_from_fork\w*", "a thread of the kernel"),
    (r"worker_thread|process_one_work|process_scheduled_works", "a worker of the kernel"),
    (r"secondary_startup_64\w*|start_secondary|rest_init|start_kernel", "where a CPU began"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), words) for pattern, words in _KNOWN)

_SYMBOL = re.compile(r"(?P<function>[^+\s]+)(?:\+0x\w+/0x\w+)?(?: \[(?P<module>[^\]]+)\])?")


def split_symbol(symbol: str) -> tuple[str, str]:
    """`write+0x1/0x2 [ext4]` as its function and its module ('' for the kernel itself)."""
    found = _SYMBOL.match(symbol)
    return (found["function"], found["module"] or "") if found else (symbol, "")


def in_words(symbol: str) -> str:
    """What a function does, in plain words; '' where that is not known."""
    function, module = split_symbol(symbol)
    if module:
        return f"code of the module {module}"
    bare = re.sub(r"\.(?:constprop|isra|part|cold|llvm)\b.*$", "", function)
    return next((words for pattern, words in _COMPILED if pattern.fullmatch(bare)), "")


def request(symbols: Sequence[str]) -> str:
    """What a program had asked for, by the functions of its stack; '' where it was not in a system call."""
    for symbol in symbols:
        function, _ = split_symbol(symbol)
        if found := re.fullmatch(r"(?:__x64_sys_|__arm64_sys_|__do_sys_|__se_sys_|ksys_)(\w+)", function):
            return found[1]
    return ""
