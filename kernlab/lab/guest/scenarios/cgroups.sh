# Memory cgroups in a tree: one that keeps hitting its limit, one over its high mark, one whose glutton the kernel killed,
# one that was removed while page cache was charged to it.
prepare() {
    apps
    echo "+memory" > $top/cgroup.subtree_control || return 1
    group shop memory.max=96M cgroup.subtree_control=+memory
    group shop/till memory.low=2M && group shop/import memory.max=8M && group shop/archive memory.high=6M
    group shop/report memory.max=16M && group shop/gone
    within shop/till actors app till 3 6 &
    within shop/import actors app importer 1 1 &
    within shop/archive actors app archivist 1 1 &
    within shop/report actors app survivor 1 2 &
    sleep 1
    # What one process reads is charged to its cgroup alone: each has a stretch of the disk for itself. The last one who
    # closes the disk drops its page cache, so it stays open.
    exec 9< /dev/vda
    within shop/import dd if=/dev/vda of=/dev/null bs=64k count=400 2> /dev/null
    within shop/archive dd if=/dev/vda of=/dev/null bs=64k skip=400 count=300 2> /dev/null
    within shop/gone dd if=/dev/vda of=/dev/null bs=64k skip=700 count=32 2> /dev/null
    rmdir $top/shop/gone || return 1
    story "shop/gone was removed; 2 MiB of page cache stay charged to it"
    within shop/report actors hog glutton 40 &
    glutton=$!
    wait $glutton
    story "glutton ended with status $?"
    grep -q '^oom_kill [1-9]' $top/shop/report/memory.events || return 1
    sleep 3
}
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }
