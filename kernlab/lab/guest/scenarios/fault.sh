# miller makes the driver kernlab_mill fail, FAULT says how. CACHE is the name of its slab cache: SLUB watches
# mill_checked_job (poison, red zones, who took and gave back), and knows mill_job only as far as every kernel does.
fault_known() { # what FAULT is, and where
    function="" callers="" also="" either="" subject="" comm=miller pid=$miller
    case $FAULT in
        null) finding="null dereference" function=stone_weigh ;;
        wild) finding="general protection" function=sack_open also="bad pointer" ;;
        # What lies there is the end of the driver's own area: who says that says more.
        bad-page) finding="bad pointer" either="out of bounds" function=ledger_read also="out of bounds" ;;
        execute) finding="execute of data" function=wheel_turn also="bad pointer" ;;
        opcode) finding="invalid opcode" function=gear_check ;;
        bug) finding="BUG" function=hopper_check ;;
        divide) finding="divide error" function=flour_share ;;
        stack) finding="stack overflow" function=sieve_pass ;;
        use-after-free) function=job_finish callers=use_after_free subject=$CACHE
            # Poison says whose it was; what another wrote over it is only a bad pointer.
            finding="use after free" also="general protection,bad pointer"
            [ "$CACHE" = mill_checked_job ] || { finding="general protection"; also="use after free,bad pointer"; } ;;
        double-free) finding="double free" function=job_drop also="BUG" subject=$CACHE ;;
        redzone) finding="out of bounds" function=job_label subject=$CACHE ;;
        list) finding="list corruption" function=queue_leave also="BUG" ;;
        # The last thing that job_put does is to warn: where that is a jump, its caller is all that the stack has.
        refcount) finding="refcount" function=job_put callers=mill_write also="warning,use after free" ;;
        warn) finding="warning" function=weight_check ;;
        deliberate) finding="panic" function=mill_stop ;;
        softlock) finding="soft lockup" function=wheel_spin also="RCU stall" ;;
        hardlock) finding="hard lockup" function=wheel_jam also="soft lockup" ;;
        rcu) finding="RCU stall" function=river_read also="soft lockup" ;;
        workqueue) finding="hung task" either="workqueue stall" function=grind also="workqueue stall" subject=mill_grinders comm="" pid="" ;;
        softirq-bug) finding="BUG" function=bell_ring comm="" pid="" ;;
        softirq-spin) finding="soft lockup" function=bell_swing comm="" pid="" also="RCU stall" ;;
        refuse) finding="sysrq" also="null dereference" comm="" pid="" ;;
        *) return 1 ;;
    esac
}
prepare() {
    apps
    mkfifo /tmp/bell /tmp/never
    insmod /modules/kernlab_mill.ko cache="$CACHE" || return 1
    word=$FAULT; [ "$FAULT" != refuse ] || word=null
    printf '#!/bin/sh\nread -r line < /tmp/bell\nprintf %%s "%s" > /proc/kernlab_mill\nread -r line < /tmp/never\n' "$word" > /bin/miller
    printf '#!/bin/sh\nwhile :; do :; done\n' > /bin/billing
    chmod +x /bin/miller /bin/billing
    taskset 2 /bin/miller & miller=$!
    taskset -p 1 $$ > /dev/null
    [ "$FAULT" != workqueue ] || { DEEP=0; echo 0 > /proc/sys/kernel/hung_task_timeout_secs; }
    decoys || return 1
    case $FAULT in
        softirq-*) taskset 2 /bin/billing & innocent="$innocent,miller,billing"
            story "billing ($!) runs in user mode on CPU 1, where a timer of kernlab_mill will fail" ;;
    esac
    fault_known || return 1
    if [ "$FAULT" = refuse ]; then
        story "miller ($miller) will follow a NULL pointer in stone_weigh of kernlab_mill and be killed; SysRq c ends it all later"
        verdict finding="$finding" also="$also"
    else
        verdict finding="$finding" pid="$pid" comm="$comm" module=kernlab_mill function="$function" callers="$callers" \
            subject="$subject" also="$also" either="$either"
        story "miller ($miller) will make kernlab_mill fail on CPU 1: $finding, in $function${subject:+, of $subject}"
    fi
}
die() {
    case $FAULT in
        refuse) ;;
        softlock | softirq-spin) echo 5 > /proc/sys/kernel/watchdog_thresh; echo 1 > /proc/sys/kernel/softlockup_panic ;;
        hardlock) echo 5 > /proc/sys/kernel/watchdog_thresh; echo 1 > /proc/sys/kernel/hardlockup_panic ;;
        rcu) echo 5 > /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout; echo 1 > /proc/sys/kernel/panic_on_rcu_stall ;;
        workqueue) echo 1 > /proc/sys/kernel/hung_task_panic; echo 10 > /proc/sys/kernel/hung_task_timeout_secs ;;
        warn | refcount) echo 1 > /proc/sys/kernel/panic_on_warn ;;
        *) echo 1 > /proc/sys/kernel/panic_on_oops ;;
    esac
    echo ring > /tmp/bell
    [ "$FAULT" != refuse ] || { sleep 5; echo c > /proc/sysrq-trigger; }
    sleep 120
}
