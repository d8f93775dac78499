# The last minute of a shop's machine, with a flight recorder on. A driver forgets sessions, then billing leaks; what is
# left is fought over, the disk slows, the OOM killer takes reports (billing is protected), and with the next one the
# kernel panics. The recorder's trace instance `kernlab` and its relay channel of vda lie in the dump; what was true all
# the while lies on vdc, written by `sampler`.
#
# BUFFER_KIB: of the instance, each CPU's. EVENTS: what it records beside the marks, groups of the recorder's or
# SYSTEM/EVENT. HOLE: off (recording is off for two seconds), full (for two seconds the buffer keeps what is old: a small one
# refuses what is new) or none. LEAK_KIB: of billing, every 50 ms.
instance=$tracing/instances/kernlab
record() {
    words=""
    for event in $EVENTS; do words="$words --event $event"; done
    # Emulated, a mark takes more of a CPU than the recorder gives itself by default.
    /host/boot/python/python3 /host/boot/recorder run --size-kb "$BUFFER_KIB" --interval-ms "$MARK_MS" --share 50 --tasks 40 \
        --disk vda $words > /tmp/recorder.log 2>&1 & recorder=$!
    tries=0
    until [ "$(cat $instance/tracing_on 2> /dev/null)" = 1 ] && [ -e /sys/kernel/debug/block/vda/trace0 ]; do
        tries=$((tries + 1)); [ $tries -lt 100 ] || { cat /tmp/recorder.log; return 1; }
        sleep 0.3
    done
}
disk() { # a partition to swap to, one with the shop's files
    # One sector of a table of partitions: 0x82 from 2048, 0x83 behind it.
    swap=$(($SWAP_MIB * 2048)); files=$((2048 + swap))
    word() { printf "\\$(printf %o $(($1 & 255)))\\$(printf %o $(($1 >> 8 & 255)))\\$(printf %o $(($1 >> 16 & 255)))\\0"; }
    { head -c 446 /dev/zero; printf '\0\0\0\0\202\0\0\0'; word 2048; word $swap; printf '\0\0\0\0\203\0\0\0'; word $files
      word $(($(blockdev --getsz /dev/vda) - files)); head -c 32 /dev/zero; printf '\125\252'; } > /tmp/sector
    dd if=/tmp/sector of=/dev/vda 2> /dev/null && blockdev --rereadpt /dev/vda || return 1
    tries=0
    while [ ! -b /dev/vda2 ]; do tries=$((tries + 1)); [ $tries -lt 50 ] || return 1; sleep 0.1; done
    mkswap /dev/vda1 > /dev/null && swapon /dev/vda1 || return 1
    mke2fs -q /dev/vda2 > /dev/null && mkdir -p /shop && mount -t ext2 /dev/vda2 /shop || return 1
    dd if=/dev/zero of=/shop/catalog.db bs=256k count=$(($CATALOG_MIB * 4)) 2> /dev/null
    sync -f /shop; echo 3 > /proc/sys/vm/drop_caches
    # From now on it is like any disk: what swapping asks for at once has to wait, in requests of an ordinary size.
    echo 128 > /sys/block/vda/queue/max_sectors_kb; echo 32 > /sys/block/vda/queue/nr_requests
    say slow $((12 << 20)) 800
}
prepare() {
    apps
    disk || return 1
    insmod /modules/kernlab_story.ko
    story "the recorder is switched on"
    sampler /dev/vdc /tmp/story & sampler=$!
    record || return 1
    story "a calm day: catalog reads its file, ledger writes, basket shares memory, archive and reports hold theirs"
    tenants read catalog /shop/catalog.db 64 10 &
    tenants write ledger /shop/ledger.log 16 400 &
    tenants share basket 32 256 50 &
    tenants hold archive 24 & archive=$!
    tenants hold reports 48 & reports=$!
    tenants fork batch 2 700 &
    tenants leak billing "$LEAK_KIB" 50 & billing=$!
    echo -900 > /proc/$billing/oom_score_adj; echo 200 > /proc/$reports/oom_score_adj
    sleep 6
    kill -0 $sampler && kill -0 $recorder || { cat /tmp/recorder.log; return 1; }
    story "the driver forgets sessions"
    i=0
    while [ $i -lt 40 ]; do echo "leak 2000" > /proc/kernlab_story; i=$((i + 1)); sleep 0.1; done
    story "80,000 sessions were forgotten"
}
die() {
    story "billing begins to leak"
    kill -USR1 $billing
    echo "<4>shop: billing runs its monthly close" > /dev/kmsg
    sleep 6
    case $HOLE in
        off) story "recording is off"; echo 0 > $instance/tracing_on; sleep 2; echo 1 > $instance/tracing_on; story "recording is on" ;;
        full) story "recording keeps what is old"; echo 0 > $instance/options/overwrite; sleep 2
            echo 1 > $instance/options/overwrite; story "recording goes on" ;;
    esac
    sleep 2
    story "backup reads the disk, past the cache; the disk slows"
    actors io backup /dev/vda2 2 64 read &
    say slow "$SLOW_BYTES" "$SLOW_REQUESTS"
    echo "<3>shop: ledger takes too long" > /dev/kmsg
    kill -USR1 $archive
    story "archive is asked for all it holds"
}
