"""Families of functions by what they are for, as lists of names: a star stands for the rest of one.

Whoever finds a report that blames a function which only served its caller adds its family here; tests/oops holds the
lists against logs of real crashes. Names are normal ones (`functions.normal`): without suffixes of compilers.
"""

from __future__ import annotations

import re


def _names(words: str) -> re.Pattern[str]:
    return re.compile(
        "(?:" + "|".join(re.escape(word).replace(r"\*", r"\w*") for word in words.split()) + r")$"
    )


#: What prints, stops the machine or takes a trap, and what a check is made of that finds something: kernel/panic.c,
#: lib/{bug,dump_stack,vsprintf,hexdump}.c, kernel/printk, arch/*/{kernel,mm}, mm/{kasan,kmsan,kfence,kcsan},
#: lib/{list_debug, refcount,ubsan,debugobjects,smp_processor_id}.c, kernel/locking/lockdep.c,
#: mm/{slub,usercopy,kmemleak}.c, net/core/skbuff.c.
REPORTING = _names(
    """
    add_lock_to_list* alloc_debug_processing arch_stack_walk arch_trigger_* __asan_* asan_* asm_exc_*
    asm_sysvec_* assert_fail* assertfail assfail* assign_lock_key async_page_fault __bad_area* bad_area*
    bad_page* brk_handler btrfs_assertfail* bug_at bug_handler* call_break_hook check_bytes_and_report*
    check_deadlock* check_flags check_free_page* __check_heap_object check_heap_object check_irq_usage*
    check_lock check_lockdep* check_memory_region* check_new_page_bad check_noncircular* check_object
    __check_object_size check_object_size check_pad_bytes* check_preemption_disabled check_prev*
    check_region_inline check_slab check_usage* check_wait_context *_common_interrupt common_interrupt
    __console_* console_flush* console_trylock* console_unlock __create_object create_object __dabt_svc
    __dabt_usr debug_*_activate debug_*_deactivate debug_check_no_locks_* __debug_check_no_obj_freed*
    debug_check_no_obj_freed* debug_dma* __debug_object* debug_object_* debug_print_object
    debug_smp_processor_id default_do_nmi _dev_* __dev_printk* dev_printk* dev_vprintk* die __die* die_*
    divide_error do_async_page_fault do_bad_area do_DataAbort do_debug_exception do_divide_error
    do_double_fault do_el1_* do_error_trap do_exception do_general_protection do_int3 do_invalid_op
    do_kern_addr_fault __do_kernel_fault do_mem_abort do_nmi __do_page_fault do_page_fault
    do_sp_pc_abort do_stack_segment do_tag_* do_translation_fault do_trap* do_undefinstr
    do_user_addr_fault double_fault dump_backtrace* dump_header* __dump_page* dump_page* __dump_stack
    dump_stack* dump_trace early_brk64 el1_* el1h_* el1t_* end_repeat_nmi end_report error_entry exc_*
    find_held_lock first_nmi fixup_bug* __fortify_* fortify_* free_debug_processing free_page_is_bad
    free_page_is_bad_report general_protection get_taint handle_bug handle_exception handle_overflow
    __handle_sysrq handle_sysrq hex_dump_to_buffer __hlist_* hlist_* __hwasan* int3 invalid_op
    *_is_static_object __kasan_* kasan_* kcsan_* kernelmode_fixup_or_oops __kfence_* kfence_* kmemleak_*
    __kmsan_* kmsan_* kref_* list_add __list_add* list_add_rcu list_add_tail list_cut* list_del
    __list_del* list_del_init list_del_rcu __list_lru_* list_lru_* list_move* list_replace* list_rotate*
    list_sort* list_splice* __local_bh_* _local_bh_* local_bh_* lock_acquire __lock_acquire*
    lock_acquired __lock_downgrade lock_downgrade __lock_is_held* lock_is_held* lock_release
    __lock_release* __lock_set_class lockdep_* look_up_lock_class mark_held_locks mark_lock* mark_usage
    match_held_lock* __might_fault __might_resched ___might_sleep __might_sleep __msan_* nmi nmi_*
    __no_context no_context object_err on_freelist oops_* __pabt_svc page_fault page_fault_oops __panic
    panic __*_panic print_* _printk printk printk_safe_* rcu_dynticks_curr_cpu_in_eqs reacquire_held_locks
    __refcount_* refcount_* register_lock_class repeat_nmi report_addr* __report_bug report_bug report_enabled
    report_usercopy restore_bytes* retbleed_* _RNv*4core9panicking* _RNvCs*rust_begin_unwind __rust_*
    rust_begin_unwind rust_helper_BUG rust_panic* rwlock_bug __sanitizer_* save_stack* save_trace
    __schedule_bug __seqprop_* set_track* __show_regs show_regs* show_stack* show_trace* skb_over_panic
    skb_panic skb_under_panic slab_bug slab_err slab_fix slab_pad_check spin_bug spin_dump srso_*
    __stack_chk_fail stack_segment stack_trace_* start_report __start_secondary sysrq_* __sysvec_*
    sysvec_* __this_cpu_preempt_check trace_do_page_fault trace_hardirqs_* trace_raw_*
    trigger_*backtrace __tsan_* __ubsan_* ubsan_* __und_svc unknown_nmi_error __unwind_* unwind_*
    usage_match usercopy_abort usercopy_warn va_format valid_state validate_chain vpanic vprintk*
    walk_stackframe __warn warn_bogus* __warn_printk warn_slowpath* write_sysrq_trigger
    __x86_indirect_thunk* __x86_return_thunk zen_untrain*
    """
)

