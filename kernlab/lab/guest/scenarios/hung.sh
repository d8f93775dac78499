# inventoryd takes the inventory's lock and waits for an answer that never comes; every order waits for the lock.
prepare() {
    apps
    echo 0 > /proc/sys/kernel/hung_task_timeout_secs
    echo 1 > /proc/sys/kernel/hung_task_panic
    insmod /modules/kernlab_story.ko
    echo hold > /proc/kernlab_story
    sleep 1
    story "inventoryd holds the lock"
    for number in 1 2 3 4 5 6; do actors order order-$number & innocent="$innocent,order-$number"; done
    sleep 1
    verdict finding="lock not released" either="hung task" also="hung task" pid="$(pid_of inventoryd)" comm=inventoryd module=kernlab_story \
        function=inventory_thread subject=inventory_lock
}
die() { echo 10 > /proc/sys/kernel/hung_task_timeout_secs; sleep 120; }
