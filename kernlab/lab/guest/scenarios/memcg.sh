# What grows in the memory cgroup shop/report reaches its limit. PANIC=0: the glutton is killed, and SysRq c ends it later;
# 1: vm.panic_on_oom is 2, and the cgroup's limit is the machine's end.
prepare() {
    apps
    insmod /modules/kernlab_mill.ko || return 1
    decoys || return 1
    echo "+memory" > $top/cgroup.subtree_control || return 1
    group shop memory.max=64M cgroup.subtree_control=+memory && group shop/report memory.max=16M || return 1
    within shop/report actors app survivor 1 2 &
    within shop/report actors hog glutton 4 & within=$!
    sleep 1
    # The shell that went into the cgroup has another PID.
    glutton=$(pid_of glutton)
    innocent="$innocent,survivor"
    if [ "$PANIC" = 1 ]; then
        story "glutton ($glutton) will take more than shop/report may have, which panics"
        verdict finding="memory cgroup out of memory" pid=$glutton comm=glutton subject=/shop/report
        return
    fi
    kill -USR1 $glutton
    wait $within
    grep -q '^oom_kill [1-9]' $top/shop/report/memory.events || return 1
    story "glutton ($glutton) was killed at the limit of shop/report; SysRq c ends it all later"
    verdict finding="sysrq" also="memory cgroup out of memory" subject=/shop/report
    sleep 3
}
die() {
    [ "$PANIC" = 1 ] || echo c > /proc/sysrq-trigger
    echo 2 > /proc/sys/vm/panic_on_oom
    kill -USR1 $glutton
    sleep 120
}
