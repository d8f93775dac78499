# Kernel threads each of which sleeps in another way: for a semaphore, a percpu_rwsem, an rtmutex, a folio, a completion, a
# bit, a wait queue, (S)RCU, the end of a thread, of a work item, a timer. The driver says who holds what and wants what.
prepare() {
    apps
    echo 0 > /proc/sys/kernel/hung_task_timeout_secs
    insmod /modules/kernlab_depot.ko
    echo go > /proc/kernlab_depot
    while read -r line; do story "$line"; done < /proc/kernlab_depot
    sleep 2
}
die() { echo c > /proc/sysrq-trigger; }