#: What fails for whoever calls it: locks, copies, strings, counters, trees and lists (kernel/locking, lib,
#: arch/*/lib), timers and works (kernel/time, kernel/workqueue.c, kernel/rcu), devices and their files
#: (drivers/base, lib/kobject.c, fs/{sysfs,kernfs, proc}), pages of files (mm/{filemap,truncate}.c), what a driver
#: hands to USB's core (drivers/usb/core) or takes back from those of networks and I2C (net/core/dev.c, drivers/i2c),
#: and the probes that macros make of each tracepoint (include/trace/{trace_events,perf,bpf_probe}.h).
HELPING = _names(
    """
    *_from_user *_read_lock *_read_unlock *_to_user *_write_lock *_write_unlock
    add_timer* arch_atomic* arch_clear_bit arch_jump_label* arch_local_* arch_read_* arch_spin*
    arch_static_branch* arch_test_and_* arch_write_* __atomic* atomic64_* atomic_* __bforget
    bit_spin_* __bpf_trace_* bpf_trace_run* perf_trace_* trace_event_raw_event_* __unregister_client
    rollback_registered* __bitmap_* bitmap_clear* bitmap_find* bitmap_from_* bitmap_parse* bitmap_print*
    bitmap_set* bitmap_to_* __brelse __call_rcu* call_rcu* call_rwsem_* cleanup_device_parent
    __clear_bit* clear_nlink clear_user* cmp_ex_* cmpxchg* __cond_resched* _cond_resched*
    cond_resched* _copy_from_* copy_from_user* __copy_in_user* copy_page_from_iter*
    copy_page_to_iter* _copy_to_* copy_to_iter* copy_to_user* __copy_user* copy_user_handle* copyin
    copyout* __count_memcg_events cpu_relax cpus_read_lock cpus_read_unlock __crc* crc* create_dir
    create_files csum_partial* debug_timer_* default_wake_function __del_timer* del_timer* depot_*
    dev_pm_* device_create* device_links_* device_pm_* device_release* device_remove_* devres_*
    do_raw_* __down* down_* dpm_sysfs_* dput drop_nlink __dynamic_* fast_dput _find_* finish_wait
    flush_work* folio_end_* folio_get folio_put __folio_put* folio_wake* get_page get_random_*
    get_user __get_user* get_user_nocheck* hweight* ida_* idr_* inc_nlink init_timer_*
    init_wait_entry __init_waitqueue_head __internal_add_timer __ioremap* ioremap* iput jiffies_*
    __jump_label_* jump_label_* kernfs_create* kernfs_find* kernfs_remove* kfree_rcu* kill_fasync*
    klist_* kobject_* kset_* kstrto* ktime_get* __ldsem_* llist_* lock_sock_* logic_in* logic_out*
    mas_* memcmp* __memcpy* memcpy* __memmove* memmove* memremap* __memset* memset* memunmap
    migrate_disable migrate_enable __mod_*_page_state mod_*_page_state __mod_lruvec_* __module_get
    module_put mtree_* __mutex_* mutex_* native_apic_* native_halt native_irq_* native_queued_*
    native_read_* native_restore_fl native_safe_halt native_save_fl native_send_* native_smp_*
    native_write_* net_ratelimit __netdev_printk netdev_printk osq_* pci_read_config_*
    pci_write_config_* __percpu_* percpu_counter_* percpu_ref_* __phys_addr* __pi_* plist_*
    __pm_runtime_* pm_runtime_* prandom_* prepare_to_wait* proc_net_mkdir put_page put_user
    __put_user* pv_native* pv_queued* pv_wait* queue_work* queued_* __ratelimit __raw_* _raw_*
    raw_local_irq_* raw_read_* raw_spin_* raw_write_* rb_insert* __rcu_* rcu_read_* READ_ONCE*
    __read_once* remove_wait_queue_* rep_nop retain_dentry* rhashtable_* rht_* *rq_lock* __rt_*
    rt_mutex_* rwlock_* rwsem_* sched_clock* search_exception_tables __set_bit* set_nlink sg_init_*
    simple_copy_to_iter siphash* spin_* srcu_read_* start_flush_work static_branch_* static_key_*
    strchr* strcmp* strlcpy* strlen* strn* strsep* strspn* swake_up* sysfs_* test_and_* this_cpu_*
    __ticket_* timer_init_* __timer_shutdown* timer_shutdown* trace_event_buffer_*
    trace_event_printf __trace_trigger_soft_disabled try_module_get try_to_wake_up* ttwu_*
    unlock_buffer unlock_page* up up_* __up_console_sem __up_write usb_hcd_submit_urb
    usb_hcd_unlink_urb __virt_to_* virt_to_* __wait_for_completion* __wake_up* wake_up_process
    wake_up_q wake_up_state wakeup_source_* write_unlock* ww_mutex_* xa_* xas_* xchg*
    """
)

