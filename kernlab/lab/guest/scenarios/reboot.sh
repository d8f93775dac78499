# What a boot recorded in memory that outlives it, in a dump of the boot after. The first boot fills the instance boot_map
# and panics; its own reboot is a warm one. Of the second boot's tracefs comes the truth: what it prints of the first.
#
# AFTER: nothing (the second boot only looks), mark (it adds lines of its own), or record (it records anew).
map=$tracing/instances/boot_map
events() { for event in sched kmem block; do echo 1 > "$1/events/$event/enable"; done; }
first_boot() {
    insmod /modules/kernlab_story.ko
    # Choosing a tracer empties the buffer: it comes first, and stays.
    echo 'vfs_*' > $map/set_ftrace_filter; echo function > $map/current_tracer
    events $map
    for event in signal timer workqueue rcu syscalls/sys_enter_close; do echo 1 > $map/events/$event/enable 2> /dev/null; done
    for event in sched_process_fork sched_process_exit; do echo stacktrace > $map/events/sched/$event/trigger; done
    echo 1 > $map/tracing_on
    for i in 1 2 3 4 5 6 7 8; do echo "marker $i of the first boot" > $map/trace_marker; ls /modules > /dev/null; done
    echo "leak 10" > /proc/kernlab_story
    dd if=/dev/vda of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null
    echo 0 > $map/tracing_on
    cat $map/trace > /host/out/first.trace
    cp /proc/kallsyms /host/out/first.kallsyms
    keep; umount /host || mount -o remount,ro /host
    # Without a kernel to save a dump, a panic reboots.
    kexec -p -u || return 1
    ask again
    echo c > /proc/sysrq-trigger
    sleep 600
}
show() {
    cat $map/trace > /host/out/$1.trace
    for cpu in 0 1; do cat $map/per_cpu/cpu$cpu/stats; done > /host/out/$1.stats
}
prepare() {
    [ -d $map ] || fail this kernel has no trace instance that is there after a warm restart
    [ -e /host/out/first.trace ] || { first_boot; return 1; }
    apps
    insmod /modules/kernlab_story.ko
    mkdir -p /host/out/after
    cp /host/out/first.* /host/out/after/
    cat $map/last_boot_info > /host/out/after/info 2> /dev/null
    show after/before
    case $AFTER in
        mark) echo 1 > $map/tracing_on; for i in 1 2 3; do echo "marker $i of the second boot" > $map/trace_marker; done; echo 0 > $map/tracing_on ;;
        record) events $map; echo 1 > $map/tracing_on; ls / > /dev/null; echo 0 > $map/tracing_on ;;
    esac
    show after/ftrace.boot_map
    mkdir $tracing/instances/today
    echo 1 > $tracing/instances/today/events/sched/enable; sleep 1; echo 0 > $tracing/instances/today/tracing_on
    cat $tracing/instances/today/trace > /host/out/after/ftrace.today
}
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }
