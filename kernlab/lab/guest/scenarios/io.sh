# A slow disk, more requests than it can do, and blktrace, whose reader stopped half-way: the rest is in relay's buffers.
prepare() {
    apps
    trace_disk 16 8 || return 1
    actors io database /dev/vda 3 8 random &
    sleep 2
    story "backup begins"
    actors io backup /dev/vda 1 128 read &
    sleep 3
    story "import begins"
    actors io import /dev/vda 2 32 write &
    sleep 4
    kill -STOP $blktrace
    story "blktrace stopped reading"
    sleep 3
    innocent="$innocent,database,backup,import,blktrace"
    verdict finding=sysrq
    mkdir -p /host/out/blk && cp /tmp/blk/* /tmp/blktrace.log /host/out/blk/
}
die() { story "sysrq c with requests in flight"; echo c > /proc/sysrq-trigger; }
