# A slow disk, more requests than it can do, and blktrace, whose reader stopped half-way: the rest is in relay's buffers.
prepare() {
    apps
    trace_disk 16 8 || return 1
    actors io database /dev/vda 4 8 &
    actors io backup /dev/vda 2 64 &
    sleep 4
    kill -STOP $blktrace
    story "blktrace stopped reading"
    sleep 3
    mkdir -p /host/out/blk && cp /tmp/blk/* /tmp/blktrace.log /host/out/blk/
}
die() { story "sysrq c with requests in flight"; echo c > /proc/sysrq-trigger; }