#: Memory is taken and given back for whoever asks:
#: mm/{slab,slub,slab_common,page_alloc,vmalloc,util,percpu,mempool}.c, net/core/{skbuff,sock,page_pool}.c.
ALLOCATING = _names(
    """
    __alloc_frozen* alloc_frozen_pages* __alloc_large* alloc_page alloc_pages* alloc_percpu*
    alloc_slab* allocate_slab* bio_alloc_bioset* bio_kmalloc buffered_rmqueue* build_skb* __cache_*
    cache_alloc* cache_flusharray cache_free* cache_reap devm_kmalloc* devm_kzalloc* do_kmem_cache*
    __do_krealloc* fail_dump folio_alloc* __free_frozen* free_frozen* free_hot_cold* __free_page
    __free_pages* free_pages* free_pcp* free_slab* get_free_pages* get_freepointer* __kfree
    kfree_call_rcu kfree_skb* __kmalloc* kmalloc* kmem_cache_* __krealloc* krealloc* kvfree*
    __kvmalloc* kvmalloc* kvzalloc* large_kmalloc* memcg_alloc* memcg_charge* __memcg_kmem*
    memcg_kmem* __memcg_slab* memcg_slab* memdup* mempool_* netdev_alloc* new_slab* obj_cgroup_*
    __page_frag* page_frag_* __page_pool_* page_pool_* pcpu_* percpu_alloc* rmqueue* set_page_owner*
    setup_object* sg_alloc_* __should_fail* should_fail* __slab_* slab_* slub_* __sock_kmalloc
    unfreeze_partials* __vmalloc* vmalloc* vmap_* vunmap* warn_alloc*
    """
)

