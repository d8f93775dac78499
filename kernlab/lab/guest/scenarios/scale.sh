# Thousands of processes, hundreds of thousands of memory areas.
prepare() {
    apps
    ulimit -u 100000; echo 200000 > /proc/sys/kernel/pid_max; echo 100000 > /proc/sys/kernel/threads-max
    actors swarm crowd "$SWARM" "$AREAS" &
    # A child is born when its parent is done copying: wait until all of them are there.
    tries=0
    while [ "$(ls -d /proc/[0-9]* | wc -l)" -lt "$SWARM" ]; do
        tries=$((tries + 1)); [ $tries -lt 600 ] || return 1
        sleep 1
    done
    sleep 2
}
die() { echo c > /proc/sysrq-trigger; }
