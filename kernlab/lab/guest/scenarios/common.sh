# What every story has beside its own: a few programs that sleep, and tracing of the disk where asked for.
apps() {
    actors app accounts 3 4 & actors app mailer 1 2 & actors app indexer 5 1 & actors app cron 1 0 &
    sleep 1000000 &
}
tracing=/sys/kernel/tracing
trace_disk() { # trace_disk SUBBUF_KIB SUBBUFS: blktrace of vda, its files in /tmp
    mkdir -p /tmp/blk
    blktrace -d /dev/vda -b "$1" -n "$2" -D /tmp/blk > /tmp/blktrace.log 2>&1 &
    blktrace=$!
    tries=0
    while [ ! -e /sys/kernel/debug/block/vda/trace0 ]; do
        tries=$((tries + 1)); [ $tries -lt 50 ] || { cat /tmp/blktrace.log; return 1; }
        sleep 0.2
    done
}