#: What is lost was given to the caller of these: by the word that a function's name ends with.
GIVING = _names("*_alloc *_zalloc")

#: A slab is asked for memory, which may sleep: mm/{slab,slub,slab_common}.c.
SLABS = _names("__kmalloc* kmalloc* kmem_cache_* __kmem_cache_* kzalloc* slab_* __slab_* kvmalloc*")

#: What carries memory out of the kernel for whoever gives it: lib/{iov_iter,usercopy}.c, include/linux/uaccess.h,
#: net/core/datagram.c, drivers/usb/core/urb.c.
COPYING = _names(
    """
    _copy_to_* copy_to_* __copy_to_user* __copy_user* copy_page_to_iter* copyout* put_user __put_user*
    _copy_*_iter* simple_copy_to_iter skb_copy_datagram_* __skb_datagram_iter instrument_* usb_submit_urb
    """
)

#: Who waits sleeps here, on behalf of its callers: kernel/sched, kernel/locking, mm/filemap.c, fs/buffer.c. What
#: tells of itself what is waited for (synchronize_rcu, flush_work, rtnl_lock, lock_sock_nested) is not among them.
WAITING = _names(
    """
    add_transaction_credits* __bit_lock* bit_lock* bit_wait* blk_mq_freeze_queue_wait* call_rwsem_*
    cancel_delayed_work* __cancel_work* cancel_work* __cond_resched* _cond_resched* console_lock*
    context_switch do_raw_* do_wait_for_common do_wait_intr* down __down* down_* ___down_common
    __flush_work* __folio_lock* folio_wait* freezable_schedule* __inode_wait* inode_wait* io_schedule*
    io_wait* jbd2_log_wait* kthread_park kthread_stop* __ldsem_* ldsem_* __lock_buffer* lock_buffer*
    __lock_page* lock_page* __lock_sock* msleep* __mutex_* mutex_* out_of_line_wait* owner_on_cpu*
    __percpu_* percpu_down* percpu_ref_* preempt_* _raw_* raw_spin_* rcu_barrier* __refrigerator __rt_*
    rt_mutex_* rtmutex_* __rwbase* rwbase_* rwsem_* __schedule schedule __schedule_* schedule_*
    sleep_on_* swake* __switch_to* trace_hardirqs_* trace_sched* tty_ldisc_lock* usleep*
    wait_current_trans* __wait_event* wait_event* __wait_for_common* wait_for_common*
    __wait_for_completion* wait_for_completion* __wait_on_* wait_on_* __wait_rcu_gp wait_rcu_gp
    wait_transaction_locked* wait_woken wb_wait_for_completion* ww_mutex*
    """
)

#: How the kernel is entered and threads begin, at the bottom of each stack: arch/*/entry, kernel/entry,
#: kernel/softirq.c, kernel/kthread.c, kernel/workqueue.c, kernel/smpboot.c.
ENTERING = _names(
    """
    *_apic_timer_interrupt* apic_timer_interrupt* asm_call_* call_function_*interrupt call_on_irq_stack
    call_softirq call_usermodehelper_exec_async common_interrupt_return cpu_idle* cpu_startup_entry
    csd_* do_el0_svc* do_fast_syscall_* do_idle do_int80* do_interrupt_handler* do_notify_resume
    __do_softirq do_softirq* __do_syscall_* do_syscall_* do_SYSENTER_* do_trap_ecall_u do_work_pending
    el0_* el0t_* entry_* *_entry_after_kaiser_bti exit_to_user_mode_* exit_to_usermode_loop
    __flush_smp_call* flush_smp_call_function_queue generic_smp_call_function* handle_softirqs
    handle_syscall ia32_sys_call idtentry_* interrupt_entry invoke_softirq __invoke_syscall
    invoke_syscall* __irq_* irq_enter* irq_exit* irq_work_* __irqentry_* irqentry_* kernel_thread*
    kthread __prepare_exit_to_usermode prepare_exit_to_usermode process_one_work process_scheduled_works
    reschedule_interrupt rest_init restore_regs_and_iret __ret_* ret_* run_ksoftirqd secondary_startup*
    smp_call_function_*interrupt smpboot_thread_fn start_kernel start_secondary stub_* swapper
    __sys_trace* __syscall syscall_* sysenter_* system_call* task_work_run trace_hardirqs_*thunk
    tracehook_notify_resume __traceiter_* tracesys* work_pending worker_thread x32_sys_call x64_sys_call
    x86_64_start_*
    """
)

