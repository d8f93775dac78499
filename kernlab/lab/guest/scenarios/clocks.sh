# The same events by every clock: each trace instance has another one, blktrace takes CLOCK_MONOTONIC, the log its own.
clocks="local global counter uptime perf mono mono_raw boot tai x86-tsc"
prepare() {
    apps
    trace_disk 64 8 || return 1
    # There before it traces: what it starts is told by nothing.
    sleep 2
    kill -STOP $blktrace
    for clock in $clocks; do
        instance=$tracing/instances/$clock
        mkdir $instance
        # Kernels before 6.1 have no clock "tai".
        echo $clock > $instance/trace_clock 2> /dev/null || { rmdir $instance; continue; }
        echo ${BUFFER_KIB:-512} > $instance/buffer_size_kb
        for event in block/block_rq_issue sched/sched_process_fork printk/console; do
            echo 1 > $instance/events/$event/enable
        done
    done
    for round in $(seq ${ROUNDS:-20}); do
        story "round $round"; echo "clocks: round $round" > /dev/kmsg
        dd if=/dev/vda of=/dev/null bs=4k count=10 skip=$((round * 16)) iflag=direct 2> /dev/null
        # Tasks that live on: when they began stands in the dump, too.
        sleep 1000000 &
        sleep 0.5
    done
}
die() { story "sysrq c by all clocks"; echo c > /proc/sysrq-trigger; }