#: These take what a caller asked for to one of many implementations: what they call says what was asked (fs/{ioctl,
#: read_write,file_table}.c, net/socket.c, net/core/{dev,rtnetlink}.c,
#: kernel/{time/timer,time/hrtimer,softirq,workqueue}.c).
DISPATCHING = _names(
    """
    __blkdev_driver_ioctl blkdev_driver_ioctl* blkdev_ioctl block_ioctl call_driver_probe call_mmap
    call_read_iter call_timer_fn call_usermodehelper_exec_async call_write_iter compat_blkdev_ioctl
    deliver_skb do_dentry_open __do_fault do_fault* do_iter_* do_mmap do_one_initcall do_read_fault
    do_select do_sock_getsockopt do_sock_setsockopt __do_softirq do_sys_poll do_vfs_ioctl expire_timers
    __fput handle_irq_desc handle_irq_event* __handle_irq_event_percpu handle_softirqs
    __hrtimer_run_queues io_issue_sqe ksys_ioctl kthread __mmap_region mmap_region __napi_poll napi_poll
    net_rx_action net_tx_action netif_receive_skb __netif_receive_skb_core* netif_receive_skb_internal
    __netif_receive_skb_list_core* __netif_receive_skb_one_core* netlink_rcv_skb_msg new_sync_read
    new_sync_write nfnetlink_rcv_msg proc_reg_ioctl proc_reg_read proc_reg_unlocked_ioctl proc_reg_write
    process_one_work process_scheduled_works rcu_do_batch rcu_process_callbacks really_probe
    rtnetlink_rcv_msg __run_hrtimer __run_timer_base __run_timers sock_close sock_do_ioctl sock_ioctl
    sock_read_iter sock_recvmsg* __sock_release sock_release __sock_sendmsg sock_sendmsg*
    sock_write_iter __sys_accept4 __sys_bind sys_bind __sys_connect sys_connect __sys_connect_file
    __sys_getsockopt sys_getsockopt sys_ioctl __sys_listen sys_pread64 sys_pwrite64 sys_read sys_readv
    __sys_recvfrom ____sys_sendmsg ___sys_sendmsg __sys_sendto __sys_setsockopt sys_setsockopt sys_write
    sys_writev task_work_run tasklet_action* tasklet_hi_action* vfs_fallocate vfs_fsync_range
    __vfs_getxattr vfs_getxattr vfs_ioctl vfs_iter_* vfs_open vfs_poll __vfs_read vfs_read vfs_readv
    __vfs_setxattr* __vfs_write vfs_write vfs_writev vm_mmap_pgoff
    """
)

#: Where the tick or another interrupt of a CPU came in: what lies above is its own work.
TICKING = _names(
    """
    *apic_timer_interrupt* asm_exc_nmi asm_sysvec_* call_on_irq_stack decrementer_* do_interrupt_handler
    el1_interrupt* el1_irq* el1h_64_irq* end_repeat_nmi *_entry_after_kaiser_bti handle_arch_irq
    __irq_svc nmi reschedule_interrupt ret_from_intr smp_*_interrupt sysvec_*
    """
)

#: What a tick does to report on what it interrupted.
WATCHING = _names(
    """
    dump_backtrace* dump_cpu_task* __dump_stack dump_stack* nmi_* panic rcu_* _sched_show_task* sched_show_task*
    show_stack* vpanic watchdog_*
    """
)
